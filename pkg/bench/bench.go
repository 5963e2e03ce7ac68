package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/engine"
	"sextant/pkg/model"
)

// Options say what to measure. A zero field takes its default.
type Options struct {
	Path         string // a model's directory; or
	Shape, DType string // random weights of that shape; default dtype "bf16"
	Quantize     string // rounds the layers' matrices as they are loaded: "i8", "i4gN", and the output matrix to "i8"; "": not

	Works   []string // of Works(); default: those of Usual()
	Prompt  int      // tokens of the prefill, default 512
	Gen     int      // tokens that each sequence is continued by, default 128
	Rows    int      // of the ranking, default 32
	Windows int      // of the rolling perplexity, default 4
	Tokens  int      // of a pass at most; default: as many as a worker's engine takes

	Backend string        // default "cpu"
	Threads int           // 0: all this process may run on
	Repeat  int           // samples of each work, default 5
	MinTime time.Duration // of a sample, default 500 ms: a shorter work is run again until then
	Buffer  int64         // bytes to read for the machine's best; default: several times the last cache
	Memory  int64         // bytes that there are; 0: unknown

	Progress func(string) // told what is being done; may be nil
}

// inputError makes an error one about what was asked for, not about the machine.
type inputError struct{ err error }

func (e *inputError) Error() string   { return e.err.Error() }
func (e *inputError) Unwrap() []error { return []error{e.err, engine.ErrInput} }

func (o *Options) defaults() {
	o.DType, o.Backend = cmp.Or(o.DType, "bf16"), cmp.Or(o.Backend, "cpu")
	o.Prompt, o.Gen, o.Rows = cmp.Or(o.Prompt, 512), cmp.Or(o.Gen, 128), cmp.Or(o.Rows, 32)
	o.Windows, o.Repeat, o.MinTime = cmp.Or(o.Windows, 4), cmp.Or(o.Repeat, 5), cmp.Or(o.MinTime, 500*time.Millisecond)
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
}

// Check says what of the options holds on no machine. A zero field is refused: Run fills those in first.
func (o *Options) Check() error {
	if (o.Path == "") == (o.Shape == "") {
		return fmt.Errorf("want a model's directory or a shape, one of the two; the shapes are %s", strings.Join(Shapes(), ", "))
	}
	for name, n := range map[string]int{"prompt": o.Prompt, "gen": o.Gen, "rows": o.Rows, "windows": o.Windows, "repeat": o.Repeat} {
		if n < 1 || n > 1<<20 {
			return fmt.Errorf("%s is %d: want 1 to %d", name, n, 1<<20)
		}
	}
	if o.MinTime <= 0 || o.MinTime > time.Hour {
		return fmt.Errorf("a sample of %v: want more than 0 and an hour at most", o.MinTime)
	}
	if o.Path == "" {
		if _, err := findShape(o.Shape, o.DType); err != nil {
			return err
		}
	}
	if o.Quantize != "" {
		if _, err := model.QuantizedBytes(o.Quantize, 0, 0); err != nil {
			return err
		}
	}
	for _, w := range o.Works {
		if !slices.Contains(Works(), w) {
			return fmt.Errorf("there is no work %q; there are %s", w, strings.Join(Works(), ", "))
		}
	}
	if o.Tokens < 0 || o.Tokens > 1<<20 {
		return fmt.Errorf("tokens is %d: want 0, for what a worker has, to %d", o.Tokens, 1<<20)
	}
	return nil
}

// runner is a run under way.
type runner struct {
	o       Options
	r       *Report
	m       *sizes
	eng     *engine.Engine // as a worker has it
	lone    *engine.Engine // the same without sharing
	works   []work
	samples [][]sample // of each work
	probe   *probe
	dev     *kernels.Device
	best    *deviceBest // of a device with memory of its own; nil: the peaks are the processor's
	free    int64
}

// Run measures. An error about what was asked for has engine.ErrInput in its chain.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.defaults()
	if err := o.Check(); err != nil {
		return nil, &inputError{err}
	}
	r := &runner{o: o, r: &Report{Version: Version, Time: time.Now().Format(time.RFC3339), Repeat: o.Repeat}}
	r.r.Model.Name, r.r.Model.Random = cmp.Or(o.Path, o.Shape), o.Path == ""
	begun := time.Now()
	ck, err := r.checkpoint(&begun)
	if err != nil {
		return nil, err
	}
	defer ck.Close()
	dev, err := kernels.Open(o.Backend, kernels.Options{Threads: o.Threads})
	if err != nil {
		return nil, fmt.Errorf("opening the backend: %w", err)
	}
	defer dev.Close()
	m, err := model.LoadWith(ctx, dev, ck, model.Options{Quantize: o.Quantize})
	if err != nil {
		return nil, &inputError{err}
	}
	defer m.Close()
	if err := r.start(ctx, m, begun); err != nil {
		return nil, err
	}
	if err := r.describe(ck, dev); err != nil {
		return nil, err
	}
	r.m.cachedBytes = float64(m.PositionBytes()) / float64(ck.Config().Layers)
	return r.r, r.measure(ctx, ck.Config())
}

