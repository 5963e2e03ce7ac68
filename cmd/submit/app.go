package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/spec"

	"github.com/hashicorp/go-multierror"
	"github.com/urfave/cli/v2"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // wrong command line, spec, data or model: nothing was run
	exitIncomplete  = 3 // finished, but some rows have no score
	exitInterrupted = 130
)

var (
	errIncomplete  = errors.New("incomplete results")
	errInterrupted = errors.New("interrupted")
)

// badInput marks an error as the input's fault: exit code 2.
type badInput struct{ error }

func (b badInput) Unwrap() error { return b.error }

func (e env) run(ctx context.Context) int {
	app := e.app()
	cliargs.Harden(app)
	args, err := cliargs.Reorder(app, bareReuse(e.args))
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	return e.exit(err)
}

// exit prints err for a person and gives the exit code.
func (e env) exit(err error) int {
	var bad badInput
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errIncomplete):
		return exitIncomplete // the report has said what is missing and why
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		fmt.Fprintln(e.stderr, "submit: interrupted; rows done are kept, the same command goes on from there")
		return exitInterrupted
	case cliargs.IsUsage(err):
		fmt.Fprintf(e.stderr, "submit: %v\nsee submit --help\n", err)
		return exitUsage
	case errors.As(err, &bad):
		e.printErrors(err)
		return exitUsage
	}
	e.printErrors(err)
	return exitFailed
}

// printErrors prints each of several errors on its own line.
func (e env) printErrors(err error) {
	var many *multierror.Error
	if !errors.As(err, &many) {
		fmt.Fprintf(e.stderr, "submit: %v\n", err)
		return
	}
	for _, one := range many.Errors {
		fmt.Fprintf(e.stderr, "submit: %v\n", one)
	}
}

func (e env) app() *cli.App {
	return &cli.App{
		Name:      "submit",
		Usage:     "evaluate language models: plan, run, score, report",
		UsageText: "submit [eval.toml] [flags]\n   submit eval.toml --max-num-workers 2 --max-partition-size 4000",
		Description: "Reads the spec (default: ./eval.toml), cuts it into shards, runs them on this machine and prints the scores. The same command\n" +
			"again goes on where it stopped; on a finished run it only prints the scores.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 wrong usage, spec or input, 3 incomplete results, 130 interrupted.",
		HideHelpCommand: true,
		Writer:          e.stdout,
		ErrWriter:       e.stderr,
		Flags:           evaluateFlags(),
		Action:          e.evaluate,
		Commands:        []*cli.Command{e.datasetsCommand()},
	}
}

func evaluateFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "max-num-workers", DefaultText: "1", Usage: "jobs at once (in the spec: infer.max_num_workers)"},
		&cli.IntFlag{Name: "max-partition-size", DefaultText: "2000", Usage: "cost a shard may have, in OpenCompass units (infer.max_partition_size)"},
		&cli.IntFlag{Name: "gen-task-coef", DefaultText: "20", Usage: "cost of a generated row (infer.gen_task_coef)"},
		&cli.IntFlag{Name: "retry", DefaultText: "2", Usage: "further attempts of a failed shard (infer.retry)"},
		&cli.IntFlag{Name: "limit", DefaultText: "all", Usage: "only the first `N` rows of each dataset (infer.limit)"},
		&cli.StringFlag{Name: "work-dir", Aliases: []string{"w"}, Usage: "`DIR` where runs are made (work_dir)"},
		&cli.StringFlag{Name: "reuse", Aliases: []string{"r"}, Usage: "work in this `RUN` of the work dir (a name, a path or \"latest\", the default), reusing its rows"},
		&cli.StringFlag{Name: "mode", Aliases: []string{"m"}, Value: "all", Usage: "all; infer: no scores; eval: score what is there; viz: only rewrite the summary"},
		&cli.IntFlag{Name: "threads", DefaultText: "this machine's, divided among the workers", Usage: "CPU threads a worker (local.threads)"},
		&cli.StringFlag{Name: "worker", Usage: "the worker `BINARY` (local.worker)"},
		&cli.BoolFlag{Name: "debug", Usage: "one job at a time, its log to the terminal"},
	}
}

// bareReuse gives -r its value when it stands alone, as OpenCompass's users write it.
func bareReuse(args []string) []string {
	var out []string
	for i, a := range args {
		out = append(out, a)
		if a != "-r" && a != "--reuse" {
			continue
		}
		if i+1 == len(args) || strings.HasPrefix(args[i+1], "-") || strings.HasSuffix(args[i+1], ".toml") {
			out = append(out, "latest")
		}
	}
	return out
}

// overrides are the flags that were given, each with the key of the spec it wins over.
func overrides(c *cli.Context) []spec.Override {
	var out []spec.Override
	add := func(key, flag string, value any) {
		out = append(out, spec.Override{Key: key, Value: value, From: "--" + flag})
	}
	for _, f := range c.App.Flags {
		flag := f.Names()[0]
		key := strings.ReplaceAll(flag, "-", "_")
		if !c.IsSet(flag) {
			continue
		}
		switch flag {
		case "max-num-workers", "max-partition-size", "gen-task-coef", "retry", "limit":
			add("infer."+key, flag, c.Int(flag))
		case "threads":
			add("local."+key, flag, c.Int(flag))
		case "worker":
			add("local."+key, flag, c.String(flag))
		case "work-dir":
			add(key, flag, c.String(flag))
		case "debug":
			if c.Bool(flag) {
				add("infer.max_num_workers", flag, 1)
			}
		}
	}
	return out
}
