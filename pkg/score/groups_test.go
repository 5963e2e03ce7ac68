package score

import (
	"errors"
	"math"
	"strings"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"

	"github.com/hashicorp/go-multierror"
)

// groupPlan has datasets x_1 (4 rows, 3 right), x_2 (2 rows, both right) and z (2 rows, none), for models m and k; z of k has no record.
func groupPlan(groups ...spec.Group) (*plan.Plan, func(string) ([]result.Record, error)) {
	p := &plan.Plan{Variants: []plan.Variant{{ID: "m"}, {ID: "k"}}, Spec: spec.Spec{Groups: groups}}
	rows := map[string]int{"x_1": 4, "x_2": 2, "z": 2}
	right := map[string]int{"x_1": 3, "x_2": 2, "z": 0}
	records := map[string][]result.Record{}
	for _, name := range []string{"x_1", "x_2", "z"} {
		p.Spec.Datasets = append(p.Spec.Datasets, spec.Dataset{Abbr: name, Mode: spec.LL})
		for _, v := range p.Variants {
			id := v.ID + "/" + name
			p.Tasks = append(p.Tasks, plan.Task{ID: id, Variant: v.ID, Dataset: name, Rows: rows[name]})
			for row := range rows[name] {
				gold := "b"
				if row < right[name] {
					gold = "a"
				}
				if id != "k/z" {
					records[id] = append(records[id], ranked(row, gold, []float64{1, 2}, []int{1, 1}))
				}
			}
		}
	}
	return p, func(id string) ([]result.Record, error) { return records[id], nil }
}

