package run

import (
	"context"

	"sextant/internal/points"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// victim is a running hand.
func (s *simCluster) victim() *simHand {
	var list []*simHand
	for _, p := range s.procs {
		if p.hand.proc == p {
			list = append(list, p.hand)
		}
	}
	if len(list) == 0 || s.now >= s.until {
		return nil
	}
	return list[s.rng.IntN(len(list))]
}

// kill ends a hand and its process.
func (s *simCluster) kill(h *simHand, st scheduler.Status) {
	h.proc.kill()
	h.proc = nil
	s.set(h, st)
}

// orphan ends a hand, but its process lives on.
func (s *simCluster) orphan(h *simHand, st scheduler.Status) {
	h.proc.orphaned = true
	h.proc = nil
	s.set(h, st)
}

// blame counts a fault against the shards that a hand has at present.
func (s *simCluster) blame(h *simHand) {
	if h.proc != nil && len(h.proc.job.Shards) > 0 {
		for _, id := range h.proc.job.Shards {
			s.struck[id]++
		}
		return
	}
	if j, ok := s.plan.Job(h.job.Script); ok {
		for _, id := range j.Shards {
			s.struck[id]++
		}
	}
}

// misfortune hits a running hand, or not.
func (s *simCluster) misfortune(h *simHand) {
	end := func(h *simHand, st scheduler.Status) {
		s.blame(h)
		if s.faults["split"] > 0 && s.rng.Float64() < s.faults["split"] && st.State != scheduler.Cancelled {
			s.orphan(h, st)
			return
		}
		s.kill(h, st)
	}
	failed := func(c scheduler.Cause, why string) scheduler.Status {
		return scheduler.Status{State: scheduler.Failed, Cause: c, Reason: why}
	}
	switch {
	case s.strikes("kill"):
		s.blame(h)
		s.kill(h, scheduler.Status{State: scheduler.Failed, Signal: 9, Reason: "killed by signal 9"})
	case s.strikes("lie"):
		s.blame(h)
		s.kill(h, scheduler.Status{State: scheduler.Done})
	case s.strikes("node"):
		for _, o := range s.hands {
			if o.proc != nil && o.node == h.node && o != h {
				end(o, failed(scheduler.Node, "NODE_FAIL"))
			}
		}
		end(h, failed(scheduler.Node, "NODE_FAIL"))
	case s.strikes("requeue"):
		h.restart++
		h.killed = 0
		end(h, scheduler.Status{State: scheduler.Pending, Reason: "BeginTime"})
	case s.strikes("preempt"):
		end(h, failed(scheduler.Preempted, "PREEMPTED"))
	case s.strikes("time"):
		s.blame(h)
		s.kill(h, failed(scheduler.TimeLimit, "TIMEOUT"))
	case s.strikes("evict"):
		s.blame(h)
		s.kill(h, scheduler.Status{State: scheduler.Cancelled})
	case s.strikes("vanish"):
		end(h, scheduler.Status{State: scheduler.Lost, Reason: "gone from the queue"})
		h.ghost = true
	}
}

// at is the hook of the submit's points: it may die at each, and what others wrote a moment ago may not be to be seen there yet.
func (s *simCluster) hook(reached map[string]int) func(string) {
	return func(p string) {
		reached[p]++
		switch p {
		case "run:claims":
			s.hideClaims()
		case "run:claimed":
			s.publish(true)
		}
		if p == s.deadly && s.deadlyN > 0 {
			if s.deadlyN--; s.deadlyN == 0 {
				s.fell = true
				panic(simDeath{p})
			}
		}
		s.die(p)
	}
}

// hang puts a hook into the points for a while.
func hang(hook func(string)) (undo func()) {
	points.Hook = hook
	return func() { points.Hook = func(string) {} }
}

func (s *simCluster) dir(j scheduler.Job) result.Dir { return result.Dir(j.Args[3]) }

// peek is a Poll by somebody who only looks on.
func (s *simCluster) peek(_ context.Context, refs []scheduler.Ref) (map[string]scheduler.Status, error) {
	all := map[string]scheduler.Status{}
	for _, r := range refs {
		if h := s.byName[r.Name]; h != nil && h.hidden <= s.now {
			all[r.Name] = h.status()
		}
	}
	return all, nil
}
