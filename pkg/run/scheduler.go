package run

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
	"sextant/scheduler"
)

// Scheduler is what a run needs of whatever runs its jobs. scheduler/schedulertest holds what it must do.
type Scheduler interface {
	// Submit hands over jobs, in order, and returns those accepted: fewer than given, and then an error about the first that was not. A
	// job that can never run gives an error that wraps scheduler.ErrUnsatisfiable; one that may be accepted later, scheduler.ErrBusy or
	// scheduler.ErrDown. A name is started once, whoever submits it again.
	Submit(ctx context.Context, jobs []scheduler.Job) ([]scheduler.Ref, error)
	// Poll tells the status of each job, by name. scheduler.ErrDown: nothing is known at present.
	Poll(ctx context.Context, refs []scheduler.Ref) (map[string]scheduler.Status, error)
	// Cancel asks jobs to end, and makes them after a grace. It does not wait for that: Poll tells.
	Cancel(ctx context.Context, refs []scheduler.Ref) error
	// Wait returns nil when it is time to Poll again, and ctx's error when that ends first.
	Wait(ctx context.Context) error
}

// workerName is the program that does jobs.
const workerName = "worker"

// FindWorker finds the worker: what [slurm] or [dlc] worker names, on the nodes, for a run there; else where [local] worker says, else beside this
// program, else on PATH.
func FindWorker(s *spec.Spec) (string, error) {
	if s.Infer.Scheduler == "slurm" && s.Slurm.Worker != "" {
		return s.Slurm.Worker, nil // it may be nowhere to be found here
	}
	if s.Infer.Scheduler == "dlc" && s.DLC.Worker != "" {
		return s.DLC.Worker, nil
	}
	if s.Local.Worker != "" {
		path, err := exec.LookPath(s.Local.Worker)
		if err != nil {
			return "", fmt.Errorf("the worker that [local] worker names cannot be run: %w", err)
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), workerName)); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(workerName)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", fmt.Errorf("no program %q beside submit or on PATH: build it with \"make build\" (it needs gcc), or name it with --worker or "+
			"[local] worker", workerName)
	}
	return filepath.Abs(path)
}

// cpuThreads is what a worker without GPUs asks of a cluster when nobody says.
const cpuThreads = 4

// Command is a job's attempt as a scheduler gets it, without what only the run knows: limits and nodes. Its name carries the directory, so
// that it is unique among all runs. Attempts of a job share a script.
func Command(p *plan.Plan, dir, worker string, j plan.Job, attempt int) scheduler.Job {
	place := sha256.Sum256([]byte(dir))
	job := scheduler.Job{
		Name:    fmt.Sprintf("%s-%x.%s.%d", filepath.Base(dir), place[:4], j.ID, attempt),
		Script:  j.ID,
		Args:    []string{worker, "run", "--run", dir, "--job", j.ID},
		Tail:    []string{"--attempt", strconv.Itoa(attempt)},
		Log:     result.Dir(dir).Log(j.ID, attempt),
		Pool:    j.Pool(),
		Weight:  float64(j.Cost),
		GPUs:    j.NumGPUs,
		Procs:   j.NumProcs,
		Threads: p.Spec.Local.Threads,
	}
	switch p.Spec.Infer.Scheduler {
	case "slurm":
		job.Threads = p.Spec.Slurm.CPUs
		if job.Threads == 0 && j.NumGPUs == 0 {
			job.Threads = cpuThreads
		}
	case "dlc": // a container sees all processors of its machine, and may use these
		job.Threads = cmp.Or(p.Spec.DLC.WorkerCPU, plan.DLCCPUs)
	}
	if Drains(&p.Spec) {
		job.Tail = append(job.Tail, "--drain")
	}
	return job
}

// Drains says whether workers go on with other jobs of their pool when they have done their own.
func Drains(s *spec.Spec) bool {
	return s.Infer.Remote() && !(s.Infer.Scheduler == "slurm" && s.Slurm.OneShardPerJob)
}
