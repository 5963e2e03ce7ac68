package run

import (
	"cmp"
	"fmt"
	"slices"

	"sextant/pkg/plan"
)

// Observed is what is known of a run at one moment.
type Observed struct {
	Rows   map[string]int      // by shard: rows with good records, in result files or checkpoints
	Final  map[string]bool     // shards of which every row is in a verified result file
	Live   map[string][]string // by job: the shards that its attempt, queued or running, was asked to do
	Tries  map[string]int      // by shard: attempts that failed and count
	Reason map[string]string   // by shard: why the last of them failed
	Doomed map[string]string   // by task: why none of its shards can succeed
	Retry  int                 // attempts of a shard after the first that failed
	Slots  int                 // jobs that may be submitted now
	Ahead  bool                // jobs may be submitted when what they come after is live: the scheduler holds them back until that has ended
}

// Kind is what to do with shards.
type Kind int

// The kinds of action.
const (
	Rest   Kind = iota // nothing: they are done
	Wait               // for their job, or for a free slot
	Submit             // Job with Shards
	Cancel             // Job: none of its shards can succeed
	Commit             // Shards[0]: all its rows are there, only not in a result file
	GiveUp             // Shards[0], for Reason
)

func (k Kind) String() string {
	return [...]string{"rest", "wait", "submit", "cancel", "commit", "give up"}[k]
}

// Action is one thing to do.
type Action struct {
	Kind   Kind
	Job    string // Submit, Cancel
	Shards []string
	Reason string // GiveUp
}

// Reconcile says what to do next for every shard of the plan: each is in exactly one action. A shard whose rows are all there is never
// submitted, and one whose job comes after others not before these are done; when one of them fails for good, so do its own shards. It is
// pure; the actions are in the plan's order of jobs.
func Reconcile(p *plan.Plan, o Observed) []Action {
	r := newReconciler(p, o)
	for _, j := range p.Jobs {
		r.job(j)
	}
	return r.actions
}

func newReconciler(p *plan.Plan, o Observed) *reconciler {
	r := &reconciler{o: o, shards: make(map[string]plan.Shard, len(p.Shards)), holder: map[string]string{}, slots: o.Slots,
		befores: map[string]*before{}}
	for _, s := range p.Shards {
		r.shards[s.ID] = s
	}
	for job, shards := range o.Live {
		for _, s := range shards {
			r.holder[s] = job
		}
	}
	for _, j := range p.Jobs {
		if len(j.After) == 0 {
			continue
		}
		r.jobs = make(map[string]plan.Job, len(p.Jobs))
		for _, j := range p.Jobs {
			r.jobs[j.ID] = j
		}
		break
	}
	return r
}

type reconciler struct {
	o       Observed
	shards  map[string]plan.Shard
	holder  map[string]string // by shard: the live job that has it
	slots   int
	actions []Action
	jobs    map[string]plan.Job // nil: none comes after another
	befores map[string]*before  // by job that comes after others
}

// before is how those stand that a job comes after.
type before struct {
	lacking []string // those of which shards are not done
	failed  string   // why one of them never will be; "": none is known to fail
}

// before looks at what a job comes after.
func (r *reconciler) before(j plan.Job) before {
	if len(j.After) == 0 {
		return before{}
	}
	if b := r.befores[j.ID]; b != nil {
		return *b
	}
	b := &before{}
	r.befores[j.ID] = &before{failed: "the plan's jobs wait for each other"} // should it be met again on the way
	for _, id := range j.After {
		other, ok := r.jobs[id]
		if !ok {
			b.failed = cmp.Or(b.failed, fmt.Sprintf("the plan lacks the job %q that comes first", id))
			continue
		}
		if !slices.ContainsFunc(other.Shards, func(s string) bool { return !r.o.Final[s] }) {
			continue
		}
		b.lacking = append(b.lacking, id)
		b.failed = cmp.Or(b.failed, r.failed(other))
	}
	r.befores[j.ID] = b
	return *b
}

