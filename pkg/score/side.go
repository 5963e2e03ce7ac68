package score

import (
	"context"
	"fmt"
	"slices"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// Side is one of two models to compare: a variant of a run. Both may be of one run.
type Side struct {
	Plan  *plan.Plan
	Model string                                       // a variant's ID
	Rows  func(taskID string) ([]result.Record, error) // as of Compute
	Options
}

// Contrast is what two models have in common.
type Contrast struct {
	Comparisons []Comparison // of the datasets and metrics of both, in the order of a's plan, then of the groups of both
	Scores      [][2]Score   // of each comparison a's score and b's, each on all of its own rows
	OnlyA       []string     // datasets that a alone has
	OnlyB       []string
}

// Compare compares two models on the rows that both have, metric by metric: Comparison.Change is a's value less b's, of a perplexity a's over
// b's; Model is a's and Baseline b's. Row i of a dataset is paired with row i of the dataset of the same abbr and mode. Rows with other
// labels or gold answers are left out and counted; another prompt is told in the note, for a model's chat template may differ with good
// reason. Perplexities of tokenizers that cut a text into unlike numbers of windows have no rows in common.
//
// A group is compared where both have it, by a's members and weights.
func Compare(ctx context.Context, a, b Side) (Contrast, error) {
	x, err := a.score(ctx)
	if err != nil {
		return Contrast{}, err
	}
	y, err := b.score(ctx)
	if err != nil {
		return Contrast{}, err
	}
	out := Contrast{OnlyA: x.alone(y), OnlyB: y.alone(x)}
	done := map[key]Comparison{}
	for _, s := range x.all.Scores {
		o := y.find(s)
		if o == nil {
			continue
		}
		d, _ := a.Plan.Dataset(s.Dataset)
		p := pair(x.sheet(s), y.sheet(s), true)
		note := difference(s, *o)
		if s.Unit == Perplexity && s.N+s.Missing != o.N+o.Missing {
			p, note = paired{other: len(p.a)}, noted(note, "windows of another tokenizer")
		}
		c := contrast(s, b.Model, p, d)
		c.Note = note
		if !s.Further {
			done[key{a.Model, s.Dataset, ""}] = c
		}
		out.Comparisons, out.Scores = append(out.Comparisons, c), append(out.Scores, [2]Score{s, *o})
	}
	for _, g := range x.all.Groups {
		at := slices.IndexFunc(y.all.Groups, func(o Score) bool { return o.Dataset == g.Dataset && o.Model == b.Model })
		if g.Model == a.Model && g.Unit == Percent && at >= 0 {
			out.Comparisons = append(out.Comparisons, x.all.compareGroup(g, b.Model, done))
			out.Scores = append(out.Scores, [2]Score{g, y.all.Groups[at]})
		}
	}
	return out, nil
}

// difference says what two scores of one metric do not share.
func difference(x, y Score) string {
	note := ""
	if x.Prompt != y.Prompt {
		note = fmt.Sprintf("prompts %s and %s", x.Prompt, y.Prompt)
	}
	if x.Note != y.Note {
		note = noted(note, fmt.Sprintf("%q and %q", x.Note, y.Note))
	}
	return note
}

// scored is a side's scores and the rows behind them.
type scored struct {
	all    Scores
	sheets map[key]sheet
}

func (s scored) sheet(of Score) sheet { return s.sheets[key{"", of.Dataset, of.Metric}] }

// find gives the score of the same question, or nil.
func (s scored) find(of Score) *Score {
	for i := range s.all.Scores {
		if o := &s.all.Scores[i]; o.Dataset == of.Dataset && o.Metric == of.Metric && o.Mode == of.Mode {
			return o
		}
	}
	return nil
}

// alone lists the datasets of which other has nothing to compare with.
func (s scored) alone(other scored) []string {
	var out []string
	for _, x := range s.all.Scores {
		if !slices.Contains(out, x.Dataset) && !slices.ContainsFunc(s.all.Scores, func(o Score) bool { return o.Dataset == x.Dataset && other.find(o) != nil }) {
			out = append(out, x.Dataset)
		}
	}
	return out
}

// score scores a side's tasks.
func (s Side) score(ctx context.Context) (scored, error) {
	out := scored{sheets: map[key]sheet{}}
	if !slices.ContainsFunc(s.Plan.Variants, func(v plan.Variant) bool { return v.ID == s.Model }) {
		var known []string
		for _, v := range s.Plan.Variants {
			known = append(known, v.ID)
		}
		return out, unknown("model", s.Model, known)
	}
	for _, t := range s.Plan.Tasks {
		if t.Kind == plan.Quantize || t.Variant != s.Model {
			continue
		}
		scores, sheets, err := s.taskOf(ctx, s.Plan, t, s.Rows)
		if err != nil {
			return out, fmt.Errorf("scoring task %q: %w", t.ID, err)
		}
		out.all.Scores = append(out.all.Scores, scores...)
		for _, sh := range sheets {
			out.sheets[key{"", t.Dataset, sh.metric}] = sh
		}
	}
	var err error
	out.all.Groups, err = groupScores(s.Plan, out.all.Scores)
	return out, err
}

// scaleOf is what the mean losses of a perplexity are multiplied with: tokens a word for perplexities of words.
func scaleOf(d spec.Dataset, p paired) float64 {
	if d.Rolling.Convention != "lm-eval" {
		return 1
	}
	m := average(p.b)
	return m.size / m.words
}
