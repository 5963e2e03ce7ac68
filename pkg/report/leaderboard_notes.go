package report

import (
	"fmt"
	"math"
	"strings"

	"sextant/pkg/score"
)

// lead is by how much one score is ahead of another, with the 95 % interval of that: in points, or the logarithm of the ratio of two
// perplexities.
type lead struct {
	by, low, high float64
	known         bool // there is an interval
	paired        bool // of the rows that both have; else the two are taken as independent
}

// outside says that the interval leaves out "no lead".
func (l lead) outside() bool { return l.low > 0 }

// lead compares two scores of what the board goes by: by the run's own comparison, where one of them is the baseline of the other, which
// pairs their rows; else by the intervals of the two as independent ones, put together by the distances of their ends (G. Y. Zou and
// A. Donner, Statistics in Medicine 27, 2008). Unpaired, a lead is less sure than it is: models are right and wrong on the same rows.
func (r *ranking) lead(a, b *score.Score) lead {
	for _, c := range r.scores.Comparisons {
		if c.Dataset != a.Dataset || c.Metric != a.Metric || c.Change == nil || c.Low == nil || c.High == nil || len(c.Missing) > 0 {
			continue
		}
		by, low, high := *c.Change, *c.Low, *c.High
		if a.Unit == score.Perplexity {
			by, low, high = -math.Log(by), -math.Log(high), -math.Log(low)
		}
		switch {
		case c.Model == a.Model && c.Baseline == b.Model:
			return lead{by, low, high, true, true}
		case c.Model == b.Model && c.Baseline == a.Model:
			return lead{-by, -high, -low, true, true}
		}
	}
	alow, ahigh, aok := a.Interval()
	blow, bhigh, bok := b.Interval()
	x, y := *a.Value, *b.Value
	if a.Unit == score.Perplexity {
		x, alow, ahigh = -math.Log(x), -math.Log(ahigh), -math.Log(alow)
		y, blow, bhigh = -math.Log(y), -math.Log(bhigh), -math.Log(blow)
	}
	l := lead{by: x - y, low: x - y - math.Hypot(x-alow, bhigh-y), high: x - y + math.Hypot(ahigh-x, y-blow)}
	l.known = aok && bok && !math.IsNaN(l.low) && !math.IsInf(l.low, 0) && !math.IsNaN(l.high) && !math.IsInf(l.high, 0)
	return l
}

func (r *ranking) notes(rows []BoardRow) []string {
	out := []string{r.goesBy(), r.leaderNote(rows)}
	near := 0
	for _, row := range rows {
		if row.Near {
			near++
		}
	}
	if near > 0 {
		out = append(out, fmt.Sprintf("~ within noise of the first: %s.", Plural(near, "model")))
	}
	out = append(out, r.unequal()...)
	for _, row := range rows {
		switch {
		case row.Value != nil && row.Reason != "":
			out = append(out, fmt.Sprintf("* %s has no rank: %s", clean(row.Model), clean(row.Reason)))
		case row.Value == nil:
			out = append(out, fmt.Sprintf("- %s has no rank: %s", clean(row.Model), clean(row.Reason)))
		}
	}
	if out[1] == "" {
		out = append(out[:1], out[2:]...)
	}
	return out
}

// goesBy says what the board goes by.
func (r *ranking) goesBy() string {
	x := r.first()
	what := clean(r.by) + ", " + x.Metric
	if n := len(r.all); len(x.Members) > 0 {
		what = fmt.Sprintf("%s, the mean of %s", clean(r.by), Plural(n, "dataset"))
		if r.by == ByMean {
			what = "the mean of " + Plural(n, "dataset")
		}
		if x.Metric == "weighted" {
			what += " weighted by rows"
		}
	}
	better := "the highest is the best"
	if x.Unit == score.Perplexity {
		better = "the lowest is the best"
	}
	return fmt.Sprintf("Ranked by %s; %s. ± is one standard error.", what, better)
}

// leaderNote says whether the first is ahead of the next by more than noise; "": there is no next.
func (r *ranking) leaderNote(rows []BoardRow) string {
	ties, next := 0, -1
	for i, row := range rows {
		switch {
		case row.Rank == 1:
			ties++
		case row.Rank > 1 && next < 0:
			next = i
		}
	}
	switch {
	case ties == 0:
		return "No model has all rows, so none is ranked."
	case ties > 1:
		return fmt.Sprintf("%d models share the first place.", ties)
	case next < 0:
		return ""
	}
	a, b := rows[0], rows[next]
	l := r.lead(a.of, b.of)
	size := func(x float64) string {
		if r.first().Unit == score.Perplexity {
			return fmt.Sprintf("%.4fx", math.Exp(x))
		}
		return fmt.Sprintf("%+.2f", x)
	}
	text := fmt.Sprintf("%s is ahead of %s by %s", clean(a.Model), clean(b.Model), size(l.by))
	if !l.known {
		return text + "; without a standard error nobody can say whether that is noise."
	}
	verdict := "within noise"
	if l.outside() {
		verdict = "outside noise"
	}
	rests := "of unpaired errors, as if each model had rows of its own; submit compare pairs them and sees smaller differences"
	if l.paired {
		rests = "on the same rows, paired"
	}
	return fmt.Sprintf("%s [%s, %s], %s: the 95 %% interval is %s.", text, size(l.low), size(l.high), verdict, rests)
}

// unequal tells of datasets behind the ranks that not all models were asked in the same way, and of members that no model has.
func (r *ranking) unequal() []string {
	var out []string
	for _, name := range r.all {
		var rows []int
		prompts := map[string]bool{}
		for m := range r.models {
			if x := r.dataset(name, m); x != nil {
				rows = append(rows, x.N+x.Missing)
				prompts[x.Prompt] = true
			}
		}
		if len(rows) == 0 {
			continue
		}
		low, high := rows[0], rows[0]
		for _, n := range rows {
			low, high = min(low, n), max(high, n)
		}
		var differ []string
		if low != high {
			differ = append(differ, fmt.Sprintf("%d to %d rows", low, high))
		}
		if len(prompts) > 1 {
			differ = append(differ, fmt.Sprintf("%d prompts", len(prompts)))
		}
		if len(differ) > 0 {
			out = append(out, fmt.Sprintf("! %s: not the same for all models, %s", clean(name), strings.Join(differ, " and ")))
		}
	}
	x := r.first()
	if alone := x.N + x.Missing - len(x.Members); len(x.Members) > 0 && alone > 0 {
		out = append(out, fmt.Sprintf("! %s: without %s that no dataset of this run is", clean(r.by), Plural(alone, "member")))
	}
	return out
}
