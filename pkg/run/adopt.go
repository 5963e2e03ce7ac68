package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sextant/internal/points"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// adopt takes up what a submit that died or detached has left: workers that live on, tickets that are open. Workers of another question are
// cancelled, and waited for, so that none writes behind our back while we look at what is done. Then it looks.
func (c *controller) adopt(ctx context.Context) error {
	foreign := c.recall()
	if len(c.live)+len(foreign)+len(c.hands) > 0 {
		c.observe(Event{Kind: Adopting}) // how far the run is nobody knows yet
	}
	if err := c.expel(ctx, foreign); err != nil {
		return err
	}
	points.Reached("run:expelled")
	ended, err := c.settle(ctx)
	if err != nil {
		return err
	}
	if err := c.cover.all(); err != nil {
		return err
	}
	for _, e := range c.run.journal.entries {
		if e.Event == evEnd { // who had it matters no more
			c.seen[e.ticket()] = true
		}
	}
	if err := c.seeClaims(); err != nil {
		return err
	}
	points.Reached("run:adopted")
	c.begin()
	points.Reached("run:began")
	return c.part(ended)
}

// recall reads from the journal who may still be at work, and on what. It gives back the workers of another question.
func (c *controller) recall() (foreign []*hand) {
	past := c.run.journal.past(c.run.Plan.Identity)
	for _, o := range past.hands {
		h := &hand{ticket: result.Ticket{Job: o.Job, Attempt: o.Attempt}, ref: o.Ref, status: scheduler.Status{State: scheduler.Pending}}
		j, known := c.jobs[o.Job]
		if h.pool = j.Pool(); known && o.ours {
			c.hands[o.Ref.Name] = h
		} else {
			foreign = append(foreign, h)
		}
	}
	var aside, again []*attempt
	for _, o := range past.tickets {
		a := &attempt{job: plan.Job{ID: o.Job, Shards: o.Shards}, n: o.Attempt, name: o.Ref.Name, hand: o.Ref.Name, sent: true}
		j, known := c.jobs[o.Job]
		for _, s := range o.Shards {
			_, ok := c.shards[s]
			known = known && ok
		}
		if !o.ours || !known {
			aside = append(aside, a)
			continue
		}
		a.job = j
		a.job.Shards = o.Shards
		if older := c.live[o.Job]; older != nil {
			again = append(again, older)
		}
		c.live[o.Job] = a
	}
	c.close("it is of another plan", aside...)
	c.close("it was made again", again...)
	if c.run.goOn {
		for _, f := range past.faults {
			c.blame.apply(f, c.shards[f.Shard].Task)
		}
	}
	return foreign
}

// closers is how many tickets are closed at once: on a network file system each takes its time.
const closers = 16

// close takes tickets out of play that nobody is to do.
func (c *controller) close(why string, list ...*attempt) {
	var wg sync.WaitGroup
	var entries []entry
	slots := make(chan struct{}, closers)
	for _, a := range list {
		entries = append(entries, c.endOf(a, entry{Reason: why}))
		if a.claimed || !c.run.claims {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			_, _ = c.run.Dir.Take(result.Claim{Ticket: a.ticket(), Time: time.Now(), Closed: why})
			<-slots
		})
	}
	wg.Wait()
	if len(entries) > 0 {
		points.Reached("run:closed")
		c.note(entries...)
	}
}

// settle asks which workers of ours have ended, and gives their names.
func (c *controller) settle(ctx context.Context) (ended []string, err error) {
	if len(c.hands) == 0 {
		return nil, nil
	}
	status, err := c.ask(ctx, c.refs())
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(c.hands) {
		st, told := status[name]
		if !told {
			continue
		}
		c.hands[name].status = st
		if st.State.Terminal() {
			ended = append(ended, name)
		}
	}
	return ended, nil
}

// seeClaims takes up who has which ticket, without looking whether they are done.
func (c *controller) seeClaims() error {
	points.Reached("run:claims")
	claimed, err := c.run.Dir.Claimed()
	if err != nil {
		return err
	}
	for _, t := range claimed {
		if !c.seen[t] {
			if err := c.claim(t); err != nil {
				return err
			}
		}
	}
	points.Reached("run:claimed")
	return nil
}

// part takes in the ends of workers, and of tickets of which nobody knows a worker any more.
func (c *controller) part(ended []string) error {
	if err := c.tickets(); err != nil {
		return err
	}
	if err := c.leave(ended); err != nil {
		return err
	}
	for _, job := range sortedKeys(c.live) {
		a := c.live[job]
		if c.hands[a.hand] == nil && !a.claimed {
			if err := c.abandoned(a, scheduler.Status{State: scheduler.Lost, Reason: "the submit that made it is gone"}); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask polls until the scheduler answers.
func (c *controller) ask(ctx context.Context, refs []scheduler.Ref) (map[string]scheduler.Status, error) {
	for {
		status, err := c.sched.Poll(ctx, refs)
		if err == nil {
			return status, nil
		}
		if !errors.Is(err, scheduler.ErrDown) {
			return nil, fmt.Errorf("asking for the jobs of the submit before: %w", err)
		}
		c.observe(Event{Kind: Held, Reason: err.Error()})
		if err := c.nap(ctx); err != nil {
			return nil, err
		}
	}
}

// expel cancels workers and returns when they are gone.
func (c *controller) expel(ctx context.Context, list []*hand) error {
	asked := false
	if len(list) > 0 {
		points.Reached("run:foreign")
	}
	for len(list) > 0 {
		var refs []scheduler.Ref
		for _, h := range list {
			refs = append(refs, h.ref)
		}
		if !asked {
			if err := c.sched.Cancel(ctx, refs); err != nil && !errors.Is(err, scheduler.ErrDown) {
				return fmt.Errorf("cancelling the jobs of the submit before: %w", err)
			} else if err == nil {
				asked = true
			}
		}
		status, err := c.ask(ctx, refs)
		if err != nil {
			return err
		}
		var left []*hand
		for _, h := range list {
			st, told := status[h.ref.Name]
			if !told || !st.State.Terminal() {
				left = append(left, h)
			} else if err := c.run.journal.add(entry{Event: evGone, Job: h.ticket.Job, Attempt: h.ticket.Attempt, Ref: h.ref, Status: &st}); err != nil {
				return err
			}
		}
		if list = left; len(list) > 0 {
			if err := c.nap(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}
