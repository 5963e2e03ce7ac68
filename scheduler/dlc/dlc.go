package dlc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// Scheduler runs jobs on DLC. Its methods may be called from several goroutines; one at a time talks to DLC.
type Scheduler struct {
	opt  Options
	cli  cli
	pace *batch.Pace
	now  func() time.Time

	mu    sync.Mutex
	books *os.File // a line for each thing that is to outlive this process
	jobs  map[string]*job
	queue []*job    // held back here, in order
	hold  time.Time // nothing is created before
	why   string    // it is held

	looked time.Time // when the last look was taken that was answered
}

// job is a job as this process knows it.
type job struct {
	record
	spec   scheduler.Job // of one that this process was given
	status scheduler.Status
	misses int       // looks that did not show it, though it was to be
	since  time.Time // when the first of them was
	cancel bool      // it is to end
	asked  bool      // DLC was told so
}

// New makes a scheduler on a directory, where it finds what earlier processes created.
func New(o Options) (*Scheduler, error) {
	o.setDefaults()
	if _, err := exec.LookPath(o.Ask.Program); err != nil {
		return nil, fmt.Errorf("there is no command %q here: install the client of PAI's DLC, run `dlc config`, and put it on PATH or name it "+
			"with [dlc] program", o.Ask.Program)
	}
	for _, dir := range []*string{&o.Dir, &o.Scripts} {
		abs, err := filepath.Abs(*dir)
		if err == nil {
			err = os.MkdirAll(abs, 0o777)
		}
		if err != nil {
			return nil, fmt.Errorf("making the scheduler's directory: %w", err)
		}
		*dir = abs
	}
	s := &Scheduler{opt: o, cli: cli{ask: o.Ask, gap: o.Gap}, pace: batch.NewPace(o.PollMin, o.PollMax), now: time.Now, jobs: map[string]*job{}}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

func (o *Options) setDefaults() {
	o.Workers = max(o.Workers, 1)
	for _, d := range []struct {
		to *time.Duration
		is time.Duration
	}{{&o.PollMin, defaultPollMin}, {&o.PollMax, defaultPollMax}, {&o.Gap, defaultGap}, {&o.Settle, defaultSettle}} {
		if *d.to <= 0 {
			*d.to = d.is
		}
	}
	if o.Ask.Program == "" {
		o.Ask.Program = "dlc"
	}
}

// Close lets go of the directory. Jobs that were created go on; those held back are nowhere then.
func (s *Scheduler) Close() error { return s.books.Close() }

// Wait returns nil when it is time to Poll again: after Options.PollMin, ever later up to Options.PollMax as nothing happens, and soon again
// after a submission, a cancellation or a change that Poll saw. It gives ctx's error when that ends first.
func (s *Scheduler) Wait(ctx context.Context) error { return s.pace.Wait(ctx) }

// Submit takes jobs and returns those accepted, in order; when that is fewer than were given, the error is of the first that was not. As many
// are created at DLC as there are workers free; the others are held back. A job that DLC takes no more at present, or of which its answer was
// lost, is accepted: Poll goes on with it.
func (s *Scheduler) Submit(ctx context.Context, jobs []scheduler.Job) ([]scheduler.Ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.pace.Soon()
	refs, refused := s.take(ctx, jobs)
	failed, err := s.dispatch(ctx)
	if err != nil && !errors.Is(err, scheduler.ErrBusy) && !errors.Is(err, scheduler.ErrDown) {
		// What DLC refuses of one of these jobs is an answer to whoever submits it; those after it are not taken.
		for i, r := range refs {
			if r.Name == failed {
				delete(s.jobs, failed)
				s.forget(jobs[i:])
				return refs[:i], fmt.Errorf("submitting job %q: %w", failed, err)
			}
		}
		return refs, err
	}
	for i := range refs {
		refs[i].ID = s.jobs[refs[i].Name].ID
	}
	return refs, refused
}

// take queues the jobs that are not known yet, up to the first that cannot be.
func (s *Scheduler) take(ctx context.Context, jobs []scheduler.Job) ([]scheduler.Ref, error) {
	var refs []scheduler.Ref
	for _, spec := range jobs {
		if err := errors.Join(ctx.Err(), s.check(spec)); err != nil {
			return refs, fmt.Errorf("submitting job %q: %w", spec.Name, err)
		}
		if s.jobs[spec.Name] == nil {
			j := &job{record: record{Name: spec.Name, Display: displayName(spec.Name), Log: spec.Log, Held: s.now()}, spec: spec}
			j.status.State = scheduler.Pending
			if err := s.note(j.record, false); err != nil {
				return refs, err
			}
			s.jobs[j.Name] = j
			s.queue = append(s.queue, j)
		}
		refs = append(refs, scheduler.Ref{Name: spec.Name})
	}
	return refs, nil
}

// forget drops those of these jobs that are only held back.
func (s *Scheduler) forget(jobs []scheduler.Job) {
	for _, spec := range jobs {
		if j := s.jobs[spec.Name]; j != nil && s.unqueue(j) {
			delete(s.jobs, j.Name)
		}
	}
}
