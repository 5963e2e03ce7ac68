package main

import (
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/spec"

	"github.com/urfave/cli/v2"
)

// elsewhere says of flags that other programs have, OpenCompass and sbatch, what is done here in their place.
var elsewhere = map[string]string{
	"dump-eval-details": "not needed: results/ in the run directory has every row's outcome, always",
	"dump-extract-rate": "not needed: results/ in the run directory has every row's outcome, always",
	"models":            "models stand in the spec: [[models]] with path = \"DIR\"",
	"datasets":          "datasets stand in the spec: datasets = [\"siqa_gen\"]; submit datasets lists them",
	"hf-path":           "models stand in the spec: [[models]] with path = \"DIR\"",
	"hf-num-gpus":       "GPUs stand in the spec: run_cfg = { num_gpus = 8 } of a model",
	"summarizer":        "groups stand in the spec: [[groups]] with name and members",
	"config-dir":        "name the spec itself; what it includes is looked for beside it",
	"a":                 "there is one engine, our own; leave it out",
	"accelerator":       "there is one engine, our own; leave it out",
	"gres":              "GPUs are asked for by the model's run_cfg.num_gpus; their type is --gpu-type",
	"gpus":              "GPUs are asked for by the model's run_cfg.num_gpus; their type is --gpu-type",
	"gpus-per-node":     "GPUs are asked for by the model's run_cfg.num_gpus; --gpu-option gpus-per-node chooses the option",
	"ntasks":            "processes are asked for by the model's run_cfg.num_procs",
	"nodes":             "nodes follow from the model's run_cfg",
	"cpus-per-task":     "CPUs of each process are --cpus",
	"t":                 "a job's time limit is --time",
	"x":                 "nodes never to use are --exclude",
	"exclusive":         "further options of sbatch are given so: --sbatch-option=--exclusive",
	"nice":              "further options of sbatch are given so: --sbatch-option=--nice=100",
}

// explainAll makes commands explain the flags that they do not know.
func explainAll(commands []*cli.Command) {
	for _, cmd := range commands {
		var others map[string]string
		if cmd.Name == "quantize" { // which has the flags of an evaluation
			others = elsewhere
		}
		cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return explain(err, cmd.Flags, others) }
		explainAll(cmd.Subcommands)
	}
}

// explain makes of a flag that is not known an error that says what to do; of those of other programs what is done here in their place.
func explain(err error, flags []cli.Flag, elsewhere map[string]string) error {
	const unknown = "flag provided but not defined: -"
	if !strings.HasPrefix(err.Error(), unknown) {
		return &cliargs.UsageError{Err: err}
	}
	name := strings.TrimLeft(strings.TrimPrefix(err.Error(), unknown), "-")
	dashed := "--" + name
	if len(name) == 1 {
		dashed = "-" + name
	}
	if what, ok := elsewhere[name]; ok {
		return cliargs.Usagef("there is no flag %s: %s", dashed, what)
	}
	var names []string
	for _, f := range flags {
		names = append(names, f.Names()[0])
	}
	if near := spec.Nearest(name, names); len(near) > 0 && len(name) > 1 {
		return cliargs.Usagef("there is no flag %s; did you mean --%s?", dashed, strings.Join(near, " or --"))
	}
	return cliargs.Usagef("there is no flag %s", dashed)
}

// noSpec says of a word in a spec's place that is no file, and does not look like one's name, what it may have been; nil: it is one.
func noSpec(word string) error {
	if strings.ContainsAny(word, "./") || exists(word) {
		return nil
	}
	var names []string
	for _, cmd := range (env{}).app().Commands {
		names = append(names, cmd.Name)
	}
	hint := ""
	if near := spec.Nearest(word, names); len(near) > 0 {
		hint = "; did you mean submit " + strings.Join(near, " or submit ") + "?"
	}
	return cliargs.Usagef("%q is no command, and no spec that is there%s", word, hint)
}
