package worker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/engine"
	"sextant/pkg/pipeline"
	"sextant/pkg/plan"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

// loaded is a model on its devices, with its tokenizer where it has been asked for.
type loaded struct {
	ck     *checkpoint.Checkpoint
	tok    *tokenizer.Tokenizer
	stages []stage            // from first to last
	pipe   *pipeline.Pipeline // through several
	crew   *crew              // the other ranks of several; nil: there are none

	backend string // that was chosen
	threads int    // that were asked for; 0: all
}

// shrunk is n after k halvings, but never nothing.
func shrunk[N int | int64](n N, k int) N { return max(1, n>>min(max(k, 0), 62)) }

// load opens the model of a variant, once for all tickets.
func (w *worker) load(ctx context.Context, variant string) (err error) {
	begun := time.Now()
	if w.variant, w.model, err = w.modelOf(variant); err != nil {
		return err
	}
	files, fingerprint, err := w.filesOf(w.variant, w.model)
	var l *loaded
	if err == nil {
		to := w.onto()
		to.dequantize = w.variant.Position == spec.FakeQuant
		l, err = openModel(ctx, &files, fingerprint, to)
	}
	if err != nil {
		return fmt.Errorf("model %s: %w", w.variant.ID, err)
	}
	w.loaded = l
	select {
	case <-ctx.Done():
	case <-time.After(w.o.LoadDelay):
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	infos, err := l.infos()
	if err != nil {
		return err
	}
	runs := l.stages[0].m.Runs()
	if err := w.dir.AddRuns(w.variant.ID, w.variant.Fingerprint, runs); err != nil {
		return err
	}
	f := l.footprint()
	w.log.Info("model loaded", "model", w.variant.ID, "backend", l.backend, "runs", cmp.Or(runs, "as it is"), "device", where(infos[0]),
		"stages", l.layout(),
		"seconds", time.Since(begun).Seconds(), "packed_bytes", f.Packed, "shared", f.Shared, "packed_here", f.Made, "unshared", f.Why, "device_bytes", f.Device)
	return nil
}

// onto is where this process loads models.
func (w *worker) onto() loading {
	return loading{backend: w.o.Backend, threads: w.o.Threads, limit: w.o.Limits.Memory, run: w.o.RunDir, store: w.plan.Spec.S3, log: w.log}
}

// deviceTokens fill a GPU's matrix units in every product of a pass.
const deviceTokens = 8192

// passTokens are those of a pass: few on processors, whose caches hold what they make; on a device with memory of its own as many as an
// eighth of what is free has room for, up to deviceTokens.
func (l *loaded) passTokens(infos []kernels.Info, rows int) int {
	if l.footprint().Device == 0 {
		return engine.UsualTokens
	}
	n := deviceTokens
	for i, s := range l.stages {
		for n > engine.UsualTokens && s.m.PassBytes(max(n, rows), rows) > infos[i].Free/8 {
			n /= 2
		}
	}
	return n
}

// build makes the engine, anew when a ticket asks for a smaller one: memory, batches and passes are halved shrink times. What a task knows
// of the old one goes with it.
func (w *worker) build(shrink int) error {
	rows := shrunk(cmp.Or(w.model.BatchSize, engine.UsualBatch), shrink)
	room, err := w.rooms(w.o, pipeline.Measure{Rows: rows})
	if err != nil {
		return err
	}
	tokens := shrunk(room.Tokens, shrink)
	if room, err = w.rooms(w.o, pipeline.Measure{Tokens: max(tokens, rows), Rows: rows}); err != nil {
		return err
	}
	o := engine.Options{MaxSeqLen: w.model.MaxSeqLen, BatchSize: w.model.BatchSize, TokenBudget: tokens, Memory: room.Memory,
		NewDecoder: func(prompt []int32) engine.Decoder { return w.tok.NewDecoder(prompt) }}
	if shrink > 0 {
		o.BatchSize = rows
		if o.Memory > 0 {
			o.Memory = shrunk(o.Memory, shrink)
		}
		w.log.Info("a smaller engine, after deaths for lack of memory", "shrink", shrink, "batch", o.BatchSize, "tokens", o.TokenBudget, "memory", o.Memory)
	}
	if o.EOS, err = w.ends(); err != nil {
		return err
	}
	eng, err := w.engine(o, room.PositionBytes)
	if err != nil {
		return err
	}
	w.eng, w.shrink, w.tasks = eng, shrink, map[string]*task{}
	return nil
}

// loading says where a model goes.
type loading struct {
	backend string
	threads int
	device  int          // the first to use
	stages  int          // devices to divide the model among, in this process; 0: one
	procs   int          // processes to divide it among; 0: one
	asked   int          // processes that the batch system was asked for
	run     string       // directory that all of them see
	store   spec.S3      // for other processes
	limit   int64        // bytes that the batch system allows; 0: not known
	log     *slog.Logger // nil: none

	files       spec.Model // as opened
	fingerprint string
	dequantize  bool // quantized matrices become f32 values
}

// openModel opens the files of m, refuses another model than that of the fingerprint, and loads it.
func openModel(ctx context.Context, m *spec.Model, fingerprint string, to loading) (*loaded, error) {
	to.files, to.fingerprint = *m, fingerprint
	f, err := plan.OpenModel(m)
	if err != nil {
		return nil, bad(err)
	}
	if f.Fingerprint != fingerprint {
		f.Checkpoint.Close()
		return nil, bad(fmt.Errorf("%q or its tokenizer was changed after the plan was made: run submit again", m.Path))
	}
	to.divide(m.RunCfg, f.Checkpoint.Config().Layers)
	return loadOnto(ctx, f.Checkpoint, f.Tokenizer, to)
}

// loadOnto brings the weights of ck, which it closes when it fails, to a device or several.
func loadOnto(ctx context.Context, ck *checkpoint.Checkpoint, tok *tokenizer.Tokenizer, to loading) (l *loaded, err error) {
	l = &loaded{ck: ck, tok: tok, threads: to.threads}
	if to.log == nil {
		to.log = slog.New(slog.DiscardHandler)
	}
	if l.stages, l.backend, err = to.openStages(to.stages); err == nil {
		err = bad(l.divided(ctx, to))
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// close frees what there is.
func (l *loaded) close() {
	if l == nil {
		return
	}
	l.crew.close()
	if l.pipe != nil {
		l.pipe.Close()
	}
	for _, s := range l.stages {
		if s.m != nil {
			s.m.Close()
		}
		s.dev.Close()
	}
	if l.ck != nil {
		l.ck.Close()
	}
}
