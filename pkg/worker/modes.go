package worker

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"

	"sextant/kernels"
	"sextant/pkg/engine"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// record begins the record of a row.
func (t *task) record(a *ask) result.Record {
	r := result.Record{Row: a.item.Row, Digest: a.item.Digest(t.plan.Settings), Labels: a.item.Labels, Gold: a.item.Gold,
		Chars: a.item.Chars, Size: a.item.Bytes, Dropped: a.dropped, Cut: a.cut}
	for _, s := range a.seqs {
		r.PromptTokens = max(r.PromptTokens, len(s.Tokens))
	}
	return r
}

// score carries out ppl, ll and clp. A row is final when all of its sequences are.
func (t *task) score(ctx context.Context, asks []*ask, keep func(result.Record) error) error {
	type part struct{ ask, seq int }
	var reqs []engine.Sequence
	var parts []part
	got := make([][]engine.Scored, len(asks))
	left := make([]int, len(asks))
	for i, a := range asks {
		got[i], left[i] = make([]engine.Scored, len(a.seqs)), len(a.seqs)
		for k := range a.seqs {
			parts = append(parts, part{i, k})
		}
		reqs = append(reqs, a.seqs...)
	}
	return t.eng.Score(ctx, reqs, func(i int, s engine.Scored) error {
		p := parts[i]
		a := asks[p.ask]
		if err := finite(s.NLL); err != nil {
			return badRow(a.item.Row, "%w", err)
		}
		got[p.ask][p.seq] = s
		if left[p.ask]--; left[p.ask] > 0 {
			return nil
		}
		r := t.record(a)
		for k, s := range got[p.ask] {
			if k >= len(r.Labels) {
				r.NormNLL = append(r.NormNLL, s.NLL)
				continue
			}
			r.NLL = append(r.NLL, s.NLL)
			r.Tokens = append(r.Tokens, s.Count)
			if s.Greedy && t.data.Mode == spec.LL {
				r.Greedy = append(r.Greedy, r.Labels[k])
			}
		}
		return keep(r)
	})
}

// generate carries out gen.
func (t *task) generate(ctx context.Context, asks []*ask, keep func(result.Record) error) error {
	if len(asks) == 0 {
		return nil
	}
	if err := t.sound(ctx, asks[0].seqs[0].Tokens[0]); err != nil {
		return err
	}
	g := t.data.Gen
	sample := kernels.SampleDesc{Temperature: float32(g.Temperature), TopK: g.TopK, TopP: float32(g.TopP)}
	reqs := make([]engine.Prompt, len(asks))
	for i, a := range asks {
		reqs[i] = engine.Prompt{Tokens: a.seqs[0].Tokens, MaxNew: t.maxNew, Stop: g.Stop, Sample: sample,
			Seed: seed(g.Seed, a.item.Digest(t.plan.Settings))}
	}
	return t.eng.Generate(ctx, reqs, func(i int, g engine.Generated) error {
		r := t.record(asks[i])
		r.Text, r.IDs, r.Stop = g.Text, g.IDs, g.Stop
		return keep(r)
	})
}

// seed of a row: what is drawn depends on the dataset's seed and on what is asked, not on where the row stands or who computes it.
func seed(base uint64, digest string) uint64 {
	h := fnv.New64a()
	_ = binary.Write(h, binary.LittleEndian, base) // a hash never fails
	h.Write([]byte(digest))
	return h.Sum64()
}

// sound tries one token, for the text that a model generates does not show that its outputs are no numbers.
func (t *task) sound(ctx context.Context, token int32) error {
	return t.eng.Score(ctx, []engine.Sequence{{Tokens: []int32{token, token}, From: 1}}, func(_ int, s engine.Scored) error {
		return bad(finite(s.NLL))
	})
}

// finite refuses a loss that no sum can hold.
func finite(nll float64) error {
	if math.IsNaN(nll) || math.IsInf(nll, 0) {
		return fmt.Errorf("the model's loss is %v: its weights hold values that are not numbers, or overflow in this format", nll)
	}
	return nil
}
