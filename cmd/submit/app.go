package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"sextant/pkg/cliargs"

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
	errQueued      = errors.New("the jobs are queued")          // --detach
	errDetached    = errors.New("the jobs go on by themselves") // Ctrl-C
)

// badInput marks an error as the input's fault: exit code 2.
type badInput struct{ error }

func (b badInput) Unwrap() error { return b.error }

func (e env) run(ctx context.Context) int {
	if len(e.args) > 1 && e.args[1] == completeCommand {
		e.offer(e.args[2:])
		return exitDone
	}
	app := e.app()
	cliargs.Harden(app)
	app.OnUsageError = func(c *cli.Context, err error, _ bool) error { return explain(err, c.App.Flags, elsewhere) }
	explainAll(app.Commands)
	args, err := cliargs.Reorder(app, bareFlags(e.args))
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
	case errors.Is(err, errDiffer):
		return exitFailed
	case errors.Is(err, errIncomplete):
		return exitIncomplete // the report has said what is missing and why
	case errors.Is(err, errQueued):
		return exitDone
	case errors.Is(err, errDetached):
		return exitInterrupted
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

// jsonVersion is that of every document of --json. One that loses a field, or changes what a field means, gets a greater one of its own:
// docs/json.md promises it. New fields are no change.
const jsonVersion = 1

// jsonFlag is the --json of a command that tells facts.
func jsonFlag(usage string) *cli.BoolFlag {
	return &cli.BoolFlag{Name: "json", Usage: usage, DisableDefaultText: true}
}

// printJSON prints a value as the one document of a --json.
func (e env) printJSON(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (e env) app() *cli.App {
	return &cli.App{
		Name:      "submit",
		Usage:     "evaluate language models: plan, run, score, report",
		UsageText: "submit [SPEC] [flags]\nsubmit COMMAND [flags] [arguments]",
		Description: "Reads the spec (default: ./eval.toml), cuts it into shards, runs them on this machine or a Slurm cluster and prints the scores.\n" +
			"The same command again goes on where it stopped; on a finished run it only prints the scores. Flags may stand before or after the\n" +
			"spec. Standard output is the answer, standard error tells how it goes.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 wrong usage, spec or input: nothing was run, 3 done but for rows without a score, 130 interrupted.\n\n" +
			"Example: submit eval.toml --max-num-workers 2 --max-partition-size 4000\n" +
			"         submit eval.toml --slurm -p llmeval -q auto --max-num-workers 32 --max-partition-size 4000",
		Version:         cliargs.VersionText(),
		HideHelpCommand: true,
		Writer:          e.stdout,
		ErrWriter:       e.stderr,
		Flags:           evaluateFlags(),
		Action:          e.root,
		Commands: append([]*cli.Command{e.quantizeCommand(), e.datasetsCommand(), e.planCommand(), e.scoreCommand(), e.compareCommand(), e.exportCommand(),
			e.importCommand(), e.trackCommand(), e.sweepCommand(), e.listCommand(), e.leaderboardCommand(), e.completionCommand()}, e.runCommands()...),

		DisableSliceFlagSeparator: true, // a comma is a part of an option of sbatch
	}
}

// root is the command without a subcommand: an evaluation, or a look at its plan.
func (e env) root(c *cli.Context) error {
	if err := checkFlags(c); err != nil {
		return err
	}
	if c.IsSet("dry-run") {
		p, err := e.plan(c)
		if err != nil {
			return err
		}
		return e.dryRun(c, p, p)
	}
	return e.evaluate(c)
}
