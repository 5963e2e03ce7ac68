package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"sextant/internal/points"
	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// shard computes the rows of a shard that no file of the run holds, and commits its result file.
func (j *job) shard(ctx context.Context, sh plan.Shard) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = j.panicked(r)
		}
	}()
	begun, tokens := time.Now(), j.eng.Tokens()
	j.progress.set(func(p *result.Progress) { p.Shard, p.Phase = sh.ID, "run" })
	t, err := j.task(sh.Task)
	if err != nil {
		return err
	}
	if t.rows() < sh.To {
		return bad(fmt.Errorf("shard %s wants rows up to %d, and %s has %d: the data was changed after the plan was made", sh.ID, sh.To, sh.Task, t.rows()))
	}
	h := result.Header{Task: t.plan.ID, Digest: t.plan.Digest, From: sh.From, To: sh.To}
	if j.finished(sh.ID, h) {
		return nil
	}
	if err := j.store.Refresh(sh.ID); err != nil {
		return err
	}
	rows, err := j.store.Collect(result.Query{Task: h.Task, Digest: h.Digest, From: sh.From, To: sh.To, Same: t.same})
	if err != nil {
		return err
	}
	for _, err := range rows.Bad {
		j.log.Warn("ignored what cannot be trusted", "shard", sh.ID, "reason", err)
	}
	records := rows.Records
	if missing := rows.Missing(); len(missing) > 0 {
		more, err := j.compute(ctx, t, missing, h, sh.ID)
		if err != nil {
			return err
		}
		records = append(records, more...)
	}
	j.progress.set(func(p *result.Progress) { p.Phase = "commit" })
	slices.SortFunc(records, func(a, b result.Record) int { return a.Row - b.Row })
	if j.finished(sh.ID, h) { // a process that the scheduler has given up may live on: the first result stays
		return nil
	}
	if err := result.Write(j.dir.Result(sh.ID), h, records); err != nil {
		return err
	}
	points.Reached("worker:shard-done")
	seconds := time.Since(begun).Seconds()
	n := j.eng.Tokens() - tokens
	j.log.Info("shard done", "shard", sh.ID, "task", sh.Task, "rows", sh.To-sh.From, "reused", len(rows.Records), "tokens", n,
		"seconds", seconds, "tokens_per_second", int(float64(n)/max(seconds, 1e-9)))
	return nil
}

// compute runs the rows and appends each record to the attempt's checkpoint as soon as it is final. A row that cannot be computed does not
// keep the others from it, and is told in the end.
func (j *job) compute(ctx context.Context, t *task, rows []int, h result.Header, shard string) (out []result.Record, err error) {
	cp, err := result.CreateCheckpoint(j.dir.Rows(shard, j.attempt), h)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("attempt %d of shard %s was begun before, with another job: the next attempt has another number (%w)", j.attempt, shard, err)
		return nil, &fault{kind: result.FailRetry, err: err}
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()
	var faults rowFaults
	err = t.run(ctx, rows, &faults, func(r result.Record) error {
		if err := cp.Append(r); err != nil {
			return err
		}
		out = append(out, r)
		j.progress.set(func(p *result.Progress) { p.Rows++ })
		points.Reached("worker:row")
		return nil
	})
	if err == nil {
		err = faults.err()
	}
	return out, err
}
