package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"sextant/scheduler"
)

// Options say what of this machine may be used.
type Options struct {
	Workers int           // processes at once, default 1
	Threads int           // CPU threads of a process; 0: this machine's divided by Workers, one at least
	GPUs    []string      // ids that may be given out; nil: VisibleGPUs()
	Grace   time.Duration // between the signal that asks a process to end and the one that makes it, default 10 s
}

// Scheduler runs jobs on this machine. Its methods may be called from several goroutines.
type Scheduler struct {
	opt     Options
	parent  *os.File // read end of a pipe that this process alone holds open; children inherit it
	hold    *os.File
	mu      sync.Mutex
	jobs    map[string]*job // by name
	queue   []*job          // pending, in the order of submission
	running int
	free    []string             // GPU ids
	foreign map[string][]int     // processes of dead submitters when this one began, by job
	orphans map[string]time.Time // since when they have been asked to leave
	changed chan struct{}        // holds one token when Poll has news
	closed  bool
}

// job is one job of this process. Its fields are guarded by the scheduler's mutex.
type job struct {
	scheduler.Job
	status    scheduler.Status
	gpus      []string
	pid       int
	cancelled bool
	done      chan struct{} // closed when the process and its group are gone
}

// New makes a scheduler. Close it: the processes still running then leave.
func New(o Options) (*Scheduler, error) {
	o.Workers = max(o.Workers, 1)
	if o.Threads <= 0 {
		o.Threads = max(runtime.NumCPU()/o.Workers, 1)
	}
	if o.GPUs == nil {
		o.GPUs = VisibleGPUs()
	}
	if o.Grace <= 0 {
		o.Grace = 10 * time.Second
	}
	foreign, err := alive()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the local scheduler: %w", err)
	}
	return &Scheduler{opt: o, parent: r, hold: w, jobs: map[string]*job{}, free: slices.Clone(o.GPUs),
		foreign: foreign, orphans: map[string]time.Time{}, changed: make(chan struct{}, 1)}, nil
}

// Submit queues jobs and starts those there is room for. It returns the jobs accepted, in order: when that is fewer than were given, the
// error is of the first that was not. An error that wraps scheduler.ErrUnsatisfiable says that this job can never run here.
func (s *Scheduler) Submit(ctx context.Context, jobs []scheduler.Job) ([]scheduler.Ref, error) {
	var refs []scheduler.Ref
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.dispatch()
	for _, j := range jobs {
		if err := s.check(ctx, j); err != nil {
			return refs, fmt.Errorf("submitting job %q: %w", j.Name, err)
		}
		if s.jobs[j.Name] == nil && len(s.foreign[j.Name]) == 0 {
			q := &job{Job: j, status: scheduler.Status{State: scheduler.Pending}, done: make(chan struct{})}
			s.jobs[j.Name] = q
			s.queue = append(s.queue, q)
		}
		refs = append(refs, scheduler.Ref{Name: j.Name})
	}
	return refs, nil
}

func (s *Scheduler) check(ctx context.Context, j scheduler.Job) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.closed:
		return errors.New("the scheduler is closed")
	case j.Name == "" || len(j.Args) == 0 || j.Log == "":
		return errors.New("it has no name, no command or no log")
	case j.GPUs > len(s.opt.GPUs):
		return fmt.Errorf("%w: it wants %d GPUs, this machine offers %d (see CUDA_VISIBLE_DEVICES)", scheduler.ErrUnsatisfiable, j.GPUs, len(s.opt.GPUs))
	}
	return nil
}

// dispatch starts queued jobs while there is room, in order. A job that waits for GPUs holds back those behind it that want GPUs too, so
// that a large one is not starved; it does not hold back those that want none.
func (s *Scheduler) dispatch() {
	waiting := false
	s.queue = slices.DeleteFunc(s.queue, func(j *job) bool {
		if s.closed || s.running >= s.opt.Workers || j.GPUs > 0 && (waiting || j.GPUs > len(s.free)) {
			waiting = waiting || j.GPUs > 0
			return false
		}
		j.gpus, s.free = slices.Clone(s.free[:j.GPUs]), s.free[j.GPUs:]
		s.running++
		s.start(j)
		return true
	})
}

