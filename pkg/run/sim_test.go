package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// simCluster is a cluster within the test: nodes with slots, a queue, and workers that work on the real run directory one file operation at a
// time, so that a fault can hit between any two. It moves on only when it is waited for. It is meant for a bubble of testing/synctest, where
// its seconds cost nothing.
type simCluster struct {
	simConfig
	rng     *rand.Rand
	plan    *plan.Plan
	hands   []*simHand
	byName  map[string]*simHand
	procs   []*simProc // alive, those of no hand any more too
	now     int        // steps made
	most    int        // steps at which the simulation gives up
	changed bool
	late    []lateFile
	taken   map[string]int          // by offer: so many of its first tickets are taken
	offers  map[string]result.Offer // those read
	wrote   map[string][]*simProc   // by row: who computed it
	struck  map[string]int          // by shard: faults that hit an attempt of it
	oddly   []string                // what must not happen
	polls   int

	deadly  string // the point at which the submit dies,
	fell    bool
	deadlyN int // when it is reached for this time
	submits int
	early   int // workers that came before what their ticket needs was there
}

// simConfig says what world it is.
type simConfig struct {
	nodes, slots int
	window       int                // at most so many hands; 0: not checked
	faults       map[string]float64 // by kind: its probability at each occasion
	until        int                // step from which on no fault happens
	blackHole    int                // number of the node, from 1, on which nothing begins
	need         int                // memory runs out unless it was shrunk so often
	bad          map[string]string  // by shard: what happens there, always
	pace         int                // operations of a worker a step, at most
	silent       bool               // workers tell nothing of their progress
}

// simHand is a job of the cluster.
type simHand struct {
	job     scheduler.Job
	history []scheduler.Status // the last is the truth
	since   []int              // steps at which they became so
	told    int                // index of the last that Poll told
	restart int
	node    int
	proc    *simProc
	hidden  int  // it is not in the queue before this step
	ghost   bool // its submitter was not told of it, or was told that it is gone
	killed  int  // step at which it is killed after having been asked to end
}

func (h *simHand) status() scheduler.Status { return h.history[len(h.history)-1] }

func newSim(c simConfig, seed uint64) *simCluster {
	c.pace = max(c.pace, 1)
	return &simCluster{simConfig: c, rng: rand.New(rand.NewPCG(seed, 7)), byName: map[string]*simHand{}, taken: map[string]int{}, offers: map[string]result.Offer{}, wrote: map[string][]*simProc{}, struck: map[string]int{}}
}

// strikes says whether a fault happens now.
func (s *simCluster) strikes(kind string) bool {
	p := s.faults[kind]
	return p > 0 && s.now < s.until && s.rng.Float64() < p
}

func (s *simCluster) odd(format string, args ...any) {
	s.oddly = append(s.oddly, fmt.Sprintf("step %d: ", s.now)+fmt.Sprintf(format, args...))
}

func (s *simCluster) set(h *simHand, st scheduler.Status) {
	st.Node = ""
	if h.node > 0 {
		st.Node = nodeName(h.node)
	}
	h.history, h.since = append(h.history, st), append(h.since, s.now)
	s.changed = true
}

func nodeName(n int) string { return fmt.Sprintf("node%d", n) }

// simDeath is the value of the panic that stands for the death of the submit.
type simDeath struct{ at string }

// simStuck is the value of the panic with which a simulation ends that does not end.
type simStuck struct{ steps int }

func (s *simCluster) die(at string) {
	if s.strikes("death") {
		panic(simDeath{at})
	}
}

// Submit is Scheduler's.
func (s *simCluster) Submit(_ context.Context, jobs []scheduler.Job) ([]scheduler.Ref, error) {
	s.submits++
	s.die("before submit")
	if s.strikes("down") {
		if s.rng.IntN(2) == 0 {
			s.ghosts(jobs)
		}
		return nil, fmt.Errorf("submitting: %w", scheduler.ErrDown)
	}
	n, fail := len(jobs), error(nil)
	if s.strikes("busy") {
		n, fail = s.rng.IntN(len(jobs)), fmt.Errorf("submitting: %w", scheduler.ErrBusy)
	}
	var refs []scheduler.Ref
	for i := range n {
		if len(jobs[i].Exclude) >= s.nodes || s.bad[jobs[i].Script] == "big" {
			return refs, fmt.Errorf("submitting: %w: no node will do", scheduler.ErrUnsatisfiable)
		}
		h := s.enter(jobs[i])
		if h != nil && s.strikes("doubt") { // taken on trust, and not there
			h.hidden, h.ghost = 1<<30, true
			if s.rng.IntN(2) == 0 {
				h.hidden = s.now + 3 + s.rng.IntN(20)
			}
		}
		refs = append(refs, scheduler.Ref{Name: jobs[i].Name, ID: strconv.Itoa(len(s.hands))})
	}
	if s.window > 0 && s.queued() > s.window {
		s.odd("%d hands in the queue, the window is %d", s.queued(), s.window)
	}
	s.die("after submit")
	return refs, fail
}

