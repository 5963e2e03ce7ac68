package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/scheduler"
	"sextant/scheduler/dlc"
)

// What a job asks of DLC when the spec does not say, as OpenCompass has it.
const (
	dlcPriority = 1
	dlcMemory   = 192 // GiB
)

// dlcOptions are what a plan's spec asks of DLC, for a run in this directory.
func dlcOptions(p *plan.Plan, dir string) dlc.Options {
	s, d := p.Spec.DLC, result.Dir(dir)
	return dlc.Options{
		Dir: d.DLC(), Scripts: d.Scripts(), About: fmt.Sprintf("sextant: %s, plan %s", p.Spec.Name, p.Digest[:8]),
		Workers: p.Spec.Infer.MaxNumWorkers, PollMin: time.Duration(s.PollMin) * time.Second, PollMax: time.Duration(s.PollMax) * time.Second,
		Ask: dlc.Ask{
			Program: s.Program, Config: s.Config, JobCmd: s.JobCmd, Workspace: s.WorkspaceID, Resource: s.ResourceID, Image: s.WorkerImage,
			Sources: s.DataSources, Priority: cmp.Or(s.Priority, dlcPriority), CPU: cmp.Or(s.WorkerCPU, plan.DLCCPUs),
			Memory: cmp.Or(s.WorkerMemory, dlcMemory), SharedMem: s.WorkerSharedMemory, Preemptible: s.Preemptible, MaxMinutes: s.MaxMinutes,
			Extra: s.Extra, Prologue: s.Prologue, Env: s.Env,
		},
	}
}

// openDLC opens a run's scheduler of DLC. watching: a submit may be at work on the run, which this process leaves alone.
func openDLC(p *plan.Plan, dir string, watching bool) (*dlc.Scheduler, error) {
	o := dlcOptions(p, dir)
	o.Watching = watching
	return dlc.New(o)
}

// dlcCommands are the command lines that create a plan's jobs, for people.
func dlcCommands(p *plan.Plan, dir string, byHand bool) ([]string, error) {
	jobs, err := clusterFirst(p, dir, byHand)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, j := range jobs {
		line, err := dlc.Line(dlcOptions(p, dir), j)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// leftOnDLC tells whoever detaches what becomes of the jobs. There is none that gathers: a container has neither dlc nor its keys.
func (e env) leftOnDLC(ctx context.Context, dir string, out *run.Outcome) error {
	there := 0
	for _, ref := range out.Hands {
		if ref.ID != "" {
			there++
		}
	}
	fmt.Fprintf(e.stderr, "detached: %s with DLC, which do one shard after another; no more are created meanwhile. submit status %s looks, "+
		"submit resume %s gathers and does what is left, submit cancel %s ends them\n", count(there, "job"), dir, dir, dir)
	if ctx.Err() != nil {
		return errDetached
	}
	return errQueued
}

// The two kinds of cluster, as what runs on them is told to the user.
const (
	slurmQueue = "waiting in Slurm's queue"
	dlcQueue   = "DLC"
)

// cluster is a scheduler whose jobs go on without submit.
type cluster interface {
	run.Scheduler
	// Live lists the jobs of the run that are there, or may be.
	Live(ctx context.Context) ([]scheduler.Ref, error)
}
