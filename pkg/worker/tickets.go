package worker

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"time"

	"sextant/internal/points"
	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// tickets yields the tickets that this process has claimed, each to be done before the next is asked for: first those it had before the
// scheduler started it anew, then the one it was started for, then open ones of the pool. It ends when there is none, and after an error.
func (w *worker) tickets(ctx context.Context) iter.Seq2[*job, error] {
	return func(yield func(*job, error) bool) {
		give := func(j *job, err error) bool {
			return j == nil && err == nil || yield(j, err) && err == nil && ctx.Err() == nil
		}
		again, err := w.unfinished()
		if err != nil {
			yield(nil, err)
			return
		}
		for _, j := range again {
			if !give(w.renew(j)) {
				return
			}
		}
		if !give(w.own()) {
			return
		}
		for w.o.Drain {
			j, err := w.open()
			if j == nil && err == nil || !give(j, err) {
				return
			}
		}
	}
}

// take claims a ticket. nil: another has it.
func (w *worker) take(j plan.Job, attempt int) (*job, error) {
	t := result.Ticket{Job: j.ID, Attempt: attempt}
	ok, err := w.dir.Take(result.Claim{Ticket: t, Worker: w.o.Worker, Restart: w.o.Restart, Host: w.o.Host, PID: os.Getpid(), Time: time.Now()})
	if !ok {
		return nil, err
	}
	if err != nil {
		w.log.Warn("a ticket was taken, and may be forgotten if the machine dies", "ticket", t, "error", err)
	}
	points.Reached("worker:claimed")
	w.log.Info("took a ticket", "ticket", t, "shards", len(j.Shards))
	return &job{worker: w, job: j, attempt: attempt}, nil
}

// renew makes a new attempt of a job, with its shards, and claims it. A number may be claimed although its directory was not there: a user
// may have removed it.
func (w *worker) renew(j plan.Job) (*job, error) {
	for {
		n, err := w.dir.NewAttempt(j.ID, j.Shards)
		if err != nil {
			return nil, err
		}
		if err := plan.SaveJob(w.dir, j, n); err != nil {
			return nil, err
		}
		if mine, err := w.take(j, n); mine != nil || err != nil {
			return mine, err
		}
	}
}

// own is the ticket that this process was started for, or nil when there is nothing to do about it.
func (w *worker) own() (*job, error) {
	t := result.Ticket{Job: w.o.JobID, Attempt: w.o.Attempt}
	claim, err := result.ReadClaim(w.dir.Claim(t))
	taken := err == nil
	before := taken && claim.Worker != "" && claim.Worker == w.o.Worker && claim.Restart < w.o.Restart // decided on by unfinished
	if taken && (w.o.Drain || before || claim.Closed != "") {
		w.log.Info("the ticket is taken", "ticket", t, "worker", claim.Worker, "host", claim.Host, "closed", claim.Closed)
		return nil, nil
	}
	if _, err := w.readPlan(); err != nil {
		return nil, err
	}
	if t.Attempt == 0 {
		return w.byHand()
	}
	j, err := plan.LoadJob(w.dir, w.plan, t.Job, t.Attempt)
	if err != nil {
		return nil, bad(err)
	}
	if first := w.lacking(j); !taken && first != "" {
		err := fmt.Errorf("the ticket %s comes after the job %s, which has no result yet: it is left to others", t, first)
		w.early = &fault{kind: result.FailRetry, err: err}
		w.log.Info("not yet", "ticket", t, "after", first)
		return nil, nil
	}
	if !taken {
		if mine, err := w.take(j, t.Attempt); mine != nil || err != nil || w.o.Drain {
			return mine, err
		}
	}
	if w.complete(j) {
		w.log.Info("another has done the ticket", "ticket", t)
		return nil, nil
	}
	return nil, &fault{kind: result.FailRetry, err: fmt.Errorf("another has the ticket %s, and its results are not there: "+
		"\"submit resume %s\" goes on with the run, and --attempt 0 does the job here and now", t, w.o.RunDir)}
}

