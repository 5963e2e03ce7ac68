package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sextant/pkg/cliargs"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"

	"github.com/urfave/cli/v2"
)

func (e env) quantizeCommand() *cli.Command {
	return &cli.Command{
		Name: "quantize", Usage: "make a spec's quantized models, and stop there", ArgsUsage: "[SPEC]",
		Description: "Carries out the quantizations of the spec's [[quant]] recipes and says where the models and their exports are. The run is\n" +
			"the one that submit SPEC evaluates in: that goes on from what is made here.\n\nExample: submit quantize eval.toml --slurm -p llmeval",
		Flags:  evaluateFlags(),
		Action: e.quantize,
	}
}

func (e env) quantize(c *cli.Context) error {
	if c.IsSet("mode") {
		return cliargs.Usagef("--mode chooses parts of an evaluation, and quantize does none of it; leave it out")
	}
	if err := checkFlags(c); err != nil {
		return err
	}
	p, err := e.plan(c)
	if err != nil {
		return err
	}
	if !quantizes(p) {
		return badInput{fmt.Errorf("there is nothing to quantize: the spec has no [[quant]] recipe for a model")}
	}
	if c.IsSet("dry-run") {
		return e.dryRun(c, p, p.Quantizations())
	}
	return e.inRun(c, p, task{mode: modeInfer, quantize: true})
}

// quantizes says whether a plan makes quantized models.
func quantizes(p *plan.Plan) bool {
	for _, t := range p.Tasks {
		if t.Kind == plan.Quantize {
			return true
		}
	}
	return false
}

// made tells a person what the quantizations of a run have made, and says whether all is there.
func made(out io.Writer, r *run.Run) (whole bool, err error) {
	list := r.Made()
	if len(list) == 0 {
		return true, nil
	}
	reasons := r.Reasons()
	whole = true
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "quantized model\tbits\tsize\tseconds\tlayout\tdirectory")
	for _, m := range list {
		whole = whole && m.Missing == nil
		if m.Missing != nil && (reasons[m.Task] != "" || m.Manifest.Fingerprint == "") {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t%s\n", m.Variant, cmp.Or(reasons[m.Task], "not made yet"))
			continue
		}
		f := m.Manifest
		fmt.Fprintf(w, "%s\t%.2f\t%s\t%.1f\t%s\t%s\n", m.Variant, f.Bits, bytesText(f.Bytes), f.Seconds, f.Layout, place(m.Dir))
		for _, o := range m.Others {
			fmt.Fprintf(w, "%s\t\t%s\t\t%s\t%s\n", o.Variant, bytesText(o.Manifest.Bytes), o.Manifest.Layout, place(o.Dir))
		}
		for _, x := range m.Exports {
			fmt.Fprintf(w, "\t\t\t\texport: %s\t%s\n", x.Layout, place(x.Dir))
		}
	}
	w.Flush()
	_, err = io.WriteString(out, b.String())
	return whole, err
}

// place is a directory for a person, who may have removed it.
func place(dir string) string {
	if !exists(dir) {
		return relative(dir) + " (removed)"
	}
	return relative(dir)
}

// bytesText is a size for people.
func bytesText(n int64) string {
	const unit = 1000
	switch {
	case n < unit*unit:
		return fmt.Sprintf("%.1f kB", float64(n)/unit)
	case n < unit*unit*unit:
		return fmt.Sprintf("%.1f MB", float64(n)/unit/unit)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/unit/unit/unit)
}

// fill adds to the scores what the run knows of its variants.
func fill(all *score.Scores, r *run.Run) {
	made, runs := map[string]result.Manifest{}, map[string]string{}
	for _, v := range r.Plan.Variants {
		if ways := r.Dir.ReadRuns(v.ID, v.Fingerprint); len(ways) > 0 {
			runs[v.ID] = strings.Join(ways, "; ")
		}
	}
	for _, m := range r.Made() {
		for _, m := range append(m.Others, m) {
			if f := m.Manifest; f.Fingerprint != "" {
				if f.Bits == 0 && f.Parameters > 0 { // nothing in it is quantized: as of the untouched model
					f.Bits = 8 * float64(f.Bytes) / float64(f.Parameters)
				}
				made[m.Variant] = f
			}
		}
	}
	all.Fill(made, runs)
}
