package slurm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sextant/internal/points"
	"sextant/scheduler"
)

// lookEvery is the least time between two looks at the queue; in between, Poll answers from the last.
const lookEvery = time.Second

// Poll tells the status of each job, by name, with one squeue for all of them. Jobs that squeue no longer knows are asked of sacct, all at
// once; those that nobody knows are lost after Options.Grace. An error that wraps scheduler.ErrDown says that nothing is known.
func (s *Scheduler) Poll(ctx context.Context, refs []scheduler.Ref) (map[string]scheduler.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := false
	for _, r := range refs {
		if p, ok := s.byName[r.Name]; ok && !p.element().final {
			p.element().asked, open = true, true
		}
	}
	if open {
		if err := s.observe(ctx); err != nil {
			return nil, err
		}
	}
	status := make(map[string]scheduler.Status, len(refs))
	for _, r := range refs {
		p, ok := s.byName[r.Name]
		if !ok {
			status[r.Name] = scheduler.Status{State: scheduler.Lost, Reason: "no such job was submitted from this directory"}
			continue
		}
		status[r.Name] = s.status(p)
	}
	return status, nil
}

// status is what is known of a job.
func (s *Scheduler) status(p place) scheduler.Status {
	st := p.element().status
	st.Log = filepath.Join(s.opt.Dir, fmt.Sprintf("%s.%d.log", p.Token, p.index))
	if st.State == scheduler.Failed && st.Cause == "" && st.Signal == 9 && ranOut(st.Log) {
		st.Cause, st.Reason = scheduler.Memory, strings.TrimSuffix(phases["OUT_OF_MEMORY"].text+" ("+st.Node+")", " ()")
	}
	if p.element().stuck && st.State == scheduler.Cancelled {
		st.State, st.Cause, st.Reason = scheduler.Failed, scheduler.Node, "a node could not launch it, and Slurm held it"
	}
	return st
}

// observe looks at the queue, unless that was just done, and at what follows from it.
func (s *Scheduler) observe(ctx context.Context) error {
	if !s.looked.IsZero() && s.now().Sub(s.looked) < lookEvery {
		return s.lookErr
	}
	if err := s.look(ctx); err != nil {
		return err
	}
	s.resolve(ctx)
	for _, a := range s.arrays {
		s.save(a)
	}
	s.balance(ctx)
	return ctx.Err()
}

// ghostsFor is how long arrays that were never found are looked for, in case they come after all.
const ghostsFor = time.Hour

// watched says that a look must show the array.
func (s *Scheduler) watched(a *array) bool {
	switch {
	case a.void, a.lost:
		return s.now().Sub(a.Time) < ghostsFor
	case !a.looked, a.inDoubt(), a.live > 0:
		return true
	}
	return slices.ContainsFunc(a.elements, func(e element) bool { return e.asked && !e.final })
}

// look takes one look at the queue, at the arrays of which there may be news, and takes down what it shows.
func (s *Scheduler) look(ctx context.Context) error {
	var arrays []*array
	for _, a := range s.arrays {
		if s.watched(a) {
			arrays = append(arrays, a)
		}
	}
	if len(arrays) == 0 {
		return nil
	}
	rows, err := s.queue(ctx, arrays)
	if ctx.Err() == nil { // else the next caller, who has another, looks anew
		s.looked, s.lookErr = s.now(), err
	}
	if err != nil {
		return err
	}
	s.looks++
	s.note(rows)
	s.recall(ctx, arrays)
	for _, a := range arrays {
		if err := s.review(a); err != nil {
			return err
		}
	}
	return s.bust(ctx, arrays)
}

// maxNames is how long the list of names may be that squeue gets; above, it tells of all the user's jobs.
const maxNames = 100_000