// checkpoint opens the model, or makes it; then begun is set anew.
func (r *runner) checkpoint(begun *time.Time) (*checkpoint.Checkpoint, error) {
	if r.o.Path != "" {
		ck, err := checkpoint.Open(r.o.Path)
		if err != nil {
			return nil, &inputError{err}
		}
		return ck, nil
	}
	s, err := findShape(r.o.Shape, r.o.DType)
	if err != nil {
		return nil, &inputError{err}
	}
	head, data, err := s.header(r.o.DType)
	if err != nil {
		return nil, err
	}
	size := int64(len(head)) + data
	if r.o.Memory > 0 && size > r.o.Memory/10*9 {
		return nil, fmt.Errorf("the weights of %s in %s take %sB of memory, and %sB are left: %w", r.o.Shape, r.o.DType,
			short(float64(size)), short(float64(r.o.Memory)), kernels.ErrNoMemory)
	}
	r.o.Progress(fmt.Sprintf("making %sB of random weights in memory", short(float64(size))))
	ck, err := openRandom(s, r.o.DType)
	*begun = time.Now()
	return ck, err
}

// start makes the engine, as a worker has it, and draws the first token.
func (r *runner) start(ctx context.Context, m *model.Model, begun time.Time) (err error) {
	r.r.Startup.Load = time.Since(begun).Seconds()
	o := engine.Options{TokenBudget: r.o.Tokens, EOS: []int32{}, NewDecoder: func([]int32) engine.Decoder { return silent{} }}
	if r.eng, err = engine.New(m, o); err != nil {
		return err
	}
	o.NoSharing = true
	if r.lone, err = engine.New(m, o); err != nil {
		return err
	}
	err = generating([]engine.Prompt{{Tokens: []int32{0}, MaxNew: 1}})(ctx, r.eng)
	r.r.Startup.FirstToken = time.Since(begun).Seconds()
	return err
}

func (r *runner) describe(ck *checkpoint.Checkpoint, dev *kernels.Device) (err error) {
	if r.m, err = sizesOf(ck, r.o.Quantize); err != nil {
		return err
	}
	info, err := dev.Info()
	if err != nil {
		return fmt.Errorf("asking the backend: %w", err)
	}
	r.free, r.dev = info.Free, dev
	r.r.Machine = Machine{CPU: info.Name, Features: info.Features, Backend: r.o.Backend, Threads: info.Threads, Memory: info.Memory}
	r.r.Model.DType, r.r.Model.Parameters, r.r.Model.Bytes = r.m.dtype, r.m.values, r.m.fileBytes
	if info.ComputeCapability > 0 {
		r.best, err = newDeviceBest(dev, r.m.dtype, info.Free)
		return err
	}
	r.probe = newProbe(info.Threads)
	return nil
}

// measure goes round after round through works and probes, so that what comes and goes on a shared machine meets all of them.
func (r *runner) measure(ctx context.Context, cfg *checkpoint.Config) error {
	p := planner{o: r.o, cfg: cfg, m: r.m, dev: r.dev, many: r.best != nil}
	r.works = p.works()
	defer r.close()
	r.samples = make([][]sample, len(r.works))
	for round := range r.o.Repeat {
		for i, w := range r.works {
			if fits(cfg, w.needs) != nil {
				continue
			}
			eng := r.eng
			if w.lone {
				eng = r.lone
			}
			r.o.Progress(fmt.Sprintf("round %d of %d: %s", round+1, r.o.Repeat, w.name))
			if round == 0 {
				if err := w.warm(ctx, eng); err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
			}
			s, err := take(ctx, eng, w, r.o.MinTime)
			if err != nil {
				return err
			}
			r.o.Progress(fmt.Sprintf("round %d of %d: %s: %s %s/s", round+1, r.o.Repeat, w.name, digits(float64(w.units)/s.seconds), w.unit))
			r.samples[i] = append(r.samples[i], s)
		}
		if err := r.peaks(round); err != nil {
			return err
		}
	}
	r.conclude(cfg)
	return nil
}

// close gives back what works hold.
func (r *runner) close() {
	for _, w := range r.works {
		if w.close != nil {
			w.close()
		}
	}
}

// peaks is the probes' part of a round: of the device where it has memory of its own, else of the processors. The memory that they take is
// not the model's.
func (r *runner) peaks(round int) error {
	p := &r.r.Peaks
	if round == 0 {
		r.r.PeakRSS = peakRSS()
	}
	if r.best != nil {
		return r.best.measure(p)
	}
	if round == 0 {
		p.ReadBytes = cmp.Or(r.o.Buffer, readBytes(lastCache("/sys/devices/system/cpu/cpu0/cache"), r.free))
	}
	best, err := kernels.CPUPeak(r.r.Machine.Threads, p.ReadBytes)
	if err != nil {
		return fmt.Errorf("measuring the machine's best: %w", err)
	}
	p.read(best.ReadGBs)
	for _, f := range best.FMA {
		p.saw(Compute{ISA: f.ISA, DType: "f32", GFLOPs: f.GFLOPS})
	}
	for i, u := range r.probe.units {
		p.saw(Compute{ISA: u.ISA, DType: u.DType, GFLOPs: r.probe.compute(i) / 1e9})
	}
	return nil
}

func (r *runner) conclude(cfg *checkpoint.Config) {
	for i, w := range r.works {
		if err := fits(cfg, w.needs); err != nil {
			r.r.Works = append(r.r.Works, Work{Name: w.name, What: w.what, Skipped: err.Error()})
			continue
		}
		out := w.outcome(r.samples[i])
		out.judge(w.cost, r.r.Peaks, r.m.dtype)
		r.r.Works = append(r.r.Works, out)
	}
	if shared, lone := r.r.rate("rank"), r.r.rate("rank-alone"); lone > 0 {
		r.r.Sharing = shared / lone
	}
}
