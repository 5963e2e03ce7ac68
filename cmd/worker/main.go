// Command worker carries out the jobs of a run on a compute node, and looks into models.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"sextant/kernels"
	"sextant/pkg/cliargs"
	"sextant/pkg/objstore"
	"sextant/pkg/worker"
)

func main() {
	ctx, stop := untilStopped()
	objstore.Until(ctx)
	objstore.Tell(func(text string) { fmt.Fprintf(os.Stderr, "worker: waiting: %s\n", text) })
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program: exit codes are 0 done, 2 usage, 64 bad input or model, 75 try again, 1 anything else.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := program(stdout, stderr)
	cliargs.Harden(app)
	args, err := cliargs.Reorder(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	switch {
	case err == nil:
		return 0
	case cliargs.IsUsage(err):
		fmt.Fprintf(stderr, "worker: %v\nRun 'worker --help' or 'worker COMMAND --help' for what there is.\n", err)
		return 2
	}
	fmt.Fprintf(stderr, "worker: %v\n", err)
	return worker.ExitCode(err)
}

// program is the tree of commands.
func program(stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:      "worker",
		Usage:     "carry out a job of an evaluation, or look into a model",
		UsageText: "worker COMMAND [flags] [arguments]",
		Description: "submit starts it, on this machine or in the batch scripts of a cluster, as worker run. The other commands are for people.\n\n" +
			"Exit codes: 0 done, 2 wrong usage, 64 bad input or model, 75 try again, 1 anything else.\n\n" +
			"Example: worker info",
		Version:         cliargs.VersionText(fmt.Sprintf("kernels ABI %d", kernels.ABI)),
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		Commands:        []*cli.Command{runCommand(stderr), rankCommand(stderr), logitsCommand(), tokenizeCommand(), infoCommand(), benchCommand(stderr), quantizeCommand(stderr)},
	}
}

// arguments gives a command's positional arguments, where these, the flags that are required and those of the backend can hold at all.
func arguments(c *cli.Context, required []string, names ...string) ([]string, error) {
	args, err := cliargs.Positional(c, names...)
	if err == nil {
		err = cliargs.Require(c, required...)
	}
	if err == nil {
		err = checkBackend(c)
	}
	return args, err
}

// checkBackend refuses values of backendFlags that hold on no machine.
func checkBackend(c *cli.Context) error {
	if name, known := c.String("backend"), kernels.Backends(); name != worker.AutoBackend && !slices.Contains(known, name) {
		return cliargs.Usagef("%s: there is no backend %q; there are %s", c.Command.Name, name, strings.Join(known, ", "))
	}
	if c.Int("threads") < 0 {
		return cliargs.Usagef("%s: --threads is %d: want 0 or more", c.Command.Name, c.Int("threads"))
	}
	return nil
}

// jsonVersion is that of every document of --json, as of submit's: docs/json.md promises what it means.
const jsonVersion = 1

// jsonFlag is the --json of a command that tells facts.
func jsonFlag(usage string) *cli.BoolFlag {
	return &cli.BoolFlag{Name: "json", Usage: usage, DisableDefaultText: true}
}

func backendFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "backend", EnvVars: []string{"SEXTANT_BACKEND"}, Value: worker.AutoBackend,
			Usage: "kernel backend `NAME`: cuda, cpu, ref (slow, the oracle), or auto: cuda where it can be used, else cpu"},
		&cli.IntFlag{Name: "threads", EnvVars: []string{"SEXTANT_THREADS"}, Usage: "`N` CPU threads; 0: all that this process may run on", DefaultText: "those of the Slurm job, else 0"},
	}
}