// byHand is a new attempt of the plan's job, for one who runs a script himself.
func (w *worker) byHand() (*job, error) {
	j, ok := w.plan.Job(w.o.JobID)
	if !ok {
		return nil, bad(fmt.Errorf("the plan of %q has no job %q", w.dir, w.o.JobID))
	}
	if w.complete(j) {
		w.log.Info("the results of all shards are there already: nothing to do", "job", j.ID)
		return nil, nil
	}
	if first := w.lacking(j); first != "" {
		return nil, &fault{kind: result.FailRetry, err: fmt.Errorf("the job %s comes after %s, which has no result yet: do that first", j.ID, first)}
	}
	return w.renew(j)
}

// lacking is the first of the jobs that j comes after of which results are not there, "" when all are.
func (w *worker) lacking(j plan.Job) string {
	for _, id := range j.After {
		if w.there[id] {
			continue
		}
		if first, ok := w.plan.Job(id); !ok || !w.complete(first) {
			return id
		}
		w.there[id] = true
	}
	return ""
}

// complete says that every shard of a job has its result.
func (w *worker) complete(j plan.Job) bool {
	return !slices.ContainsFunc(j.Shards, func(id string) bool {
		sh, ok := w.plan.Shard(id)
		if !ok {
			return true
		}
		t, ok := w.plan.Task(sh.Task)
		return !ok || !w.finished(id, result.Header{Task: t.ID, Digest: t.Digest, From: sh.From, To: sh.To})
	})
}

// finished says that a shard has a good result of the very rows that h says.
func (w *worker) finished(shard string, h result.Header) bool {
	h.Version = result.Version
	old, _, err := result.Read(w.dir.Result(shard))
	return err == nil && old == h
}

// unfinished lists the jobs of tickets that this worker had claimed before the scheduler started it anew, and did not get done. Those that
// failed by themselves, and those of which there is a newer ticket already, are left to who decides about them.
func (w *worker) unfinished() (again []plan.Job, err error) {
	if w.o.Worker == "" || w.o.Restart == 0 {
		return nil, nil
	}
	if err := w.readOffers(); err != nil {
		return nil, err
	}
	claimed, err := w.dir.Claimed()
	if err != nil {
		return nil, err
	}
	newest := w.newest(claimed)
	for _, t := range claimed {
		if t.Attempt < newest[t.Job] || !w.begun(t) {
			continue
		}
		last, err := w.dir.LastAttempt(t.Job) // a ticket may be given to a worker alone, without an offer
		if err != nil {
			return nil, err
		}
		if last > t.Attempt {
			continue
		}
		if _, err := w.readPlan(); err != nil {
			return nil, err
		}
		j, err := plan.LoadJob(w.dir, w.plan, t.Job, t.Attempt)
		if err != nil {
			return nil, bad(err)
		}
		if !w.complete(j) {
			w.log.Info("taking up again what was begun before the restart", "ticket", t)
			again = append(again, j)
		}
	}
	return again, nil
}

// newest is the highest attempt of each job, of those claimed and those offered.
func (w *worker) newest(claimed []result.Ticket) map[string]int {
	n := map[string]int{}
	for _, t := range claimed {
		n[t.Job] = max(n[t.Job], t.Attempt)
	}
	for _, o := range w.offers {
		for _, t := range o.Tickets {
			n[t.Job] = max(n[t.Job], t.Attempt)
		}
	}
	return n
}

// begun says that this worker had a ticket before its restart and has not ended it, or only because it was told to stop.
func (w *worker) begun(t result.Ticket) bool {
	c, err := result.ReadClaim(w.dir.Claim(t))
	if err != nil || c.Worker != w.o.Worker || c.Restart >= w.o.Restart || c.Closed != "" {
		return false
	}
	end, err := result.ReadEnd(w.dir.End(t.Job, t.Attempt))
	return err != nil || end.Code == ExitRetry
}

