package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/plan"
	"sextant/pkg/run"

	"github.com/urfave/cli/v2"
)

// errDiffer is the outcome of a comparison that found a difference, which has been printed: exit code 1, as of diff(1).
var errDiffer = errors.New("the plans differ")

func (e env) planCommand() *cli.Command {
	return &cli.Command{
		Name:  "plan",
		Usage: "compare plans; submit --dry-run prints one",
		Description: "A plan is what submit would do: every shard with its cost. It is in each run directory as plan.json.\n\n" +
			"Example: submit plan diff outputs/20260801_101500-1f2e3d4c eval.toml",

		HideHelpCommand: true,
		Subcommands: []*cli.Command{{
			Name:      "diff",
			Usage:     "tell what differs between two plans, and what rows the second can reuse",
			ArgsUsage: "A B",
			Description: "A and B are run directories, directories of --dry-run=DIR, plan.json files, or specs (.toml), which are planned as submit would.\n\n" +
				"Exit codes: 0 the plans are the same, 1 they differ, 2 one of them cannot be read.\n\n" +
				"Example: submit plan diff outputs/20260801_101500-1f2e3d4c eval.toml",
			Flags:  []cli.Flag{jsonFlag("print one JSON document")},
			Action: e.planDiff,
		}},
	}
}

// planDifference is what sets two plans apart.
type planDifference struct {
	Version int     `json:"version"`
	A       planRef `json:"a"`
	B       planRef `json:"b"`
	Same    bool    `json:"same"` // their digests are equal
	plan.Difference
}

// planRef is one of two plans.
type planRef struct {
	Path     string `json:"path"`     // as it was given
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
	a, b := plans[0], plans[1]
	d := planDifference{Version: jsonVersion, A: planRef{args[0], a.Identity, a.Digest}, B: planRef{args[1], b.Identity, b.Digest},
		Same: a.Digest == b.Digest, Difference: plan.Diff(a, b)}
	if c.Bool("json") {
		err = e.printJSON(d)
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