// queue asks for arrays' rows. Whatever went wrong, an error says that nothing is known: it is never an empty queue.
func (s *Scheduler) queue(ctx context.Context, arrays []*array) ([]row, error) {
	args := []string{"-h", "-r", "-t", "all", "-u", strconv.Itoa(os.Getuid()), "-o", queueFormat}
	var tokens []string
	for _, a := range arrays {
		tokens = append(tokens, a.Token)
	}
	if names := "--name=" + strings.Join(tokens, ","); len(names) < maxNames {
		args = append(args, names)
	}
	points.Reached("slurm:before-squeue")
	out, err := s.cli.run(ctx, "", "squeue", args...)
	points.Reached("slurm:after-squeue")
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("asking for the jobs: %w: %w", scheduler.ErrDown, explain(err))
	}
	return parseQueue(out), nil
}

// note takes down what squeue shows. Rows count by number and name: a number alone may have been given twice.
func (s *Scheduler) note(rows []row) {
	for _, r := range rows {
		a := s.byToken[r.token]
		switch {
		case a == nil:
			continue
		case a.doomed, a.id != "" && a.id != r.array:
			if p := phaseOf(r.state); !p.state.Terminal() {
				if a.ghosts == nil {
					a.ghosts = map[string]bool{}
				}
				a.ghosts[r.array] = true
			}
			continue
		case a.id == "":
			a.id = r.array
		}
		if r.index >= 0 && r.index < len(a.elements) {
			s.seen(a, r.index, r)
		}
	}
	// A row without an index is of all those elements that were never told apart, though it does not say which these were. That they have
	// ended is for resolve to weigh.
	for _, r := range rows {
		if a := s.byToken[r.token]; a != nil && r.index < 0 && a.id == r.array && !a.doomed {
			if phaseOf(r.state).state.Terminal() {
				a.rest = &r
				continue
			}
			for i := range a.elements {
				if a.elements[i].look != s.looks {
					s.seen(a, i, r)
				}
			}
		}
	}
}

// seen takes down one element's row.
func (s *Scheduler) seen(a *array, index int, r row) {
	e := &a.elements[index]
	e.look = s.looks
	if e.final {
		return
	}
	if e.gone {
		e.gone, e.since = false, time.Time{}
	}
	p := phaseOf(r.state)
	if p.state == scheduler.Failed && p.cause == "" {
		if !e.failed {
			e.failed, e.since = true, s.now()
		}
		e.occupied = false
		e.status.Node, e.status.Started, e.status.Ended = r.node, r.start, r.end
		e.status.Reason = r.reason
		return
	}
	if e.failed { // requeued by hand after all
		e.failed, e.since, e.status = false, time.Time{}, scheduler.Status{}
	}
	st := statusOf(r, p)
	if st.State != e.status.State {
		s.pace.Soon()
	}
	if st.State == scheduler.Pending && strings.Contains(strings.ReplaceAll(r.reason, "_", " "), heldForGood) {
		e.stuck, e.unwanted = true, true // bust cancels it: a new one may begin elsewhere
	}
	e.status, e.occupied, e.final = st, p.occupied, st.State.Terminal()
	if e.final && st.Ended.IsZero() {
		e.status.Ended = s.now()
	}
}

// heldForGood is in the reason of a job that a node could not launch: Slurm puts it back in the queue and never starts it. A job that a person
// holds has another.
const heldForGood = "launch failed requeued held"

// statusOf is what a row says of an element that has not failed by itself.
func statusOf(r row, p phase) scheduler.Status {
	st := scheduler.Status{State: p.state, Cause: p.cause, Node: r.node}
	switch {
	case p.state == scheduler.Pending:
		st.Reason = r.reason
		if p.text != "" {
			st.Reason = strings.TrimSuffix(p.text+": "+r.reason, ": ")
		}
		return st
	case p.state == scheduler.Running:
		st.Started = r.start
		if p.text != "" {
			st.Reason = "Slurm says " + p.text
		}
		return st
	}
	st.Started, st.Ended = r.start, r.end
	if !st.Ended.IsZero() && st.Started.After(st.Ended) {
		st.Started = st.Ended
	}
	st.Reason = p.text
	if st.Reason != "" && p.state == scheduler.Failed && r.node != "" {
		st.Reason += " (" + r.node + ")"
	}
	return st
}