// finish notes how a job ended and gives back what it had.
func (s *Scheduler) finish(j *job, status scheduler.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(j, status)
	s.running--
	s.free = append(s.free, j.gpus...)
	slices.SortFunc(s.free, func(a, b string) int { return slices.Index(s.opt.GPUs, a) - slices.Index(s.opt.GPUs, b) })
	s.dispatch()
}

func (s *Scheduler) end(j *job, status scheduler.Status) {
	status.Started, status.Ended = j.status.Started, time.Now()
	if j.cancelled && status.State != scheduler.Done {
		status.State, status.Reason = scheduler.Cancelled, "cancelled"
	}
	j.status = status
	close(j.done)
	s.wake()
}

func (s *Scheduler) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Poll tells the status of each job, by name. A job that another submitter, now dead, had started is running until it has left; then, and
// when it was never there, it is lost. Poll makes such a job leave: by end of file on its pipe, then SIGTERM, then SIGKILL.
func (s *Scheduler) Poll(_ context.Context, refs []scheduler.Ref) (map[string]scheduler.Status, error) {
	status := make(map[string]scheduler.Status, len(refs))
	var foreign []string
	s.mu.Lock()
	for _, r := range refs {
		if j := s.jobs[r.Name]; j != nil {
			status[r.Name] = j.status
		} else {
			foreign = append(foreign, r.Name)
		}
	}
	s.mu.Unlock()
	if len(foreign) == 0 {
		return status, nil
	}
	alive, err := alive()
	if err != nil {
		return nil, err
	}
	for _, name := range foreign {
		if pids := alive[name]; len(pids) > 0 {
			s.urge(name, pids)
			status[name] = scheduler.Status{State: scheduler.Running}
			continue
		}
		s.forget(name)
		status[name] = scheduler.Status{State: scheduler.Lost, Reason: "the submit that started it is gone"}
	}
	return status, nil
}

// Wait returns when Poll may have news: at once after a job ended, and while orphans are about, every tenth of a second.
func (s *Scheduler) Wait(ctx context.Context) error {
	s.mu.Lock()
	orphans := len(s.orphans) > 0
	s.mu.Unlock()
	var tick <-chan time.Time
	if orphans {
		tick = time.After(100 * time.Millisecond)
	}
	select {
	case <-s.changed:
		return nil
	case <-tick:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Cancel ends jobs: a pending one at once, a running one by SIGTERM to its process group and SIGKILL after the grace. It does not wait;
// Poll tells when they are gone. Jobs that have ended are left as they are.
func (s *Scheduler) Cancel(_ context.Context, refs []scheduler.Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range refs {
		j := s.jobs[r.Name]
		if j == nil || j.status.State.Terminal() || j.cancelled {
			continue
		}
		j.cancelled = true
		if i := slices.Index(s.queue, j); i >= 0 {
			s.queue = slices.Delete(s.queue, i, i+1)
			s.end(j, scheduler.Status{})
			continue
		}
		go s.stop(j.pid, j.done)
	}
	return nil
}

// Close cancels what is left and returns when it is gone.
func (s *Scheduler) Close() error {
	s.mu.Lock()
	s.closed = true
	var refs []scheduler.Ref
	var left []*job
	for name, j := range s.jobs {
		if !j.status.State.Terminal() {
			refs, left = append(refs, scheduler.Ref{Name: name}), append(left, j)
		}
	}
	s.mu.Unlock()
	err := s.Cancel(context.Background(), refs)
	for _, j := range left {
		<-j.done
	}
	return errors.Join(err, s.hold.Close(), s.parent.Close())
}

// environment is a job's: this process's, the job's own, and what the scheduler gives it.
func (s *Scheduler) environment(j *job) []string {
	threads := j.Threads
	if threads <= 0 {
		threads = s.opt.Threads
	}
	env := append(os.Environ(), j.Env...)
	return append(env, "SEXTANT_JOB="+j.Name, "SEXTANT_PARENT_FD="+strconv.Itoa(parentFD), "SEXTANT_THREADS="+strconv.Itoa(threads),
		"CUDA_VISIBLE_DEVICES="+join(j.gpus))
}
