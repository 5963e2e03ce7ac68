package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sextant/internal/points"
	"sextant/scheduler"
)

// dismiss lets the last workers go, when all is done: none of ours is left in the queue.
func (c *controller) dismiss(ctx context.Context) error {
	c.recount()
	points.Reached("run:dismiss")
	var waiting []scheduler.Ref
	for _, name := range sortedKeys(c.hands) {
		if h := c.hands[name]; h.status.State == scheduler.Pending {
			h.cancelled = true
			waiting = append(waiting, h.ref)
		}
	}
	if len(waiting) > 0 {
		if err := c.quietly(c.sched.Cancel(ctx, waiting)); err != nil {
			return err
		}
	}
	// A cluster that does not answer keeps nobody from the scores for ever: the journal knows who was not seen to leave.
	for begun, asked := time.Now(), false; len(c.hands) > 0 && time.Since(begun) < 2*c.run.grace+stopLimit; {
		if !asked && time.Since(begun) > c.run.grace+10*time.Second {
			asked = true
			if err := c.quietly(c.sched.Cancel(ctx, c.refs())); err != nil {
				return err
			}
		}
		if err := c.nap(ctx); err != nil {
			return err
		}
		if err := c.poll(ctx); err != nil {
			return err
		}
	}
	return nil
}

// nap is a short wait for the scheduler.
func (c *controller) nap(ctx context.Context) error {
	tctx, cancel := context.WithTimeout(ctx, c.run.tick)
	defer cancel()
	_ = c.sched.Wait(tctx)
	return ctx.Err()
}

// detach leaves the workers to themselves.
func (c *controller) detach() {
	c.out.Detached, c.out.Hands = true, c.refs()
}

// stopLimit bounds the wait for jobs that are being stopped; a scheduler kills those that do not listen long before.
const stopLimit = 2 * time.Minute

// stop ends the workers and notes how they ended, as far as the journal can still be written.
func (c *controller) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	c.recount()
	if len(c.hands) > 0 {
		c.emit(Event{Kind: Stopping})
	}
	points.Reached("run:stop")
	var err error
	for asked := false; len(c.hands) > 0 && err == nil; {
		if !asked {
			err = c.sched.Cancel(ctx, c.refs())
			asked = err == nil
			points.Reached("run:stop-asked")
		}
		var status map[string]scheduler.Status
		if err == nil {
			status, err = c.sched.Poll(ctx, c.refs())
		}
		for name, h := range c.hands {
			if st, told := status[name]; told && st.State.Terminal() {
				c.note(entry{Event: evGone, Job: h.ticket.Job, Attempt: h.ticket.Attempt, Ref: h.ref, Status: &st})
				delete(c.hands, name)
			}
		}
		if errors.Is(err, scheduler.ErrDown) {
			c.emit(Event{Kind: Held, Reason: err.Error()})
			err = nil
		}
		if len(c.hands) > 0 && err == nil {
			err = c.nap(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("stopping the jobs: %w; see whether some are left with submit status %s", err, c.run.Dir)
	}
	var open []*attempt
	for _, job := range sortedKeys(c.live) {
		open = append(open, c.live[job])
	}
	c.close("stopped", open...)
	clear(c.live)
	points.Reached("run:stopped")
	return nil
}

// note journals what is good to know but not worth failing for.
func (c *controller) note(e ...entry) { _ = c.run.journal.add(e...) }
