package score

import (
	"math"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// What the rows say, taken together, is what the score says.
func TestRowsAddUp(t *testing.T) {
	ranked := result.Record{Labels: []string{"a", "b"}, NLL: []float64{3, 2}, Tokens: []int{2, 2}}
	var ranks, texts, windows []result.Record
	for i := range 10 {
		r := ranked
		r.Row, r.Gold = i, []string{[]string{"a", "b"}[i%2]}
		ranks = append(ranks, r)
		texts = append(texts, result.Record{Row: i, Text: []string{"Yes.\nNo", "maybe"}[i%2], Gold: []string{"Yes."}})
		windows = append(windows, result.Record{Row: i, NLL: []float64{float64(i + 1)}, Tokens: []int{4}})
	}
	for _, c := range []struct {
		name    string
		d       spec.Dataset
		records []result.Record
		answers [2]string // of the first two rows
	}{
		{"ppl", spec.Dataset{Mode: spec.PPL}, ranks, [2]string{"b", "b"}},
		{"ll", spec.Dataset{Mode: spec.LL}, ranks, [2]string{"b", "b"}},
		{"gen", spec.Dataset{Mode: spec.Gen, Post: []string{"first_line"}}, texts, [2]string{"Yes.", "maybe"}},
		{"f1", spec.Dataset{Mode: spec.Gen, Metric: "squad_f1"}, texts, [2]string{"Yes.\nNo", "maybe"}},
		{"rolling", spec.Dataset{Mode: spec.Rolling, Rolling: spec.RollingOptions{SeqLen: 4}}, windows, [2]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.d.Abbr = "d"
			task := plan.Task{ID: "m/d", Variant: "m", Dataset: "d", Rows: 12} // two rows have no record
			p := &plan.Plan{Spec: spec.Spec{Datasets: []spec.Dataset{c.d}}, Tasks: []plan.Task{task}, Variants: []plan.Variant{{ID: "m"}}}
			all, err := Compute(p, func(string) ([]result.Record, error) { return c.records, nil }, nil)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := Options{}.Rows(task, c.d, c.records)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) != 10 {
				t.Fatalf("%d rows, want 10", len(rows))
			}
			sum := 0.0
			for i, r := range rows {
				if r.Row != i || r.Record.Row != i {
					t.Errorf("row %d stands at %d", r.Row, i)
				}
				sum += r.Value
			}
			got := 100 * sum / 10
			if c.d.Mode == spec.Rolling {
				got = math.Exp(sum / 10)
			}
			if want := *all.Scores[0].Value; math.Abs(got-want) > 1e-9*want {
				t.Errorf("the rows' mean is %v, the score %v", got, want)
			}
			if got := [2]string{rows[0].Answer, rows[1].Answer}; got != c.answers {
				t.Errorf("the first answers are %q, want %q", got, c.answers)
			}
		})
	}
}
