package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"

	"sextant/kernels"
	"sextant/pkg/engine"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// Options say which job to carry out and how.
type Options struct {
	RunDir  string
	JobID   string
	Attempt int    // from 1; attempts share no file
	Threads int    // 0: all this process may run on
	Backend string // default "cpu"
	Memory  int64  // bytes for the key-value cache; 0: half of what the machine has left, by its share of the processors
	Log     *slog.Logger
}

// job is a job at work. The model and the engine are there once load has run.
type job struct {
	o        Options
	dir      result.Dir
	plan     *plan.Plan
	job      plan.Job
	variant  plan.Variant
	model    spec.Model
	store    *result.Store
	progress *progress
	tasks    map[string]*task

	*loaded
	eng *engine.Engine
}

// Run carries out one job. The error's meaning is given by ExitCode; what failed is in the run directory too. When ctx ends, the work
// stops at the next forward pass: every row finished until then is kept.
func Run(ctx context.Context, o Options) (err error) {
	if o.Attempt < 1 {
		return bad(fmt.Errorf("attempt %d: attempts are numbered from 1", o.Attempt))
	}
	o.Backend = cmp.Or(o.Backend, "cpu")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	j := &job{o: o, dir: result.Dir(o.RunDir), tasks: map[string]*task{}}
	if err := j.readPlan(); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = j.panicked(r)
		}
		var shards *JobError
		if err != nil && !errors.As(err, &shards) {
			j.fail(o.JobID, err)
		}
	}()
	j.progress = startProgress(j.dir.Progress(o.JobID, o.Attempt), o.Log)
	defer j.progress.close()
	defer func() { j.loaded.close() }()
	if err := j.load(ctx); err != nil {
		return err
	}
	return j.run(ctx)
}

// panicked makes an error of a panic: a fault of this program, told with its place.
func (j *job) panicked(value any) error {
	j.o.Log.Error("panic", "value", value, "stack", string(debug.Stack()))
	return fmt.Errorf("internal error: %v (the log has the place; please report it)", value)
}

// readPlan finds the job in the plan.
func (j *job) readPlan() (err error) {
	if j.plan, err = plan.Load(j.dir.Plan()); err != nil {
		return bad(err)
	}
	if j.job, err = plan.LoadJob(j.dir, j.plan, j.o.JobID, j.o.Attempt); err != nil {
		return bad(err)
	}
	var ok bool
	if j.variant, ok = j.plan.Variant(j.job.Variant); !ok {
		return bad(fmt.Errorf("job %q is of the variant %q, which the plan lacks", j.o.JobID, j.job.Variant))
	}
	if j.model, ok = j.plan.Model(j.variant.Model); !ok {
		return bad(fmt.Errorf("variant %q is of the model %q, which the plan's spec lacks", j.variant.ID, j.variant.Model))
	}
	return nil
}

// load opens the model once for all shards.
func (j *job) load(ctx context.Context) (err error) {
	begun := time.Now()
	if j.loaded, err = openModel(&j.model, j.variant.Fingerprint, kernels.Options{Threads: j.o.Threads}, j.o.Backend); err != nil {
		return fmt.Errorf("model %s: %w", j.model.Abbr, err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	info, err := j.dev.Info()
	if err != nil {
		return fmt.Errorf("asking the backend: %w", err)
	}
	o := engine.Options{MaxSeqLen: j.model.MaxSeqLen, BatchSize: j.model.BatchSize, Memory: j.cacheMemory(info.Free, info.Threads),
		NewDecoder: func(prompt []int32) engine.Decoder { return j.tok.NewDecoder(prompt) }}
	if eos, ok := j.tok.EOS(); ok && len(j.m.Config().EOS) == 0 { // the model's own files may not name one
		o.EOS = []int32{eos}
	}
	if j.eng, err = engine.New(j.m, o); err != nil {
		return err
	}
	j.progress.count(j.eng.Tokens)
	j.o.Log.Info("model loaded", "model", j.model.Abbr, "backend", j.o.Backend, "features", info.Features, "seconds", time.Since(begun).Seconds())
	return nil
}

// cacheMemory is half of the least that is known to be left: activations and weights that are still to be paged in want the rest. A worker
// that may use some of the processors takes that share, for others run beside it.
func (j *job) cacheMemory(device int64, threads int) int64 {
	if j.o.Memory > 0 {
		return j.o.Memory
	}
	free := Memory()
	if device > 0 && (free == 0 || device < free) {
		free = device
	}
	if free == 0 {
		return 0
	}
	all := int64(runtime.NumCPU())
	return max(1, free/2/all*min(max(int64(threads), 1), all)) // 0 would be no limit
}

// run does the shards one after another. One that fails leaves the others to be done, unless nothing can succeed.
func (j *job) run(ctx context.Context) error {
	j.store = result.NewStore(j.dir)
	if err := j.store.Refresh(); err != nil {
		return err
	}
	failed := &JobError{Shards: map[string]error{}, Of: len(j.job.Shards)}
	for _, id := range j.job.Shards {
		sh, ok := j.plan.Shard(id)
		if !ok {
			return bad(fmt.Errorf("job %q has the shard %q, which the plan lacks", j.o.JobID, id))
		}
		err := j.shard(ctx, sh)
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

// fail leaves the reason in the run directory for who looks there, and in the log. Being stopped from outside is no failure.
func (j *job) fail(id string, err error) {
	if errors.Is(err, ErrStopped) || errors.Is(err, context.Canceled) {
		j.o.Log.Info("stopped", "reason", err)
		return
	}
	f := failure(err)
	j.o.Log.Error("failed", "id", id, "kind", f.Kind, "reason", f.Reason)
	if err := result.CommitJSON(j.dir.Failure(id, j.o.Attempt), f); err != nil {
		j.o.Log.Error("cannot write the reason", "error", err)
	}
}
