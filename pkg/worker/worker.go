package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"sextant/pkg/engine"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// Options say which job to carry out and how.
type Options struct {
	RunDir  string
	JobID   string
	Attempt int  // the ticket's, from 1; 0: a new attempt of the plan's job
	Drain   bool // go on with the open tickets of the job's pool

	Worker  string // the scheduler's name of this job, "" when started by hand
	Restart int    // how often the scheduler had started it before
	Host    string

	Deadline time.Time     // when the scheduler ends this process; zero: never
	Margin   time.Duration // a further ticket is begun only if it should be done so long before Deadline; 0: slurm.signal_lead and a minute

	Threads   int    // 0: all this process may run on
	Backend   string // default AutoBackend
	Memory    int64  // bytes for the key-value cache; 0: half of what is left for it. See Limits
	Limits    Limits
	LoadDelay time.Duration // slept after the model is loaded, so that small models can stand for large ones in measurements
	Log       *slog.Logger
}

// worker is a process at work on one ticket after another. The model and the engine are there once load has run.
type worker struct {
	o       Options
	log     *slog.Logger
	dir     result.Dir
	plan    *plan.Plan
	planned fs.FileInfo // of the plan's file
	pool    string
	offers  map[string]result.Offer // those read, by name
	refused map[result.Ticket]bool  // tickets that cannot be read
	pace    pace
	there   map[string]bool // jobs that others come after, with their results
	early   error           // why the ticket this process was started for was left alone, when what comes first is not there

	variant plan.Variant
	model   spec.Model
	store   *result.Store
	tasks   map[string]*task
	*loaded
	eng    *engine.Engine
	shrink int // of eng
}

// Run carries out the job of o, and with o.Drain others. Tickets that others have are left to them: having nothing to do is no error, and
// found out before the model is loaded. The error is that of the ticket that went worst, and its meaning is given by ExitCode; what failed
// is in the run directory too. When ctx ends, the work stops at the next forward pass: every row finished until then is kept.
func Run(ctx context.Context, o Options) (err error) {
	if o.Attempt < 0 {
		return bad(fmt.Errorf("attempt %d: attempts are numbered from 1", o.Attempt))
	}
	o.Backend = cmp.Or(o.Backend, AutoBackend)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &worker{o: o, log: o.Log, dir: result.Dir(o.RunDir), offers: map[string]result.Offer{}, refused: map[result.Ticket]bool{},
		there: map[string]bool{}}
	defer w.release()
	defer func() {
		if r := recover(); r != nil {
			err = w.panicked(r)
		}
	}()
	var worst error
	idle := true
	for j, err := range w.tickets(ctx) {
		idle = false
		if err == nil {
			err = j.do(ctx)
		}
		if severity(err) > severity(worst) {
			worst = err
		}
		if ctx.Err() != nil || w.hopeless(err) {
			break
		}
	}
	if idle {
		return w.early
	}
	return worst
}

// release frees the model and its engine, where there are any.
func (w *worker) release() {
	if w.eng != nil {
		w.eng.Close()
	}
	w.loaded.close()
	w.eng, w.loaded = nil, nil
	clear(w.tasks)
}

// severity orders outcomes by what they mean for the process as a whole.
func severity(err error) int {
	switch ExitCode(err) {
	case 0:
		return 0
	case ExitInput:
		return 1
	case ExitRetry:
		return 3
	}
	return 2
}

// hopeless says that after this outcome of a ticket others should be left to other processes: this one, its machine or the disk may be to
// blame. A fault of the input blames the ticket alone, unless it is that the model cannot be loaded or a file is not to be found from here.
func (w *worker) hopeless(err error) bool {
	if severity(err) > 1 {
		return true
	}
	return err != nil && (w.loaded == nil || anyOf(err, func(err error) bool {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
	}))
}

// panicked makes an error of a panic: a fault of this program, told with its place.
func (w *worker) panicked(value any) error {
	w.log.Error("panic", "value", value, "stack", string(debug.Stack()))
	return fmt.Errorf("internal error: %v (the log has the place; please report it)", value)
}

// readPlan reads the plan, or again when it was replaced: a submit with other settings may have made another. false: it is of another model
// than the one that is loaded.
func (w *worker) readPlan() (bool, error) {
	now, err := os.Stat(w.dir.Plan())
	if err != nil && w.plan == nil {
		return false, bad(fmt.Errorf("loading the plan: %w", err))
	}
	if w.plan != nil && (err != nil || os.SameFile(w.planned, now) && w.planned.ModTime().Equal(now.ModTime())) {
		return true, nil
	}
	p, err := plan.Load(w.dir.Plan())
	if err != nil {
		return false, bad(err)
	}
	plan.UseStore(p.Spec)
	w.plan, w.planned, w.tasks, w.store, w.there = p, now, map[string]*task{}, nil, map[string]bool{}
	if w.loaded == nil {
		return true, nil
	}
	variant, model, err := w.modelOf(w.variant.ID)
	return err == nil && variant.Fingerprint == w.variant.Fingerprint && model.Path == w.model.Path && model.MaxSeqLen == w.model.MaxSeqLen, nil
}

// modelOf finds what a variant is.
func (w *worker) modelOf(id string) (plan.Variant, spec.Model, error) {
	v, ok := w.plan.Variant(id)
	if !ok {
		return v, spec.Model{}, bad(fmt.Errorf("the variant %q is not in the plan", id))
	}
	m, ok := w.plan.Model(v.Model)
	if !ok {
		return v, m, bad(fmt.Errorf("variant %q is of the model %q, which the plan's spec lacks", v.ID, v.Model))
	}
	return v, m, nil
}
