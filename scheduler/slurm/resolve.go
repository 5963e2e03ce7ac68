package slurm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sextant/internal/points"
	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// elementID tells an element from those of an array that had its number before.
type elementID struct {
	array string
	index int
	token string
}

// resolve finds out how jobs ended that the queue does not tell of: those that are gone from it, and those that failed, whose exit codes it
// does not show. Only those are asked for that somebody wants to know of.
func (s *Scheduler) resolve(ctx context.Context) {
	open := s.open()
	if len(open) == 0 {
		return
	}
	if !s.noSacct {
		open = s.settleBy(open, s.accounts(ctx, open))
	}
	open = s.settleBy(open, s.shown(ctx, open))
	if ctx.Err() != nil {
		return
	}
	for _, p := range open {
		s.expire(p)
	}
}

func (s *Scheduler) open() []place {
	var open []place
	for _, a := range s.arrays {
		if a.id == "" || a.void || a.lost {
			continue
		}
		for i := range a.elements {
			if e := &a.elements[i]; e.asked && !e.final && (e.gone || e.failed) {
				open = append(open, place{a, i})
			}
		}
	}
	return open
}

// perArray is how many elements of an array are named one by one; of more, the whole array is asked for.
const perArray = 50

// skew is how far clocks may differ.
const skew = time.Hour

// accounts asks sacct.
func (s *Scheduler) accounts(ctx context.Context, open []place) []record {
	by := map[*array][]string{}
	var arrays []*array
	since := s.now()
	for _, p := range open {
		if by[p.array] == nil {
			arrays = append(arrays, p.array)
		}
		by[p.array] = append(by[p.array], p.ref().ID)
		if p.Time.Before(since) {
			since = p.Time
		}
	}
	var ids []string
	for _, a := range arrays {
		if len(by[a]) > perArray {
			ids = append(ids, a.id)
		} else {
			ids = append(ids, by[a]...)
		}
	}
	records, _ := s.sacct(ctx, since, "-j", strings.Join(ids, ","))
	return records
}

// sacct asks for records since a time. It says whether there was an answer, or there is none to be had from this cluster.
func (s *Scheduler) sacct(ctx context.Context, since time.Time, which ...string) ([]record, bool) {
	points.Reached("slurm:before-sacct")
	out, err := s.cli.run(ctx, "", "sacct", append([]string{"-X", "-n", "-P", "-o", "JobID,JobIDRaw,JobName,State,ExitCode,NodeList,Start,End",
		"-S", since.Add(-skew).Format("2006-01-02T15:04:05")}, which...)...)
	if err != nil {
		var e *batch.CommandError
		s.noSacct = errors.As(err, &e) && strings.Contains(strings.ToLower(e.Text), "accounting storage is disabled")
		return nil, s.noSacct
	}
	return parseAccounts(out), true
}

// recall finds the numbers of arrays in doubt that squeue does not show: all their jobs may have ended and been forgotten since.
func (s *Scheduler) recall(ctx context.Context, arrays []*array) {
	var tokens []string
	since := s.now()
	for _, a := range arrays {
		if a.unheard = false; a.inDoubt() && !s.noSacct {
			tokens = append(tokens, a.Token)
			if a.Time.Before(since) {
				since = a.Time
			}
		}
	}
	if len(tokens) == 0 {
		return
	}
	records, answered := s.sacct(ctx, since, "--name="+strings.Join(tokens, ","))
	for _, r := range records {
		if a := s.byToken[r.token]; a != nil && a.inDoubt() {
			a.id = r.array
		}
	}
	for _, token := range tokens {
		s.byToken[token].unheard = !answered
	}
}

// shows is how many arrays scontrol is asked about at once; the others the next time.
const shows = 16

// shown asks scontrol for the exit codes that sacct does not tell, or not yet. What the queue does not have it does not have either.
func (s *Scheduler) shown(ctx context.Context, open []place) []record {
	var records []record
	done := map[*array]bool{}
	for _, p := range open {
		if !p.element().failed || p.element().gone || done[p.array] || len(done) >= shows {
			continue
		}
		done[p.array] = true
		if out, err := s.cli.run(ctx, "", "scontrol", "show", "job", "-o", p.id); err == nil {
			records = append(records, parseShow(out)...)
		}
	}
	return records
}

