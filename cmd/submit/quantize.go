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
			"the one that submit SPEC evaluates in: that goes on from what is made here. Its flags are those of submit but --mode.\n\n" +
			"Example: submit quantize eval.toml --slurm -p llmeval",
		Flags:  quantizeFlags(),
		Action: e.quantize,
	}
}

// quantizeFlags are those of an evaluation. --mode is there to be refused, and not shown.
func quantizeFlags() []cli.Flag {
	flags := evaluateFlags()
	for _, f := range flags {
		if text, ok := f.(*cli.StringFlag); ok && text.Name == "mode" {
			text.Hidden = true
		}
	}
	return flags
}

func (e env) quantize(c *cli.Context) error {
	if c.IsSet("mode") {
		return cliargs.Usagef("--mode chooses parts of an evaluation, and quantize does none of it; leave it out")
	}
	if err := checkFlags(c); err != nil {
		return err
	}
	e.json = c.Bool("json")
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

// madeView is what a run's quantizations have made.
type madeView struct {
	Version int         `json:"version"`
	Run     string      `json:"run"`    // its directory
	Models  []madeModel `json:"models"` // one a recipe and model, in the order of the plan
}

// madeModel is a quantized model. What is not known of one that was never made is 0 or absent.
type madeModel struct {
	Variant string      `json:"variant"`
	Dir     string      `json:"dir"`
	There   bool        `json:"there"`            // the directory is there: it may be removed when all is scored
	Reason  string      `json:"reason,omitempty"` // why it is not made
	Bits    float64     `json:"bits"`             // a quantized parameter takes on disk, scales and zeros included
	Bytes   int64       `json:"bytes"`            // of the weight files
	Seconds float64     `json:"seconds"`          // it took, over all attempts
	Layout  string      `json:"layout,omitempty"` // of its matrices
	Others  []madeOther `json:"others,omitempty"` // further variants of the same step
	Exports []madeOther `json:"exports,omitempty"`
}

// madeOther is a further variant, which has a name, or an export, which has none.
type madeOther struct {
	Variant string `json:"variant,omitempty"`
	Layout  string `json:"layout"`
	Bytes   int64  `json:"bytes,omitempty"` // of the weight files; of exports not told
	Dir     string `json:"dir"`
	There   bool   `json:"there"`
}

// madeOf looks at what a run's quantizations have made, and says whether all is there.
func madeOf(r *run.Run) (v madeView, whole bool) {
	v, whole = madeView{Version: jsonVersion, Run: string(r.Dir), Models: []madeModel{}}, true
	reasons := r.Reasons()
	for _, m := range r.Made() {
		whole = whole && m.Missing == nil
		one := madeModel{Variant: m.Variant, Dir: m.Dir, There: exists(m.Dir)}
		if m.Missing != nil && (reasons[m.Task] != "" || m.Manifest.Fingerprint == "") {
			one.Reason = cmp.Or(reasons[m.Task], "not made yet")
			v.Models = append(v.Models, one)
			continue
		}
		f := m.Manifest
		one.Bits, one.Bytes, one.Seconds, one.Layout = f.Bits, f.Bytes, f.Seconds, f.Layout
		for _, o := range m.Others {
			one.Others = append(one.Others, madeOther{o.Variant, o.Manifest.Layout, o.Manifest.Bytes, o.Dir, exists(o.Dir)})
		}
		for _, x := range m.Exports {
			one.Exports = append(one.Exports, madeOther{Layout: x.Layout, Dir: x.Dir, There: exists(x.Dir)})
		}
		v.Models = append(v.Models, one)
	}
	return v, whole
}

// made prints what the quantizations of a run have made, and says whether all is there.
func (e env) made(r *run.Run) (whole bool, err error) {
	v, whole := madeOf(r)
	if e.json {
		return whole, e.printJSON(v)
	}
	return whole, v.print(e.stdout)
}

func (v madeView) print(out io.Writer) error {
	if len(v.Models) == 0 {
		return nil
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "quantized model\tbits\tsize\tseconds\tlayout\tdirectory")
	for _, m := range v.Models {
		if m.Reason != "" {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t%s\n", m.Variant, m.Reason)
			continue
		}
		fmt.Fprintf(w, "%s\t%.2f\t%s\t%.1f\t%s\t%s\n", m.Variant, m.Bits, bytesText(m.Bytes), m.Seconds, m.Layout, place(m.Dir, m.There))
		for _, o := range m.Others {
			fmt.Fprintf(w, "%s\t\t%s\t\t%s\t%s\n", o.Variant, bytesText(o.Bytes), o.Layout, place(o.Dir, o.There))
		}
		for _, x := range m.Exports {
			fmt.Fprintf(w, "\t\t\t\texport: %s\t%s\n", x.Layout, place(x.Dir, x.There))
		}
	}
	w.Flush()
	_, err := io.WriteString(out, b.String())
	return err
}

// place is a directory for a person, who may have removed it.
func place(dir string, there bool) string {
	if !there {
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
