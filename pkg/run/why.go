package run

import (
	"cmp"

	"sextant/pkg/result"
)

// Class is the kind of reason why a shard is not done. The causes of scheduler.Cause and the kinds of result.FailureKind are classes too.
type Class string

// The classes beside those.
const (
	ClassOpen    Class = "open"    // nobody tried it yet
	ClassEarlier Class = "earlier" // what comes first failed
	ClassLost    Class = "lost"    // the worker is not there any more, and nobody knows why
	ClassEvicted Class = "evicted" // somebody else cancelled its job
	ClassStopped Class = "stopped" // its job was asked to end
)

// Trouble is a shard that is not done: it was given up, or failed before and is tried again, or nobody has begun it.
type Trouble struct {
	Shard    string
	Task     string
	Rows     int // planned
	Done     int // of them with a good record
	State    ShardState
	Class    Class
	Attempts int           // that ended by themselves and left it undone
	Last     result.Ticket // the last of them, where that tells why; else zero
	Node     string        // where that was
	Reason   string        // one line; "": none is known
}

// trial is the last attempt of a shard that ended by itself.
type trial struct {
	entry
	times   int    // the how-manieth; 0: there was none
	stopped string // why a later one was ended; "": there was none
}

// trials takes up, by shard, how attempts at it ended.
func trials(entries []entry) map[string]trial {
	asked := map[result.Ticket][]string{}
	last := map[string]trial{}
	for _, e := range entries {
		switch e.Event {
		case evSubmit:
			asked[e.ticket()] = e.Shards
		case evEnd:
			for _, s := range asked[e.ticket()] {
				t := last[s]
				if e.stopped() {
					t.stopped = cmp.Or(e.Reason, "stopped")
				} else {
					t = trial{entry: e, times: t.times + 1}
				}
				last[s] = t
			}
		}
	}
	return last
}

// Troubles lists the shards that are not done, in the plan's order, but for those that are under way for the first time.
func (s *State) Troubles() []Trouble {
	var list []Trouble
	told := map[[2]string]Class{} // by task and reason: of those that were tried
	for _, sh := range s.Plan.Shards {
		state := s.Shards[sh.ID]
		tried := s.trials[sh.ID]
		if state == ShardDone || tried.times == 0 && (state == ShardRunning || state == ShardQueued) {
			continue
		}
		t := Trouble{Shard: sh.ID, Task: sh.Task, Rows: sh.To - sh.From, Done: s.rows[sh.ID], State: state, Class: ClassOpen, Reason: s.Reasons[sh.ID]}
		switch {
		case state == ShardOpen && tried.stopped != "":
			t.Class, t.Attempts, t.Reason = ClassStopped, tried.times, tried.stopped
		case tried.times > 0:
			t.take(tried)
			told[[2]string{t.Task, t.Reason}] = t.Class
		case state == ShardFailed:
			t.Class = ClassEarlier
		}
		list = append(list, t)
	}
	for i := range list { // the shards of a task that cannot succeed are given up with the first
		if class, ok := told[[2]string{list[i].Task, list[i].Reason}]; ok && list[i].Class == ClassEarlier {
			list[i].Class = class
		}
	}
	return list
}

// take adds what the journal says of the last attempt.
func (t *Trouble) take(last trial) {
	t.Attempts, t.Last = last.times, last.ticket()
	if t.Reason == "" {
		t.Reason = last.Reason
	}
	t.Node, t.Class = last.Status.Node, last.class(t.Shard)
}
