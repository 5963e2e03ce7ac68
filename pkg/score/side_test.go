package score

import (
	"math"
	"slices"
	"strings"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"

	"pgregory.net/rapid"
)

// side makes a run of one model from the records of each dataset.
func side(model string, datasets []spec.Dataset, recs map[string][]result.Record, rows int) Side {
	p := &plan.Plan{Spec: spec.Spec{Datasets: datasets, Groups: []spec.Group{{Name: "all", Members: []string{"*"}}}}, Variants: []plan.Variant{{ID: model, Model: model}}}
	for _, d := range datasets {
		p.Tasks = append(p.Tasks, plan.Task{ID: model + "/" + d.Abbr, Variant: model, Dataset: d.Abbr, Rows: rows, Prompt: model + "p"})
	}
	return Side{Plan: p, Model: model, Rows: func(id string) ([]result.Record, error) { return recs[strings.TrimPrefix(id, model+"/")], nil }}
}

// judged makes records of texts that are right ("1"), wrong ("0") or missing ("-"), to the same gold.
func judged(letters string) []result.Record {
	var out []result.Record
	for i, l := range letters {
		if l != '-' {
			out = append(out, result.Record{Row: i, Text: string(l), Gold: []string{"1"}})
		}
	}
	return out
}

// TestCompareRuns holds the figures of two runs against those of one, and what is left out.
func TestCompareRuns(t *testing.T) {
	gen := spec.Dataset{Abbr: "d", Mode: spec.Gen}
	a := side("x", []spec.Dataset{gen, {Abbr: "e", Mode: spec.Gen}}, map[string][]result.Record{"d": judged("11010001001-")}, 12)
	recs := judged("1111100000-1")
	recs[4].Gold = []string{"other"} // row 4: right by x alone
	b := side("y", []spec.Dataset{gen, {Abbr: "f", Mode: spec.Gen}}, map[string][]result.Record{"d": recs}, 12)
	got, err := Compare(t.Context(), a, b)
	if err != nil || len(got.Comparisons) != 2 || !slices.Equal(got.OnlyA, []string{"e"}) || !slices.Equal(got.OnlyB, []string{"f"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	c := got.Comparisons[0]
	// Of rows 0 to 9 without 4: right in y alone 2, in x alone 7.
	if c.N != 9 || c.Other != 1 || c.Only != 1 || c.OnlyBaseline != 1 || c.Better != 1 || c.Worse != 1 || c.Model != "x" || c.Baseline != "y" || c.Note != "prompts xp and yp" {
		t.Errorf("%+v", c)
	}
	nearPtr(t, "change", c.Change, 0)
	nearPtr(t, "stderr", c.StdErr, 100*math.Sqrt(2.0/8/9))
	nearPtr(t, "p", c.P, 1)
	nearPtr(t, "detectable", c.Detectable, 100*(z95+z80)*math.Sqrt(3)/11)
	if g := got.Comparisons[1]; g.Dataset != "all" || *g.Change != 0 || !slices.Equal(g.Missing, []string{"e"}) {
		t.Errorf("%+v", g)
	}
	a.Model = "z"
	if _, err := Compare(t.Context(), a, b); err == nil || !strings.Contains(err.Error(), `unknown model "z"`) {
		t.Errorf("%v", err)
	}
}

// TestCompareRolling holds that windows of unlike tokenizers are not compared.
func TestCompareRolling(t *testing.T) {
	d := rolling("gptq")
	d.Abbr = "d"
	a := side("x", []spec.Dataset{d}, map[string][]result.Record{"d": {win(0, 10, 5), win(1, 12, 5)}}, 2)
	b := side("y", []spec.Dataset{d}, map[string][]result.Record{"d": {win(0, 5, 5), win(1, 6, 5)}}, 2)
	got, err := Compare(t.Context(), a, b)
	if err != nil || len(got.Comparisons) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	nearPtr(t, "ratio", got.Comparisons[0].Change, math.Exp(1.1))
	b = side("y", []spec.Dataset{d}, map[string][]result.Record{"d": {win(0, 5, 5), win(1, 6, 5), win(2, 6, 5)}}, 3)
	got, err = Compare(t.Context(), a, b)
	if c := got.Comparisons[0]; err != nil || c.Change != nil || c.Other != 2 || !strings.Contains(c.Note, "another tokenizer") {
		t.Errorf("%+v, %v", c, err)
	}
}

// sheetsOf draws two sheets of a kind over the same rows.
func sheetsOf(r *rapid.T, k kind, of []int, n int) (a, b sheet) {
	value := rapid.SampledFrom([]float64{0, 0.25, 0.5, 1})
	if k == byShare {
		value = rapid.SampledFrom([]float64{0, 1})
	}
	a, b = grouped(k, rapid.SliceOfN(value, n, n).Draw(r, "a"), of), grouped(k, rapid.SliceOfN(value, n, n).Draw(r, "b"), of)
	if k == byCorpus {
		for i := range n {
			a.rows[i].parts, b.rows[i].parts = []float64{a.rows[i].value, 1}, []float64{b.rows[i].value, 1}
		}
		a.value, b.value = percent, percent
	}
	return a, b
}

// TestCompareProperties holds for every kind, with clusters and without: a model beside itself does not differ; to swap the sides turns the
// sign; the change is the difference of the values; and it lies in its interval.
func TestCompareProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(2, 25).Draw(r, "n")
		k := rapid.SampledFrom([]kind{byShare, byMean, byCorpus}).Draw(r, "kind")
		var of []int
		if rapid.Bool().Draw(r, "clustered") {
			of = rapid.SliceOfN(rapid.IntRange(0, 4), n, n).Draw(r, "clusters")
		}
		a, b := sheetsOf(r, k, of, n)
		var c, back, self Comparison
		pair(a, b, false).compare(&c, 1)
		pair(b, a, false).compare(&back, 1)
		pair(a, a, false).compare(&self, 1)
		if self.Differs() || math.Abs(*self.Change) > 1e-12 || self.P != nil && *self.P != 1 {
			r.Fatalf("beside itself: %+v", self)
		}
		x, y := average(a.rows), average(b.rows)
		if math.Abs(*c.Change-100*(x.value-y.value)) > 1e-9 || math.Abs(*c.Change+*back.Change) > 1e-9 || c.Better != back.Worse {
			r.Fatalf("%+v, sides swapped %+v", c, back)
		}
		if c.Low != nil && (*c.Low > *c.Change || *c.High < *c.Change || *c.Detectable <= 0) {
			r.Fatalf("%v is not within [%v, %v]; detectable %v", *c.Change, *c.Low, *c.High, *c.Detectable)
		}
		if (c.P == nil) != (back.P == nil) || c.P != nil && (*c.P < 0 || *c.P > 1 || math.Abs(*c.P-*back.P) > 0.1) {
			r.Fatalf("p %v, sides swapped %v", c.P, back.P)
		}
	})
}

// TestClusteredPairs has each pair of rows four times: the standard error is that of the pairs, twice that of independent rows.
func TestClusteredPairs(t *testing.T) {
	var a, b []float64
	var of []int
	for i := range 60 {
		x, y := float64(i%2), float64(i%3/2)
		a, b, of = append(a, x, x, x, x), append(b, y, y, y, y), append(of, i, i, i, i)
	}
	var c, free Comparison
	pair(grouped(byShare, a, of), grouped(byShare, b, of), false).compare(&c, 1)
	pair(grouped(byShare, a, nil), grouped(byShare, b, nil), false).compare(&free, 1)
	if ratio := *c.StdErr / *free.StdErr; math.Abs(ratio-2*math.Sqrt(239.0/240*60/59)) > 1e-9 || *c.P <= *free.P || c.Test != "sign" {
		t.Errorf("stderr %v, of independent rows %v; p %v and %v", *c.StdErr, *free.StdErr, *c.P, *free.P)
	}
	if half := (*c.High - *c.Low) / 2; math.Abs(half/(z95**c.StdErr)-1) > 0.15 {
		t.Errorf("[%v, %v] about %v +- %v", *c.Low, *c.High, *c.Change, *c.StdErr)
	}
}
