package run

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"sextant/pkg/plan"
	"sextant/pkg/spec"
	"sextant/scheduler"
)

// Scheduler is what a run needs of whatever runs its jobs. scheduler/schedulertest holds what it must do.
type Scheduler interface {
	// Submit hands over jobs, in order, and returns those accepted: fewer than given, and then an error about the first that was not. A
	// job that can never run gives an error that wraps scheduler.ErrUnsatisfiable. A name is started once, whoever submits it again.
	Submit(ctx context.Context, jobs []scheduler.Job) ([]scheduler.Ref, error)
	// Poll tells the status of each job, by name.
	Poll(ctx context.Context, refs []scheduler.Ref) (map[string]scheduler.Status, error)
	// Cancel asks jobs to end, and makes them after a grace. It does not wait for that: Poll tells.
	Cancel(ctx context.Context, refs []scheduler.Ref) error
	// Wait returns nil when it is time to Poll again, and ctx's error when that ends first.
	Wait(ctx context.Context) error
}

// workerName is the program that does jobs.
const workerName = "worker"

// findWorker finds the worker: where [local] worker says, else beside this program, else on PATH.
func findWorker(l spec.Local) (string, error) {
	if l.Worker != "" {
		path, err := exec.LookPath(l.Worker)
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
		return "", fmt.Errorf("no program %q beside submit or on PATH: build it with \"make build\" (it needs gcc), or name it with --worker or [local] worker", workerName)
	}
	return filepath.Abs(path)
}

// job is a job's attempt as the scheduler gets it. Its name carries the directory, so that it is unique among all runs.
func (r *Run) job(worker string, j plan.Job, attempt int) scheduler.Job {
	dir := string(r.Dir)
	place := sha256.Sum256([]byte(dir))
	return scheduler.Job{
		Name:    fmt.Sprintf("%s-%x.%s.%d", filepath.Base(dir), place[:4], j.ID, attempt),
		Args:    []string{worker, "run", "--run", dir, "--job", j.ID, "--attempt", strconv.Itoa(attempt)},
		Log:     r.Dir.Log(j.ID, attempt),
		GPUs:    j.NumGPUs,
		Threads: r.Plan.Spec.Local.Threads,
	}
}