// readOffers reads the offers that were added. One that cannot be read yet is looked at again later.
func (w *worker) readOffers() error {
	names, err := w.dir.OfferNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, known := w.offers[name]; known {
			continue
		}
		o, err := w.dir.ReadOffer(name)
		if err != nil {
			w.log.Warn("cannot read an offer", "name", name, "error", err)
			continue
		}
		w.offers[name] = o
	}
	return nil
}

// findPool finds the pool of the job this process was started for, from the plan only when nothing smaller tells.
func (w *worker) findPool() error {
	if j, err := plan.LoadJob(w.dir, &plan.Plan{}, w.o.JobID, w.o.Attempt); err == nil {
		w.pool = j.Pool()
		return nil
	}
	for _, o := range w.offers {
		if slices.ContainsFunc(o.Tickets, func(t result.Ticket) bool { return t.Job == w.o.JobID }) {
			w.pool = o.Pool
			return nil
		}
	}
	if _, err := w.readPlan(); err != nil {
		return err
	}
	j, ok := w.plan.Job(w.o.JobID)
	if !ok {
		return bad(fmt.Errorf("the plan of %q has no job %q", w.dir, w.o.JobID))
	}
	w.pool = j.Pool()
	return nil
}

// open claims the first open ticket of the pool that can be done in the time left. nil: there is none.
func (w *worker) open() (*job, error) {
	if err := w.readOffers(); err != nil {
		return nil, err
	}
	if w.pool == "" {
		if err := w.findPool(); err != nil {
			return nil, err
		}
	}
	claimed, err := w.claimed()
	if err != nil {
		return nil, err
	}
	tooLong := 0
	for t := range w.offered() {
		if claimed[t] || w.refused[t] {
			continue
		}
		if same, err := w.readPlan(); err != nil || !same {
			return nil, err
		}
		if !w.fits(t.Job) {
			tooLong++
			continue
		}
		if j, err := w.try(t); j != nil || err != nil {
			return j, err
		}
		if claimed, err = w.claimed(); err != nil { // somebody was faster, and may have been at others too
			return nil, err
		}
	}
	if tooLong > 0 {
		w.log.Info("leaving tickets to others: too little time is left", "tickets", tooLong, "until", w.o.Deadline.Add(-w.margin()))
	}
	return nil, nil
}

// offered yields the tickets offered to the pool, in the order in which they are to be taken.
func (w *worker) offered() iter.Seq[result.Ticket] {
	return func(yield func(result.Ticket) bool) {
		for _, name := range slices.Sorted(maps.Keys(w.offers)) {
			if w.offers[name].Pool != w.pool {
				continue
			}
			for _, t := range w.offers[name].Tickets {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// try reads what a ticket asks for, and then claims it. One that cannot be read, or is not of this pool, is not tried again.
func (w *worker) try(t result.Ticket) (*job, error) {
	j, err := plan.LoadJob(w.dir, w.plan, t.Job, t.Attempt)
	if err == nil && j.Pool() != w.pool {
		err = fmt.Errorf("it is of the pool %q, not %q", j.Pool(), w.pool)
	}
	if err == nil && w.lacking(j) != "" { // it may be there at the next look
		return nil, nil
	}
	if err != nil {
		w.log.Warn("leaving a ticket that cannot be read to others", "ticket", t, "error", err)
		w.refused[t] = true
		return nil, nil
	}
	return w.take(j, t.Attempt)
}

// claimed is the set of tickets that are taken, as far as can be seen from here.
func (w *worker) claimed() (map[result.Ticket]bool, error) {
	list, err := w.dir.Claimed()
	if err != nil {
		return nil, err
	}
	set := make(map[result.Ticket]bool, len(list))
	for _, t := range list {
		set[t] = true
	}
	return set, nil
}
