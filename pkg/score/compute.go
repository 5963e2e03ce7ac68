package score

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// version is of the scorers' meaning: raise it when the same records give another number. It is part of every Score.Hash.
const version = 1

// scorer adds up one task's rows, in row order, and then fills in the score.
type scorer interface {
	// add scores a row. The error says why it cannot be; the row then counts as missing and leaves no trace.
	add(r *result.Record) error
	// finish fills in Value, StdErr and Detail; N and Missing are set. It may take rows back: then it moves them from N to Missing and
	// adds to lost.
	finish(s *Score, lost *losses)
	// note names the conventions that change the number.
	note() string
	// outcomes are those of the rows that count, in row order; after finish.
	outcomes() []outcome
}

// newScorer makes the scorer of a dataset, or tells what in the dataset cannot be scored.
func newScorer(d spec.Dataset) (scorer, error) {
	metric, err := metricOf(d.Mode, d.Metric)
	if err != nil {
		return nil, err
	}
	switch d.Mode {
	case spec.Gen:
		return newTexts(d, metric)
	case spec.Rolling:
		return newWindows(d.Rolling)
	}
	return newChoices(d.Mode, d.PPL)
}

// Compute scores every task of a plan that evaluates, in the plan's order, and then its spec's groups for every variant. Of a plan that
// quantizes it compares the variants with the untouched model; what the quantizations made is for Fill to add.
//
// rows gives a task's records, in any order; a record of a row that the plan does not ask for is ignored, and two different records of
// one row make that row missing. reasons says by task why rows have no record, and may be nil or lack a task. The value of a task
// without a scored row is nil. An error means that rows failed, or that the spec holds what Validate refuses.
func Compute(p *plan.Plan, rows func(taskID string) ([]result.Record, error), reasons map[string]string) (Scores, error) {
	datasets := make(map[string]spec.Dataset, len(p.Spec.Datasets))
	for _, d := range p.Spec.Datasets {
		datasets[d.Abbr] = d
	}
	out := Scores{Version: fileVersion, Scores: []Score{}, Variants: variants(p, reasons)}
	outcomes := map[key][]outcome{}
	for _, t := range p.Tasks {
		if t.Kind == plan.Quantize {
			continue
		}
		d, ok := datasets[t.Dataset]
		if !ok {
			return Scores{}, fmt.Errorf("scoring task %q: the plan's spec has no dataset %q", t.ID, t.Dataset)
		}
		recs, err := rows(t.ID)
		if err != nil {
			return Scores{}, fmt.Errorf("scoring task %q: reading its rows: %w", t.ID, err)
		}
		s, rows, err := scoreTask(t, d, recs, reasons[t.ID])
		if err != nil {
			return Scores{}, fmt.Errorf("scoring task %q: %w", t.ID, err)
		}
		out.Scores = append(out.Scores, s)
		if out.Variants != nil {
			outcomes[key{t.Variant, t.Dataset}] = rows
		}
	}
	var err error
	if out.Groups, err = groupScores(p, out.Scores); err != nil {
		return Scores{}, err
	}
	out.compare(p, outcomes)
	return out, nil
}

func scoreTask(t plan.Task, d spec.Dataset, recs []result.Record, reason string) (Score, []outcome, error) {
	sc, err := newScorer(d)
	if err != nil {
		return Score{}, nil, err
	}
	metric, err := metricOf(d.Mode, d.Metric)
	if err != nil {
		return Score{}, nil, err
	}
	s := Score{Model: t.Variant, Dataset: t.Dataset, Metric: metric, Mode: string(d.Mode), Unit: unitOf(d.Mode),
		Note: sc.note(), Prompt: t.Prompt, Hash: hash(t, d, metric)}
	var lost losses
	have := 0
	for r, err := range distinct(recs, t.Rows) {
		have++
		if err == nil {
			err = sc.add(r)
		}
		if err != nil {
			lost.add(r.Row, err.Error())
			continue
		}
		s.N++
		s.observe(r)
	}
	if have < t.Rows {
		lost.absent(t.Rows-have, reason)
	}
	s.Missing = t.Rows - s.N
	sc.finish(&s, &lost)
	s.Reason = lost.String()
	return s, sc.outcomes(), nil
}

// distinct yields, in row order, one record a row of [0,rows); with an error where a row has two different records.
func distinct(recs []result.Record, rows int) func(yield func(*result.Record, error) bool) {
	order := make([]*result.Record, 0, len(recs))
	for i := range recs {
		if recs[i].Row >= 0 && recs[i].Row < rows {
			order = append(order, &recs[i])
		}
	}
	slices.SortStableFunc(order, func(a, b *result.Record) int { return cmp.Compare(a.Row, b.Row) })
	return func(yield func(*result.Record, error) bool) {
		for i := 0; i < len(order); {
			first := order[i]
			var err error
			for i++; i < len(order) && order[i].Row == first.Row; i++ {
				if !reflect.DeepEqual(first, order[i]) {
					err = fmt.Errorf("two different records")
				}
			}
			if !yield(first, err) {
				return
			}
		}
	}
}

// observe counts what a reader of the score should know of how rows were asked.
func (s *Score) observe(r *result.Record) {
	if r.Dropped > 0 {
		s.count("rows_with_fewer_examples")
	}
	if r.Cut > 0 {
		s.count("rows_cut")
	}
	if r.Stop == "length" {
		s.count("rows_at_length_limit")
	}
}

func (s *Score) count(name string) { s.detail(name, s.Detail[name]+1) }

func (s *Score) detail(name string, v float64) {
	if s.Detail == nil {
		s.Detail = map[string]float64{}
	}
	if finite(v) {
		s.Detail[name] = v
	}
}

// hash identifies what was measured: equal hashes of two runs mean that their values may be compared as they are.
func hash(t plan.Task, d spec.Dataset, metric string) string {
	raw, err := json.Marshal([]any{version, t.Prompt, t.Digest, t.Rows, d.Mode, metric, d.Post, d.PostGold, d.PPL, d.Rolling})
	if err != nil {
		panic("score: hash: " + err.Error()) // strings and integers always marshal
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:6])
}
