package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sextant/internal/points"
	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// job is a ticket that this process has claimed.
type job struct {
	*worker
	job      plan.Job
	attempt  int
	progress *progress
	loading  time.Duration // spent loading the model, when that was for this ticket
	before   int64         // tokens that the engine had run before
}

// do carries out the ticket, and leaves in the run directory how it ended, whatever happened.
func (j *job) do(ctx context.Context) (err error) {
	phase := "load"
	if j.loaded != nil {
		phase = "run"
	}
	begun := time.Now()
	j.progress = startProgress(j.dir.Progress(j.job.ID, j.attempt), phase, j.log)
	defer func() {
		if r := recover(); r != nil {
			err = j.panicked(r)
		}
		var shards *JobError
		if err != nil && !errors.As(err, &shards) {
			j.fail(j.job.ID, err)
		}
		j.end(err, time.Since(begun))
	}()
	one := j.shard
	if j.quantizes() {
		j.release() // a quantization wants the memory
		one = j.quantize
	} else if err := j.ready(ctx); err != nil {
		return err
	}
	return j.run(ctx, one)
}

// end leaves how the ticket ended and what it took.
func (j *job) end(err error, took time.Duration) {
	last := j.progress.close()
	e := result.End{Code: ExitCode(err), Host: j.o.Host, Rows: last.Rows, Tokens: last.Tokens, Seconds: took.Seconds(), LoadSeconds: j.loading.Seconds()}
	rows := 0
	for _, id := range j.job.Shards {
		sh, _ := j.plan.Shard(id)
		rows += sh.To - sh.From
	}
	if !j.quantizes() { // it tells nothing of how long an evaluation takes
		j.pace.note(j.tokens(j.job), float64(e.Rows)/float64(max(rows, 1)), took-j.loading)
	}
	if err := result.CommitJSON(j.dir.End(j.job.ID, j.attempt), e); err != nil {
		j.log.Error("cannot write how the ticket ended", "error", err)
	}
	points.Reached("worker:ticket-done")
	j.log.Info("ticket ended", "ticket", result.Ticket{Job: j.job.ID, Attempt: j.attempt}, "code", e.Code, "rows", e.Rows, "tokens", e.Tokens,
		"seconds", e.Seconds)
}

// ready makes the model and the engine ready for the ticket.
func (j *job) ready(ctx context.Context) error {
	begun := time.Now()
	if j.loaded == nil {
		if err := j.load(ctx, j.job.Variant); err != nil {
			return err
		}
		j.loading = time.Since(begun)
		points.Reached("worker:loaded")
	}
	if j.eng == nil || j.shrink != j.job.Shrink {
		if j.eng != nil {
			j.eng.Close()
		}
		if err := j.build(j.job.Shrink); err != nil {
			return err
		}
		j.eng.Keep() // the shards of a dataset begin alike
	}
	j.before = j.eng.Tokens()
	eng, before := j.eng, j.before
	j.progress.count(func() int64 { return eng.Tokens() - before })
	j.progress.set(func(p *result.Progress) { p.Phase = "run" })
	return nil
}

// run does the shards one after another, each by one. One that fails leaves the others to be done, unless nothing can succeed.
func (j *job) run(ctx context.Context, one func(context.Context, plan.Shard) error) error {
	if err := j.survey(); err != nil {
		return err
	}
	failed := &JobError{Shards: map[string]error{}, Of: len(j.job.Shards)}
	for _, id := range j.job.Shards {
		sh, ok := j.plan.Shard(id)
		if !ok {
			return bad(fmt.Errorf("job %q has the shard %q, which the plan lacks", j.job.ID, id))
		}
		err := one(ctx, sh)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			continue
		}
		failed.Shards[id] = err
		j.fail(id, err)
		if kindOf(err) == result.FailDisk {
			break
		}
	}
	if len(failed.Shards) > 0 {
		return failed
	}
	return nil
}

// survey finds, once a plan, the records that earlier plans left, whose shards have other rows. Those of this plan's shards are looked at
// when their turn comes: a file of another shard holds none of their rows.
func (w *worker) survey() error {
	if w.store != nil {
		return nil
	}
	known := make(map[string]bool, len(w.plan.Shards)+len(w.plan.Jobs))
	for i := range w.plan.Shards {
		known[w.plan.Shards[i].ID] = true
	}
	for i := range w.plan.Jobs {
		known[w.plan.Jobs[i].ID] = true
	}
	store := result.NewStore(w.dir)
	if err := store.Discover(func(shard string) bool { return known[shard] }); err != nil {
		return err
	}
	w.store = store
	return nil
}

// fail leaves the reason in the run directory for who looks there, and in the log. Being stopped from outside is no failure.
func (j *job) fail(id string, err error) {
	if errors.Is(err, ErrStopped) || errors.Is(err, context.Canceled) {
		j.log.Info("stopped", "reason", err)
		return
	}
	f := failure(err)
	j.log.Error("failed", "id", id, "kind", f.Kind, "reason", f.Reason)
	if err := result.CommitJSON(j.dir.Failure(id, j.attempt), f); err != nil {
		j.log.Error("cannot write the reason", "error", err)
	}
}
