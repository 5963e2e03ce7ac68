package main

import (
	"cmp"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"sextant/pkg/cliargs"
	"sextant/pkg/worker"
)

// jobOptions is what the environment says of the job: who it is, when it ends and what it may use. A variable of Slurm that is no number is
// as good as none; one of ours is an error.
func jobOptions(getenv func(string) string, now time.Time, limit time.Duration) (o worker.Options, err error) {
	number := func(name string) int64 {
		n, err := strconv.ParseInt(getenv(name), 10, 64)
		if err != nil || n < 0 {
			return 0
		}
		return n
	}
	o.Worker, o.Restart = getenv("SEXTANT_JOB"), int(number("SLURM_RESTART_COUNT"))
	if o.Host = getenv("SLURMD_NODENAME"); o.Host == "" {
		o.Host, _ = os.Hostname() // only shown
	}
	o.Limits.CPUs = int(number("SLURM_CPUS_ON_NODE"))
	o.Limits.Memory = cmp.Or(number("SLURM_MEM_PER_NODE"), number("SLURM_MEM_PER_CPU")*number("SLURM_CPUS_ON_NODE"),
		number("SLURM_MEM_PER_GPU")*number("SLURM_GPUS_ON_NODE")) << 20 // told in MiB
	if text := getenv("SEXTANT_LOAD_DELAY"); text != "" {
		if o.LoadDelay, err = time.ParseDuration(text); err != nil {
			return o, cliargs.Usagef("run: SEXTANT_LOAD_DELAY is %q: want a duration, such as 5s", text)
		}
	}
	end := int64(0)
	if text := getenv("SEXTANT_DEADLINE"); text != "" {
		if end, err = strconv.ParseInt(text, 10, 64); err != nil || end < 1 {
			return o, cliargs.Usagef("run: SEXTANT_DEADLINE is %q: want seconds since 1970", text)
		}
	}
	if limit > 0 {
		began := now
		if n := number("SLURM_JOB_START_TIME"); n > 0 {
			began = time.Unix(n, 0)
		}
		o.Deadline = began.Add(limit)
	}
	for _, n := range []int64{end, number("SLURM_JOB_END_TIME")} {
		if t := time.Unix(n, 0); n > 0 && (o.Deadline.IsZero() || t.Before(o.Deadline)) {
			o.Deadline = t
		}
	}
	return o, nil
}

// threads is how many to use: what the user says (--threads, SEXTANT_THREADS), else what Slurm gives the job. 0 leaves it to the backend, which
// knows cores from hyperthreads: where Slurm gives all CPUs that this process may run on.
func threads(c *cli.Context, getenv func(string) string) int {
	if c.IsSet("threads") {
		return c.Int("threads")
	}
	for _, name := range []string{"SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"} {
		if n, err := strconv.Atoi(getenv(name)); err == nil && n > 0 && n < runtime.NumCPU() {
			return n
		}
	}
	return 0
}
