package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// Resume opens the run in a directory by the plan that is in it.
func Resume(dir string, o Options) (*Run, error) {
	p, err := LoadPlan(dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	o.Reuse = dir
	return Open(filepath.Dir(dir), p, o)
}

// LoadPlan reads the plan of a run directory. A directory without one is ErrNoRun.
func LoadPlan(dir string) (*plan.Plan, error) {
	p, err := plan.Load(result.Dir(dir).Plan())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %q has no plan.json", ErrNoRun, dir)
	}
	return p, err
}

// Find says which directory Open would take for a plan, and whether it is there. It changes nothing.
func Find(workDir string, p *plan.Plan, reuse string) (dir string, found bool, err error) {
	return locate(workDir, p, reuse)
}

// Coverage is what a directory holds of one task.
type Coverage struct {
	Task  string
	Rows  int // planned
	Done  int // of them with a good record
	Stale int // of the others those that have only records of other data, prompts, settings or another model
}

// Cover says by task, in the plan's order, what a run directory holds of a plan, and how many good rows of each shard. A directory that is
// not there holds nothing. It changes nothing.
func Cover(dir string, p *plan.Plan) (tasks []Coverage, shards map[string]int, err error) {
	c := newCoverage(&Run{Dir: result.Dir(dir), Plan: p})
	if err := c.all(); err != nil {
		return nil, nil, err
	}
	return c.tasks(), c.rows, nil
}

func (c *coverage) tasks() []Coverage {
	var list []Coverage
	for _, t := range c.run.Plan.Tasks {
		list = append(list, Coverage{Task: t.ID, Rows: t.Rows, Done: c.done[t.ID], Stale: c.stale[t.ID]})
	}
	return list
}

// ShardState is where a shard is.
type ShardState string

// The states of a shard.
const (
	ShardDone    ShardState = "done"
	ShardRunning ShardState = "running" // a worker has it
	ShardQueued  ShardState = "queued"  // a worker was asked for
	ShardFailed  ShardState = "failed"  // it was given up
	ShardOpen    ShardState = "open"    // nobody was asked to do it yet
)

// State is what is known of a run, without touching it.
type State struct {
	Dir     string
	Plan    *plan.Plan
	Owner   string // the submit that works on it, "" when none does
	Tasks   []Coverage
	Shards  map[string]ShardState
	Tickets map[string]result.Ticket // by shard: of those running or queued
	Reasons map[string]string        // by shard: why it was given up
	Within  map[string]string        // by task: how far its quantization is, of those under way
	Workers []Worker                 // that are not known to have ended
	Logs    map[result.Ticket]string // of tickets that have ended, where the scheduler chose the place

	rows   map[string]int   // by shard: with a good record
	trials map[string]trial // by shard
}

// Worker is a job of the scheduler.
type Worker struct {
	Ref    scheduler.Ref
	Ticket result.Ticket
	Status scheduler.Status // State "" when the scheduler was not asked or did not answer
}

// Poll asks a scheduler about workers; those of which nothing is known are left out.
type Poll func(context.Context, []scheduler.Ref) (map[string]scheduler.Status, error)

// Look reads the state of the run in a directory, by the plan that is in it. It serves a run at work as well as one at rest. poll may be nil:
// the scheduler is not asked. One that does not answer is no error here.
func Look(ctx context.Context, dir string, p *plan.Plan, poll Poll) (*State, error) {
	d := result.Dir(dir)
	c := newCoverage(&Run{Dir: d, Plan: p})
	if err := c.all(); err != nil {
		return nil, err
	}
	entries, _, err := readJournal(d.Journal())
	if err != nil {
		return nil, err
	}
	j := &journal{}
	j.note(entries)
	s := &State{Dir: dir, Plan: p, Owner: Owner(dir), Tasks: c.tasks(), Shards: map[string]ShardState{}, Reasons: j.givenUp(),
		Tickets: map[string]result.Ticket{}, Logs: map[result.Ticket]string{}, Within: map[string]string{}, rows: c.rows, trials: trials(entries)}
	past := j.past(p.Identity)
	if err := s.shards(c, past.tickets); err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Status != nil && e.Status.Log != "" {
			s.Logs[result.Ticket{Job: e.Job, Attempt: e.Attempt}] = e.Status.Log
		}
	}
	return s, s.workers(ctx, past.hands, poll)
}

// shards sorts out where each shard is.
func (s *State) shards(c *coverage, tickets []orphan) error {
	claimed, err := c.run.Dir.Claimed()
	if err != nil {
		return err
	}
	taken := map[result.Ticket]bool{}
	for _, t := range claimed {
		taken[t] = true
	}
	for _, sh := range s.Plan.Shards {
		switch {
		case c.final[sh.ID]:
			s.Shards[sh.ID] = ShardDone
		case s.Reasons[sh.ID] != "":
			s.Shards[sh.ID] = ShardFailed
		default:
			s.Shards[sh.ID] = ShardOpen
		}
	}
	for _, o := range tickets {
		t := result.Ticket{Job: o.Job, Attempt: o.Attempt}
		for _, id := range o.Shards {
			if state, ok := s.Shards[id]; !ok || state == ShardDone || !o.ours {
				continue
			}
			s.Shards[id], s.Tickets[id] = ShardQueued, t
			if taken[t] {
				s.Shards[id] = ShardRunning
				s.within(c.run.Dir, id, t)
			}
		}
	}
	return nil
}

// within tells how far a shard is that is a quantization.
func (s *State) within(dir result.Dir, shard string, t result.Ticket) {
	sh, _ := s.Plan.Shard(shard)
	if task, _ := s.Plan.Task(sh.Task); task.Kind != plan.Quantize {
		return
	}
	if p, err := result.ReadProgress(dir.Progress(t.Job, t.Attempt)); err == nil && Within(p) != "" {
		s.Within[sh.Task] = Within(p)
	}
}

// workers asks about the workers that may be there.
func (s *State) workers(ctx context.Context, hands []orphan, poll Poll) error {
	var refs []scheduler.Ref
	for _, o := range hands {
		refs = append(refs, o.Ref)
	}
	status := map[string]scheduler.Status{}
	if poll != nil && len(refs) > 0 {
		var err error
		if status, err = poll(ctx, refs); err != nil && !errors.Is(err, scheduler.ErrDown) {
			return err
		}
	}
	for _, o := range hands {
		if st := status[o.Ref.Name]; !st.State.Terminal() || st.State == "" {
			s.Workers = append(s.Workers, Worker{Ref: o.Ref, Ticket: result.Ticket{Job: o.Job, Attempt: o.Attempt}, Status: st})
		}
	}
	return nil
}

// Owner is the submit that works on the run in a directory, "" when none does.
func Owner(dir string) string {
	f, err := os.Open(result.Dir(dir).Lock())
	if err != nil {
		return ""
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return ""
	}
	text, _ := io.ReadAll(io.LimitReader(f, 1024))
	return strings.TrimSpace(string(text))
}
