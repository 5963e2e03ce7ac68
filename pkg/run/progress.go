package run

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"sextant/pkg/result"
	"sextant/scheduler"
)

// EventKind says what happened.
type EventKind int

// The kinds of event.
const (
	Adopting   EventKind = iota // jobs of a submit that died are looked for, and waited for; without Progress
	Began                       // what is there is known; jobs come next
	Started                     // Job runs, its log is Log
	Progressed                  // nothing but progress
	Ended                       // Job ended; Reason when not well
	GaveUp                      // Shard will not be tried again, for Reason
	Stopping                    // the jobs are being stopped
	Held                        // the scheduler does not answer, or takes no more jobs at present, for Reason; it is waited for
)

// Event tells an observer of Execute what happened, and how far the run is.
type Event struct {
	Kind     EventKind
	Job      string
	Shard    string
	Attempt  int
	Reason   string
	Log      string
	Progress Progress
}

// Progress is how far a run is.
type Progress struct {
	Tasks    []TaskProgress     // in the plan's order
	Tokens   int64              // put through the models by the jobs now running
	Spent    int64              // and by those that ended before, since Execute began
	Shards   map[ShardState]int // of what is carried out; counted a tick ago at most, as the next
	Failures map[Class]int      // attempts that ended badly since the run was begun
	Attempts int                // all of them
}

// TaskProgress is how far a task is.
type TaskProgress struct {
	Task   string
	Rows   int
	Done   int    // rows with a record, those of running attempts included
	Failed string // why the task, or a shard of it, was given up
	Within string // how far a quantization under way is: "block 3 of 12 at 25%, calibrating, 40s left"
}

// emit gives the observer an event with the progress of now, where what is under way was counted a tick ago at most.
func (c *controller) emit(e Event) {
	if time.Since(c.counted) >= c.run.tick {
		c.count()
	}
	e.Progress = c.progress()
	c.observe(e)
}

func (c *controller) progress() Progress {
	p := Progress{Tokens: c.tokens, Spent: c.spent, Shards: c.states, Failures: c.failures, Attempts: c.run.journal.tickets}
	for _, t := range c.todo.Tasks {
		done := min(c.cover.done[t.ID]+c.underway[t.ID], t.Rows)
		p.Tasks = append(p.Tasks, TaskProgress{Task: t.ID, Rows: t.Rows, Done: done, Failed: c.failed[t.ID], Within: c.within[t.ID]})
	}
	return p
}

// runs says that a worker is at an attempt.
func (c *controller) runs(a *attempt) bool {
	h := c.hands[a.hand]
	return a.claimed || !c.run.drain && h != nil && h.status.State == scheduler.Running
}

// tally counts the shards by where they are, and what the journal knows of failures.
func (c *controller) tally() {
	c.states, c.failures = map[ShardState]int{}, maps.Clone(c.run.journal.failures)
	settled := func(id string) bool { return c.cover.final[id] || c.given[id] }
	for _, s := range c.todo.Shards {
		switch {
		case c.cover.final[s.ID]:
			c.states[ShardDone]++
		case c.given[s.ID]:
			c.states[ShardFailed]++
		default:
			c.states[ShardOpen]++
		}
	}
	for _, a := range c.live {
		state := ShardQueued
		if c.runs(a) {
			state = ShardRunning
		}
		for _, id := range a.job.Shards {
			if !settled(id) {
				c.states[state]++
				c.states[ShardOpen]--
			}
		}
	}
}

// count counts the rows of attempts under way.
func (c *controller) count() {
	c.tally()
	c.counted, c.tokens = time.Now(), 0
	clear(c.underway)
	clear(c.within)
	for j, a := range c.live {
		a.underway, a.tokens = nil, 0
		if !c.runs(a) {
			continue
		}
		if w, err := result.ReadProgress(c.run.Dir.Progress(j, a.n)); err == nil {
			a.tokens = w.Tokens
			c.tokens += w.Tokens
			if text := Within(w); text != "" {
				c.within[c.shards[a.job.Shards[0]].Task] = text
			}
		}
		a.underway = map[string]int{}
		for _, id := range a.job.Shards {
			s := c.shards[id]
			n := min(a.count(c.run.Dir, id), s.To-s.From-c.cover.rows[id])
			a.underway[s.Task] += n
			c.underway[s.Task] += n
		}
	}
}

// Within tells how far a quantization is, "" of a job that is none.
func Within(p result.Progress) string {
	if p.Blocks == 0 {
		return ""
	}
	text := fmt.Sprintf("block %d of %d at %d%%", p.Block, p.Blocks, int(100*p.Part))
	if p.Phase != "" {
		text += ", " + p.Phase
	}
	if left := time.Duration(p.Left * float64(time.Second)).Round(time.Second); left > 0 {
		text += fmt.Sprintf(", %s left", left)
	}
	return text
}

// recover looks again at what is there of an attempt's shards. What was counted of it while it was under way is among that.
func (c *controller) recover(a *attempt) error {
	c.discount(a)
	return c.cover.shards(c.shardsOf(a))
}

// discount takes an attempt out of what is under way.
func (c *controller) discount(a *attempt) {
	for task, n := range a.underway {
		c.underway[task] -= n
	}
	a.underway = nil
}

// whole says that all rows of an attempt's shards were seen in result files.
func (c *controller) whole(a *attempt) bool {
	return !slices.ContainsFunc(a.job.Shards, func(id string) bool { return !c.cover.final[id] })
}

// lineCount counts the lines of a growing file.
type lineCount struct {
	offset int64
	lines  int
}

// count is how many rows an attempt has checkpointed for a shard. It reads what was added since the last call.
func (a *attempt) count(dir result.Dir, shard string) int {
	if a.lines == nil {
		a.lines = map[string]*lineCount{}
	}
	n := a.lines[shard]
	if n == nil {
		n = &lineCount{}
		a.lines[shard] = n
	}
	f, err := os.Open(dir.Rows(shard, a.n))
	if err != nil {
		return 0
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for {
		k, err := f.ReadAt(buf, n.offset)
		n.offset += int64(k)
		n.lines += bytes.Count(buf[:k], []byte{'\n'})
		if errors.Is(err, io.EOF) || err != nil {
			return max(n.lines-1, 0) // the first line is the header
		}
	}
}
