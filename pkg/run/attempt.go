package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// attempt is a job that was submitted and has not ended.
type attempt struct {
	job       plan.Job // with the shards it was asked to do
	n         int
	ref       scheduler.Ref
	running   bool
	cancelled bool
	lines     map[string]*lineCount // by shard
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// adopt takes up the jobs of a submit that died. Those of this very question stay; others are cancelled, and waited for, so that no
// worker writes behind our back while we look at what is done.
func (c *controller) adopt(ctx context.Context) error {
	var foreign []*attempt
	for _, o := range c.run.journal.unended() {
		a := &attempt{job: plan.Job{ID: o.Job, Shards: o.Shards}, n: o.Attempt, ref: o.Ref, running: true}
		ours := o.identity == c.run.Plan.Identity && c.live[o.Job] == nil
		for _, s := range o.Shards {
			_, known := c.shards[s]
			ours = ours && known
		}
		if ours {
			c.live[o.Job] = a
		} else {
			foreign = append(foreign, a)
		}
	}
	if len(c.live)+len(foreign) > 0 {
		c.observe(Event{Kind: Adopting}) // how far the run is nobody knows before they have left
	}
	if err := c.expel(ctx, foreign); err != nil {
		return err
	}
	if len(c.live) == 0 {
		return nil
	}
	return c.settle(ctx)
}

// settle takes in which adopted jobs have ended already. Their rows are looked at with all others afterwards.
func (c *controller) settle(ctx context.Context) error {
	status, err := c.sched.Poll(ctx, c.refs())
	if err != nil {
		return fmt.Errorf("asking for the jobs of the submit before: %w", err)
	}
	for _, j := range sortedKeys(c.live) {
		a := c.live[j]
		if st := status[a.ref.Name]; st.State.Terminal() {
			delete(c.live, j)
			if err := c.run.journal.add(entry{Event: evEnd, Job: j, Attempt: a.n, Status: &st}); err != nil {
				return err
			}
		}
	}
	return nil
}

// expel cancels attempts and returns when they are gone.
func (c *controller) expel(ctx context.Context, list []*attempt) error {
	var refs []scheduler.Ref
	for _, a := range list {
		refs = append(refs, a.ref)
	}
	if err := c.sched.Cancel(ctx, refs); err != nil && len(refs) > 0 {
		return fmt.Errorf("cancelling the jobs of the submit before: %w", err)
	}
	for len(list) > 0 {
		status, err := c.sched.Poll(ctx, refs)
		if err != nil {
			return fmt.Errorf("asking for the jobs of the submit before: %w", err)
		}
		var left []*attempt
		for _, a := range list {
			st := status[a.ref.Name]
			if !st.State.Terminal() {
				left = append(left, a)
				continue
			}
			if err := c.run.journal.add(entry{Event: evEnd, Job: a.job.ID, Attempt: a.n, Status: &st}); err != nil {
				return err
			}
		}
		if list = left; len(list) > 0 {
			if err := c.sched.Wait(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// submit submits jobs: the intent goes to the journal first, so that whatever happens then, the next submit knows of them.
func (c *controller) submit(ctx context.Context, actions []Action) (again bool, err error) {
	if c.worker == "" {
		if c.worker, err = findWorker(c.run.Plan.Spec.Local); err != nil {
			return false, err
		}
	}
	var attempts []*attempt
	var jobs []scheduler.Job
	var intents []entry
	for _, a := range actions {
		at, err := c.prepare(a)
		if err != nil {
			return false, err
		}
		j := c.run.job(c.worker, at.job, at.n)
		at.ref = scheduler.Ref{Name: j.Name}
		attempts, jobs = append(attempts, at), append(jobs, j)
		intents = append(intents, entry{Event: evSubmit, Job: at.job.ID, Attempt: at.n, Shards: at.job.Shards, Ref: at.ref})
	}
	reached("prepared")
	if err := c.run.journal.add(intents...); err != nil {
		return false, err
	}
	reached("intent")
	c.out.Attempts += len(attempts)
	refs, err := c.sched.Submit(ctx, jobs)
	reached("submitted")
	for i, ref := range refs {
		attempts[i].ref = ref
		c.live[attempts[i].job.ID] = attempts[i]
	}
	if err := c.accepted(attempts[:len(refs)]); err != nil {
		return false, err
	}
	if err != nil {
		return true, c.refused(attempts[len(refs):], err)
	}
	return false, c.poll(ctx)
}

// prepare makes the directory of a job's next attempt and leaves in it what is to be done. The attempt's number is new to the files and to
// the journal: a user may have deleted the files, and a scheduler starts a name only once.
func (c *controller) prepare(a Action) (*attempt, error) {
	n := c.run.journal.last[a.Job] + 1
	for _, id := range append([]string{a.Job}, a.Shards...) {
		last, err := c.run.Dir.LastAttempt(id)
		if err != nil {
			return nil, err
		}
		n = max(n, last+1)
	}
	j := c.jobs[a.Job]
	j.Shards, j.Cost = a.Shards, 0
	for _, s := range a.Shards {
		j.Cost += c.shards[s].Cost
	}
	return &attempt{job: j, n: n}, plan.SaveJob(c.run.Dir, j, n)
}

// accepted journals the IDs that a scheduler gave, where it gives any.
func (c *controller) accepted(attempts []*attempt) error {
	var entries []entry
	for _, a := range attempts {
		if a.ref.ID != "" {
			entries = append(entries, entry{Event: evAccept, Job: a.job.ID, Attempt: a.n, Ref: a.ref})
		}
	}
	if len(entries) == 0 {
		return nil
	}
	return c.run.journal.add(entries...)
}

// refused deals with jobs that were not submitted: the first for err, the others not at all. One that can never run dooms its tasks.
func (c *controller) refused(attempts []*attempt, err error) error {
	var ends []entry
	for _, a := range attempts {
		ends = append(ends, entry{Event: evEnd, Job: a.job.ID, Attempt: a.n, Reason: "not submitted"})
	}
	ends[0].Reason = err.Error()
	c.out.Attempts -= len(attempts)
	if jerr := c.run.journal.add(ends...); jerr != nil {
		return jerr
	}
	if !errors.Is(err, scheduler.ErrUnsatisfiable) {
		return fmt.Errorf("submitting jobs: %w", err)
	}
	for _, s := range attempts[0].job.Shards {
		c.doom(s, unsatisfiable(err)+"; lower the model's run_cfg.num_gpus, or run where there are more")
	}
	return nil
}

// unsatisfiable is why a job can never run, without the job's name: a reason that is in the scores tells nothing of where and when.
func unsatisfiable(err error) string {
	for e := err; e != scheduler.ErrUnsatisfiable && errors.Is(e, scheduler.ErrUnsatisfiable); e = errors.Unwrap(e) {
		err = e
	}
	return err.Error()
}

func (c *controller) doom(shard, reason string) {
	if task := c.shards[shard].Task; c.doomed[task] == "" {
		c.doomed[task] = reason
	}
}

// ended takes in that an attempt ended: what it left, and whose fault a failure was.
func (c *controller) ended(a *attempt, st scheduler.Status) error {
	delete(c.live, a.job.ID)
	var shards []plan.Shard
	for _, id := range a.job.Shards {
		shards = append(shards, c.shards[id])
	}
	if err := c.cover.shards(shards); err != nil {
		return err
	}
	reached("ended")
	v := c.judge(a, st)
	if err := c.run.journal.add(entry{Event: evEnd, Job: a.job.ID, Attempt: a.n, Status: &st, Reason: v.reason}); err != nil {
		return err
	}
	for _, f := range v.faults {
		c.reason[f.shard] = f.reason
		switch {
		case f.kind != result.FailInput:
			c.tries[f.shard]++
		case f.rows:
			c.tries[f.shard] = c.run.Plan.Spec.Infer.Retry + 1 // it has all it will get; the rows of other shards may do
		default:
			c.doom(f.shard, f.reason)
		}
	}
	c.emit(Event{Kind: Ended, Job: a.job.ID, Attempt: a.n, Reason: v.reason, Log: c.run.Dir.Log(a.job.ID, a.n)})
	return v.stop
}
