package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"sextant/pkg/cliargs"
	"sextant/pkg/plan"
	"sextant/pkg/report"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"

	"github.com/urfave/cli/v2"
)

func (e env) compareCommand() *cli.Command {
	return &cli.Command{
		Name: "compare", Usage: "set models against a baseline, on the rows that both have", ArgsUsage: "RUN[:MODEL] [RUN[:MODEL] ...]",
		Description: "The first model is the baseline. Of each other one it tells how every metric differs from the baseline's on the rows that both have, as\n" +
			"pairs: the difference in points, of perplexities the ratio, with its 95 % interval; p of McNemar's exact test, or of the sign test\n" +
			"where rows are not right or wrong; and the smallest difference that so many rows show four times of five. What is surely worse comes\n" +
			"first, what is surely better next. Runs are directories, and nothing in them is changed. A RUN stands for all its models; of two\n" +
			"runs with the same several models each is compared with itself.\n\n" +
			"--html writes the same as a page, with the rows that came out otherwise. --fail-below X is a gate for checkpoints: it exits with code 1\n" +
			"where a main metric of a dataset, or a group, fell by more than X points and its interval leaves out no change; of a perplexity, where\n" +
			"it rose by more than X percent likewise; and where a metric that both have has no row in common. What failed is told on standard error.\n\n" +
			"Example: submit compare outputs/20260714_101500-3f2a9c1b outputs/20260801_090000-77aa01c2\n" +
			"         submit compare outputs/20260714_101500-3f2a9c1b:base outputs/20260714_101500-3f2a9c1b:tuned",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "html", Usage: "write a page that needs nothing else, with the rows that came out otherwise, to `FILE`; --html alone: " + comparePage},
			&cli.Float64Flag{Name: "fail-below", DefaultText: "never", Usage: "exit with code 1 where a main metric surely fell, by more than `X` points"},
			jsonFlag("print one JSON document"),
		},
		Action: e.compare,
	}
}

// compareView is models set against a baseline.
type compareView struct {
	Version    int           `json:"version"`
	Confidence float64       `json:"confidence"`           // of low and high
	Power      float64       `json:"power"`                // of detectable
	FailBelow  *float64      `json:"fail_below,omitempty"` // of --fail-below
	Verdict    string        `json:"verdict,omitempty"`    // of --fail-below: "pass" or "fail"
	Pairs      []comparePair `json:"pairs"`
}

// comparePair is a model and its baseline.
type comparePair struct {
	Baseline     modelRef     `json:"baseline"`
	Model        modelRef     `json:"model"`
	Comparisons  []comparison `json:"comparisons"`
	OnlyBaseline []string     `json:"only_baseline_datasets,omitempty"` // there is nothing to compare them with
	Only         []string     `json:"only_datasets,omitempty"`
}

// modelRef is a model of a run.
type modelRef struct {
	Run  string `json:"run"`
	Name string `json:"model"`
}

// comparison is how one score differs.
type comparison struct {
	score.Comparison
	Value         *float64 `json:"value"`           // of the model on all of its rows
	BaselineValue *float64 `json:"baseline_value"`  // of the baseline on all of its
	Differs       bool     `json:"differs"`         // the interval leaves out "no change"
	Fails         bool     `json:"fails,omitempty"` // by --fail-below
}

func (e env) compare(c *cli.Context) error {
	gate, err := gateOf(c)
	if err != nil {
		return err
	}
	runs := comparedRuns{}
	pairs, err := runs.pairs(c.Args().Slice())
	if err != nil {
		return err
	}
	v := compareView{Version: jsonVersion, Confidence: score.Confidence, Power: score.Power}
	for _, p := range pairs {
		pair, err := runs.compare(c.Context, p[0], p[1])
		if err != nil {
			return err
		}
		v.Pairs = append(v.Pairs, pair)
	}
	failed := e.gate(&v, gate)
	if err := e.printPairs(v, c.Bool("json")); err != nil {
		return err
	}
	if err := e.pageOf(c, runs, v); err != nil {
		return err
	}
	return failed
}

