package run

import (
	"slices"

	"sextant/pkg/result"
	"sextant/scheduler"
)

// Fault is a shard's part in a failure, as the journal keeps it.
type Fault struct {
	Shard  string             `json:"shard"`
	Kind   result.FailureKind `json:"kind"`
	Reason string             `json:"reason"`
	Rows   bool               `json:"rows,omitempty"` // it is of single rows: the worker has done what it could of the others
}

// patience is how often in a row an attempt of a job may end by no fault of its own without a single row done, before it counts.
const patience = 10

// evictions is the same for jobs that somebody else cancels: who does so again and again means it.
const evictions = 2

// blame keeps what counts against shards and tasks.
type blame struct {
	retry  int
	tries  map[string]int    // by shard: failures that count
	reason map[string]string // by shard: of the last of them
	doomed map[string]string // by task: why none of its shards can succeed
	idle   map[string]int    // by job: attempts in a row that brought nothing and did not count
	shrink map[string]int    // by job: how often it ran out of memory
	slow   map[string]int    // by job: how often it reached its time limit without a row done
}

func newBlame(retry int) blame {
	return blame{retry: retry, tries: map[string]int{}, reason: map[string]string{}, doomed: map[string]string{}, idle: map[string]int{},
		shrink: map[string]int{}, slow: map[string]int{}}
}

// take says which of the faults of an ended attempt count, and remembers what the next one needs: less memory used, more time.
//
// Giving way, a lost node, one on which workers do not begin, coming too early and being cancelled are nobody's fault, up to a limit. A time
// limit is none while rows were done: the next attempt has fewer to do. The first time that memory runs out the next attempt uses half of it,
// the second time it asks for twice as much too.
func (b *blame) take(a *attempt, v verdict) []Fault {
	job := a.job.ID
	if v.gained > 0 {
		b.idle[job] = 0
	}
	switch {
	case len(v.faults) == 0:
		return nil
	case v.cause == scheduler.Memory && b.shrink[job] < maxShrink:
		b.shrink[job]++
		return nil
	case v.cause == scheduler.TimeLimit && v.gained == 0:
		b.slow[job]++
	case v.cause == scheduler.Launch && !v.elsewhere:
	case slices.Contains([]scheduler.Cause{scheduler.Launch, scheduler.TimeLimit, scheduler.Preempted, scheduler.Node, lost, evicted, early}, v.cause):
		most := patience
		if v.cause == evicted {
			most = evictions
		}
		if b.idle[job]++; b.idle[job] <= most {
			return nil
		}
	}
	return v.faults
}

// maxShrink is how often memory may run out before it counts.
const maxShrink = 3

// apply counts a fault.
func (b *blame) apply(f Fault, task string) {
	b.reason[f.Shard] = f.Reason
	switch {
	case f.Kind != result.FailInput:
		b.tries[f.Shard]++
	case f.Rows:
		b.tries[f.Shard] = b.retry + 1 // it has all it will get; the rows of other shards may do
	default:
		b.doom(task, f.Reason)
	}
}

func (b *blame) doom(task, reason string) {
	if b.doomed[task] == "" {
		b.doomed[task] = reason
	}
}