func groupsOf(t *testing.T, groups ...spec.Group) []Score {
	t.Helper()
	p, rows := groupPlan(groups...)
	s, err := Compute(p, rows, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Groups
}

func TestGroupMeans(t *testing.T) {
	g := groupsOf(t, spec.Group{Name: "plain", Members: []string{"x_*"}}, spec.Group{Name: "byrows", Members: []string{"x_1", "x_2"}, Mean: "weighted"})
	if len(g) != 4 || g[0].Dataset != "plain" || g[0].Model != "m" || g[1].Model != "k" || g[2].Dataset != "byrows" {
		t.Fatalf("%+v", g)
	}
	near(t, "mean", *g[0].Value, (75+100)/2.0)
	// Wilson's interval of 2 of 2 is [2/(2+z^2), 1]: half its width over z is z/2/(2+z^2).
	sure := 100 * z95 / 2 / (2 + z95*z95)
	near(t, "mean's stderr", *g[0].StdErr, math.Hypot(25, sure)/2)
	near(t, "weighted", *g[2].Value, (4*75+2*100)/6.0)
	near(t, "weighted stderr", *g[2].StdErr, math.Hypot(4*25, 2*sure)/6)
	if g[0].N != 2 || g[0].Missing != 0 || g[0].Partial() || g[0].Metric != "mean" || g[2].Metric != "weighted" || g[0].Mode != "ll" {
		t.Errorf("%+v", g[0])
	}
	lo, hi, ok := g[0].Interval()
	// Of 3 of 4 it is [30.064, 95.441]: 87.5 - hypot(75 - 30.064, 100 - 34.238)/2 and 87.5 + hypot(95.441 - 75, 0)/2.
	if math.Abs(lo-47.6758) > 1e-3 || math.Abs(hi-97.7206) > 1e-3 {
		t.Errorf("[%v, %v]", lo, hi)
	}
	if !ok {
		t.Error("no interval")
	}
}

func TestGroupWithMissingMember(t *testing.T) {
	g := groupsOf(t, spec.Group{Name: "all", Members: []string{"z", "*", "nope", "other_*"}})
	m, k := g[0], g[1]
	near(t, "mean", *k.Value, (75+100)/2.0)
	if k.N != 2 || k.Missing != 3 || !k.Partial() || k.Reason != "not scored: z; not in this run: nope, other_*" {
		t.Errorf("%+v", k)
	}
	nearPtr(t, "worst", k.Worst, (0+75+100)/3.0)
	nearPtr(t, "best", k.Best, (100+75+100)/3.0)
	if m.Worst != nil || m.Best != nil || m.N != 3 || m.Missing != 2 || strings.Join(m.Members, " ") != "z x_1 x_2" {
		t.Errorf("%+v", m)
	}
	g = groupsOf(t, spec.Group{Name: "empty", Members: []string{"z"}}, spec.Group{Name: "none", Members: []string{"elsewhere"}})
	if len(g) != 2 || g[1].Value != nil || g[1].N != 0 || g[1].Reason != "not scored: z" {
		t.Errorf("%+v", g)
	}
}

func TestGroupWithPartialMember(t *testing.T) {
	p, rows := groupPlan(spec.Group{Name: "all", Members: []string{"x_1"}})
	p.Tasks[0].Rows = 5
	s, err := Compute(p, rows, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := s.Groups[0]
	if !g.Partial() || g.Missing != 0 || g.Reason != "partial: x_1" {
		t.Errorf("%+v", g)
	}
	nearPtr(t, "worst", g.Worst, 60)
	nearPtr(t, "best", g.Best, 80)
}

func TestValidate(t *testing.T) {
	s := &spec.Spec{
		Datasets: []spec.Dataset{
			{Abbr: "good", Mode: spec.Gen, Post: []string{"strip"}},
			{Abbr: "metric", Mode: spec.Gen, Metric: "exact_macth"},
			{Abbr: "other", Mode: spec.PPL, Metric: "contains"},
			{Abbr: "mode", Mode: "roling"},
			{Abbr: "post", Mode: spec.Gen, Post: []string{"stripp"}, PostGold: []string{"cut"}},
			{Abbr: "ppl", Mode: spec.PPL, PPL: spec.PPLOptions{Denominator: "n-2"}},
			{Abbr: "conv", Mode: spec.Rolling, Rolling: spec.RollingOptions{Convention: "llama.ccp"}},
			{Abbr: "text", Mode: spec.Rolling},
		},
		Groups: []spec.Group{
			{Name: "g1", Members: []string{"good"}, Mean: "waited"},
			{Name: "g2", Members: []string{"["}},
			{Name: "g3", Members: []string{"good", "text"}},
			{Name: "g4"},
			{Name: "fine", Members: []string{"good", "elsewhere"}, Mean: "mean"},
		},
	}
	err := Validate(s)
	if err == nil {
		t.Fatal("no error")
	}
	var all *multierror.Error
	if !errors.As(err, &all) || len(all.Errors) != 11 {
		t.Errorf("not a list of 11 faults: %v", err)
	}
	for _, want := range []string{
		`dataset "metric": unknown metric of mode gen "exact_macth": did you mean "exact_match"?`,
		`dataset "other": unknown metric of mode ppl "contains": known are accuracy`,
		`dataset "mode": unknown mode "roling": did you mean "rolling"?`,
		`unknown post-processor "stripp": did you mean "strip"?`,
		`dataset "post": post_gold: "cut": needs an argument`,
		`dataset "ppl": unknown denominator "n-2"`,
		`unknown perplexity convention "llama.ccp": did you mean "llama.cpp"?`,
		`group "g1": unknown mean "waited": `,
		`group "g2": member "[" is not a valid pattern`,
		`group "g3": "good" is in percent and "text" is a perplexity`,
		`group "g4": has no members`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), `"fine"`) || strings.Contains(err.Error(), `dataset "good"`) {
		t.Errorf("a fault where none is:\n%v", err)
	}
	for mode, metric := range map[spec.Mode]string{spec.Rolling: "", spec.Gen: "contains"} {
		if _, err := metricsOf(spec.Dataset{Mode: mode, Metric: metric}); err != nil {
			t.Error(err)
		}
	}
}
