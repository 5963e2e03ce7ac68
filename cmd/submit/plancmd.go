package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/plan"
	"sextant/pkg/run"
	"sextant/pkg/spec"

	"github.com/urfave/cli/v2"
)

// errDiffer is the outcome of a comparison that found a difference, which has been printed: exit code 1, as of diff(1).
var errDiffer = errors.New("the plans differ")

func (e env) planCommand() *cli.Command {
	return &cli.Command{
		Name:  "plan",
		Usage: "compare plans; submit --dry-run prints one",

		HideHelpCommand: true,
		Subcommands: []*cli.Command{{
			Name:      "diff",
			Usage:     "tell what differs between two plans, and what rows the second can reuse",
			UsageText: "submit plan diff A B\n   submit plan diff outputs/20260801_101500-1f2e3d4c eval.toml",
			Description: "A and B are run directories, directories of --dry-run=DIR, plan.json files, or specs (.toml), which are planned as submit would.\n" +
				"Exit codes: 0 the plans are the same, 1 they differ, 2 one of them cannot be read.",
			Flags:  []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "one JSON document", DisableDefaultText: true}},
			Action: e.planDiff,
		}},
	}
}

// planDifference is what submit plan diff --json prints.
type planDifference struct {
	Version int     `json:"version"` // raised when a field changes its meaning or goes
	A       planRef `json:"a"`
	B       planRef `json:"b"`
	Same    bool    `json:"same"`
	plan.Difference
}

type planRef struct {
	Path     string `json:"path"`
	Identity string `json:"identity"` // of what is asked
	Digest   string `json:"digest"`   // of the whole plan
}

func (e env) planDiff(c *cli.Context) error {
	args, err := cliargs.Positional(c, "A", "B")
	if err != nil {
		return err
	}
	var plans [2]*plan.Plan
	for i, path := range args {
		if plans[i], err = e.readPlan(path); err != nil {
			return badInput{err}
		}
	}
	d := difference(plans[0], plans[1])
	d.A.Path, d.B.Path = args[0], args[1]
	if c.Bool("json") {
		enc := json.NewEncoder(e.stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(d)
	} else {
		_, err = fmt.Fprint(e.stdout, d)
	}
	if err == nil && !d.Same {
		err = errDiffer
	}
	return err
}

// readPlan reads the plan of a directory or file, or makes that of a spec.
func (e env) readPlan(path string) (*plan.Plan, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the plan: %w", err)
	case info.IsDir():
		return run.LoadPlan(path)
	case strings.HasSuffix(path, ".toml"):
		return e.planOf(path, nil)
	}
	return plan.Load(path)
}

// difference is what sets b apart from a. Plans are the same when their digests are; of settings that plan.Diff does not look at, as they
// decide neither rows nor shards, those with another value are added.
func difference(a, b *plan.Plan) planDifference {
	d := planDifference{Version: 1, A: planRef{Identity: a.Identity, Digest: a.Digest}, B: planRef{Identity: b.Identity, Digest: b.Digest},
		Same: a.Digest == b.Digest, Difference: plan.Diff(a, b)}
	named := map[string]bool{}
	for _, c := range d.Changes {
		named[c.What] = true
	}
	x, y := settings(&a.Spec), settings(&b.Spec)
	both := maps.Clone(x)
	maps.Copy(both, y)
	for _, key := range slices.Sorted(maps.Keys(both)) {
		if !named[key] && x[key] != y[key] {
			d.Changes = append(d.Changes, plan.Change{Of: "setting", What: key, From: x[key], To: y[key]})
		}
	}
	return d
}

// settings are the settings of a spec beside its models and datasets, by key, as text.
func settings(s *spec.Spec) map[string]string {
	out := map[string]string{"work_dir": s.WorkDir, "data_dir": s.DataDir, "groups": text(s.Groups)}
	for _, table := range []struct {
		prefix string
		value  any
	}{{"", s.Infer}, {"local.", s.Local}, {"slurm.", s.Slurm}} { // plan.Diff names the keys of [infer] so
		v := reflect.ValueOf(table.value)
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				out[table.prefix+v.Type().Field(i).Tag.Get("toml")] = text(f.Interface())
			}
		}
	}
	return out
}

// text is a value in one line: a word as it is, all else as JSON.
func text(v any) string {
	if s, ok := v.(string); ok && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil || string(b) == "null" {
		return ""
	}
	return string(b)
}

func (d planDifference) String() string {
	if d.Same {
		return fmt.Sprintf("the plans are the same: %s\n", d.A.Digest[:8])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "a  %s, plan %s\nb  %s, plan %s\n\n", d.A.Path, d.A.Digest[:8], d.B.Path, d.B.Digest[:8])
	for _, c := range d.Changes {
		fmt.Fprintln(&b, c)
	}
	if len(d.Changes) == 0 {
		fmt.Fprintln(&b, "the digests differ, and nothing that is compared: the models or datasets differ in a detail, see \"spec\" in both plan.json")
	}
	fmt.Fprintf(&b, "\nb after a: %s\n", d.Reuse)
	return b.String()
}
