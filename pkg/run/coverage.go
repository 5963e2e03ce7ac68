package run

import (
	"slices"

	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// coverage is what the files of a run hold of its plan.
type coverage struct {
	run   *Run
	store *result.Store
	rows  map[string]int  // by shard
	done  map[string]int  // by task
	final map[string]bool // by shard
	stale map[string]int  // by task
	spent map[string]bool // by task: quantizations of which nobody needs what they made
	bad   []error
}

func newCoverage(r *Run) *coverage {
	return &coverage{run: r, store: result.NewStore(r.Dir), rows: map[string]int{}, done: map[string]int{}, final: map[string]bool{},
		stale: map[string]int{}, spent: map[string]bool{}}
}

// all looks at every file of the run, one task at a time.
func (c *coverage) all() error {
	if err := c.store.Refresh(); err != nil {
		return err
	}
	c.note(c.store.Bad())
	shards := map[string][]plan.Shard{}
	for _, s := range c.run.Plan.Shards {
		shards[s.Task] = append(shards[s.Task], s)
	}
	for _, kind := range []string{"", plan.Quantize} {
		for _, t := range c.run.Plan.Tasks {
			if t.Kind != kind {
				continue
			}
			c.spent[t.ID] = kind == plan.Quantize && c.unneeded(shards[t.ID])
			rows, err := c.look(t, shards[t.ID])
			if err != nil {
				return err
			}
			c.stale[t.ID] = rows.Stale
		}
	}
	return nil
}

// unneeded says of a quantization's shards that all is done that comes after them, and some is: what they made may have been removed since.
func (c *coverage) unneeded(shards []plan.Shard) bool {
	own := map[string]bool{}
	for _, j := range c.run.Plan.Jobs {
		own[j.ID] = slices.ContainsFunc(shards, func(s plan.Shard) bool { return slices.Contains(j.Shards, s.ID) })
	}
	some := false
	for _, j := range c.run.Plan.Jobs {
		if !slices.ContainsFunc(j.After, func(id string) bool { return own[id] }) {
			continue
		}
		if some = true; slices.ContainsFunc(j.Shards, func(s string) bool { return !c.final[s] }) {
			return false
		}
	}
	return some && !c.run.quantize
}

// shards looks again at the files of some shards, after a job had them.
func (c *coverage) shards(list []plan.Shard) error {
	for _, s := range list {
		if err := c.store.Refresh(s.ID); err != nil {
			return err
		}
		t, _ := c.run.Plan.Task(s.Task)
		if _, err := c.look(t, []plan.Shard{s}); err != nil {
			return err
		}
	}
	return nil
}

// look counts the rows of shards of one task, given in order and without a gap.
func (c *coverage) look(t plan.Task, shards []plan.Shard) (*result.Rows, error) {
	q := c.run.query(t)
	q.From, q.To, q.Final = shards[0].From, shards[len(shards)-1].To, true
	final, err := c.store.Collect(q)
	if err != nil {
		return nil, err
	}
	c.note(final.Bad)
	rows := final
	if q.Final = false; !final.Complete() {
		if rows, err = c.store.Collect(q); err != nil {
			return nil, err
		}
		c.note(rows.Bad)
	}
	lost := t.Kind == plan.Quantize && len(rows.Records) > 0 && !c.spent[t.ID] && c.run.made(t) != nil
	for _, s := range shards {
		n, kept := within(rows.Records, s), within(final.Records, s)
		if lost {
			n, kept = 0, 0
		}
		c.done[s.Task] += n - c.rows[s.ID]
		c.rows[s.ID] = n
		c.final[s.ID] = kept == s.To-s.From
	}
	return rows, nil
}

// within counts the records of a shard's rows among those in order of row.
func within(records []result.Record, s plan.Shard) int {
	at := func(row int) int {
		i, _ := slices.BinarySearchFunc(records, row, func(r result.Record, row int) int { return r.Row - row })
		return i
	}
	return at(s.To) - at(s.From)
}

// note remembers what was wrong with files, each once.
func (c *coverage) note(errs []error) {
	for _, err := range errs {
		if !slices.ContainsFunc(c.bad, func(old error) bool { return old.Error() == err.Error() }) {
			c.bad = append(c.bad, err)
		}
	}
}

// commit makes a result file of a shard whose rows are all there.
func (c *coverage) commit(s plan.Shard) error {
	t, _ := c.run.Plan.Task(s.Task)
	q := c.run.query(t)
	q.From, q.To = s.From, s.To
	rows, err := c.store.Collect(q)
	if err != nil {
		return err
	}
	if rows.Complete() {
		h := result.Header{Task: t.ID, Digest: t.Digest, From: s.From, To: s.To}
		if err := result.Write(c.run.Dir.Result(s.ID), h, rows.Records); err != nil {
			return err
		}
	}
	return c.shards([]plan.Shard{s})
}

// query asks for all rows of a task, by its digest or else by the rows' own.
func (r *Run) query(t plan.Task) result.Query {
	if r.same == nil {
		r.same = map[string]func(result.Record) bool{}
	}
	if r.same[t.ID] == nil {
		r.same[t.ID] = plan.SameRow(r.Plan, t)
	}
	return result.Query{Task: t.ID, Digest: t.Digest, To: t.Rows, Same: r.same[t.ID]}
}
