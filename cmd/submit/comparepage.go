package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/plan"
	"sextant/pkg/report"
	"sextant/pkg/score"
	"sextant/pkg/spec"

	"github.com/urfave/cli/v2"
)

// comparePage is what --html writes where it names no file.
const comparePage = "compare.html"

// pageOf writes the page of --html, if it was asked for.
func (e env) pageOf(c *cli.Context, runs comparedRuns, v compareView) error {
	if !c.IsSet("html") {
		return nil
	}
	path := c.String("html")
	if path == "" {
		path = comparePage
	}
	page := report.Page{File: filepath.Base(path), Run: "Comparison", Lead: report.Plural(len(v.Pairs), "pairs") + "; each model beside its baseline, on the rows that both have",
		Facts: []report.Fact{{Name: "program", Value: "sextant " + cliargs.Version()}, {Name: "again", Value: "submit compare " + strings.Join(c.Args().Slice(), " ") + " --html"}}}
	names := map[string]int{}
	for _, p := range v.Pairs {
		names[p.Model.Name]++
	}
	for _, p := range v.Pairs {
		label := p.Model.Name
		if names[label] > 1 {
			label = p.Model.String()
		}
		details, err := runs.flips(p, label)
		if err != nil {
			return err
		}
		page.Details = append(page.Details, details...)
		page.Pairs = append(page.Pairs, p.page(label))
		page.Facts = append(page.Facts, report.Fact{Name: "model " + p.Model.String(), Value: "fingerprint " + runs.fingerprint(p.Model)})
	}
	base := v.Pairs[0].Baseline
	page.Facts = append(page.Facts, report.Fact{Name: "baseline " + base.String(), Value: "fingerprint " + runs.fingerprint(base)})
	if err := report.WriteHTML(filepath.Dir(path), page); err != nil {
		return err
	}
	fmt.Fprintf(e.stderr, "report: %s\n", relative(path))
	return nil
}

func (m modelRef) String() string { return m.Name + " (" + m.Run + ")" }

func (r comparedRuns) fingerprint(m modelRef) string {
	v, _ := r[m.Run].plan.Variant(m.Name)
	return v.Fingerprint
}

// page is a pair as the page has it.
func (p comparePair) page(label string) report.Pair {
	out := report.Pair{Title: fmt.Sprintf("%s against %s", p.Model, p.Baseline), Label: label, Heads: compareHeads}
	for _, c := range p.Comparisons {
		out.Lines = append(out.Lines, report.PairLine{Cells: c.cells(), Worse: c.rank() == 0})
		out.Changes = append(out.Changes, c.Comparison)
	}
	out.Notes = p.notes()
	return out
}

// flips are the rows of a pair's main metrics that came out otherwise, dataset by dataset: first those that are worse.
func (r comparedRuns) flips(p comparePair, label string) (out []report.Detail, err error) {
	of, base := r[p.Model.Run], r[p.Baseline.Run]
	sets := &opener{limit: of.plan.Spec.Infer.Limit}
	for _, d := range of.plan.Spec.Datasets {
		at := slices.IndexFunc(p.Comparisons, func(c comparison) bool { return c.Dataset == d.Abbr && !c.Further && len(c.Members) == 0 })
		task, known := of.plan.Task(p.Model.Name + "/" + d.Abbr)
		before, had := base.plan.Task(p.Baseline.Name + "/" + d.Abbr)
		if at < 0 || !known || !had || d.Mode == spec.Rolling {
			continue
		}
		now, err := of.rows(task)
		if err != nil {
			return nil, err
		}
		was, err := base.rows(before)
		if err != nil {
			return nil, err
		}
		worse, better, old := flipped(now, was)
		for i, rows := range [][]score.Row{worse, better} {
			if len(rows) == 0 {
				continue
			}
			s := score.Score{Model: label, Dataset: d.Abbr, Metric: p.Comparisons[at].Metric}
			out = append(out, report.Detail{Score: s, Before: old, Title: []string{"worse than of the baseline", "better than of the baseline"}[i],
				Rows: func() ([]score.Row, error) { return rows, nil }, Shown: sets.shown(of.plan, task, d)})
		}
	}
	return out, nil
}

// rows tells how a task's rows came out.
func (r *comparedRun) rows(t plan.Task) ([]score.Row, error) {
	d, _ := r.plan.Dataset(t.Dataset)
	return r.options.Rows(t, d, r.records[t.ID])
}

// flipped parts the rows that both have, asked alike, and that came out otherwise; was has them as they were before.
func flipped(now, before []score.Row) (worse, better []score.Row, was map[int]score.Row) {
	old := map[int]score.Row{}
	for _, r := range before {
		old[r.Row] = r
	}
	was = map[int]score.Row{}
	for _, r := range now {
		o, ok := old[r.Row]
		if !ok || r.Value == o.Value || !slices.Equal(r.Gold, o.Gold) || !slices.Equal(r.Record.Labels, o.Record.Labels) {
			continue
		}
		was[r.Row] = o
		if r.Value < o.Value {
			worse = append(worse, r)
		} else {
			better = append(better, r)
		}
	}
	return worse, better, was
}
