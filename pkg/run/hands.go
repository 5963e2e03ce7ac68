package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"sextant/internal/points"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// hand is a worker that the scheduler was asked for and that has not ended. It was asked for because of one ticket, and may do others.
type hand struct {
	ticket    result.Ticket
	pool      string
	ref       scheduler.Ref
	status    scheduler.Status
	cancelled bool
	came      bool // it took a ticket
	announced bool // that it runs
}

// refs lists the workers there are.
func (c *controller) refs() []scheduler.Ref {
	var refs []scheduler.Ref
	for _, name := range sortedKeys(c.hands) {
		refs = append(refs, c.hands[name].ref)
	}
	return refs
}

// poll takes in what became of the workers, and what they left.
func (c *controller) poll(ctx context.Context) error {
	status, err := c.sched.Poll(ctx, c.refs())
	if errors.Is(err, scheduler.ErrDown) {
		c.emit(Event{Kind: Held, Reason: err.Error()})
		return c.tickets()
	}
	if err != nil {
		return fmt.Errorf("asking for the jobs' states: %w", err)
	}
	points.Reached("run:polled")
	var left []string
	for _, name := range sortedKeys(c.hands) {
		h := c.hands[name]
		st, ok := status[name]
		if !ok {
			continue
		}
		h.status = st
		if st.State == scheduler.Running || !st.Started.IsZero() { // one may have ended between two looks
			c.announce(h)
		}
		if st.State.Terminal() {
			left = append(left, name)
		}
	}
	// The claims are read after the states: whatever a worker that has ended had taken is seen as its own.
	if err := c.tickets(); err != nil {
		return err
	}
	if err := c.leave(left); err != nil {
		return err
	}
	return c.thin(ctx)
}

// announce tells, once, that a worker is at work.
func (c *controller) announce(h *hand) {
	if h.announced {
		return
	}
	h.announced = true
	log := h.status.Log
	if log == "" {
		log = c.run.Dir.Log(h.ticket.Job, h.ticket.Attempt)
	}
	c.emit(Event{Kind: Started, Job: h.ticket.Job, Attempt: h.ticket.Attempt, Log: log})
}

// leave takes in that workers have ended: their tickets end with them.
func (c *controller) leave(names []string) error {
	var entries []entry
	absent := map[string]bool{} // they failed before they took a ticket
	for _, name := range names {
		h := c.hands[name]
		delete(c.hands, name)
		absent[name] = c.run.claims && !h.came && h.status.State == scheduler.Failed && h.status.Cause == "" && !c.cameEarly(h.ticket.Job, h.status)
		if h.status.State == scheduler.Cancelled && !h.cancelled && c.run.claims {
			h.status.Cause, h.status.Reason = evicted, "it was cancelled, but not by submit"
		}
		c.gone[name] = h.status
		if h.status.State == scheduler.Lost && c.run.claims {
			c.doubt[name] = true
		}
		st := h.status
		entries = append(entries, entry{Event: evGone, Job: h.ticket.Job, Attempt: h.ticket.Attempt, Ref: h.ref, Status: &st})
	}
	if len(names) == 0 {
		return nil
	}
	held := map[string][]*attempt{}
	for _, job := range sortedKeys(c.live) {
		a := c.live[job]
		held[a.hand] = append(held[a.hand], a)
	}
	var stop error
	for _, name := range names {
		st, told := c.gone[name], false
		for _, a := range held[name] {
			if err := c.abandoned(a, st); err != nil {
				return err
			}
			told = told || c.live[a.job.ID] != a
		}
		if absent[name] && !told { // its ticket is with another; its node is bad all the same
			stop = errors.Join(stop, c.nodes.note(st, verdict{cause: scheduler.Launch, reason: st.Reason}))
		}
	}
	points.Reached("run:left")
	return errors.Join(c.run.journal.add(entries...), stop)
}

