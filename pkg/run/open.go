package run

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sextant/internal/points"
	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// Options say how a run is opened.
type Options struct {
	// Reuse chooses the directory. "": the newest run of the plan's identity, or a new one. "latest", a name below the work directory or
	// a path: that run, whatever its identity; rows are then reused where their digests hold.
	Reuse string
	// Existing refuses to make a directory: a run that is not there is ErrNoRun.
	Existing bool
	// Window is how many jobs may be with the scheduler at once, running or queued. 0: twice the plan's max_num_workers, so that a
	// queued one begins as soon as another ends; on a cluster more.
	Window int
	// GoOn makes failures of the submits before count, as they do not when somebody asks again.
	GoOn bool
	// Detach makes Execute return as soon as workers are asked for.
	Detach bool
	// Quantize carries out the plan's quantizations alone: what comes after them is left for another time.
	Quantize bool
	// Limit is how long a job's worker may take; nil: as long as the scheduler lets it.
	Limit func(plan.Job) time.Duration
	// Measured is told what a job's attempt took. It may be nil.
	Measured func(plan.Job, result.End)
}

// ErrNoRun says that the run that was asked for is not there.
var ErrNoRun = errors.New("no such run")

// Run is a run directory at hand, locked against other submits.
type Run struct {
	Dir      result.Dir
	Plan     *plan.Plan
	window   int  // workers with the scheduler, running or queued
	drain    bool // workers go on with other tickets of their pool
	claims   bool // every worker claims its ticket before it begins
	goOn     bool
	detach   bool
	quantize bool          // nothing else is to be done
	tick     time.Duration // how often the workers' files are looked at
	grace    time.Duration // how late files of another machine may be seen
	cwd      string        // where scripts go before they begin
	memory   int64         // bytes that a worker is given, where known
	limit    func(plan.Job) time.Duration
	measured func(plan.Job, result.End)
	lock     *os.File
	journal  *journal
	same     map[string]func(result.Record) bool // by task
}

// Open finds or makes the plan's run directory below workDir, locks it and leaves the plan in it. A run that another submit works on gives
// an error that wraps ErrLocked and says who that is.
func Open(workDir string, p *plan.Plan, o Options) (*Run, error) {
	dir, found, err := locate(workDir, p, o.Reuse)
	if err != nil {
		return nil, err
	}
	if o.Existing && !found {
		return nil, fmt.Errorf("%w of this spec in %q: run it first", ErrNoRun, workDir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("making the run directory: %w; choose another place with -w DIR or work_dir", err)
	}
	r, err := newRun(dir, p, o)
	if err != nil {
		return nil, err
	}
	if r.lock, err = lock(r.Dir.Lock()); err != nil {
		return nil, fmt.Errorf("run %q: %w", dir, err)
	}
	if err := r.prepare(); err != nil {
		r.Close()
		return nil, fmt.Errorf("run %q: %w", dir, err)
	}
	return r, nil
}

// What a cluster is asked: so many workers in its queue at a time, and a look at shared files so often. NFS may show a file this much later.
const (
	clusterWindow = 2000
	clusterTick   = time.Second
	clusterGrace  = time.Minute
)

func newRun(dir string, p *plan.Plan, o Options) (*Run, error) {
	r := &Run{Dir: result.Dir(dir), Plan: p, window: o.Window, goOn: o.GoOn, detach: o.Detach, quantize: o.Quantize,
		limit: o.Limit, measured: o.Measured, tick: tick}
	workers := max(p.Spec.Infer.MaxNumWorkers, 1)
	if p.Spec.Infer.Remote() {
		var err error
		if r.cwd, err = os.Getwd(); err != nil {
			return nil, fmt.Errorf("finding the current directory: %w", err)
		}
		r.drain, r.claims, r.tick, r.grace, r.memory = Drains(&p.Spec), true, clusterTick, clusterGrace, mebibytes(p.Spec.Slurm.Mem)
		r.window = cmp.Or(max(r.window, 0), max(clusterWindow, 2*workers))
	}
	r.window = cmp.Or(max(r.window, 0), 2*workers)
	return r, nil
}

// mebibytes is a size as sbatch takes it, in bytes; 0 when it is none.
func mebibytes(size string) int64 {
	number := strings.TrimRight(size, "KMGT")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0
	}
	switch strings.TrimPrefix(size, number) {
	case "K":
		return n << 10
	case "G":
		return n << 30
	case "T":
		return n << 40
	}
	return n << 20
}