// ghosts enters some of the jobs though their submitter is told that nothing is known.
func (s *simCluster) ghosts(jobs []scheduler.Job) {
	if s.faults["ghost"] == 0 {
		return
	}
	for _, j := range jobs[:s.rng.IntN(len(jobs)+1)] {
		if len(j.Exclude) >= s.nodes || s.bad[j.Script] == "big" {
			continue
		}
		if h := s.enter(j); h != nil {
			h.ghost, h.hidden = true, s.now+s.rng.IntN(4)
		}
	}
}

// enter queues a job, unless its name was there before: then it gives nil.
func (s *simCluster) enter(j scheduler.Job) *simHand {
	if s.byName[j.Name] != nil {
		return nil
	}
	h := &simHand{job: j}
	s.byName[j.Name] = h
	s.hands = append(s.hands, h)
	s.set(h, scheduler.Status{State: scheduler.Pending})
	return h
}

// queued counts the hands that are there and known to be.
func (s *simCluster) queued() int {
	n := 0
	for _, h := range s.hands {
		if !h.status().State.Terminal() && !h.ghost {
			n++
		}
	}
	return n
}

// Poll is Scheduler's. States may come late, but never go back.
func (s *simCluster) Poll(_ context.Context, refs []scheduler.Ref) (map[string]scheduler.Status, error) {
	s.polls++
	s.changed = false
	s.die("poll")
	if s.strikes("polldown") {
		return nil, fmt.Errorf("asking: %w", scheduler.ErrDown)
	}
	all := map[string]scheduler.Status{}
	for _, r := range refs {
		h := s.byName[r.Name]
		if h == nil || h.hidden > s.now {
			all[r.Name] = scheduler.Status{State: scheduler.Lost, Reason: "the cluster does not know it"}
			continue
		}
		to := len(h.history) - 1
		if s.strikes("stale") {
			to = h.told + s.rng.IntN(to-h.told+1)
		}
		h.told = max(h.told, to)
		all[r.Name] = h.history[h.told]
	}
	return all, nil
}

// Cancel is Scheduler's.
func (s *simCluster) Cancel(_ context.Context, refs []scheduler.Ref) error {
	s.die("cancel")
	if s.strikes("polldown") {
		return fmt.Errorf("cancelling: %w", scheduler.ErrDown)
	}
	for _, r := range refs {
		h := s.byName[r.Name]
		if h == nil || h.hidden > s.now || h.status().State.Terminal() {
			continue
		}
		if h.proc == nil {
			s.set(h, scheduler.Status{State: scheduler.Cancelled})
		} else if h.killed == 0 {
			h.killed = s.now + s.rng.IntN(3)
		}
	}
	s.die("cancelled")
	return nil
}

// Wait is Scheduler's: the world moves on.
func (s *simCluster) Wait(ctx context.Context) error {
	for {
		s.die("wait")
		s.step()
		time.Sleep(700 * time.Millisecond)
		if s.changed && s.rng.IntN(3) > 0 || s.rng.IntN(20) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// step is a moment of the world.
func (s *simCluster) step() {
	s.now++
	if s.most > 0 && s.now > s.most {
		panic(simStuck{s.now})
	}
	s.publish(false)
	s.start()
	for _, h := range s.hands {
		if h.killed > 0 && h.killed <= s.now && h.proc != nil {
			s.kill(h, scheduler.Status{State: scheduler.Cancelled})
		}
	}
	for _, p := range slices.Clone(s.procs) {
		for range 1 + s.rng.IntN(s.pace) {
			if !p.dead {
				p.advance()
			}
		}
	}
	s.procs = slices.DeleteFunc(s.procs, func(p *simProc) bool { return p.dead })
	if h := s.victim(); h != nil {
		s.misfortune(h)
	}
}

// start lets queued hands begin where there is room.
func (s *simCluster) start() {
	used := map[int]int{}
	for _, h := range s.hands {
		if h.proc != nil {
			used[h.node]++
		}
	}
	for _, h := range s.hands {
		if h.status().State != scheduler.Pending || h.hidden > s.now || s.heldBack(h) {
			continue
		}
		for n := 1; n <= s.nodes; n++ {
			if used[n] < s.slots && !slices.Contains(h.job.Exclude, nodeName(n)) {
				used[n]++
				s.begin(h, n)
				break
			}
		}
		if len(used) == s.nodes && !slices.ContainsFunc(sortedInts(used), func(n int) bool { return n < s.slots }) {
			return
		}
	}
}

// heldBack says that a hand is to begin after others that have not ended.
func (s *simCluster) heldBack(h *simHand) bool {
	return slices.ContainsFunc(h.job.After, func(r scheduler.Ref) bool {
		other := s.byName[r.Name]
		return other != nil && !other.status().State.Terminal()
	})
}

func sortedInts(m map[int]int) []int {
	var list []int
	for _, n := range m {
		list = append(list, n)
	}
	return list
}

func (s *simCluster) begin(h *simHand, node int) {
	h.node = node
	if node == s.blackHole {
		s.blame(h)
		s.set(h, scheduler.Status{State: scheduler.Failed, ExitCode: 127, Cause: scheduler.Launch, Reason: "the command never began"})
		return
	}
	h.proc = newSimProc(s, h)
	s.procs = append(s.procs, h.proc)
	s.set(h, scheduler.Status{State: scheduler.Running})
}
