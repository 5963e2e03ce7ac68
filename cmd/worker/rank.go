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

func rankCommand(stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:   "rank",
		Usage:  "be a process of a worker of several (run_cfg.num_procs)",
		Hidden: true,
		Description: "Started by \"worker run\", through srun where the job has a task for each process. It joins the process that started it over TCP,\n" +
			"by the interface that SEXTANT_SOCKET_IFNAME or NCCL_SOCKET_IFNAME names, and ends with it.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "rendezvous", Usage: "`FILE` that says where the first process is (required)"},
			&cli.IntFlag{Name: "rank", Usage: "the process's number `N`; 0: as SLURM_PROCID says"},
			&cli.IntFlag{Name: "stages", Usage: "use `N` devices"},
		}, backendFlags()...),
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, []string{"rendezvous"}); err != nil {
				return err
			}
			if c.Int("rank") < 0 || c.Int("stages") < 0 {
				return cliargs.Usagef("rank: --rank and --stages are 0 or more")
			}
			job, err := jobOptions(os.Getenv, time.Now(), 0)
			if err != nil {
				return err
			}
			return worker.Rank(c.Context, worker.RankOptions{Rendezvous: c.String("rendezvous"), Rank: c.Int("rank"), Stages: c.Int("stages"),
				Backend: c.String("backend"), Threads: threads(c, os.Getenv), Limits: job.Limits, Log: slog.New(slog.NewTextHandler(stderr, nil))})
		},
	}
}
