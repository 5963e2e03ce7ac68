package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// ErrInterrupted is what Execute gives when its context ended: the workers have left, the rows done are kept.
var ErrInterrupted = errors.New("interrupted")

// Outcome sums up an Execute.
type Outcome struct {
	Reused   int       // rows that were there when it began
	Stale    int       // rows that were there, but of other data, prompts, settings or another model: computed anew
	Attempts int       // jobs submitted; 0: there was nothing to do
	Failures []Failure // shards given up
	Bad      []error   // files that were found damaged; their rows were computed again
}

// Failure is a shard given up.
type Failure struct {
	Task, Shard, Reason string
}

// reached is called at the points where a death of the process is most telling. Tests die there.
var reached = func(point string) {}

// tick is how often progress is looked at.
const tick = 500 * time.Millisecond

// Execute carries out what is left of the run: it submits jobs, waits, submits again what failed, and returns when every shard is done or
// given up. Given up is no error: Outcome.Failures tells. observe, which may be nil, is called from this goroutine.
//
// When ctx ends, or nothing can go on (a full disk), the workers are stopped and an error tells why: ErrInterrupted, or one for which
// errors.Is(err, syscall.ENOSPC) or EDQUOT holds. What was computed is kept, and the same call later goes on from there.
func Execute(ctx context.Context, r *Run, s Scheduler, observe func(Event)) (*Outcome, error) {
	c := newController(r, s, observe)
	err := c.adopt(ctx)
	if err == nil {
		err = c.cover.all()
	}
	if err == nil {
		c.begin()
		err = c.loop(ctx)
	}
	c.out.Bad = c.cover.bad
	if err == nil {
		return &c.out, nil
	}
	stopErr := c.stop()
	if isDiskFull(err) {
		err = fmt.Errorf("the disk of %q is full; free some space and run the same command again, it goes on from the rows done: %w", r.Dir, err)
	} else if ctx.Err() != nil {
		err = ErrInterrupted
	}
	return &c.out, errors.Join(err, stopErr)
}

// controller carries a run through one Execute.
type controller struct {
	run     *Run
	sched   Scheduler
	observe func(Event)
	cover   *coverage
	shards  map[string]plan.Shard
	jobs    map[string]plan.Job
	live    map[string]*attempt // by job
	tries   map[string]int
	reason  map[string]string
	doomed  map[string]string
	given   map[string]bool
	worker  string
	out     Outcome
}

func newController(r *Run, s Scheduler, observe func(Event)) *controller {
	if observe == nil {
		observe = func(Event) {}
	}
	c := &controller{run: r, sched: s, observe: observe, cover: newCoverage(r), shards: map[string]plan.Shard{}, jobs: map[string]plan.Job{},
		live: map[string]*attempt{}, tries: map[string]int{}, reason: map[string]string{}, doomed: map[string]string{}, given: map[string]bool{}}
	for _, s := range r.Plan.Shards {
		c.shards[s.ID] = s
	}
	for _, j := range r.Plan.Jobs {
		c.jobs[j.ID] = j
	}
	return c
}

func (c *controller) begin() {
	for _, n := range c.cover.rows {
		c.out.Reused += n
	}
	for _, n := range c.cover.stale {
		c.out.Stale += n
	}
	c.emit(Event{Kind: Began})
}

// loop reconciles and applies until every shard is done or given up.
func (c *controller) loop(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		actions := Reconcile(c.run.Plan, c.observed())
		again, err := c.apply(ctx, actions)
		if err != nil {
			return err
		}
		if again {
			continue
		}
		if len(c.live) == 0 {
			return nil
		}
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
}

func (c *controller) observed() Observed {
	live := make(map[string][]string, len(c.live))
	for job, a := range c.live {
		live[job] = a.job.Shards
	}
	return Observed{Rows: c.cover.rows, Final: c.cover.final, Live: live, Tries: c.tries, Reason: c.reason, Doomed: c.doomed,
		Retry: c.run.Plan.Spec.Infer.Retry, Slots: c.run.window - len(c.live)}
}