// abandoned ends a ticket whose worker has ended. One that the worker never took is taken out of play first: another may be about to take it,
// and has it then.
func (c *controller) abandoned(a *attempt, st scheduler.Status) error {
	if a.claimed {
		return c.bereft(a, st)
	}
	if c.run.claims {
		taken, err := c.run.Dir.Take(result.Claim{Ticket: a.ticket(), Time: time.Now(), Closed: "its worker never came"})
		if err != nil {
			return err
		}
		points.Reached("run:abandoned")
		if !taken {
			return c.claim(a.ticket())
		}
		if st.State == scheduler.Failed && st.Cause == "" {
			st.Cause = scheduler.Launch
			if c.cameEarly(a.job.ID, st) {
				st.Cause = early
			}
		}
	}
	return c.ended(a, st)
}

// bereft ends a ticket that a worker took which has ended since. When that went well, what it did may only be unseen yet.
func (c *controller) bereft(a *attempt, st scheduler.Status) error {
	if st.State == scheduler.Done {
		if late, err := c.unseen(a); err != nil || late {
			return err
		}
	}
	return c.ended(a, st)
}

// unseen says that the rows of a ticket whose worker is said to be done are not all to be seen, but may come: files of another machine may be
// seen late.
func (c *controller) unseen(a *attempt) (bool, error) {
	if a.ended.IsZero() {
		a.ended = time.Now()
	}
	if time.Since(a.ended) >= c.run.grace {
		return false, nil
	}
	if err := c.recover(a); err != nil {
		return false, err
	}
	return !c.whole(a), nil
}

func (c *controller) shardsOf(a *attempt) []plan.Shard {
	var shards []plan.Shard
	for _, id := range a.job.Shards {
		shards = append(shards, c.shards[id])
	}
	return shards
}

