package worker

import (
	"context"
	"fmt"

	"sextant/pkg/dataset"
	"sextant/pkg/engine"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

// task is one model on one dataset, opened once for all shards that this process does of it.
type task struct {
	plan    plan.Task
	data    spec.Dataset
	model   spec.Model
	tok     *tokenizer.Tokenizer
	eng     *engine.Engine
	set     *dataset.Set
	windows []dataset.Window // rolling

	roles    *dataset.Roles
	limit    int // tokens a sequence may have, what is to be generated apart
	trailing int // EOS tokens that the tokenizer puts after every text
	maxNew   int // gen
}

// task opens a task of the plan, or gives it again.
func (w *worker) task(id string) (*task, error) {
	if t := w.tasks[id]; t != nil {
		return t, nil
	}
	pt, ok := w.plan.Task(id)
	if !ok {
		return nil, bad(fmt.Errorf("the plan has no task %q", id))
	}
	d, ok := w.plan.Dataset(pt.Dataset)
	if !ok {
		return nil, bad(fmt.Errorf("task %q is of the dataset %q, which the plan's spec lacks", id, pt.Dataset))
	}
	t := &task{plan: pt, data: d.WithDefaults(), model: w.model, tok: w.tok, eng: w.eng, limit: w.eng.MaxSeqLen()}
	if err := t.open(w.plan.Spec.Infer.Limit); err != nil {
		return nil, bad(err)
	}
	if err := t.unchanged(&d); err != nil {
		return nil, bad(err)
	}
	w.tasks[id] = t
	return t, nil
}

// unchanged refuses data that was changed after d was planned: its records would be filed under a question that was not asked.
func (t *task) unchanged(d *spec.Dataset) error {
	data, err := t.set.Digest()
	if err != nil {
		return err
	}
	now, err := plan.TaskDigest(&t.model, d, t.plan.Settings, plan.TaskInput{Data: data, Rows: t.rows(), Chat: t.roles.ChatDigest(t.data.Mode)})
	if err != nil {
		return err
	}
	if now != t.plan.Digest {
		return fmt.Errorf("%s: the dataset's files, or the model's chat template, were changed after the plan was made: run submit again", t.plan.ID)
	}
	return nil
}

func (t *task) open(limit int) (err error) {
	if t.set, err = dataset.Open(t.data, limit); err != nil {
		return err
	}
	if t.roles, err = plan.RolesOf(&t.model); err != nil {
		return err
	}
	t.affixes()
	switch t.data.Mode {
	case spec.Rolling:
		return t.cut()
	case spec.PPL, spec.LL, spec.CLP:
		if t.limit < 2 {
			return fmt.Errorf("dataset %s: with %d token a sequence nothing is predicted: raise max_seq_len", t.data.Abbr, t.limit)
		}
	case spec.Gen:
		t.maxNew = t.data.Gen.MaxOutLen
		if t.model.MaxOutLen > 0 {
			t.maxNew = min(t.maxNew, t.model.MaxOutLen)
		}
		if t.limit -= t.maxNew; t.limit < 1 {
			return fmt.Errorf("dataset %s: max_out_len %d leaves no room for a prompt in the model's %d tokens: lower it", t.data.Abbr, t.maxNew, t.eng.MaxSeqLen())
		}
	}
	return nil
}

// affixes finds what the tokenizer puts around every text, from what it makes of no text.
func (t *task) affixes() {
	ids := t.tok.EncodePrompt("")
	if bos, ok := t.tok.BOS(); ok && len(ids) > 0 && ids[0] == bos {
		ids = ids[1:]
	}
	if eos, ok := t.tok.EOS(); ok && len(ids) > 0 && ids[len(ids)-1] == eos {
		t.trailing = 1
	}
}

// rows is how many rows the task has in the data as it is now.
func (t *task) rows() int {
	if t.data.Mode == spec.Rolling {
		return len(t.windows)
	}
	return t.set.Len()
}

// same says whether a record made under another task digest is what this task would ask of the row.
func (t *task) same(r result.Record) bool {
	if t.data.Mode == spec.Rolling {
		return t.windows[r.Row].Digest(t.plan.Settings) == r.Digest
	}
	it, err := t.set.Item(r.Row, t.roles)
	return err == nil && it.Digest(t.plan.Settings) == r.Digest
}

// chunkTokens bounds the sequences that are held at once. Within it the engine sorts them to share prefixes.
const chunkTokens = 1 << 21

// run computes rows and calls keep with each record as soon as it is final, in any order. Rows that cannot be asked are noted and left out.
func (t *task) run(ctx context.Context, rows []int, faults *rowFaults, keep func(result.Record) error) error {
	if t.data.Mode == spec.Rolling {
		return t.runWindows(ctx, rows, keep)
	}
	runAsks := t.score
	if t.data.Mode == spec.Gen {
		runAsks = t.generate
	}
	for len(rows) > 0 {
		asks, n, err := t.asks(ctx, rows, faults)
		if err != nil {
			return err
		}
		rows = rows[n:]
		if err := runAsks(ctx, asks, keep); err != nil {
			return err
		}
	}
	return nil
}

// asks renders as many of the first rows as may be held at once, and says how many that was.
func (t *task) asks(ctx context.Context, rows []int, faults *rowFaults) (asks []*ask, n int, err error) {
	for tokens := 0; n < len(rows) && tokens < chunkTokens; n++ {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		a, err := t.ask(rows[n])
		if faults.take(err) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		for _, s := range a.seqs {
			tokens += len(s.Tokens)
		}
		asks = append(asks, a)
	}
	return asks, n, nil
}