// review sums up an array after a look that should have shown it.
func (s *Scheduler) review(a *array) error {
	a.looked = true
	if a.inDoubt() {
		return s.missed(a)
	}
	a.missing, a.misses = time.Time{}, 0
	if a.void || a.lost {
		return nil
	}
	a.live, a.running, a.weight = 0, 0, 0
	for i := range a.elements {
		e := &a.elements[i]
		if !e.final && e.look != s.looks && !e.gone {
			e.gone = true
			if e.since.IsZero() {
				e.since = s.now()
			}
		}
		if e.final || e.gone || e.failed {
			continue
		}
		a.live++
		a.weight += a.weightOf(i)
		if e.occupied {
			a.running++
		}
	}
	return s.identify(a)
}

// identify notes the number of an array whose submitter did not.
func (s *Scheduler) identify(a *array) error {
	if a.noted {
		return nil
	}
	a.noted = true
	err := s.durable(a.Token+idSuffix, []byte(a.id+"\n"))
	points.Reached("slurm:id-found")
	return err
}

// missed counts a look that did not find an array of which it is not known whether it is there.
func (s *Scheduler) missed(a *array) error {
	if a.misses++; a.missing.IsZero() {
		a.missing = s.now()
	}
	patience := s.opt.Grace
	if a.unheard {
		patience *= 10
	}
	if a.misses < 2 || s.now().Sub(a.missing) < patience {
		return nil
	}
	s.giveUp(a)
	s.pace.Soon()
	err := s.durable(a.Token+lostSuffix, []byte("not found under its name\n"))
	points.Reached("slurm:lost-written")
	return err
}

// bust cancels arrays that appeared after they were given up, for their jobs may have been submitted again, and jobs that were cancelled
// before their numbers were known.
func (s *Scheduler) bust(ctx context.Context, arrays []*array) error {
	var targets []target
	var done []*element
	for _, a := range arrays {
		for id := range a.ghosts {
			targets = append(targets, target{a.Token, []string{id}, false})
		}
		a.ghosts = nil
		var late []int
		for i := range a.elements {
			if e := &a.elements[i]; e.unwanted && !e.final && e.look == s.looks {
				e.cancel = true
				late, done = append(late, i), append(done, e)
			}
		}
		if len(late) > 0 {
			waiting, running := a.targets(late)
			targets = slices.Concat(targets, waiting, running)
		}
	}
	if len(targets) == 0 {
		return nil
	}
	points.Reached("slurm:ghost-found")
	if err := s.scancel(ctx, targets); err != nil {
		return err // they are there at the next look
	}
	for _, e := range done {
		e.unwanted = false
	}
	return nil
}

// Live gives every job of this directory that has not ended, those included that were refused or given up and came after all. It is one look
// at the queue; an error that wraps scheduler.ErrDown says that nothing is known. Cancel takes what it gives.
func (s *Scheduler) Live(ctx context.Context) ([]scheduler.Ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.arrays) == 0 {
		return nil, nil
	}
	rows, err := s.queue(ctx, s.arrays)
	if err != nil {
		return nil, err
	}
	clear(s.strays)
	var refs []scheduler.Ref
	for _, r := range rows {
		a := s.byToken[r.token]
		if a == nil || phaseOf(r.state).state.Terminal() {
			continue
		}
		ref := scheduler.Ref{Name: a.Token, ID: r.array}
		if r.index >= 0 {
			ref.ID = fmt.Sprintf("%s_%d", r.array, r.index)
		}
		if r.index >= 0 && r.index < len(a.Jobs) {
			ref.Name = a.Jobs[r.index]
		}
		s.strays[ref.ID] = a
		refs = append(refs, ref)
	}
	return refs, nil
}