// failed tells why a job's shards will not all be done, "" as long as they may.
func (r *reconciler) failed(j plan.Job) string {
	earlier := r.before(j).failed
	for _, id := range j.Shards {
		s := r.shards[id]
		if r.o.Final[id] || r.holder[id] != "" || r.o.Rows[id] >= s.To-s.From {
			continue
		}
		if reason, given := r.given(s); given {
			return s.Task + " failed: " + reason
		}
		if earlier != "" {
			return earlier
		}
	}
	return ""
}

// given says whether a shard that nobody has is to be given up for its own sake, and why.
func (r *reconciler) given(s plan.Shard) (reason string, given bool) {
	if reason, doomed := r.o.Doomed[s.Task]; doomed {
		return reason, true
	}
	return r.o.Reason[s.ID], r.o.Tries[s.ID] > r.o.Retry
}

func (r *reconciler) add(a Action) { r.actions = append(r.actions, a) }

// job sorts a job's shards into actions.
func (r *reconciler) job(j plan.Job) {
	first := r.before(j)
	var done, waiting, cancelled, lacking []string
	for _, id := range j.Shards {
		s := r.shards[id]
		reason, given := r.given(s)
		switch {
		case r.o.Final[id]:
			done = append(done, id)
		case r.holder[id] != "" && r.hopeless(r.holder[id]):
			cancelled = append(cancelled, id)
		case r.holder[id] != "":
			waiting = append(waiting, id)
		case r.o.Rows[id] >= s.To-s.From:
			r.add(Action{Kind: Commit, Shards: []string{id}})
		case given:
			r.add(Action{Kind: GiveUp, Shards: []string{id}, Reason: reason})
		case first.failed != "":
			r.add(Action{Kind: GiveUp, Shards: []string{id}, Reason: first.failed})
		default:
			lacking = append(lacking, id)
		}
	}
	if _, live := r.o.Live[j.ID]; live || r.slots <= 0 || !r.mayBegin(first) {
		waiting, lacking = append(waiting, lacking...), nil
	}
	if len(done) > 0 {
		r.add(Action{Kind: Rest, Shards: done})
	}
	if len(waiting) > 0 {
		r.add(Action{Kind: Wait, Shards: waiting})
	}
	for _, id := range cancelled {
		r.cancel(id)
	}
	if len(lacking) > 0 {
		r.slots--
		// Those that failed go last: what breaks a worker then costs the others nothing.
		slices.SortStableFunc(lacking, func(a, b string) int { return cmp.Compare(r.o.Tries[a], r.o.Tries[b]) })
		r.add(Action{Kind: Submit, Job: j.ID, Shards: lacking})
	}
}

// mayBegin says whether a job may be submitted as far as those go that it comes after.
func (r *reconciler) mayBegin(first before) bool {
	return !slices.ContainsFunc(first.lacking, func(id string) bool {
		_, live := r.o.Live[id]
		return !live || !r.o.Ahead
	})
}

// cancel adds a shard to the cancel action of the job that has it.
func (r *reconciler) cancel(id string) {
	job := r.holder[id]
	i := slices.IndexFunc(r.actions, func(a Action) bool { return a.Kind == Cancel && a.Job == job })
	if i < 0 {
		r.add(Action{Kind: Cancel, Job: job, Shards: []string{id}})
		return
	}
	r.actions[i].Shards = append(r.actions[i].Shards, id)
}

// hopeless says of a live job that none of the shards it still has to do can succeed.
func (r *reconciler) hopeless(job string) bool {
	if r.before(r.jobs[job]).failed != "" {
		return true
	}
	for _, id := range r.o.Live[job] {
		if _, doomed := r.o.Doomed[r.shards[id].Task]; !doomed && !r.o.Final[id] {
			return false
		}
	}
	return true
}
