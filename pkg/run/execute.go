package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"sextant/internal/points"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// ErrInterrupted is what Execute gives when its context ended: the workers have left, the rows done are kept.
var ErrInterrupted = errors.New("interrupted")

// ErrDetached is the cause of a context that ends so that Execute returns at once and leaves the jobs to themselves.
var ErrDetached = errors.New("detached")

// ErrCancelled is what Execute gives when the run was cancelled from elsewhere: by submit cancel.
var ErrCancelled = errors.New("the run was cancelled by another submit")

// Outcome sums up an Execute.
type Outcome struct {
	Reused   int             // rows that were there when it began
	Stale    int             // rows that were there, but of other data, prompts, settings or another model: computed anew
	Attempts int             // jobs submitted; 0: there was nothing to do
	Failures []Failure       // shards given up
	Bad      []error         // files that were found damaged; their rows were computed again
	Detached bool            // jobs were left to themselves
	Hands    []scheduler.Ref // these, then
	Excluded []string        // nodes that were found bad
	Progress Progress        // at the end
}

// Failure is a shard given up.
type Failure struct {
	Task, Shard, Reason string
}

// Execute carries out what is left of the run: it makes tickets, asks the scheduler for workers to do them, makes new ones for what failed,
// and returns when every shard is done or given up. Given up is no error: Outcome.Failures tells. observe, which may be nil, is called from
// this goroutine. A scheduler that does not answer, or takes no more jobs at present, is waited for.
//
// When ctx ends, or nothing can go on (a full disk), the workers are stopped and an error tells why: ErrInterrupted, ErrCancelled, or one for
// which errors.Is(err, syscall.ENOSPC) or EDQUOT holds. What was computed is kept, and the same call later goes on from there. With the cause
// ErrDetached the jobs go on by themselves instead.
func Execute(ctx context.Context, r *Run, s Scheduler, observe func(Event)) (*Outcome, error) {
	c := newController(r, s, observe)
	err := c.adopt(ctx)
	if err == nil {
		err = c.loop(ctx)
	}
	c.out.Bad = c.cover.bad
	c.out.Excluded = c.nodes.excluded()
	if err == nil {
		c.count()
		c.out.Progress = c.progress()
		return &c.out, nil
	}
	if errors.Is(context.Cause(ctx), ErrDetached) {
		c.detach()
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
	run      *Run
	sched    Scheduler
	observe  func(Event)
	cover    *coverage
	shards   map[string]plan.Shard
	jobs     map[string]plan.Job
	todo     *plan.Plan                  // what is to be carried out of the run's plan
	live     map[string]*attempt         // by job: the ticket that is being done or waits
	hands    map[string]*hand            // by name: workers that the scheduler has
	gone     map[string]scheduler.Status // by name: workers that have ended
	doubt    map[string]bool             // by name: workers that may be there, though the scheduler does not say so
	seen     map[result.Ticket]bool      // claims that were read
	blame    blame
	nodes    nodes
	given    map[string]bool   // shards given up
	failed   map[string]string // by task: why a shard of it was given up, the first
	worker   string
	counted  time.Time          // when the attempts under way were last looked at
	underway map[string]int     // by task: their rows, then
	within   map[string]string  // by task: how far its quantization was, then
	tokens   int64              // theirs, then
	spent    int64              // those of attempts that ended since
	states   map[ShardState]int // where the shards were, then
	failures map[Class]int      // attempts that ended badly, by then
	hold     time.Time          // nothing is submitted before
	pause    time.Duration
	out      Outcome
}

func newController(r *Run, s Scheduler, observe func(Event)) *controller {
	if observe == nil {
		observe = func(Event) {}
	}
	todo := r.Plan
	if r.quantize {
		todo = r.Plan.Quantizations()
	}
	c := &controller{run: r, todo: todo, sched: s, observe: observe, cover: newCoverage(r), shards: map[string]plan.Shard{}, jobs: map[string]plan.Job{},
		live: map[string]*attempt{}, hands: map[string]*hand{}, gone: map[string]scheduler.Status{}, doubt: map[string]bool{},
		seen: map[result.Ticket]bool{}, blame: newBlame(r.Plan.Spec.Infer.Retry), nodes: newNodes(), given: map[string]bool{},
		failed: map[string]string{}, underway: map[string]int{}, within: map[string]string{}}
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
		if err := c.mayGoOn(ctx); err != nil {
			return err
		}
		again, err := c.apply(ctx, Reconcile(c.todo, c.observed()))
		if err == nil && !again {
			if len(c.live) == 0 {
				return c.dismiss(ctx)
			}
			again, err = c.send(ctx)
		}
		if err != nil {
			return err
		}
		if again {
			continue
		}
		if c.run.detach && c.queued() {
			c.detach()
			return nil
		}
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
}

// queued says that the scheduler has as many workers as it gets for now. What is left over is done by these, or by whoever resumes the run.
func (c *controller) queued() bool {
	full := len(c.hands) > 0 && (len(c.hands) >= c.run.window || time.Now().Before(c.hold))
	return len(c.live) > 0 && (full || len(c.unsent()) == 0) // what was sent may have ended already
}

// mayGoOn ends the work when somebody wants it.
func (c *controller) mayGoOn(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Lstat(c.run.Dir.CancelRequest()); err == nil {
		return ErrCancelled
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c *controller) observed() Observed {
	live := make(map[string][]string, len(c.live))
	for job, a := range c.live {
		live[job] = a.job.Shards
	}
	slots := len(c.jobs)
	if !c.run.drain { // tickets are made as they are needed, by half a window
		if slots = c.run.window - len(c.live); len(c.live) > c.run.window/2 {
			slots = 0
		}
	}
	return Observed{Rows: c.cover.rows, Final: c.cover.final, Live: live, Tries: c.blame.tries, Reason: c.blame.reason, Doomed: c.blame.doomed,
		Retry: c.blame.retry, Slots: slots, Ahead: c.run.detach && c.run.claims}
}

// apply does the actions and says whether there may be more to do at once.
func (c *controller) apply(ctx context.Context, actions []Action) (again bool, err error) {
	var submit, giveUp []Action
	for _, a := range actions {
		switch a.Kind {
		case Commit:
			points.Reached("run:commit")
			again, err = true, c.cover.commit(c.shards[a.Shards[0]])
			points.Reached("run:committed")
		case GiveUp:
			giveUp = append(giveUp, a)
		case Cancel:
			var finished bool
			finished, err = c.cancel(ctx, a.Job)
			again = again || finished
		case Submit:
			submit = append(submit, a)
		}
		if err != nil {
			return false, err
		}
	}
	if err := c.giveUp(giveUp); err != nil {
		return false, err
	}
	if len(submit) > 0 {
		err = c.makeTickets(submit)
		again = again || c.run.detach // for there may be such as can be queued behind them
	}
	return again, err
}

// giveUp gives shards up, each once.
func (c *controller) giveUp(actions []Action) error {
	var entries []entry
	for _, a := range actions {
		id := a.Shards[0]
		if c.given[id] {
			continue
		}
		c.given[id] = true
		task := c.shards[id].Task
		c.out.Failures = append(c.out.Failures, Failure{Task: task, Shard: id, Reason: a.Reason})
		if c.failed[task] == "" {
			c.failed[task] = a.Reason
		}
		c.emit(Event{Kind: GaveUp, Shard: id, Reason: a.Reason})
		entries = append(entries, entry{Event: evGiveUp, Shards: a.Shards, Reason: a.Reason})
	}
	if len(entries) == 0 {
		return nil
	}
	points.Reached("run:giveup")
	defer points.Reached("run:given-up")
	return c.run.journal.add(entries...)
}

// cancel takes a ticket that cannot succeed out of play, and says whether that is done. A worker that is at it is stopped, unless it has
// other work too: it will find out.
func (c *controller) cancel(ctx context.Context, job string) (finished bool, err error) {
	a := c.live[job]
	h := c.hands[a.hand]
	if a.claimed || h != nil && !c.run.drain {
		if c.run.drain || h == nil || h.cancelled {
			return false, nil
		}
		h.cancelled = true
		return false, c.quietly(c.sched.Cancel(ctx, []scheduler.Ref{h.ref}))
	}
	taken, err := c.run.Dir.Take(result.Claim{Ticket: a.ticket(), Time: time.Now(), Closed: "its task cannot succeed"})
	if err != nil || !taken {
		return false, err
	}
	points.Reached("run:cancelled")
	return true, c.finish(a, scheduler.Status{State: scheduler.Cancelled, Reason: "its task cannot succeed"})
}

// wait sleeps until the scheduler has news or it is time to look at the workers' files.
func (c *controller) wait(ctx context.Context) error {
	tctx, cancel := context.WithTimeout(ctx, c.run.tick)
	defer cancel()
	err := c.sched.Wait(tctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return c.poll(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		if err := c.tickets(); err != nil {
			return err
		}
		c.emit(Event{Kind: Progressed})
		return c.thin(ctx)
	}
	return fmt.Errorf("waiting for jobs: %w", err)
}

// quietly passes over a scheduler that does not answer: what was asked of it will be asked again.
func (c *controller) quietly(err error) error {
	if errors.Is(err, scheduler.ErrDown) || errors.Is(err, scheduler.ErrBusy) {
		c.emit(Event{Kind: Held, Reason: err.Error()})
		return nil
	}
	return err
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
