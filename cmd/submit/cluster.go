package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/run"
	"sextant/scheduler"
	"sextant/scheduler/local"
	"sextant/scheduler/slurm"
)

// jobs is a scheduler for one run.
type jobs interface {
	run.Scheduler
	// Sweep cancels what is left in the scheduler of the run, when the run is done: a submission whose answer was lost may come late.
	Sweep(ctx context.Context) error
	Close() error
}

// scheduler makes the scheduler that a run's spec wants.
func (e env) scheduler(ctx context.Context, r *run.Run) (jobs, error) {
	if r.Plan.Spec.Infer.Remote() {
		s, queue, err := e.cluster(ctx, r.Plan, string(r.Dir))
		if err != nil {
			return nil, err
		}
		e.stops.onCluster(e)
		return &clusterJobs{cluster: s, queue: queue}, nil
	}
	s, err := local.New(local.Options{Workers: r.Plan.Spec.Infer.MaxNumWorkers, Threads: r.Plan.Spec.Local.Threads})
	if err != nil {
		return nil, err
	}
	return localJobs{s}, nil
}

// downPause is how long to wait before a cluster that did not answer is asked again.
const downPause = 10 * time.Second

// cluster opens the run's scheduler on a cluster, and says what its jobs wait in. A Slurm that does not answer is waited for.
func (e env) cluster(ctx context.Context, p *plan.Plan, dir string) (s cluster, queue string, err error) {
	if p.Spec.Infer.Scheduler == "dlc" {
		s, err := openDLC(p, dir, false)
		return s, dlcQueue, err
	}
	for said := false; ; {
		s, err := slurm.New(ctx, slurmOptions(p, dir))
		if err == nil || !errors.Is(err, scheduler.ErrDown) {
			return s, slurmQueue, err
		}
		if !said {
			fmt.Fprintf(e.stderr, "waiting: %v\n", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return nil, "", context.Cause(ctx)
		case <-time.After(downPause):
		}
	}
}

type localJobs struct{ *local.Scheduler }

func (localJobs) Sweep(context.Context) error { return nil }

// Sweep makes sure that nothing of the run is left in the queue, but for the job that this may be itself.
func (j *clusterJobs) Sweep(ctx context.Context) error {
	live, err := j.Live(ctx)
	if err != nil {
		return quiet(err)
	}
	var refs []scheduler.Ref
	for _, ref := range live {
		if ref.Name != os.Getenv("SEXTANT_JOB") {
			refs = append(refs, ref)
		}
	}
	if len(refs) == 0 {
		return nil
	}
	return quiet(j.Cancel(ctx, refs))
}

// quiet passes over a cluster that does not answer, when nothing depends on it any more.
func quiet(err error) error {
	if errors.Is(err, scheduler.ErrDown) {
		return nil
	}
	return err
}

// gatherThreads is what the gathering job asks for: it reads files and counts.
const gatherThreads = 1

// detached leaves a job behind that gathers when the others have ended, unless the user has only let go of the terminal.
func (e env) detached(ctx context.Context, r *run.Run, sched jobs, out *run.Outcome) error {
	dir := relative(string(r.Dir))
	if r.Plan.Spec.Infer.Scheduler == "dlc" {
		return e.leftOnDLC(ctx, dir, out)
	}
	if ctx.Err() != nil {
		fmt.Fprintf(e.stderr, "submit: detached; %d jobs go on. submit status %s looks, submit resume %s gathers, submit cancel %s ends them\n",
			len(out.Hands), dir, dir, dir)
		return errDetached
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program for the gathering job: %w", err)
	}
	cwd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("finding the current directory: %w", err)
	}
	run := string(r.Dir)
	j := scheduler.Job{Name: filepath.Base(run) + ".gather." + strconv.FormatInt(time.Now().UnixNano(), 36), Script: "gather",
		Args: []string{self, "resume", run, "--detach", "--go-on"}, Dir: cwd, Pool: "gather", Procs: 1, Threads: gatherThreads, After: out.Hands}
	if r.QuantizesOnly() {
		j.Args = append(j.Args, "--quantize")
	}
	if e.code {
		j.Args = append(j.Args, "--"+allowCode)
	}
	if e.mute {
		j.Args = append(j.Args, "--"+noNotify)
	}
	refs, err := e.insist(ctx, sched, j)
	if err != nil {
		return fmt.Errorf("%d jobs are queued, but the job that gathers their results is not: %w; submit resume %s gathers", len(out.Hands), err, dir)
	}
	fmt.Fprintf(e.stderr, "detached: %d jobs are queued; job %s gathers their results and writes %s. submit status %s looks, "+
		"submit cancel %s ends them\n", len(out.Hands), refs[0].ID, filepath.Join(dir, "summary.{txt,csv,md,json}"), dir, dir)
	return errQueued
}

// insist submits a job that a cluster may refuse for now.
func (e env) insist(ctx context.Context, sched jobs, j scheduler.Job) ([]scheduler.Ref, error) {
	for said := false; ; {
		refs, err := sched.Submit(ctx, []scheduler.Job{j})
		if !errors.Is(err, scheduler.ErrBusy) && !errors.Is(err, scheduler.ErrDown) {
			return refs, err
		}
		if !said {
			fmt.Fprintf(e.stderr, "waiting to queue the job that gathers: %v\n", err)
			said = true
		}
		if err := sleep(ctx, downPause); err != nil {
			return nil, err
		}
	}
}
