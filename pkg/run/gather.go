package run

import (
	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// Gathered is what a run has so far.
type Gathered struct {
	Records map[string][]result.Record // by task, ascending rows; those there are
	Missing map[string]Missing         // tasks that lack rows
	Bad     []error                    // files that were not trusted
}

// NotYet is the reason of rows that were not given up: nobody has computed them.
const NotYet = "not computed yet"

// Missing says how much of a task is not there, and why.
type Missing struct {
	Rows   int
	Stale  int // of these: rows whose only records were made of other data, prompts, settings or another model
	Reason string
}

// Read is Gather of a run that is not opened, by the plan that is in its directory: whoever works on it may go on.
func Read(dir string, p *plan.Plan) (*Gathered, error) {
	entries, _, err := readJournal(result.Dir(dir).Journal())
	if err != nil {
		return nil, err
	}
	j := &journal{}
	j.note(entries)
	return (&Run{Dir: result.Dir(dir), Plan: p, journal: j}).Gather()
}

// Gather reads the good records of every task, from result files and from checkpoints of shards that never finished. It serves a run in
// any state and changes nothing.
func (r *Run) Gather() (*Gathered, error) {
	store := result.NewStore(r.Dir)
	if err := store.Refresh(); err != nil {
		return nil, err
	}
	g := &Gathered{Records: map[string][]result.Record{}, Missing: map[string]Missing{}, Bad: store.Bad()}
	reasons := r.Reasons()
	for _, t := range r.Plan.Tasks {
		rows, err := store.Collect(r.query(t))
		if err != nil {
			return nil, err
		}
		g.Records[t.ID] = rows.Records
		g.Bad = append(g.Bad, rows.Bad...)
		if missing := t.Rows - len(rows.Records); missing > 0 {
			m := Missing{Rows: missing, Stale: rows.Stale, Reason: reasons[t.ID]}
			if m.Reason == "" {
				m.Reason = NotYet
			}
			g.Missing[t.ID] = m
		}
	}
	return g, nil
}

// Reasons tells by task why a shard of it was given up: of the first in the plan's order.
func (r *Run) Reasons() map[string]string {
	given := r.journal.givenUp()
	reasons := map[string]string{}
	for _, s := range r.Plan.Shards {
		if reason := given[s.ID]; reason != "" && reasons[s.Task] == "" {
			reasons[s.Task] = reason
		}
	}
	return reasons
}
