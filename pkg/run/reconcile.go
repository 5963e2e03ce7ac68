package run

import (
	"cmp"
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
// submitted. It is pure; the actions are in the plan's order of jobs.
func Reconcile(p *plan.Plan, o Observed) []Action {
	r := reconciler{o: o, shards: make(map[string]plan.Shard, len(p.Shards)), holder: map[string]string{}, slots: o.Slots}
	for _, s := range p.Shards {
		r.shards[s.ID] = s
	}
	for job, shards := range o.Live {
		for _, s := range shards {
			r.holder[s] = job
		}
	}
	for _, j := range p.Jobs {
		r.job(j)
	}
	return r.actions
}

type reconciler struct {
	o       Observed
	shards  map[string]plan.Shard
	holder  map[string]string // by shard: the live job that has it
	slots   int
	actions []Action
}

func (r *reconciler) add(a Action) { r.actions = append(r.actions, a) }

// job sorts a job's shards into actions.
func (r *reconciler) job(j plan.Job) {
	var done, waiting, cancelled, lacking []string
	for _, id := range j.Shards {
		s := r.shards[id]
		reason, doomed := r.o.Doomed[s.Task]
		switch {
		case r.o.Final[id]:
			done = append(done, id)
		case r.holder[id] != "" && r.hopeless(r.holder[id]):
			cancelled = append(cancelled, id)
		case r.holder[id] != "":
			waiting = append(waiting, id)
		case r.o.Rows[id] >= s.To-s.From:
			r.add(Action{Kind: Commit, Shards: []string{id}})
		case doomed:
			r.add(Action{Kind: GiveUp, Shards: []string{id}, Reason: reason})
		case r.o.Tries[id] > r.o.Retry:
			r.add(Action{Kind: GiveUp, Shards: []string{id}, Reason: r.o.Reason[id]})
		default:
			lacking = append(lacking, id)
		}
	}
	if _, live := r.o.Live[j.ID]; live || r.slots <= 0 {
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
	for _, id := range r.o.Live[job] {
		if _, doomed := r.o.Doomed[r.shards[id].Task]; !doomed && !r.o.Final[id] {
			return false
		}
	}
	return true
}
