package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"sextant/pkg/cliargs"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/scheduler/dlc"
	"sextant/scheduler/slurm"

	"github.com/urfave/cli/v2"
)

// logsView is where the logs of a run are.
type logsView struct {
	Version int       `json:"version"`
	Run     string    `json:"run"`  // its directory
	Logs    []logView `json:"logs"` // of the jobs that were tried
}

// logView is the log of one attempt of a job.
type logView struct {
	Job     string   `json:"job"`
	Shards  []string `json:"shards"`
	Attempt int      `json:"attempt"` // the last, where none is asked for
	Log     string   `json:"log"`     // its path; there may be nothing yet
}

func (e env) logs(c *cli.Context) error {
	if c.Bool("json") && c.Bool("follow") {
		return cliargs.Usagef("--json tells where a log is, and --follow prints it; leave one of them out")
	}
	if c.NArg() < 2 {
		return e.listLogs(c)
	}
	args, err := cliargs.Positional(c, "DIR", "SHARD|JOB")
	if err != nil {
		return err
	}
	dir, p, err := runAt(args[0])
	if err != nil {
		return err
	}
	job, err := jobNamed(p, args[1])
	if err != nil {
		return err
	}
	l, err := newLogs(p, dir)
	if err != nil {
		return err
	}
	v, err := l.of(job, c.Int("attempt"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(logsView{jsonVersion, dir, []logView{v}})
	}
	fmt.Fprintf(e.stderr, "%s, attempt %d: %s\n", v.Job, v.Attempt, relative(v.Log))
	return e.show(c.Context, v.Log, c.Bool("follow"))
}

// logs knows where the logs of a run are.
type logs struct {
	plan *plan.Plan
	dir  result.Dir
	at   map[string]string // of jobs on a cluster, by the scheduler's name of the job
}

// newLogs reads what the schedulers have noted of a run.
func newLogs(p *plan.Plan, dir string) (*logs, error) {
	d := result.Dir(dir)
	at, err := slurm.Logs(d.Slurm())
	if err != nil {
		return nil, err
	}
	further, err := dlc.Logs(d.DLC())
	maps.Copy(at, further)
	return &logs{p, d, at}, err
}

// of finds the log of a job's n-th attempt, 0: the last; where it was not tried the attempt is 0.
func (l *logs) of(job plan.Job, n int) (v logView, err error) {
	if n == 0 {
		if n, err = l.dir.LastAttempt(job.ID); err != nil {
			return v, err
		}
	}
	path, err := l.file(result.Ticket{Job: job.ID, Attempt: n})
	return logView{job.ID, job.Shards, n, path}, err
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

// file is where the worker that did a ticket wrote. It may have been asked for because of another ticket.
func (l *logs) file(t result.Ticket) (string, error) {
	name := run.Command(l.plan, string(l.dir), "", plan.Job{ID: t.Job}, t.Attempt).Name
	claim, err := result.ReadClaim(l.dir.Claim(t))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if claim.Worker != "" {
		name = claim.Worker
	}
	if path := l.at[name]; path != "" {
		return path, nil
	}
	return l.dir.Log(t.Job, t.Attempt), nil
}

// listLogs prints, for each job that was tried, its last attempt and its log.
func (e env) listLogs(c *cli.Context) error {
	dir, p, err := runOf(c)
	if err != nil {
		return err
	}
	l, err := newLogs(p, dir)
	if err != nil {
		return err
	}
	all := logsView{jsonVersion, dir, []logView{}}
	for _, j := range p.Jobs {
		v, err := l.of(j, 0)
		if err != nil {
			return err
		}
		if v.Attempt > 0 {
			all.Logs = append(all.Logs, v)
		}
	}
	if c.Bool("json") {
		return e.printJSON(all)
	}
	for _, v := range all.Logs {
		if _, err := fmt.Fprintf(e.stdout, "%s\t%d\t%s\n", v.Job, v.Attempt, relative(v.Log)); err != nil {
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
