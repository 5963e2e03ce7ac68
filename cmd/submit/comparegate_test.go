package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/score"
	"sextant/pkg/spec"
)

// TestGate holds what --fail-below 2 lets pass.
func TestGate(t *testing.T) {
	v := func(x float64) *float64 { return &x }
	for name, c := range map[string]struct {
		comparison score.Comparison
		fails      bool
	}{
		"fell, surely":                     {score.Comparison{Unit: score.Percent, Change: v(-3), Low: v(-4), High: v(-1)}, true},
		"fell, perhaps by chance":          {score.Comparison{Unit: score.Percent, Change: v(-3), Low: v(-7), High: v(0.5)}, false},
		"fell by as much as it may":        {score.Comparison{Unit: score.Percent, Change: v(-2), Low: v(-3), High: v(-1)}, false},
		"rose":                             {score.Comparison{Unit: score.Percent, Change: v(9), Low: v(8), High: v(10)}, false},
		"a further metric":                 {score.Comparison{Unit: score.Percent, Change: v(-30), Low: v(-40), High: v(-20), Further: true}, false},
		"a group":                          {score.Comparison{Unit: score.Percent, Change: v(-2.1), Low: v(-3), High: v(-1), Members: []string{"a"}}, true},
		"no row in common":                 {score.Comparison{Unit: score.Percent}, true},
		"perplexity rose by 3 %":           {score.Comparison{Unit: score.Perplexity, Change: v(1.03), Low: v(1.01), High: v(1.05)}, true},
		"perplexity rose by 1 %":           {score.Comparison{Unit: score.Perplexity, Change: v(1.01), Low: v(1.005), High: v(1.015)}, false},
		"perplexity rose by chance":        {score.Comparison{Unit: score.Perplexity, Change: v(1.03), Low: v(0.99), High: v(1.07)}, false},
		"perplexity without a known error": {score.Comparison{Unit: score.Perplexity, Change: v(1.5)}, false},
	} {
		view := compareView{Pairs: []comparePair{{Comparisons: []comparison{{Comparison: c.comparison, Differs: c.comparison.Differs()}}}}}
		failed := view.judge(2)
		if (len(failed) > 0) != c.fails || view.Pairs[0].Comparisons[0].Fails != c.fails || (view.Verdict == verdictFail) != c.fails {
			t.Errorf("%s: %v, %q", name, failed, view.Verdict)
		}
	}
}

// TestFlipped parts rows; those that are not asked alike are left out.
func TestFlipped(t *testing.T) {
	row := func(n int, value float64, gold string) score.Row {
		return score.Row{Row: n, Value: value, Gold: []string{gold}, Record: &result.Record{Labels: []string{"A", "B"}}}
	}
	now := []score.Row{row(0, 1, "A"), row(1, 0, "A"), row(2, 1, "A"), row(3, 0, "A"), row(4, 0, "B")}
	before := []score.Row{row(0, 1, "A"), row(1, 1, "A"), row(2, 0, "A"), row(4, 1, "A")}
	worse, better, was := flipped(now, before)
	if len(worse) != 1 || worse[0].Row != 1 || len(better) != 1 || better[0].Row != 2 || len(was) != 2 || was[1].Value != 1 {
		t.Errorf("worse %v, better %v, before %v", worse, better, was)
	}
	if was[2].Value != 0 {
		t.Errorf("row 2 was %v", was[2].Value)
	}
}

// TestCompareByResampling holds the interval that a comparison and its gate go by against one found by other means: the 2.5th and 97.5th
// percentiles of the difference over resamples of the pairs of rows.
func TestCompareByResampling(t *testing.T) {
	const rows, resamples = 500, 4000
	draw := rand.New(rand.NewPCG(1, 2))
	d := spec.Dataset{Abbr: "d", Mode: spec.Gen}
	var records [2][]result.Record
	right := make([][2]float64, rows)
	for i := range rows {
		easy := draw.Float64() < 0.6
		for k := range 2 {
			text := "0"
			if chance := []float64{0.9, 0.8}[k]; easy == (draw.Float64() < chance) { // what one has right the other is likely to have
				text, right[i][k] = "1", 1
			}
			records[k] = append(records[k], result.Record{Row: i, Text: text, Gold: []string{"1"}})
		}
	}
	side := func(k int) score.Side {
		p := &plan.Plan{Spec: spec.Spec{Datasets: []spec.Dataset{d}}, Variants: []plan.Variant{{ID: "m", Model: "m"}},
			Tasks: []plan.Task{{ID: "m/d", Variant: "m", Dataset: "d", Rows: rows}}}
		return score.Side{Plan: p, Model: "m", Rows: func(string) ([]result.Record, error) { return records[k], nil }}
	}
	got, err := score.Compare(t.Context(), side(0), side(1))
	if err != nil || len(got.Comparisons) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	var changes []float64
	for range resamples {
		sum := 0.0
		for range rows {
			pair := right[draw.IntN(rows)]
			sum += pair[0] - pair[1]
		}
		changes = append(changes, 100*sum/rows)
	}
	slices.Sort(changes)
	low, high := changes[resamples/40], changes[resamples-resamples/40]
	if c := got.Comparisons[0]; math.Abs(*c.Low-low) > 0.6 || math.Abs(*c.High-high) > 0.6 || high-low < 3 {
		t.Errorf("the interval is [%.2f, %.2f], by resampling [%.2f, %.2f]", *c.Low, *c.High, low, high)
	}
}
