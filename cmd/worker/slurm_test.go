package main

import (
	"context"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"sextant/pkg/worker"
)

func TestJobOptions(t *testing.T) {
	now := time.Unix(1000000, 0)
	for i, c := range []struct {
		env   map[string]string
		limit time.Duration
		want  worker.Options
	}{
		{nil, 0, worker.Options{}},
		{map[string]string{"SEXTANT_JOB": "j", "SLURM_RESTART_COUNT": "2", "SLURMD_NODENAME": "node3"}, 0, worker.Options{Worker: "j", Restart: 2, Host: "node3"}},
		{map[string]string{"SLURM_MEM_PER_NODE": "512", "SLURM_MEM_PER_CPU": "1", "SLURM_CPUS_ON_NODE": "8"}, 0,
			worker.Options{Limits: worker.Limits{Memory: 512 << 20, CPUs: 8}}},
		{map[string]string{"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "8"}, 0, worker.Options{Limits: worker.Limits{Memory: 800 << 20, CPUs: 8}}},
		{map[string]string{"SLURM_MEM_PER_GPU": "300", "SLURM_GPUS_ON_NODE": "2"}, 0, worker.Options{Limits: worker.Limits{Memory: 600 << 20}}},
		{map[string]string{"SLURM_MEM_PER_NODE": "0", "SLURM_CPUS_ON_NODE": "8(x2)"}, 0, worker.Options{}},
		{map[string]string{"SEXTANT_LOAD_DELAY": "5s"}, 0, worker.Options{LoadDelay: 5 * time.Second}},
		{nil, time.Hour, worker.Options{Deadline: now.Add(time.Hour)}},
		{map[string]string{"SLURM_JOB_START_TIME": "999900"}, time.Hour, worker.Options{Deadline: time.Unix(999900+3600, 0)}},
		{map[string]string{"SLURM_JOB_END_TIME": "1000100", "SEXTANT_DEADLINE": "1000200"}, time.Hour, worker.Options{Deadline: time.Unix(1000100, 0)}},
		{map[string]string{"SEXTANT_DEADLINE": "1000200"}, 0, worker.Options{Deadline: time.Unix(1000200, 0)}},
	} {
		got, err := jobOptions(func(name string) string { return c.env[name] }, now, c.limit)
		if c.env["SLURMD_NODENAME"] == "" && got.Host != "" {
			got.Host = ""
		}
		if err != nil || got != c.want {
			t.Errorf("case %d: %+v (%v), want %+v", i, got, err, c.want)
		}
	}
}

func TestThreads(t *testing.T) {
	for i, c := range []struct {
		args []string
		env  map[string]string
		want int
	}{
		{nil, nil, 0},
		{[]string{"--threads", "7"}, map[string]string{"SLURM_CPUS_PER_TASK": "1"}, 7},
		{[]string{"--threads", "0"}, map[string]string{"SLURM_CPUS_PER_TASK": "1"}, 0},
		{nil, map[string]string{"SEXTANT_THREADS": "5", "SLURM_CPUS_PER_TASK": "1"}, 5},
		{nil, map[string]string{"SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "9999"}, min(1, runtime.NumCPU()-1)},
		{nil, map[string]string{"SLURM_CPUS_PER_TASK": "9999"}, 0},
		{nil, map[string]string{"SLURM_CPUS_ON_NODE": strconv.Itoa(runtime.NumCPU())}, 0},
	} {
		t.Setenv("SEXTANT_THREADS", c.env["SEXTANT_THREADS"])
		got := -1
		app := &cli.App{Flags: backendFlags(), Action: func(ctx *cli.Context) error {
			got = threads(ctx, func(name string) string { return c.env[name] })
			return nil
		}}
		if err := app.RunContext(context.Background(), append([]string{"x"}, c.args...)); err != nil || got != c.want {
			t.Errorf("case %d: %d (%v), want %d", i, got, err, c.want)
		}
	}
}
