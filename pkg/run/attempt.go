package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sextant/internal/points"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// attempt is a ticket that was made and is not known to be done with.
type attempt struct {
	job     plan.Job // with the shards it asks for
	n       int
	name    string // the worker that will be asked for to do it
	hand    string // the worker that has it; as long as none has it, name
	sent    bool   // that one was asked for
	claimed bool
	ended   time.Time // when its worker said that all went well, though its rows cannot be seen yet
	had     int       // rows of its shards that were there when it was made
	lines   map[string]*lineCount

	underway map[string]int // by task: rows that were counted last
	tokens   int64          // that were put through the model, then
	spent    int64          // the same at its end; 0: it did not say
}

func (a *attempt) ticket() result.Ticket { return result.Ticket{Job: a.job.ID, Attempt: a.n} }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// makeTickets makes a new attempt of each job that is to be submitted. The intent goes to the journal first, so that whatever happens then,
// the next submit knows of it; then the tickets are offered to the workers there are.
func (c *controller) makeTickets(actions []Action) (err error) {
	if c.worker == "" {
		if c.worker, err = FindWorker(&c.run.Plan.Spec); err != nil {
			return err
		}
	}
	var intents []entry
	var made []*attempt
	offers := map[string][]result.Ticket{}
	for _, action := range actions {
		a, err := c.prepare(action)
		if err != nil {
			return err
		}
		made = append(made, a)
		intents = append(intents, entry{Event: evSubmit, Job: a.job.ID, Attempt: a.n, Shards: a.job.Shards, Ref: scheduler.Ref{Name: a.hand}})
		offers[a.job.Pool()] = append(offers[a.job.Pool()], a.ticket())
	}
	points.Reached("run:prepared")
	if err := c.run.journal.add(intents...); err != nil {
		return err
	}
	points.Reached("run:intent")
	for _, a := range made {
		c.live[a.job.ID] = a
	}
	if !c.run.drain {
		return nil
	}
	for _, pool := range sortedKeys(offers) {
		if err := c.run.Dir.AddOffer(result.Offer{Pool: pool, Tickets: offers[pool]}); err != nil {
			return err
		}
		points.Reached("run:offered")
	}
	return nil
}

// prepare makes the directory of a job's next attempt and leaves in it what is to be done, where that is not what the plan says. The number
// is new to the files and to the journal: a user may have deleted the files, and a scheduler starts a name only once.
func (c *controller) prepare(action Action) (*attempt, error) {
	j := c.jobs[action.Job]
	same := slices.Equal(j.Shards, action.Shards)
	j.Shards, j.Cost, j.Shrink = action.Shards, 0, c.blame.shrink[j.ID]
	had := 0
	for _, s := range action.Shards {
		j.Cost += c.shards[s].Cost
		had += c.cover.rows[s]
	}
	n, err := c.run.Dir.NewAttempt(j.ID, j.Shards)
	for err == nil && n <= c.run.journal.last[j.ID] {
		n, err = c.run.Dir.NewAttempt(j.ID, j.Shards)
	}
	if err != nil {
		return nil, err
	}
	points.Reached("run:numbered")
	if !same || j.Shrink > 0 {
		if err := plan.SaveJob(c.run.Dir, j, n); err != nil {
			return nil, err
		}
	}
	a := &attempt{job: j, n: n, had: had}
	a.name = c.command(a).Name
	a.hand = a.name
	return a, nil
}

// command is an attempt as the scheduler gets it.
func (c *controller) command(a *attempt) scheduler.Job {
	j := Command(c.run.Plan, string(c.run.Dir), c.worker, a.job, a.n)
	j.Dir, j.Exclude, j.After = c.run.cwd, c.nodes.excluded(), c.holds(a.job)
	if a.job.Shrink > 1 {
		j.Memory = c.run.memory << (a.job.Shrink - 1)
	}
	if c.run.limit != nil {
		j.Limit = c.run.limit(a.job) << c.blame.slow[a.job.ID]
	}
	return j
}

// unsent lists, in the plan's order, the tickets for which no worker was asked yet, and that none has taken.
func (c *controller) unsent() []*attempt {
	var list []*attempt
	for _, j := range c.run.Plan.Jobs {
		if a := c.live[j.ID]; a != nil && !a.sent && !a.claimed {
			list = append(list, a)
		}
	}
	return list
}

