package dlc

import (
	"context"
	"errors"
	"fmt"

	"sextant/internal/points"
	"sextant/scheduler"
)

// Cancel ends jobs: one that is held back at once, others by dlc stop job, after which their containers get SIGTERM and a while later SIGKILL.
// One of which it is not known whether it is there is stopped when it appears. Jobs that have ended, and those that nobody knows, are no error.
func (s *Scheduler) Cancel(ctx context.Context, refs []scheduler.Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.pace.Soon()
	s.adopt(refs)
	var all error
	var there []*job
	for _, r := range refs { // what is held back is not to be created while others are stopped
		j := s.jobs[r.Name]
		switch {
		case j == nil || j.Final != nil:
			continue
		case s.unqueue(j):
			s.end(j, scheduler.Status{State: scheduler.Cancelled, Reason: "cancelled", Ended: s.now()})
			continue
		}
		if !j.cancel {
			j.cancel = true
			all = errors.Join(all, s.note(record{Name: j.Name, Cancel: true}, false))
		}
		there = append(there, j)
	}
	for _, j := range there {
		err := s.stopWanted(ctx, j)
		all = errors.Join(all, err)
		if errors.Is(err, scheduler.ErrDown) {
			break // each try takes its time; Poll goes on with it
		}
	}
	return all
}

// stopWanted stops a job that is to end, once.
func (s *Scheduler) stopWanted(ctx context.Context, j *job) error {
	if !j.cancel || j.asked || j.ID == "" || s.opt.Watching {
		return nil
	}
	points.Reached("dlc:before-stop")
	_, err := s.cli.run(ctx, true, "stop", "job", j.ID, "--force")
	points.Reached("dlc:stopped")
	if err != nil && !isGone(err) {
		return fmt.Errorf("stopping job %s (%s): %w", j.Name, j.ID, s.unanswered(err))
	}
	j.asked = true
	return nil
}

// Live lists the jobs that DLC has, or may have, of this directory.
func (s *Scheduler) Live(ctx context.Context) ([]scheduler.Ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	var refs []scheduler.Ref
	for _, j := range s.atDLC() {
		refs = append(refs, scheduler.Ref{Name: j.Name, ID: j.ID})
	}
	return refs, nil
}
