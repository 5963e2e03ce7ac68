package worker

import (
	"cmp"
	"time"

	"sextant/pkg/plan"
)

// pace is what this process has learnt of how long tickets take, the loading of the model apart.
type pace struct {
	tickets int
	tokens  float64 // estimated by the plan, of the rows computed
	spent   time.Duration
	longest time.Duration
}

// note takes in a ticket: the tokens that the plan estimates for it, the part of its rows that was computed, and the time it took.
func (p *pace) note(tokens int64, part float64, took time.Duration) {
	p.tickets++
	p.longest = max(p.longest, took)
	if tokens > 0 && part > 0 {
		p.tokens += float64(tokens) * part
		p.spent += took
	}
}

// expect is how long a ticket of so many estimated tokens should take. It goes by the longest so far where nothing else is known.
func (p *pace) expect(tokens int64) time.Duration {
	if tokens <= 0 || p.tokens <= 0 {
		return p.longest
	}
	return time.Duration(float64(tokens) / p.tokens * float64(p.spent))
}

// fits says whether a job of the plan can be done in the time left. The first always may be tried, for else a run under a short time limit
// would never progress: its rows are kept, however far it comes.
func (w *worker) fits(id string) bool {
	if w.o.Deadline.IsZero() || w.pace.tickets == 0 {
		return true
	}
	j, _ := w.plan.Job(id)
	return time.Until(w.o.Deadline) >= w.margin()+w.pace.expect(w.tokens(j))
}

// warnedEarly is how much sooner than asked for Slurm may send its warning.
const warnedEarly = time.Minute

// margin is how long before the deadline a ticket is to be done: when nobody says, before Slurm warns, for then the process stops.
func (w *worker) margin() time.Duration {
	return cmp.Or(w.o.Margin, time.Duration(w.plan.Spec.Slurm.SignalLead)*time.Second+warnedEarly)
}

// tokens is the plan's estimate for a job. 0: there is none.
func (w *worker) tokens(j plan.Job) (n int64) {
	for _, id := range j.Shards {
		sh, _ := w.plan.Shard(id)
		n += sh.Tokens
	}
	return n
}
