package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"sextant/pkg/report"
	"sextant/pkg/run"
	"sextant/scheduler"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

func (e env) watchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "show how a run goes, until it is done or nobody works on it", ArgsUsage: "DIR",
		Description: "Shows what the submit that works on the run in DIR shows: tasks that end, rows done, speed, time left, and what the jobs do. It\n" +
			"changes nothing, and may be started and left at any time, on any machine that sees DIR.\n\n" +
			"Example: submit watch outputs/20260714_101500-3f2a9c1b",
		Flags:  []cli.Flag{&cli.DurationFlag{Name: "interval", Usage: "`TIME` between two looks", DefaultText: "1s, on a cluster 20s"}},
		Action: e.watchRun,
	}
}

// The usual times between two looks. A look that takes long is followed by a pause ten times as long, so that a large run is left in peace.
const (
	lookEvery        = time.Second
	lookClusterEvery = 20 * time.Second
	lookShare        = 10
)

func (e env) watchRun(c *cli.Context) error {
	dir, p, err := runOf(c)
	if err != nil {
		return err
	}
	every := lookEvery
	if p.Spec.Infer.Remote() {
		every = lookClusterEvery
	}
	every = cmp.Or(c.Duration("interval"), every)
	f, ok := e.stdout.(*os.File)
	show := report.NewProgress(e.stdout, ok && term.IsTerminal(int(f.Fd())))
	poll := poller(c.Context, p, dir)
	for told := ""; ; {
		began := time.Now()
		s, err := run.Look(c.Context, dir, p, poll)
		if err != nil {
			return err
		}
		if line := jobsLine(s); line != told {
			told = line
			show.Say(line)
		}
		show.Update(progressOf(s), 0)
		if over(s) {
			show.End()
			return e.left(s)
		}
		if err := sleep(c.Context, max(every, lookShare*time.Since(began))); err != nil {
			show.End()
			if errors.Is(err, context.Canceled) { // Ctrl-C ends the look, not the run
				return nil
			}
			return err
		}
	}
}

// progressOf is how far each task is.
func progressOf(s *run.State) []report.Task {
	failed := map[string]string{}
	for _, sh := range s.Plan.Shards {
		if s.Shards[sh.ID] == run.ShardFailed && failed[sh.Task] == "" {
			failed[sh.Task] = s.Reasons[sh.ID]
		}
	}
	tasks := make([]report.Task, len(s.Tasks))
	for i, t := range s.Tasks {
		tasks[i] = report.Task{Name: t.Task, Rows: t.Rows, Done: t.Done, Failed: failed[t.Task]}
	}
	return tasks
}

// jobsLine says what the run's jobs do.
func jobsLine(s *run.State) string {
	states, waits := map[string]int{}, map[string]int{}
	for _, w := range s.Workers {
		states[string(cmp.Or(w.Status.State, "unknown"))]++
		if w.Status.State == scheduler.Pending && w.Status.Reason != "" {
			waits[w.Status.Reason]++
		}
	}
	text := "nobody works on the run"
	if s.Owner != "" {
		text = "submit at work: " + s.Owner
	}
	if len(states) > 0 {
		text += "; jobs: " + counts(states)
	}
	if len(waits) > 0 {
		text += "; waiting for: " + counts(waits)
	}
	return text
}

// over says that nothing more is to be seen: all is done or given up, or no submit and no job is there.
func over(s *run.State) bool {
	if s.Owner != "" {
		return false
	}
	if len(s.Workers) == 0 || s.Plan.Spec.Infer.Scheduler == "local" { // whose workers end with their submit
		return true
	}
	for _, state := range s.Shards {
		if state != run.ShardDone && state != run.ShardFailed {
			return false
		}
	}
	return true
}

// left says what to do when there is nothing more to be seen.
func (e env) left(s *run.State) error {
	dir, missing := relative(s.Dir), 0
	for _, t := range s.Tasks {
		missing += t.Rows - t.Done
	}
	what := fmt.Sprintf("submit score %s tells the scores", dir)
	if missing > 0 {
		what = fmt.Sprintf("%s missing: submit why %s tells why, submit resume %s goes on", count(missing, "row"), dir, dir)
	}
	_, err := fmt.Fprintln(e.stdout, what)
	return err
}
