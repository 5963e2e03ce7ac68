package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"sextant/pkg/cliargs"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/scheduler/dlc"
	"sextant/scheduler/slurm"

	"github.com/urfave/cli/v2"
)

func (e env) logs(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) < 1 || len(args) > 2 {
		return cliargs.Usagef("logs wants DIR and at most one SHARD or JOB, not %d arguments", len(args))
	}
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	p, err := run.LoadPlan(dir)
	if err != nil {
		return badInput{err}
	}
	if len(args) == 1 {
		return e.listLogs(p, result.Dir(dir))
	}
	job, err := jobNamed(p, args[1])
	if err != nil {
		return err
	}
	n := c.Int("attempt")
	if n == 0 {
		if n, err = result.Dir(dir).LastAttempt(job.ID); err != nil {
			return err
		}
	}
	path, err := logFile(p, result.Dir(dir), result.Ticket{Job: job.ID, Attempt: n})
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stderr, "%s, attempt %d: %s\n", job.ID, n, relative(path))
	return e.show(c.Context, path, c.Bool("follow"))
}

// jobNamed finds the job that has a name or a shard of that name.
func jobNamed(p *plan.Plan, name string) (plan.Job, error) {
	for _, j := range p.Jobs {
		if j.ID == name || slices.Contains(j.Shards, name) {
			return j, nil
		}
	}
	return plan.Job{}, badInput{fmt.Errorf("the plan has no shard or job %q; submit logs DIR lists them", name)}
}

// logFile is where the worker that did a ticket wrote. It may have been asked for because of another ticket.
func logFile(p *plan.Plan, dir result.Dir, t result.Ticket) (string, error) {
	name := run.Command(p, string(dir), "", plan.Job{ID: t.Job}, t.Attempt).Name
	claim, err := result.ReadClaim(dir.Claim(t))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if claim.Worker != "" {
		name = claim.Worker
	}
	path, err := slurm.LogOf(dir.Slurm(), name)
	if path == "" && err == nil {
		path, err = dlc.LogOf(dir.DLC(), name)
	}
	if err != nil || path != "" {
		return path, err
	}
	return dir.Log(t.Job, t.Attempt), nil
}

// listLogs prints, for each job that was tried, its last attempt and its log.
func (e env) listLogs(p *plan.Plan, dir result.Dir) error {
	for _, j := range p.Jobs {
		n, err := dir.LastAttempt(j.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		path, err := logFile(p, dir, result.Ticket{Job: j.ID, Attempt: n})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(e.stdout, "%s\t%d\t%s\n", j.ID, n, relative(path)); err != nil {
			return err
		}
	}
	return nil
}

// show prints a log, and what is added to it.
func (e env) show(ctx context.Context, path string, more bool) error {
	if more {
		stop := follow(path, e.stdout)
		<-ctx.Done()
		stop()
		return nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no log yet: %w", err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(e.stdout, f)
	return err
}
