package report

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/score"
	"sextant/pkg/spec"
)

// passing is a runner of the test's own: programs with an even number pass.
type passing struct{}

func (passing) Run(_ context.Context, p score.Program) (score.Verdict, error) {
	v := score.Verdict{Passed: strings.ContainsAny(p.Source[:2], "02468"), Layers: []string{"landlock", "seccomp"}}
	if !v.Passed {
		v.Why = "time"
	}
	return v, nil
}

// metricsScene is a run with several metrics of a dataset, clusters of rows, generated code that was run and some that was not.
func metricsScene(t testing.TB) score.Scores {
	t.Helper()
	datasets := []spec.Dataset{
		{Abbr: "qa", Mode: spec.Gen, Metric: "squad", Metrics: []string{"bleu"}, Cluster: "passage"},
		{Abbr: "code", Mode: spec.Gen, Metric: "pass@1", Metrics: []string{"pass@2"}, Gen: spec.GenOptions{Samples: 2, Temperature: 1}},
	}
	p := &plan.Plan{Spec: spec.Spec{Datasets: datasets, Groups: []spec.Group{{Name: "all", Members: []string{"*"}}}}, Variants: []plan.Variant{{ID: "m"}}}
	recs := map[string][]result.Record{}
	for _, d := range datasets {
		p.Tasks = append(p.Tasks, plan.Task{ID: "m/" + d.Abbr, Variant: "m", Dataset: d.Abbr, Rows: 40, Prompt: "a1b2c3"})
		for row := range 39 {
			text := strconv.Itoa(row%10) + " red towers on the hill " + strconv.Itoa(row%3)
			recs["m/"+d.Abbr] = append(recs["m/"+d.Abbr], result.Record{Row: row, Text: text, Gold: []string{"the 4 red towers on a hill 1"}})
		}
	}
	o := score.Options{Runner: passing{}, Clusters: func(string) ([]string, error) {
		of := make([]string, 40)
		for i := range of {
			of[i] = strconv.Itoa(i / 4)
		}
		return of, nil
	}}
	s, err := o.Compute(t.Context(), p, func(id string) ([]result.Record, error) { return recs[id], nil })
	if err != nil {
		t.Fatal(err)
	}
	return s
}
