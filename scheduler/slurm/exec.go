package slurm

import (
	"context"
	"os"
	"strings"
	"time"

	"sextant/scheduler/batch"
)

// cli runs Slurm's commands.
type cli struct{}

// commandLimit is how long a command may take: longer than Slurm's own retries, for a command that is killed in the middle of a submission
// leaves it open whether the job is there.
const commandLimit = 150 * time.Second

// run runs a command and gives what it wrote to its standard output. The end of ctx ends the command.
func (c *cli) run(ctx context.Context, stdin string, name string, args ...string) (string, error) {
	out, _, err := c.output(ctx, stdin, name, args...)
	return out, err
}

// output is run that gives standard error too.
func (c *cli) output(ctx context.Context, stdin string, name string, args ...string) (stdout, stderr string, err error) {
	return batch.Run(ctx, batch.Command{Name: name, Args: args, Stdin: stdin, Env: environment(name, os.Environ()), Limit: commandLimit})
}

// finish is run for a command that changes something at the controller: once begun it is let finish, whatever becomes of ctx.
func (c *cli) finish(ctx context.Context, name string, args ...string) (string, error) {
	return c.run(context.WithoutCancel(ctx), "", name, args...)
}

// environment is what Slurm's commands get: without the variables that would change their options or their output, or say that this process
// is itself inside a job: a job gets what is left. The user's locale is among that; Slurm's messages are English in any.
func environment(command string, env []string) []string {
	var keep []string
	if command != "sbatch" { // whose environment is the jobs'
		keep = append(keep, "SLURM_TIME_FORMAT=standard")
	}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case name == "SLURM_CONF" || name == "SLURM_CONF_SERVER" || name == "SLURM_CLUSTERS" || name == "SLURM_JWT":
		case strings.HasPrefix(name, "SBATCH_"), strings.HasPrefix(name, "SQUEUE_"), strings.HasPrefix(name, "SACCT_"),
			strings.HasPrefix(name, "SCANCEL_"), strings.HasPrefix(name, "SLURM_"),
			name == "SEXTANT_JOB", name == "SEXTANT_DEADLINE", name == "SEXTANT_THREADS", name == "SEXTANT_PARENT_FD":
			continue
		}
		keep = append(keep, kv)
	}
	return keep
}