func (e env) printPairs(v compareView, json bool) error {
	if json {
		return e.printJSON(v)
	}
	for i, p := range v.Pairs {
		if i > 0 {
			fmt.Fprintln(e.stdout)
		}
		if err := p.print(e.stdout); err != nil {
			return err
		}
	}
	return nil
}

// comparedRuns are the runs named, by directory, each read once.
type comparedRuns map[string]*comparedRun

type comparedRun struct {
	plan    *plan.Plan
	records map[string][]result.Record
	options score.Options
}

// models gives the models that an argument stands for.
func (r comparedRuns) models(arg string) ([]modelRef, error) {
	dir, name := arg, ""
	if _, err := os.Stat(arg); err != nil {
		if i := strings.LastIndexByte(arg, ':'); i > 0 {
			dir, name = arg[:i], arg[i+1:]
		}
	}
	dir = filepath.Clean(dir)
	if r[dir] == nil {
		opened, err := readCompared(dir)
		if err != nil {
			return nil, err
		}
		r[dir] = opened
	}
	var all []modelRef
	var names []string
	for _, v := range r[dir].plan.Variants {
		scored := slices.ContainsFunc(r[dir].plan.Tasks, func(t plan.Task) bool { return t.Variant == v.ID && t.Kind != plan.Quantize })
		if scored && (name == "" || v.ID == name) {
			all = append(all, modelRef{dir, v.ID})
		}
		names = append(names, v.ID)
	}
	if len(all) == 0 {
		return nil, badInput{fmt.Errorf("run %q has no model %q; it has %s", dir, name, strings.Join(names, ", "))}
	}
	return all, nil
}

func readCompared(dir string) (*comparedRun, error) {
	p, err := run.LoadPlan(dir)
	if err != nil {
		return nil, badInput{err}
	}
	g, err := run.Read(dir, p)
	if err != nil {
		return nil, err
	}
	verdicts, err := score.ReadVerdicts(dir)
	return &comparedRun{p, g.Records, score.Options{Clusters: clusters(p), Verdicts: verdicts}}, err
}