// settleBy ends the jobs of which records tell how, and gives the others.
func (s *Scheduler) settleBy(open []place, records []record) []place {
	own, many := map[elementID]record{}, map[elementID]record{}
	for _, r := range records {
		key := elementID{r.array, r.index, r.token}
		if r.collective {
			many[key] = r
		} else {
			own[key] = r
		}
	}
	var left []place
	for _, p := range open {
		r, ok := own[elementID{p.id, p.index, p.Token}]
		if !ok && !p.element().occupied { // a row of many is of those that never began, and names others too
			if r, ok = many[elementID{p.id, p.index, p.Token}]; !ok {
				r, ok = many[elementID{p.id, -1, p.Token}]
			}
		}
		e := p.element()
		end := phaseOf(r.state)
		if !ok || !end.state.Terminal() || e.failed && r.state != "FAILED" {
			left = append(left, p)
			continue
		}
		s.end(e, r, end)
	}
	return left
}

// end notes how a job ended.
func (s *Scheduler) end(e *element, r record, p phase) {
	if r.node == "" {
		r.node = e.status.Node
	}
	if r.start.IsZero() {
		r.start = e.status.Started
	}
	if r.end.IsZero() {
		r.end = e.status.Ended
	}
	st := statusOf(r.row, p)
	if p.state == scheduler.Failed && p.cause == "" {
		failure(&st, r)
	}
	if st.Ended.IsZero() {
		st.Ended = s.now()
	}
	e.status, e.final, e.occupied = st, true, false
	s.pace.Soon()
}

// failure says why a job failed, by its exit code as Slurm writes it: code and signal. Signal 53 is slurmd's, of a job that it could not start.
func failure(st *scheduler.Status, r record) {
	on := ""
	if r.node != "" {
		on = " on " + r.node
	}
	switch {
	case r.signal == 53:
		st.Cause, st.Reason = scheduler.Launch, "Slurm could not start it"+on+": its directory or log cannot be used there"
	case r.signal == 9:
		st.Signal, st.Reason = 9, "killed by signal 9"+on+": out of memory, or killed by hand"
	case r.signal != 0:
		st.Signal, st.Reason = r.signal, fmt.Sprintf("ended by signal %d%s", r.signal, on)
	case r.exit == 126 || r.exit == 127:
		st.ExitCode, st.Cause = r.exit, scheduler.Launch
		st.Reason = fmt.Sprintf("its command could not be started%s (exit code %d): its log says more", on, r.exit)
	case r.exit != 0:
		st.ExitCode, st.Reason = r.exit, fmt.Sprintf("exit code %d%s", r.exit, on)
	case r.reason != "":
		st.Cause, st.Reason = scheduler.Launch, "it never began: "+r.reason
	default:
		st.Reason = "it failed" + on + "; Slurm does not tell its exit code"
	}
}

// expire ends a job of which sacct and scontrol do not tell: at once where that says enough, else after the grace. Slurm forgets an element
// at once that is cancelled by itself while it waits; of those cancelled with all that wait, one row is left.
func (s *Scheduler) expire(p place) {
	e := p.element()
	late := s.now().Sub(e.since) >= s.opt.Grace
	switch {
	case e.failed && late:
		s.end(e, record{row: row{node: e.status.Node, start: e.status.Started, end: e.status.Ended}}, phases["FAILED"])
	case e.failed:
	case p.rest != nil && !e.occupied:
		s.end(e, record{row: *p.rest}, phaseOf(p.rest.state))
	case e.cancel && (late || !e.occupied):
		s.end(e, record{}, phases["CANCELLED"])
	case late:
		e.final, e.occupied = true, false
		e.status = scheduler.Status{State: scheduler.Lost, Node: e.status.Node, Started: e.status.Started, Ended: s.now(),
			Reason: "Slurm no longer knows the job"}
		s.pace.Soon()
	}
}
