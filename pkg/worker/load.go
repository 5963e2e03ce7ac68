package worker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/engine"
	"sextant/pkg/model"
	"sextant/pkg/packstore"
	"sextant/pkg/plan"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

// loaded is a model on a device, with its tokenizer where it has been asked for.
type loaded struct {
	ck  *checkpoint.Checkpoint
	tok *tokenizer.Tokenizer
	dev *kernels.Device
	m   *model.Model

	backend string // that was chosen
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
	info, err := w.dev.Info()
	if err != nil {
		return fmt.Errorf("asking the backend: %w", err)
	}
	if err := w.dir.AddRuns(w.variant.ID, w.variant.Fingerprint, w.m.Runs()); err != nil {
		return err
	}
	f := w.m.Footprint()
	w.log.Info("model loaded", "model", w.variant.ID, "backend", l.backend, "runs", cmp.Or(w.m.Runs(), "as it is"), "device", where(info),
		"seconds", time.Since(begun).Seconds(), "packed_bytes", f.Packed, "shared", f.Shared, "packed_here", f.Made, "unshared", f.Why, "device_bytes", f.Device)
	return nil
}

// onto is where this process loads models.
func (w *worker) onto() loading {
	return loading{backend: w.o.Backend, threads: w.o.Threads, limit: w.o.Limits.Memory, log: w.log}
}

// deviceTokens fill a GPU's matrix units in every product of a pass.
const deviceTokens = 8192

// passTokens are those of a pass: few on processors, whose caches hold what they make; on a device with memory of its own as many as an
// eighth of what is free has room for, up to deviceTokens.
func passTokens(m *model.Model, info kernels.Info, rows int) int {
	if m.Footprint().Device == 0 {
		return engine.UsualTokens
	}
	n := deviceTokens
	for n > engine.UsualTokens && m.PassBytes(max(n, rows), rows) > info.Free/8 {
		n /= 2
	}
	return n
}

// build makes the engine, anew when a ticket asks for a smaller one: memory, batches and passes are halved shrink times. What a task knows
// of the old one goes with it.
func (w *worker) build(shrink int) error {
	info, err := w.dev.Info()
	if err != nil {
		return fmt.Errorf("asking the backend: %w", err)
	}
	rows := shrunk(cmp.Or(w.model.BatchSize, engine.UsualBatch), shrink)
	tokens := shrunk(passTokens(w.m, info, rows), shrink)
	work := w.m.PassBytes(max(tokens, rows), rows)
	memory := w.o.Memory
	if w.m.Footprint().Device == 0 {
		memory = w.cacheMemory(info.Free, work, processors(w.o.Threads, info.Threads))
	} else if memory == 0 && info.Free > 0 {
		memory = deviceCache(info.Free, work)
	}
	o := engine.Options{MaxSeqLen: w.model.MaxSeqLen, BatchSize: w.model.BatchSize, TokenBudget: tokens, Memory: memory,
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
	eng, err := engine.New(w.m, o)
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
	limit   int64        // bytes that the batch system allows; 0: not known
	log     *slog.Logger // nil: none

	dequantize bool // quantized matrices become f32 values
}

// openModel opens the files of m, refuses another model than that of the fingerprint, and loads it.
func openModel(ctx context.Context, m *spec.Model, fingerprint string, to loading) (*loaded, error) {
	f, err := plan.OpenModel(m)
	if err != nil {
		return nil, bad(err)
	}
	if f.Fingerprint != fingerprint {
		f.Checkpoint.Close()
		return nil, bad(fmt.Errorf("%q or its tokenizer was changed after the plan was made: run submit again", m.Path))
	}
	return loadOnto(ctx, f.Checkpoint, f.Tokenizer, to)
}

// loadOnto brings the weights of ck, which it closes when it fails, to a device.
func loadOnto(ctx context.Context, ck *checkpoint.Checkpoint, tok *tokenizer.Tokenizer, to loading) (l *loaded, err error) {
	l = &loaded{ck: ck, tok: tok}
	if to.log == nil {
		to.log = slog.New(slog.DiscardHandler)
	}
	if l.dev, l.backend, err = to.open(to.log); err != nil {
		l.close()
		return nil, fmt.Errorf("opening the backend: %w", err)
	}
	info, err := l.dev.Info()
	if err != nil {
		l.close()
		return nil, fmt.Errorf("asking the backend: %w", err)
	}
	o := model.Options{Packs: packstore.Default(os.Getenv), Memory: roomFor(to.limit), Dequantize: to.dequantize}
	if o.Packs != nil { // who has all processors is not expected to have company
		o.Packs.Guest = processors(to.threads, info.Threads) >= machineCPUs("/")
	}
	if l.m, err = model.LoadWith(ctx, l.dev, ck, o); err != nil {
		l.close()
		return nil, bad(err)
	}
	return l, nil
}

// close frees what there is.
func (l *loaded) close() {
	if l == nil {
		return
	}
	if l.m != nil {
		l.m.Close()
	}
	if l.dev != nil {
		l.dev.Close()
	}
	l.ck.Close()
}
