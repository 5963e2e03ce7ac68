package main

import (
	"io"
	"log/slog"

	"github.com/urfave/cli/v2"

	"sextant/pkg/cliargs"
	"sextant/pkg/worker"
)

func runCommand(stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "carry out one job of a run's plan",
		Description: "Loads the job's model, computes the rows that no file of the run holds yet and commits the results.\n" +
			"Exit codes: 0 done, 64 bad input or model, 75 try again, 1 anything else.\n\n" +
			"Example: worker run --run outputs/default/20260714_101500 --job pocket--packed-1 --attempt 1",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "run", Usage: "run directory `DIR` (required)"},
			&cli.StringFlag{Name: "job", Usage: "`ID` of the job in the plan (required)"},
			&cli.IntFlag{Name: "attempt", Value: 1, Usage: "number `N` of this attempt, from 1"},
			&cli.Int64Flag{Name: "kv-memory", Usage: "`BYTES` for the key-value cache; 0: half of what the machine has left, by the share of its processors"},
		}, backendFlags()...),
		Action: func(c *cli.Context) error {
			if _, err := cliargs.Positional(c); err != nil {
				return err
			}
			if err := cliargs.Require(c, "run", "job"); err != nil {
				return err
			}
			if err := checkBackend(c); err != nil {
				return err
			}
			if c.Int("attempt") < 1 || c.Int64("kv-memory") < 0 {
				return cliargs.Usagef("run: --attempt is 1 or more, --kv-memory 0 or more")
			}
			return worker.Run(c.Context, worker.Options{RunDir: c.String("run"), JobID: c.String("job"), Attempt: c.Int("attempt"),
				Threads: c.Int("threads"), Backend: c.String("backend"), Memory: c.Int64("kv-memory"),
				Log: slog.New(slog.NewTextHandler(stderr, nil))})
		},
	}
}
