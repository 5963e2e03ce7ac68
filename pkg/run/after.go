package run

import (
	"slices"

	"sextant/pkg/plan"
	"sextant/scheduler"
)

// early is the cause of the end of a worker that came before what its ticket needs was there.
const early = scheduler.Cause("early")

// exitRetry is the exit code of a worker that may have more luck at another time.
const exitRetry = 75

// first lists the jobs that one comes after and of which shards are not done.
func (c *controller) first(j plan.Job) []string {
	var list []string
	for _, id := range j.After {
		if slices.ContainsFunc(c.jobs[id].Shards, func(s string) bool { return !c.cover.final[s] }) {
			list = append(list, id)
		}
	}
	return list
}

// cameEarly says of a worker that left its ticket alone whether that was because what comes first was not there. It is no fault of the worker
// nor of its node; that what comes first may be there by now does not matter.
func (c *controller) cameEarly(job string, st scheduler.Status) bool {
	return len(c.jobs[job].After) > 0 && st.State == scheduler.Failed && st.ExitCode == exitRetry
}

// holds are the workers that the scheduler must see the end of before it begins one for a job. What else is first is done, or nobody is at it.
func (c *controller) holds(j plan.Job) []scheduler.Ref {
	var refs []scheduler.Ref
	for _, id := range c.first(j) {
		if a := c.live[id]; a != nil && c.hands[a.hand] != nil {
			refs = append(refs, c.hands[a.hand].ref)
		}
	}
	return refs
}

// inOrder leaves out tickets that are to be held back until others have ended for which no worker was asked yet.
func (c *controller) inOrder(list []*attempt) []*attempt {
	return slices.DeleteFunc(list, func(a *attempt) bool {
		return slices.ContainsFunc(c.first(a.job), func(id string) bool {
			other := c.live[id]
			return other != nil && !other.sent && !other.claimed
		})
	})
}
