//go:build conformance

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sextant/pkg/dataset"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/score"
	"sextant/pkg/spec"
)

var allCanonical = flag.Bool("canonical.all", false, "run every canonical solution, not each thirty-second")

// TestCanonicalSolutions gives the canonical solutions of HumanEval and MBPP as if a model had written them, and wants every one right: by
// the catalog entries' programs and post-processors, pass@1, and the sandbox. One with its end cut off is wrong.
func TestCanonicalSolutions(t *testing.T) {
	root := filepath.Join(os.Getenv("SEXTANT_DATA"), "bench")
	runner, err := newConfined(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const humanEval = "test.path = 'BENCH/humaneval/HumanEval.jsonl.gz'"
	const mbpp = "test = { path = 'BENCH/mbpp/mbpp.jsonl', skip = 0, take = 0 }\nfew_shot.kind = 'none'"
	for _, c := range []struct {
		entry, lines string
		solution     string // the lines that make it the answer
		around       string // what the model writes, %s being the solution
		rows         int
	}{
		{"humaneval_gen", humanEval, "answer = 'canonical_solution'", "%s", 164},
		{"humaneval_chat_gen", humanEval, "answer = 'both'\ncolumns.both.template = '{prompt}{canonical_solution}'",
			"Here it is:\n```python\n%s```\nIt passes.", 164},
		{"mbpp_gen", mbpp, "answer = 'code'", "%s\n[DONE]", 974},
	} {
		t.Run(c.entry, func(t *testing.T) {
			lines := fmt.Sprintf("[[dataset]]\nabbr = %q\n%s\n", c.entry, strings.ReplaceAll(c.lines, "BENCH", root))
			programs := oneDataset(t, lines)
			solutions := oneDataset(t, lines+c.solution)
			step := 32
			if *allCanonical {
				step = 1
			}
			var recs []result.Record
			for row := 0; row < c.rows; row += step {
				text := fmt.Sprintf(c.around, goldOf(t, solutions, row)[0])
				recs = append(recs, result.Record{Row: len(recs), Text: text, Gold: goldOf(t, programs, row)})
			}
			if programs.set.Len() != c.rows {
				t.Errorf("%d rows, want %d", programs.set.Len(), c.rows)
			}
			if s := programs.score(t, runner, recs); s.Correct != len(recs) || s.N != len(recs) || *s.Value != 100 {
				t.Errorf("%d of %d are right, %d missing: %s %v", s.Correct, len(recs), s.Missing, s.Reason, s.Detail)
			} else {
				t.Logf("%d of %d, confined by %v", s.Correct, len(recs), s.Layers)
			}
			cut := recs[:1]
			cut[0].Text = cut[0].Text[:len(cut[0].Text)/2]
			if s := programs.score(t, runner, cut); s.Correct != 0 || s.N != 1 {
				t.Errorf("half a solution: %+v", s)
			}
		})
	}
}

// opened is a dataset of a spec.
type opened struct {
	spec *spec.Spec
	set  *dataset.Set
}

func oneDataset(t *testing.T, lines string) opened {
	t.Helper()
	path := filepath.Join(t.TempDir(), "eval.toml")
	if err := os.WriteFile(path, []byte(lines+"\n[[models]]\npath = '/none'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	catalog, err := dataset.NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
	s, err := spec.Load(path, spec.Options{Catalog: catalog})
	if err != nil {
		t.Fatal(err)
	}
	set, err := dataset.Open(s.Datasets[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	return opened{s, set}
}

func goldOf(t *testing.T, o opened, row int) []string {
	t.Helper()
	item, err := o.set.Item(row, nil)
	if err != nil {
		t.Fatal(err)
	}
	return item.Gold
}

func (o opened) score(t *testing.T, runner score.Runner, recs []result.Record) score.Score {
	t.Helper()
	d := o.spec.Datasets[0]
	p := &plan.Plan{Spec: *o.spec, Variants: []plan.Variant{{ID: "m", Model: "m"}}, Tasks: []plan.Task{{ID: "m/d", Variant: "m", Dataset: d.Abbr, Rows: len(recs)}}}
	all, err := score.Options{Runner: telling{t, runner}}.Compute(t.Context(), p, func(string) ([]result.Record, error) { return recs, nil })
	if err != nil {
		t.Fatal(err)
	}
	return all.Scores[0]
}

// telling logs the programs that do not pass.
type telling struct {
	t *testing.T
	score.Runner
}

func (r telling) Run(ctx context.Context, p score.Program) (score.Verdict, error) {
	v, err := r.Runner.Run(ctx, p)
	if !v.Passed || err != nil {
		r.t.Logf("%+v %v\n%.3000s", v, err, p.Source)
	}
	return v, err
}