// send asks the scheduler for workers, one a ticket that has none, as far as the window goes: half a window at a time, for one array of many
// costs a cluster no more than one of few. It says whether there may be more to do at once.
func (c *controller) send(ctx context.Context) (again bool, err error) {
	all := c.unsent()
	list := c.inOrder(slices.Clone(all))
	free := c.run.window - len(c.hands)
	if len(list) == 0 || free <= 0 || time.Now().Before(c.hold) || len(list) > free && len(c.hands) > c.run.window/2 {
		return false, nil
	}
	list = list[:min(len(list), free)]
	jobs := make([]scheduler.Job, len(list))
	for i, a := range list {
		jobs[i] = c.command(a)
	}
	refs, err := c.sched.Submit(ctx, jobs)
	points.Reached("run:submitted")
	if errors.Is(err, scheduler.ErrDown) && c.run.claims {
		for _, a := range list[len(refs):] {
			c.doubt[a.name] = true
		}
	}
	if jerr := c.accepted(list, refs); jerr != nil {
		return false, jerr
	}
	switch {
	case err == nil:
		c.pause = 0
		return len(all) > len(list) && len(c.hands) < c.run.window, c.poll(ctx) // the rest was held back by these
	case errors.Is(err, scheduler.ErrUnsatisfiable):
		return true, c.unsatisfiable(list[len(refs)], err)
	case errors.Is(err, scheduler.ErrBusy), errors.Is(err, scheduler.ErrDown):
		points.Reached("run:held")
		c.pause = min(max(2*c.pause, c.run.tick), time.Minute)
		c.hold = time.Now().Add(c.pause)
		c.emit(Event{Kind: Held, Reason: err.Error()})
		return false, nil
	}
	return false, fmt.Errorf("submitting jobs: %w", err)
}

// accepted notes the workers that the scheduler will start.
func (c *controller) accepted(list []*attempt, refs []scheduler.Ref) error {
	c.out.Attempts += len(refs)
	var entries []entry
	for i, ref := range refs {
		a := list[i]
		a.sent = true
		delete(c.doubt, a.name)
		c.hands[a.name] = &hand{ticket: a.ticket(), pool: a.job.Pool(), ref: ref, status: scheduler.Status{State: scheduler.Pending}}
		if ref.ID != "" {
			entries = append(entries, entry{Event: evAccept, Job: a.job.ID, Attempt: a.n, Ref: ref})
		}
	}
	if len(entries) == 0 {
		return nil
	}
	err := c.run.journal.add(entries...)
	points.Reached("run:accepted")
	return err
}

// unsatisfiable deals with a ticket of which the scheduler says that it can never run. When nodes were excluded, that may be why: they are
// taken in again, once and for all. Else its tasks are doomed.
func (c *controller) unsatisfiable(a *attempt, err error) error {
	if c.nodes.forgive() {
		return nil
	}
	taken, terr := c.run.Dir.Take(result.Claim{Ticket: a.ticket(), Time: time.Now(), Closed: "it can never run"})
	if terr != nil || !taken {
		return terr
	}
	points.Reached("run:unsatisfiable")
	for _, s := range a.job.Shards {
		c.blame.doom(c.shards[s].Task, reasonOf(err)+"; let the model ask for less (run_cfg, [slurm]), or run where there is more")
	}
	return c.finish(a, scheduler.Status{State: scheduler.Cancelled, Reason: err.Error()})
}

// reasonOf is why a job can never run, without the job's name: a reason that is in the scores tells nothing of where and when.
func reasonOf(err error) string {
	for e := err; e != scheduler.ErrUnsatisfiable && errors.Is(e, scheduler.ErrUnsatisfiable); e = errors.Unwrap(e) {
		err = e
	}
	return err.Error()
}

// finish journals the end of a ticket that nobody did.
func (c *controller) finish(a *attempt, st scheduler.Status) error {
	delete(c.live, a.job.ID)
	return c.run.journal.add(c.endOf(a, entry{Status: &st, Reason: st.Reason}))
}

// endOf is the journal's word of the end of a ticket, and of its worker too when none was asked for.
func (c *controller) endOf(a *attempt, e entry) entry {
	e.Event, e.Job, e.Attempt = evEnd, a.job.ID, a.n
	if !a.sent && !c.doubt[a.name] {
		e.Ref.Name = a.name
	}
	return e
}

// ended takes in how a ticket ended: what its worker left, and whose fault a failure was.
func (c *controller) ended(a *attempt, st scheduler.Status) error {
	delete(c.live, a.job.ID)
	c.tokens, c.spent = c.tokens-a.tokens, c.spent+max(a.tokens, a.spent)
	if c.whole(a) { // as done has just seen
		c.discount(a)
	} else if err := c.recover(a); err != nil {
		return err
	}
	points.Reached("run:ended")
	v := c.judge(a, st)
	points.Reached("run:judged")
	v.elsewhere = c.nodes.anyBegan()
	faults := c.blame.take(a, v)
	if err := c.run.journal.add(c.endOf(a, entry{Status: &st, Reason: v.reason, Faults: faults})); err != nil {
		return err
	}
	points.Reached("run:end-noted")
	for _, f := range faults {
		c.blame.apply(f, c.shards[f.Shard].Task)
	}
	stop := c.nodes.note(st, v)
	c.emit(Event{Kind: Ended, Job: a.job.ID, Attempt: a.n, Reason: v.reason, Log: c.logOf(a, st)})
	return errors.Join(v.stop, stop)
}

// logOf is where the output of an attempt's worker is.
func (c *controller) logOf(a *attempt, st scheduler.Status) string {
	if st.Log != "" {
		return st.Log
	}
	if h := c.hands[a.hand]; h != nil && h.status.Log != "" {
		return h.status.Log
	}
	return c.run.Dir.Log(a.job.ID, a.n)
}
