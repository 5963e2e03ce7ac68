package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"sextant/pkg/cliargs"
	"sextant/pkg/worker"
)

func runCommand(stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "carry out jobs of a run's plan",
		Description: "Claims the job's ticket, loads its model, computes the rows that no file of the run holds yet and commits the results. Without\n" +
			"--attempt it makes a new attempt of its own, so that a batch script can be run by hand at any time. With --drain it goes on with\n" +
			"the open tickets of the same pool, the model loaded once. A worker that finds nothing to do exits at once.\n\n" +
			"Exit codes: 0 done or nothing to do, 2 wrong usage, 64 bad input or model, 75 try again, 1 anything else; the worst of its tickets\n" +
			"decides: 75, then 1, then 64.\n\n" +
			"Of Slurm's variables it heeds SLURM_RESTART_COUNT, SLURMD_NODENAME, SLURM_JOB_END_TIME, SLURM_JOB_START_TIME, SLURM_CPUS_PER_TASK,\n" +
			"SLURM_CPUS_ON_NODE, SLURM_GPUS_ON_NODE, SLURM_MEM_PER_NODE, SLURM_MEM_PER_CPU and SLURM_MEM_PER_GPU. SEXTANT_JOB is the scheduler's\n" +
			"name of the job; SEXTANT_DEADLINE the time at which it is ended, in seconds since 1970; SEXTANT_LOAD_DELAY (\"5s\") is slept after\n" +
			"the model is loaded, for tests.\n\n" +
			"Example: worker run --run outputs/default/20260714_101500 --job pocket--packed-1",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "run", Usage: "run directory `DIR` (required)"},
			&cli.StringFlag{Name: "job", Usage: "`ID` of the job in the plan (required)"},
			&cli.IntFlag{Name: "attempt", Usage: "number `N` of the ticket's attempt, from 1", DefaultText: "a new one"},
			&cli.BoolFlag{Name: "drain", Usage: "then go on with open tickets of the pool", DisableDefaultText: true},
			&cli.DurationFlag{Name: "time-limit", Usage: "the job is ended `DURATION` after it began (2h30m)", DefaultText: "as the environment says"},
			&cli.DurationFlag{Name: "deadline-margin", Usage: "begin no further ticket that is not expected to be done `DURATION` before the end", DefaultText: "the spec's slurm.signal_lead and a minute"},
			&cli.Int64Flag{Name: "kv-memory", Usage: "`BYTES` for the key-value cache", DefaultText: "half of what limits and machine leave, by the share of the processors"},
		}, backendFlags()...),
		Action: func(c *cli.Context) error { return runJob(c, stderr) },
	}
}

func runJob(c *cli.Context, stderr io.Writer) error {
	if _, err := arguments(c, []string{"run", "job"}); err != nil {
		return err
	}
	for name, n := range map[string]int64{"attempt": int64(c.Int("attempt")), "kv-memory": c.Int64("kv-memory"),
		"time-limit": int64(c.Duration("time-limit")), "deadline-margin": int64(c.Duration("deadline-margin"))} {
		if n < 0 {
			return cliargs.Usagef("run: --%s is 0 or more", name)
		}
	}
	o, err := jobOptions(os.Getenv, time.Now(), c.Duration("time-limit"))
	if err != nil {
		return err
	}
	o.RunDir, o.JobID, o.Attempt, o.Drain = c.String("run"), c.String("job"), c.Int("attempt"), c.Bool("drain")
	o.Margin, o.Threads, o.Backend, o.Memory = c.Duration("deadline-margin"), threads(c, os.Getenv), c.String("backend"), c.Int64("kv-memory")
	o.Log = slog.New(slog.NewTextHandler(stderr, nil))
	return worker.Run(c.Context, o)
}