// tick is how often progress is looked at on this machine.
const tick = 500 * time.Millisecond

// Close lets go of the run. Others may open it then.
func (r *Run) Close() error {
	var errs []error
	if r.journal != nil && r.journal.f != nil {
		errs = append(errs, r.journal.f.Close())
	}
	if r.lock != nil {
		errs = append(errs, r.lock.Close())
	}
	return errors.Join(errs...)
}

// prepare leaves the plan in the directory, keeping the one it replaces, and opens the journal.
func (r *Run) prepare() error {
	points.Reached("run:locked")
	if err := os.Remove(r.Dir.CancelRequest()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.savePlan(); err != nil {
		return err
	}
	points.Reached("run:planned")
	var err error
	if r.journal, err = openJournal(r.Dir.Journal()); err != nil {
		return err
	}
	return r.journal.add(entry{Event: evOpen, Identity: r.Plan.Identity, Fresh: !r.goOn, Reason: fmt.Sprintf("pid %d", os.Getpid())})
}

func (r *Run) savePlan() error {
	old, err := os.ReadFile(r.Dir.Plan())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if p, err := plan.Load(r.Dir.Plan()); err == nil && p.Digest == r.Plan.Digest {
			return nil
		}
		n := 1
		for ; exists(r.Dir.OldPlan(n)); n++ {
		}
		if err := result.Commit(r.Dir.OldPlan(n), writeBytes(old)); err != nil {
			return err
		}
		points.Reached("run:kept")
	}
	return r.Plan.Save(r.Dir.Plan())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// stamp is the time in a run's name, so that names sort by age.
const stamp = "20060102_150405"

// locate chooses the run directory and says whether it is there.
func locate(workDir string, p *plan.Plan, reuse string) (dir string, found bool, err error) {
	switch reuse {
	case "":
		runs, err := runsIn(workDir)
		if err != nil {
			return "", false, err
		}
		for _, dir := range slices.Backward(runs) {
			if identityOf(dir) == p.Identity[:8] {
				return dir, true, nil
			}
		}
		dir = filepath.Join(workDir, time.Now().Format(stamp)+"-"+p.Identity[:8])
		return dir, exists(dir), nil
	case "latest":
		runs, err := runsIn(workDir)
		if err != nil {
			return "", false, err
		}
		if len(runs) == 0 {
			return "", false, fmt.Errorf("reusing the latest run: %w in %q", ErrNoRun, workDir)
		}
		return runs[len(runs)-1], true, nil
	}
	for _, dir := range []string{filepath.Join(workDir, reuse), reuse} {
		if exists(result.Dir(dir).Plan()) {
			return dir, true, nil
		}
	}
	return "", false, fmt.Errorf("reusing run %q: %w: neither in %q nor by itself is it a directory with a plan.json", reuse, ErrNoRun, workDir)
}

// runsIn lists the runs of a work directory, oldest first.
func runsIn(workDir string) ([]string, error) {
	entries, err := os.ReadDir(workDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for runs: %w; choose another place with -w DIR or work_dir", err)
	}
	var runs []string
	for _, e := range entries {
		name := e.Name()
		if len(name) != len(stamp)+9 || name[len(stamp)] != '-' {
			continue
		}
		if _, err := time.Parse(stamp, name[:len(stamp)]); err == nil {
			runs = append(runs, filepath.Join(workDir, name))
		}
	}
	return runs, nil
}

// identityOf is the beginning of the identity of what a run directory is about: of its plan, which -r may have changed, or of its name as
// long as it has no plan.
func identityOf(dir string) string {
	id, err := plan.ReadIdentity(result.Dir(dir).Plan())
	if err == nil && len(id) >= 8 {
		return id[:8]
	}
	return filepath.Base(dir)[len(stamp)+1:]
}
