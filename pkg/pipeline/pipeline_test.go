package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sextant/internal/goldens"
	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/engine"
	"sextant/pkg/model"
	"sextant/pkg/tokenizer"
)

const pocket = "../../examples/pocket"

// parts loads the pocket model in n parts, each on a thread of its own.
func parts(t testing.TB, n int) (all []*model.Model) {
	return partsOn(t, n, "cpu")
}

// partsOn is parts on a backend, in turn on its first two devices.
func partsOn(t testing.TB, n int, backend string) (all []*model.Model) {
	t.Helper()
	ck, err := checkpoint.Open(pocket + "/model")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ck.Close() })
	cuts, _, err := model.Parts(ck, slices.Repeat([]float64{1}, n))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range cuts {
		dev, err := kernels.Open(backend, kernels.Options{Threads: 1, Device: i % 2})
		if err != nil && i%2 == 1 { // there is one
			dev, err = kernels.Open(backend, kernels.Options{})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(dev.Close)
		m, err := model.LoadWith(context.Background(), dev, ck, model.Options{Part: p})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		all = append(all, m)
	}
	return all
}

// engineOf makes an engine for a pipeline of those parts.
func engineOf(t testing.TB, p *Pipeline, all []*model.Model, o engine.Options) *engine.Engine {
	t.Helper()
	tok, err := tokenizer.Load(pocket + "/model")
	if err != nil {
		t.Fatal(err)
	}
	o.NewDecoder = func(prompt []int32) engine.Decoder { return tok.NewDecoder(prompt) }
	bytes := int64(0)
	for _, m := range all {
		bytes += m.PositionBytes()
	}
	shape := engine.ShapeOf(all[0].Config(), bytes)
	shape.Passes = p.Passes()
	e, err := engine.NewRunner(p, shape, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// workload is sequences to score and prompts to continue, of the goldens.
func workload(t testing.TB) (seqs []engine.Sequence, prompts []engine.Prompt) {
	t.Helper()
	var golden []struct {
		PromptIDs []int32 `json:"prompt_ids"`
		IDs       []int32
	}
	goldens.ReadJSON(t, filepath.Join(pocket, "golden/greedy.json"), &golden)
	for i, g := range golden {
		all := slices.Concat(g.PromptIDs, g.IDs)
		seqs = append(seqs, engine.Sequence{Tokens: all, From: 1}, engine.Sequence{Tokens: all[:len(all)-1], From: len(g.PromptIDs)})
		prompts = append(prompts, engine.Prompt{Tokens: g.PromptIDs, MaxNew: 12, Seed: uint64(i),
			Sample: kernels.SampleDesc{Temperature: float32(i%3) * 0.8, TopK: i % 2 * 20, TopP: 0.95}})
	}
	return seqs, prompts
}

// outcomes are those of the workload, every bit of them.
func outcomes(t testing.TB, e *engine.Engine) string {
	t.Helper()
	seqs, prompts := workload(t)
	scores, texts := make([]string, len(seqs)), make([]string, len(prompts))
	err := errors.Join(e.Score(context.Background(), seqs, func(i int, s engine.Scored) error {
		scores[i] = fmt.Sprintf("%x %d %v", math.Float64bits(s.NLL), s.Count, s.Greedy)
		return nil
	}), e.Generate(context.Background(), prompts, func(i int, g engine.Generated) error {
		texts[i] = fmt.Sprint(g)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(scores, texts...), "\n")
}

// The outcomes are the same, bit for bit, in however many stages, whatever the batches, the budget and the memory.
func TestSameBits(t *testing.T) {
	want := ""
	for n := 1; n <= 4; n++ {
		all := parts(t, n)
		p := New(all)
		for _, o := range []engine.Options{{}, {BatchSize: 3, TokenBudget: 7, PageSize: 5}, {TokenBudget: 40},
			{PageSize: 8, Memory: 20 * 8 * 2 * 4 * 6 * 2 * 32}} {
			e := engineOf(t, p, all, o)
			got := outcomes(t, e)
			e.Close()
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("%d stages, %+v: got\n%s\nwant\n%s", n, o, got, want)
			}
		}
		p.Close()
	}
}

// All stages are at work at once: while passes are under way none is waited for before there are as many as are wanted.
func TestUnderWay(t *testing.T) {
	p := New(parts(t, 2))
	defer p.Close()
	if err := p.Reserve(4, 16); err != nil {
		t.Fatal(err)
	}
	pass := func(first, n int) engine.Pass {
		b := model.Batch{Desc: kernels.BatchDesc{QStart: []int32{0, int32(n)}, KVLen: []int32{int32(first + n)}, Pages: []int32{0, 1, 2, 3}, MaxPages: 4},
			Out: []int32{int32(n - 1)}}
		for i := range n {
			b.Tokens = append(b.Tokens, int32(7+first+i))
		}
		return engine.Pass{Batch: b}
	}
	greedy := []kernels.SampleDesc{{}}
	var waits []func() ([]int32, error)
	for i := range p.Passes() { // none waits for another, though each reads what the one before it wrote
		waits = append(waits, p.Sample(pass(8*i, 8), greedy, []float64{0}))
	}
	var ids []int32
	for _, wait := range waits {
		one, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, one...)
	}
	last, err := p.Sample(pass(0, 8*p.Passes()), greedy, []float64{0})()
	if err != nil || last[0] != ids[len(ids)-1] {
		t.Errorf("in one pass %v, in several %v: %v", last, ids, err)
	}
}

// A stage's fault is the outcome of its pass, with its layers; what was begun behind it need not be waited for.
func TestFaults(t *testing.T) {
	p := New(parts(t, 3))
	defer p.Close()
	bad := engine.Pass{Batch: model.Batch{Tokens: []int32{1}, Out: []int32{0},
		Desc: kernels.BatchDesc{QStart: []int32{0, 1}, KVLen: []int32{1}, Pages: []int32{9}, MaxPages: 1}}}
	if err := p.Reserve(1, 16); err != nil {
		t.Fatal(err)
	}
	wait := p.LogProbs(bad, kernels.Targets{IDs: []int32{1}, Rows: []int32{0}})
	p.Sample(bad, []kernels.SampleDesc{{}}, []float64{0})
	if _, err := wait(); !errors.Is(err, kernels.ErrInvalid) || !strings.Contains(err.Error(), "layers 0 to ") {
		t.Errorf("a page that is not there: %v", err)
	}
	if err := p.Reserve(1<<30, 1<<10); !errors.Is(err, engine.ErrMemory) {
		t.Errorf("more memory than there is: %v", err)
	}
	if err := p.Reserve(1, 16); err != nil {
		t.Error(err)
	}
	p.Release()
}