// tickets takes in which tickets were claimed, and which are done.
func (c *controller) tickets() error {
	if err := c.seeClaims(); err != nil {
		return err
	}
	for _, job := range sortedKeys(c.live) {
		if a := c.live[job]; a.claimed {
			if err := c.look(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// claim reads who took a ticket.
func (c *controller) claim(t result.Ticket) error {
	claim, err := result.ReadClaim(c.run.Dir.Claim(t))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not to be seen yet
	}
	if err != nil {
		return err
	}
	c.seen[t] = true
	c.nodes.began(claim.Host)
	if err := c.meet(claim); err != nil {
		return err
	}
	if h := c.hands[claim.Worker]; h != nil {
		h.came = true
	}
	a := c.live[t.Job]
	switch {
	case claim.Closed != "" && a != nil && a.n == t.Attempt: // by a submit that died before it could note so
		return c.finish(a, scheduler.Status{State: scheduler.Cancelled, Reason: claim.Closed})
	case claim.Closed != "":
	case a != nil && a.n == t.Attempt:
		a.claimed, a.hand = true, claim.Worker
	case a == nil || a.n < t.Attempt:
		return c.retaken(a, claim)
	}
	return nil
}

// meet takes up a worker that was asked for, but that was not known to be there: the scheduler did not answer, or did not know it at first.
func (c *controller) meet(claim result.Claim) error {
	name := claim.Worker
	t, asked := c.run.journal.asked[name]
	j, known := c.jobs[t.Job]
	if _, ended := c.gone[name]; !asked || !known || claim.Closed != "" || c.hands[name] != nil || ended && !c.doubt[name] || c.run.journal.left[name] {
		return nil
	}
	points.Reached("run:met")
	c.expect(name)
	c.hands[name].pool = j.Pool()
	if a := c.live[t.Job]; a != nil && a.n == t.Attempt {
		a.sent = true
	}
	return c.run.journal.add(entry{Event: evAccept, Job: t.Job, Attempt: t.Attempt, Ref: c.hands[name].ref})
}

// expect counts a worker among those that are there until the scheduler says otherwise.
func (c *controller) expect(name string) {
	delete(c.gone, name)
	delete(c.doubt, name)
	t := c.run.journal.asked[name]
	c.hands[name] = &hand{ticket: t, pool: c.jobs[t.Job].Pool(), ref: scheduler.Ref{Name: name}, status: scheduler.Status{State: scheduler.Pending}}
}

// recount takes up the workers of which nobody is sure that they are not there.
func (c *controller) recount() {
	for _, name := range sortedKeys(c.doubt) {
		if c.hands[name] == nil {
			c.expect(name)
		}
	}
}

// retaken takes up a ticket that a worker made for itself, after the scheduler started it anew.
func (c *controller) retaken(old *attempt, claim result.Claim) error {
	if c.hands[claim.Worker] == nil {
		return nil
	}
	if _, ok := c.jobs[claim.Job]; !ok {
		return nil
	}
	j, err := plan.LoadJob(c.run.Dir, c.run.Plan, claim.Job, claim.Attempt)
	if err != nil {
		return err
	}
	entries := []entry{{Event: evSubmit, Job: j.ID, Attempt: claim.Attempt, Shards: j.Shards, Ref: c.hands[claim.Worker].ref}}
	points.Reached("run:retaken")
	if old != nil {
		c.close("its worker was started anew", old)
	}
	c.live[j.ID] = &attempt{job: j, n: claim.Attempt, hand: claim.Worker, sent: true, claimed: true}
	return c.run.journal.add(entries...)
}

// stale is how long a worker that no scheduler knows may be silent.
const stale = 2 * time.Minute

// look finds out whether a ticket that was taken is done.
func (c *controller) look(a *attempt) error {
	end, err := result.ReadEnd(c.run.Dir.End(a.job.ID, a.n))
	switch {
	case err == nil:
		return c.done(a, end)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case c.hands[a.hand] != nil:
		return nil
	}
	if st, ok := c.gone[a.hand]; ok {
		return c.bereft(a, st)
	}
	if info, err := os.Stat(c.run.Dir.Progress(a.job.ID, a.n)); err == nil && time.Since(info.ModTime()) < stale {
		return nil // started by hand, and alive
	}
	return c.ended(a, scheduler.Status{State: scheduler.Lost, Reason: "its worker is gone"})
}

// done takes in a ticket that its worker says it is done with. Files of another machine may be seen late.
func (c *controller) done(a *attempt, end result.End) error {
	st := scheduler.Status{State: scheduler.Done, Node: end.Host}
	if h := c.hands[a.hand]; h != nil {
		st.Log = h.status.Log
		st.Node = cmp.Or(h.status.Node, st.Node)
	}
	if end.Code != 0 {
		st.State, st.ExitCode, st.Reason = scheduler.Failed, end.Code, fmt.Sprintf("exit code %d", end.Code)
	} else if late, err := c.unseen(a); err != nil || late {
		return err
	}
	a.spent = end.Tokens
	if c.run.measured != nil && end.Tokens > 0 {
		c.run.measured(a.job, end)
	}
	return c.ended(a, st)
}

// thin takes back workers that wait in the queue and would find nothing to do.
func (c *controller) thin(ctx context.Context) error {
	if !c.run.drain {
		return nil
	}
	open := map[string]bool{}
	for _, a := range c.live {
		if !a.claimed {
			open[a.job.Pool()] = true
		}
	}
	busy := map[string]bool{} // by name: its own ticket is not with another, nor done; or it was started before, and waits to be started anew
	for _, a := range c.live {
		busy[a.hand] = true
	}
	var idle []scheduler.Ref
	for _, name := range sortedKeys(c.hands) {
		if h := c.hands[name]; !open[h.pool] && h.status.State == scheduler.Pending && !h.cancelled && !busy[name] {
			h.cancelled = true
			idle = append(idle, h.ref)
		}
	}
	if len(idle) == 0 {
		return nil
	}
	points.Reached("run:thin")
	defer points.Reached("run:thinned")
	return c.quietly(c.sched.Cancel(ctx, idle))
}
