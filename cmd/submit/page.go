package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/dataset"
	"sextant/pkg/plan"
	"sextant/pkg/report"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"
	"sextant/pkg/spec"
)

// writePage writes report.html of a run with its scores. records are by task; nil: they are read.
func (e env) writePage(r *run.Run, all score.Scores, records map[string][]result.Record) error {
	if records == nil {
		g, err := r.Gather()
		if err != nil {
			return err
		}
		records = g.Records
	}
	spans, err := run.Timeline(string(r.Dir))
	if err != nil {
		return err
	}
	p := report.Page{Run: filepath.Base(string(r.Dir)), Lead: leadOf(r.Plan), Scores: all, Steps: checkpoints(r.Plan),
		Attempts: attemptsOf(r.Plan, spans), Facts: facts(r)}
	if ranked(r.Plan, all) {
		board, err := report.NewBoard(all, "")
		if err != nil {
			return err
		}
		p.Board = &board
	}
	if p.Spec, err = specText(r.Plan); err != nil {
		return err
	}
	rows, err := rowsOf(string(r.Dir), r.Plan, records)
	if err != nil {
		return err
	}
	sets := &opener{limit: r.Plan.Spec.Infer.Limit}
	for _, s := range all.Scores {
		task, ok := taskOf(r.Plan, s)
		d, known := r.Plan.Dataset(s.Dataset)
		if !ok || !known || s.Further || d.Mode == spec.Rolling {
			continue
		}
		p.Details = append(p.Details, report.Detail{
			Score: s,
			Rows:  func() ([]score.Row, error) { return rows(task) },
			Shown: sets.shown(r.Plan, task, d),
		})
	}
	// Dataset after dataset, each opened once, and its models one below the other.
	at := func(d report.Detail) int {
		return slices.IndexFunc(r.Plan.Spec.Datasets, func(x spec.Dataset) bool { return x.Abbr == d.Score.Dataset })
	}
	slices.SortStableFunc(p.Details, func(a, b report.Detail) int { return cmp.Compare(at(a), at(b)) })
	return report.WriteHTML(string(r.Dir), p)
}

// checkpoints finds where in their trainings the models of a plan stand, by their paths or else their names. What a recipe makes of
// checkpoints is a series of its own.
func checkpoints(p *plan.Plan) (out []report.Checkpoint) {
	for _, v := range p.Variants {
		m, ok := p.Model(v.Model)
		if !ok {
			continue
		}
		series, step, ok := spec.Step(m.Path)
		if !ok {
			series, step, ok = spec.Step(m.Abbr)
		}
		if ok {
			out = append(out, report.Checkpoint{Model: v.ID, Series: series + strings.TrimPrefix(v.ID, v.Model), Step: step})
		}
	}
	return out
}

// leadOf is the page's first line.
func leadOf(p *plan.Plan) string {
	rows := 0
	for _, t := range p.Tasks {
		if t.Kind != plan.Quantize {
			rows += t.Rows
		}
	}
	return fmt.Sprintf("%s, %s, %s; spec %q", report.Plural(len(p.Variants), "models"), report.Plural(len(p.Spec.Datasets), "datasets"),
		report.Plural(rows, "rows"), p.Spec.Name)
}

// taskOf is the task that a score is of.
func taskOf(p *plan.Plan, s score.Score) (plan.Task, bool) {
	return p.Task(s.Model + "/" + s.Dataset)
}

// opener opens one dataset at a time, for tasks that come dataset after dataset.
type opener struct {
	limit int
	abbr  string
	set   *dataset.Set
}

// open gives the dataset; nil where its files are gone or have changed so that they cannot be read.
func (o *opener) open(d spec.Dataset) *dataset.Set {
	if o.abbr != d.Abbr {
		o.abbr, o.set = d.Abbr, nil
		if set, err := dataset.Open(d, o.limit); err == nil {
			o.set = set
		}
	}
	return o.set
}

// shown renders rows of a task as the model saw them. A row whose digest is not the record's is not shown: its data have changed.
func (o *opener) shown(p *plan.Plan, t plan.Task, d spec.Dataset) func(score.Row) (report.Shown, bool) {
	var roles *dataset.Roles
	if v, ok := p.Variant(t.Variant); ok {
		if m, ok := p.Model(v.Model); ok {
			roles, _ = plan.RolesOf(&m) // of a template that is gone no prompt is shown: the digests differ
		}
	}
	return func(r score.Row) (report.Shown, bool) {
		set := o.open(d)
		if set == nil || r.Row*set.Samples() >= set.Len() {
			return report.Shown{}, false
		}
		it, err := set.Item(r.Row*set.Samples(), roles)
		if err != nil || it.Digest(t.Settings) != r.Record.Digest {
			return report.Shown{}, false
		}
		return split(it.Prompts(it.Examples() - r.Record.Dropped)), true
	}
}

// split parts prompts into what all have in common and the rest of each.
func split(prompts []dataset.Prompt) report.Shown {
	if len(prompts) == 1 {
		return report.Shown{Prompt: prompts[0].Text, Options: prompts[0].Continuations}
	}
	texts := make([]string, len(prompts))
	common := ""
	for i, p := range prompts {
		texts[i] = p.Text + strings.Join(p.Continuations, "")
		if i == 0 {
			common = texts[i]
		}
		common = common[:dataset.Common(common, texts[i])]
	}
	for i := range texts {
		texts[i] = texts[i][len(common):]
	}
	return report.Shown{Prompt: common, Options: texts}
}

// attemptsOf adds what the plan knows of an attempt's job.
func attemptsOf(p *plan.Plan, spans []run.Span) []report.Attempt {
	var out []report.Attempt
	for _, s := range spans {
		job, _ := p.Job(s.Job) // of a plan before this one it is not known
		out = append(out, report.Attempt{Job: s.Job, Attempt: s.Attempt, Variant: job.Variant, GPUs: job.NumGPUs, Shards: s.Shards, Node: s.Node,
			Asked: s.Asked, Began: s.Began, Ended: s.Ended, State: s.State, Reason: s.Reason, Rows: s.Rows, Tokens: s.Tokens, Load: s.Load, Work: s.Work})
	}
	return out
}

// facts are what it takes to repeat the run.
func facts(r *run.Run) []report.Fact {
	dir := relative(string(r.Dir))
	out := []report.Fact{
		{Name: "program", Value: "sextant " + cliargs.Version()},
		{Name: "plan", Value: r.Plan.Digest},
		{Name: "what is asked", Value: r.Plan.Identity},
		{Name: "again, as planned", Value: "submit " + r.Plan.Spec.Name + ".toml"},
		{Name: "to go on with it", Value: "submit resume " + dir},
		{Name: "scores anew, without inference", Value: "submit score " + dir},
	}
	for _, v := range r.Plan.Variants {
		out = append(out, report.Fact{Name: "model " + v.ID, Value: "fingerprint " + v.Fingerprint})
	}
	for _, t := range r.Plan.Tasks {
		if t.Kind != plan.Quantize {
			out = append(out, report.Fact{Name: t.ID, Value: "prompt " + t.Prompt + ", data " + t.Data + ", task " + t.Digest})
		}
	}
	return out
}

// specText is the spec as it was resolved, as JSON.
func specText(p *plan.Plan) (string, error) {
	raw, err := json.MarshalIndent(p.Spec, "", "  ")
	if err != nil {
		return "", fmt.Errorf("the spec for the report: %w", err)
	}
	return string(raw), nil
}

// pageFile is where a run's page is.
func pageFile(dir string) string { return filepath.Join(dir, report.PageFile) }
