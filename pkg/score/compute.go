package score

import (
	"context"
	"fmt"
	"maps"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// scorer adds up one task's rows, in row order, and then fills in the score.
type scorer interface {
	// add scores a row. The error says why it cannot be; the row then counts as missing and leaves no trace.
	add(q *question) error
	// finish fills in what is not of one metric alone; N and Missing are set. It may take rows back: then it moves them from N to Missing
	// and adds to lost.
	finish(s *Score, lost *losses)
	// note names the conventions that change the number.
	note() string
	// sheets are the rows that count, by metric, the main one first; after finish.
	sheets() []sheet
}

// newScorer makes the scorer of a dataset, or tells what in the dataset cannot be scored.
func newScorer(d spec.Dataset) (scorer, error) {
	metrics, err := metricsOf(d)
	if err != nil {
		return nil, err
	}
	switch d.Mode {
	case spec.Gen:
		return newTexts(d, metrics)
	case spec.Rolling:
		return newWindows(d.Rolling)
	}
	return newChoices(d, metrics)
}

// Options are what scoring may need beside the plan and the records. The zero value has all that most metrics want.
type Options struct {
	Reasons map[string]string // why rows have no record, by task; it may lack a task

	// Clusters gives for a dataset with the key cluster each row's value of that column (dataset.Set.Clusters). Where it gives none, as
	// the data are gone, the score's note says that the clusters are not known and rows are taken as independent. nil: it gives none.
	Clusters func(dataset string) ([]string, error)

	Runner   Runner    // runs generated code; nil: it is not run, and rows whose programs have no verdict yet are missing
	Verdicts *Verdicts // of programs that were run before; nil: none, and they are not kept
	Programs int       // run at once; 0: one a processor
}

// Compute is Options.Compute with the reasons alone, for plans that run no code.
func Compute(p *plan.Plan, rows func(taskID string) ([]result.Record, error), reasons map[string]string) (Scores, error) {
	return Options{Reasons: reasons}.Compute(context.Background(), p, rows)
}

// Compute scores every task of a plan that evaluates, in the plan's order, and then its spec's groups for every variant. Of a plan that
// quantizes it compares the variants with the untouched model; what the quantizations made is for Fill to add.
//
// rows gives a task's records, in any order; a record of a row that the plan does not ask for is ignored, and two different records of
// one row make that row missing. The value of a task without a scored row is nil. An error means that rows failed, that the spec holds
// what Validate refuses, or that ctx ended while programs were run.
func (o Options) Compute(ctx context.Context, p *plan.Plan, rows func(taskID string) ([]result.Record, error)) (Scores, error) {
	out := Scores{Version: fileVersion, Scores: []Score{}, Variants: variants(p, o.Reasons)}
	all := map[key]sheet{}
	for _, t := range p.Tasks {
		if t.Kind == plan.Quantize {
			continue
		}
		scores, sheets, err := o.taskOf(ctx, p, t, rows)
		if err != nil {
			return Scores{}, fmt.Errorf("scoring task %q: %w", t.ID, err)
		}
		out.Scores = append(out.Scores, scores...)
		if out.Variants != nil {
			for _, sh := range sheets {
				all[key{t.Variant, t.Dataset, sh.metric}] = sh
			}
		}
	}
	var err error
	if out.Groups, err = groupScores(p, out.Scores); err != nil {
		return Scores{}, err
	}
	out.compare(p, all)
	return out, nil
}

// taskOf scores a task of a plan.
func (o Options) taskOf(ctx context.Context, p *plan.Plan, t plan.Task, rows func(string) ([]result.Record, error)) ([]Score, []sheet, error) {
	d, ok := p.Dataset(t.Dataset)
	if !ok {
		return nil, nil, fmt.Errorf("the plan's spec has no dataset %q", t.Dataset)
	}
	recs, err := rows(t.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("reading its rows: %w", err)
	}
	return o.task(ctx, t, d, recs)
}

// task scores one task: a score and a sheet for each metric, the main one first.
func (o Options) task(ctx context.Context, t plan.Task, d spec.Dataset, recs []result.Record) ([]Score, []sheet, error) {
	sc, err := newScorer(d)
	if err != nil {
		return nil, nil, err
	}
	samples := samplesOf(d)
	if t.Rows%samples != 0 {
		return nil, nil, fmt.Errorf("the plan has %d items, which are no %d samples a row: plan the run anew", t.Rows, samples)
	}
	rows := t.Rows / samples
	all := questions(recs, rows, samples)
	if c, ok := sc.(coder); ok {
		if err := o.execute(ctx, c, all); err != nil {
			return nil, nil, err
		}
	}
	s := Score{Model: t.Variant, Dataset: t.Dataset, Mode: string(d.Mode), Unit: unitOf(d.Mode), Note: sc.note(), Prompt: t.Prompt}
	lost := tallyUp(&s, sc, all, loss{rows: rows, reason: o.Reasons[t.ID]})
	sc.finish(&s, lost)
	ids, err := o.clustersOf(d, rows)
	if err != nil {
		return nil, nil, err
	}
	if d.Cluster != "" && ids == nil {
		s.Note = noted(s.Note, "clusters not known")
	}
	s.Reason = lost.String()
	sheets := sc.sheets()
	scores := make([]Score, len(sheets))
	for i := range sheets {
		sheets[i].cluster(ids)
		scores[i] = s
		scores[i].Metric, scores[i].Hash, scores[i].Further = sheets[i].metric, hash(t, d, sheets[i].metric), i > 0
		scores[i].Detail = maps.Clone(s.Detail)
		sheets[i].fill(&scores[i])
	}
	return scores, sheets, nil
}

// tallyUp adds every row to a scorer and counts them in s. planned has the number of rows, and why some may have no result.
func tallyUp(s *Score, sc scorer, all func(func(*question, error) bool), planned loss) *losses {
	lost := &losses{}
	have := 0
	for q, err := range all {
		have++
		if err == nil {
			err = sc.add(q)
		}
		if err != nil {
			lost.add(q.row, err.Error())
			continue
		}
		s.N++
		for _, r := range q.samples {
			s.observe(r)
		}
	}
	if have < planned.rows {
		lost.absent(planned.rows-have, planned.reason)
	}
	s.Missing = planned.rows - s.N
	return lost
}

// samplesOf is how many texts a row of the dataset has.
func samplesOf(d spec.Dataset) int {
	if d.Mode != spec.Gen {
		return 1
	}
	return max(1, d.Gen.Samples)
}

// clustersOf numbers the rows' clusters from 0 in the order of their first rows; nil where there are none or they are not known.
func (o Options) clustersOf(d spec.Dataset, rows int) ([]int, error) {
	if d.Cluster == "" || o.Clusters == nil {
		return nil, nil
	}
	values, err := o.Clusters(d.Abbr)
	if err != nil {
		return nil, fmt.Errorf("the clusters of its rows: %w", err)
	}
	if len(values) < rows {
		return nil, nil
	}
	numbers := map[string]int{}
	out := make([]int, rows)
	for i, v := range values[:rows] {
		if _, ok := numbers[v]; !ok {
			numbers[v] = len(numbers)
		}
		out[i] = numbers[v]
	}
	return out, nil
}

// noted appends to a list of notes.
func noted(notes, note string) string {
	if notes == "" {
		return note
	}
	return notes + ", " + note
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
