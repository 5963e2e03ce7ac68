package score

import (
	"context"
	"fmt"
	"slices"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// Row is how one row came out by its dataset's main metric, for people who want to see single rows.
type Row struct {
	Row    int
	Value  float64   // 0 to 1; rolling: the window's loss in nats a token
	Answer string    // the label ranked first, or what the post-processors made of the first sample; rolling: ""
	Gold   []string  // labels, or what the post-processors made of the accepted answers
	Losses []float64 // of each label, as they were ranked: the lowest wins
	Record *result.Record
}

// Rows tells how every row of a task came out, in row order. Rows that cannot be scored are left out, as they are from the score. Programs
// are not run: those without a verdict are left out, too.
func (o Options) Rows(t plan.Task, d spec.Dataset, recs []result.Record) ([]Row, error) {
	sc, err := newScorer(d)
	if err != nil {
		return nil, fmt.Errorf("telling the rows of task %q: %w", t.ID, err)
	}
	samples := samplesOf(d)
	all := questions(recs, t.Rows/samples, samples)
	o.Runner = nil
	if c, ok := sc.(coder); ok {
		if err := o.execute(context.Background(), c, all); err != nil {
			return nil, fmt.Errorf("telling the rows of task %q: %w", t.ID, err)
		}
	}
	var out []Row
	for q, err := range all {
		if err != nil || sc.add(q) != nil {
			continue
		}
		out = append(out, rowOf(sc, q))
	}
	main := sc.sheets()[0]
	values := make(map[int]outcome, len(main.rows))
	for _, v := range main.rows {
		values[v.row] = v
	}
	for i := range out {
		v := values[out[i].Row]
		out[i].Value = v.value
		if v.size > 0 && main.kind != byCorpus {
			out[i].Value /= v.size
		}
	}
	return out, nil
}

// rowOf is a row that the scorer took.
func rowOf(sc scorer, q *question) Row {
	r := Row{Row: q.row, Record: q.samples[0]}
	switch sc := sc.(type) {
	case *choices:
		r.Losses, _ = sc.values(r.Record)
		best := slices.Index(r.Losses, slices.Min(r.Losses))
		r.Answer, r.Gold = r.Record.Labels[best], r.Record.Gold
	case *texts:
		answers, golds, _ := sc.answers(q)
		r.Answer, r.Gold = answers[0], golds
	}
	return r
}