// apply does the actions and says whether there may be more to do at once.
func (c *controller) apply(ctx context.Context, actions []Action) (again bool, err error) {
	var submit []Action
	for _, a := range actions {
		switch a.Kind {
		case Commit:
			reached("commit")
			again, err = true, c.cover.commit(c.shards[a.Shards[0]])
		case GiveUp:
			err = c.giveUp(a)
		case Cancel:
			err = c.cancel(ctx, a.Job)
		case Submit:
			submit = append(submit, a)
		}
		if err != nil {
			return false, err
		}
	}
	if len(submit) > 0 {
		more, err := c.submit(ctx, submit)
		return again || more, err
	}
	return again, nil
}

func (c *controller) giveUp(a Action) error {
	id := a.Shards[0]
	if c.given[id] {
		return nil
	}
	c.given[id] = true
	c.out.Failures = append(c.out.Failures, Failure{Task: c.shards[id].Task, Shard: id, Reason: a.Reason})
	c.emit(Event{Kind: GaveUp, Shard: id, Reason: a.Reason})
	return c.run.journal.add(entry{Event: evGiveUp, Shards: a.Shards, Reason: a.Reason})
}

func (c *controller) cancel(ctx context.Context, job string) error {
	a := c.live[job]
	if a.cancelled {
		return nil
	}
	a.cancelled = true
	return c.sched.Cancel(ctx, []scheduler.Ref{a.ref})
}

// wait sleeps until the scheduler has news or it is time to look at progress.
func (c *controller) wait(ctx context.Context) error {
	tctx, cancel := context.WithTimeout(ctx, tick)
	defer cancel()
	err := c.sched.Wait(tctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return c.poll(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		c.emit(Event{Kind: Progressed})
		return nil
	}
	return fmt.Errorf("waiting for jobs: %w", err)
}

// poll takes in what has ended.
func (c *controller) poll(ctx context.Context) error {
	status, err := c.sched.Poll(ctx, c.refs())
	if err != nil {
		return fmt.Errorf("asking for the jobs' states: %w", err)
	}
	for _, j := range sortedKeys(c.live) {
		a := c.live[j]
		st, ok := status[a.ref.Name]
		if !ok {
			continue
		}
		if st.State == scheduler.Running && !a.running {
			a.running = true
			c.emit(Event{Kind: Started, Job: j, Attempt: a.n, Log: c.run.Dir.Log(j, a.n)})
		}
		if st.State.Terminal() {
			if err := c.ended(a, st); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *controller) refs() []scheduler.Ref {
	var refs []scheduler.Ref
	for _, j := range sortedKeys(c.live) {
		refs = append(refs, c.live[j].ref)
	}
	return refs
}

// stopLimit bounds the wait for jobs that are being stopped; a scheduler kills those that do not listen long before.
const stopLimit = time.Minute

// stop ends the live jobs and notes how they ended, as far as the journal can still be written.
func (c *controller) stop() error {
	if len(c.live) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	c.emit(Event{Kind: Stopping})
	err := c.sched.Cancel(ctx, c.refs())
	for err == nil && len(c.live) > 0 {
		var status map[string]scheduler.Status
		if status, err = c.sched.Poll(ctx, c.refs()); err != nil {
			break
		}
		for j, a := range c.live {
			if st := status[a.ref.Name]; st.State.Terminal() {
				_ = c.run.journal.add(entry{Event: evEnd, Job: j, Attempt: a.n, Status: &st})
				delete(c.live, j)
			}
		}
		if len(c.live) > 0 {
			tctx, cancel := context.WithTimeout(ctx, tick)
			if werr := c.sched.Wait(tctx); ctx.Err() != nil {
				err = werr
			}
			cancel()
		}
	}
	if err != nil {
		return fmt.Errorf("stopping the jobs: %w", err)
	}
	return nil
}

// diskFull tries whether a file can still be written in the run: a worker that dies of a full disk often cannot say so.
func (c *controller) diskFull() error {
	path := c.run.Dir.Lock() + ".probe"
	err := result.Commit(path, writeBytes(make([]byte, 1<<16)))
	_ = os.Remove(path)
	if isDiskFull(err) {
		return err
	}
	return nil
}

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