// pairs says which models are compared, each the baseline first.
func (r comparedRuns) pairs(args []string) (pairs [][2]modelRef, err error) {
	var lists [][]modelRef
	for _, arg := range args {
		list, err := r.models(arg)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	if len(lists) == 2 && len(lists[0]) > 1 && len(lists[1]) > 1 {
		for _, m := range lists[1] {
			if i := slices.IndexFunc(lists[0], func(b modelRef) bool { return b.Name == m.Name }); i >= 0 {
				pairs = append(pairs, [2]modelRef{lists[0][i], m})
			}
		}
		if len(pairs) == 0 {
			return nil, cliargs.Usagef("%s and %s have no model of the same name; name the baseline: %s:%s", args[0], args[1], args[0], lists[0][0].Name)
		}
		return pairs, nil
	}
	all := slices.Concat(lists...)
	if len(all) < 2 {
		return nil, cliargs.Usagef("compare wants two models or more: RUN[:MODEL] RUN[:MODEL]")
	}
	if len(lists) > 1 && len(lists[0]) > 1 {
		return nil, cliargs.Usagef("%s has %d models; name the baseline: %s:%s", args[0], len(lists[0]), args[0], lists[0][0].Name)
	}
	for _, m := range all[1:] {
		pairs = append(pairs, [2]modelRef{all[0], m})
	}
	return pairs, nil
}

func (r comparedRuns) side(m modelRef) score.Side {
	of := r[m.Run]
	return score.Side{Plan: of.plan, Model: m.Name, Options: of.options,
		Rows: func(task string) ([]result.Record, error) { return of.records[task], nil }}
}

func (r comparedRuns) compare(ctx context.Context, base, m modelRef) (comparePair, error) {
	got, err := score.Compare(ctx, r.side(m), r.side(base))
	if err != nil {
		return comparePair{}, err
	}
	p := comparePair{Baseline: base, Model: m, Comparisons: []comparison{}, Only: got.OnlyA, OnlyBaseline: got.OnlyB}
	for i, c := range got.Comparisons {
		p.Comparisons = append(p.Comparisons, comparison{c, got.Scores[i][0].Value, got.Scores[i][1].Value, c.Differs(), false})
	}
	slices.SortStableFunc(p.Comparisons, func(a, b comparison) int { return cmp.Compare(a.rank(), b.rank()) })
	return p, nil
}

// rank puts what is surely worse before what is surely better, and both before all else.
func (c comparison) rank() int {
	switch {
	case !c.Differs:
		return 2
	case c.Unit == score.Perplexity && *c.Low > 1, c.Unit == score.Percent && *c.High < 0:
		return 0
	}
	return 1
}

// compareHeads are the columns of a pair's table, cells what they hold.
var compareHeads = []string{"dataset", "metric", "rows", "baseline", "model", "change", "95 % interval", "p", "detectable", ""}

func (c comparison) cells() []string {
	rows := strconv.Itoa(c.N)
	if len(c.Members) > 0 {
		rows = count(c.N, "dataset")
	}
	return []string{c.Dataset, c.Metric, rows, c.number(c.BaselineValue), c.number(c.Value), c.change(c.Change), c.interval(), significance(c.P),
		strings.TrimPrefix(c.change(c.Detectable), "+"), map[bool]string{true: "≠"}[c.Differs]}
}

func (p comparePair) print(out io.Writer) error {
	fmt.Fprintf(out, "%s against %s\n", p.Model, p.Baseline)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(compareHeads, "\t"))
	for _, c := range p.Comparisons {
		fmt.Fprintln(w, strings.Join(c.cells(), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, strings.Join(p.notes(), "\n"))
	return err
}

// notes explain a pair's table.
func (p comparePair) notes() (notes []string) {
	for _, c := range p.Comparisons {
		notes = append(notes, c.notes()...)
	}
	for i, list := range [][]string{p.OnlyBaseline, p.Only} {
		if len(list) > 0 {
			notes = append(notes, fmt.Sprintf("the %s alone has %s", []string{"baseline", "model"}[i], strings.Join(list, ", ")))
		}
	}
	slices.Sort(notes)
	return append(slices.Compact(notes), "≠: the interval leaves out no change")
}

// number is a value in its unit, as summaries have it.
func (c comparison) number(v *float64) string { return report.Value(c.Unit, v, nil) }

// change is a difference in points, or a ratio.
func (c comparison) change(v *float64) string {
	switch {
	case v == nil:
		return "-"
	case c.Unit == score.Perplexity:
		return c.number(v) + "x"
	}
	return fmt.Sprintf("%+.2f", *v)
}

func (c comparison) interval() string {
	if c.Low == nil || c.High == nil {
		return "-"
	}
	return "[" + c.change(c.Low) + ", " + c.change(c.High) + "]"
}

func significance(p *float64) string {
	if p == nil {
		return "-"
	}
	return strconv.FormatFloat(*p, 'g', 2, 64)
}

// notes say what of a comparison is not on the same rows and questions.
func (c comparison) notes() (out []string) {
	if n := c.Only + c.OnlyBaseline; n > 0 {
		out = append(out, fmt.Sprintf("%s: without %s that the model alone has and %d that the baseline alone has", c.Dataset, count(c.Only, "row"),
			c.OnlyBaseline))
	}
	if c.Other > 0 {
		out = append(out, fmt.Sprintf("%s: without %s of other labels, gold answers or windows", c.Dataset, count(c.Other, "row")))
	}
	if c.Note != "" {
		out = append(out, fmt.Sprintf("%s: not asked the same: %s", c.Dataset, c.Note))
	}
	if len(c.Missing) > 0 {
		out = append(out, fmt.Sprintf("%s: without %s", c.Dataset, strings.Join(c.Missing, ", ")))
	}
	return out
}
