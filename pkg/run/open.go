package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

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
	// queued one begins as soon as another ends.
	Window int
}

// ErrNoRun says that the run that was asked for is not there.
var ErrNoRun = errors.New("no such run")

// Run is a run directory at hand, locked against other submits.
type Run struct {
	Dir     result.Dir
	Plan    *plan.Plan
	window  int
	lock    *os.File
	journal *journal
	same    map[string]func(result.Record) bool // by task
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
	r := &Run{Dir: result.Dir(dir), Plan: p, window: o.Window}
	if r.window <= 0 {
		r.window = 2 * max(p.Spec.Infer.MaxNumWorkers, 1)
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
	reached("locked")
	if err := r.savePlan(); err != nil {
		return err
	}
	reached("planned")
	var err error
	if r.journal, err = openJournal(r.Dir.Journal()); err != nil {
		return err
	}
	return r.journal.add(entry{Event: evOpen, Identity: r.Plan.Identity, Reason: fmt.Sprintf("pid %d", os.Getpid())})
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
		reached("kept")
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
