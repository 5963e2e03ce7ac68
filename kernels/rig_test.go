//go:build cgo

package kernels_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"sextant/kernels"
	"sextant/kernels/cpu"
)

// target is one way to carry out the table: a backend, its build, its threads, its activations.
type target struct {
	backend, isa string
	threads      int
	act, wide    kernels.DType // of activations; of the residual stream and what is added to it
	aligned      bool          // views begin and step by multiples of 16 bytes
}

func (t target) String() string {
	name := t.backend
	if t.isa != "" {
		name = fmt.Sprintf("%s-%s-%d", t.backend, t.isa, t.threads)
	}
	if t.backend == "cuda" || t.act != kernels.F32 {
		name += fmt.Sprintf("-%v-%v", t.act, t.wide)
	}
	if t.aligned {
		name += "-aligned"
	}
	return name
}

// hostTargets are all builds of the cpu backend that run here. One that this machine lacks is left out, loudly when SEXTANT_WANT_ISA names it.
func hostTargets(t *testing.T) []target {
	var all []target
	for _, isa := range []string{"scalar", "avx2", "wide", "avx512", "amx-model", "amx"} {
		if !cpu.Runs(isa) {
			if os.Getenv("SEXTANT_WANT_ISA") == isa {
				t.Fatalf("SEXTANT_WANT_ISA=%s does not run here", isa)
			}
			continue
		}
		for threads := 1; threads <= 3; threads++ {
			// The split is the same code in all builds; what is left out with -short is for the sanitizers' time.
			if threads == 2 || (!testing.Short() && !strings.HasSuffix(isa, "-model") && isa != "wide" && isa != "scalar") {
				all = append(all, target{backend: "cpu", isa: isa, threads: threads})
			}
		}
	}
	return only(all)
}

// fused are the builds that promise equal bits.
func fused() []string { return running("avx2", "wide", "avx512") }

// units are the builds that multiply on units for bf16, each with the model of its units: the two promise equal bits. The first pair takes
// activations as they are, the others round them to bf16.
func units() [][]string {
	return [][]string{running("amx", "amx-model"), running("amx-bf16", "amx-bf16-model"), running("avx512-bf16", "avx512-bf16-model")}
}

// onUnits tells of a case of a test whether it is of a format that some build multiplies on such units.
func onUnits(name string) bool { return strings.Contains(name, "bf16") || strings.Contains(name, "i8") }

func running(names ...string) []string {
	return slices.DeleteFunc(names, func(isa string) bool { return !cpu.Runs(isa) })
}

// rig is an open device for one test, with guarded tensors.
type rig struct {
	testing.TB
	target target
	dev    *kernels.Device
	st     *kernels.Stream
	guards []*guarded
	made   []interface{ Free() } // by the case in hand
	kept   map[string]*kernels.Weight
	pages  []int32 // where the pages of a sequence lie; nil: one after another
}

func (t target) open(tb testing.TB) *rig {
	tb.Helper()
	if t.isa != "" {
		old, had := os.LookupEnv("SEXTANT_CPU_ISA")
		os.Setenv("SEXTANT_CPU_ISA", t.isa)
		defer func() {
			os.Unsetenv("SEXTANT_CPU_ISA")
			if had {
				os.Setenv("SEXTANT_CPU_ISA", old)
			}
		}()
	}
	dev, err := kernels.Open(t.backend, kernels.Options{Threads: t.threads})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(dev.Close)
	st, err := dev.NewStream()
	if err != nil {
		tb.Fatal(err)
	}
	return &rig{TB: tb, target: t, dev: dev, st: st}
}

// within makes the rig report to a subtest.
func (r *rig) within(t *testing.T) *rig {
	r.TB = t
	return r
}

// done checks the guards and frees what the case made.
func (r *rig) done() {
	r.Helper()
	r.checkGuards()
	r.reset()
}

// reset frees what a case made that may have failed.
func (r *rig) reset() {
	r.guards = nil
	for _, m := range r.made {
		m.Free()
	}
	r.made = nil
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// guarded is a strided view in the middle of a buffer full of sentinels.
type guarded struct {
	t     kernels.Tensor
	whole kernels.Tensor
	first int       // value of the whole that the view begins with
	input []float32 // what the whole buffer must still hold; nil for an output, whose view may change
}

const (
	guardValues = 37       // before and after the view
	guardStride = 5        // beyond each row
	alignValues = 64       // the same for aligned views
	sentinel    = -31337.5 // no op gives it here
)

// out is a guarded output [rows, cols] of the target's activations, filled with sentinels; outWide one of its residual stream, outF32 of f32.
func (r *rig) out(rows, cols int) kernels.Tensor { return r.guard(r.target.act, rows, cols, nil).t }
func (r *rig) outWide(rows, cols int) kernels.Tensor {
	return r.guard(r.target.wide, rows, cols, nil).t
}

// in is a guarded tensor holding v; the view may not be changed by an op unless the test takes it off with inPlace.
func (r *rig) in(rows, cols int, v []float32) kernels.Tensor {
	return r.guard(r.target.act, rows, cols, v).t
}

func (r *rig) inWide(rows, cols int, v []float32) kernels.Tensor {
	return r.guard(r.target.wide, rows, cols, v).t
}

func (r *rig) inF32(rows, cols int, v []float32) kernels.Tensor {
	return r.guard(kernels.F32, rows, cols, v).t
}

// inPlace is a guarded tensor holding v that an op may change.
func (r *rig) inPlace(rows, cols int, v []float32) kernels.Tensor {
	return r.mayChange(r.guard(r.target.act, rows, cols, v))
}

func (r *rig) inPlaceWide(rows, cols int, v []float32) kernels.Tensor {
	return r.mayChange(r.guard(r.target.wide, rows, cols, v))
}

func (r *rig) inPlaceF32(rows, cols int, v []float32) kernels.Tensor {
	return r.mayChange(r.guard(kernels.F32, rows, cols, v))
}

func (r *rig) mayChange(g *guarded) kernels.Tensor {
	g.input = nil
	return g.t
}

func (r *rig) guard(dt kernels.DType, rows, cols int, v []float32) *guarded {
	r.Helper()
	around, stride := guardValues, cols+guardStride
	if r.target.aligned {
		around, stride = alignValues, (cols+15)/8*8
	}
	whole, err := r.dev.NewTensor(1, 2*around+rows*stride, r.target.held(dt))
	r.must(err)
	r.made = append(r.made, whole.Buf)
	all := sentinels(whole.Cols)
	view := whole.SliceCols(around, around)
	view.Rows, view.Cols, view.Stride = rows, cols, stride
	g := &guarded{t: view, whole: whole, first: around}
	if v != nil {
		v = round(dt, v)
		for i := range rows {
			copy(all[around+i*stride:], v[i*cols:(i+1)*cols])
		}
		g.input = all
	}
	r.must(r.st.UploadF32(whole, all))
	r.guards = append(r.guards, g)
	return g
}

// read downloads a tensor.
func (r *rig) read(t kernels.Tensor) []float32 {
	r.Helper()
	v := make([]float32, t.Rows*t.Cols)
	r.must(r.st.DownloadF32(t, v))
	return v
}

// checkGuards fails when an op wrote anywhere but into its outputs.
func (r *rig) checkGuards() {
	r.Helper()
	for n, g := range r.guards {
		all, want := r.read(g.whole), g.input
		if want == nil { // an output: only what lies around the view must be as it was
			want = sentinels(len(all))
			for row := range g.t.Rows {
				at := g.first + row*g.t.Stride
				copy(want[at:at+g.t.Cols], all[at:])
			}
		}
		if err := sameBits(all, round(g.whole.DType, want)); err != nil {
			r.Fatalf("tensor %d [%d, %d], view from %d with stride %d: the buffer changed: %v", n, g.t.Rows, g.t.Cols, g.first, g.t.Stride, err)
		}
	}
	r.guards = nil
}

func sentinels(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = sentinel
	}
	return v
}

// noise is where normal and smooth take their values from: drawing anew for each of a thousand cases is slow under the race detector.
var noise, spiked = func() (plain, outliers []float32) {
	rng := seeded(99)
	for range 1 << 18 {
		v := float32(rng.NormFloat64())
		plain = append(plain, v)
		if rng.IntN(50) == 0 {
			v *= 100
		}
		outliers = append(outliers, v)
	}
	return plain, outliers
}()

// normal gives n values about N(0, 1) with one in fifty 100 times larger: activations have outliers.
func normal(rng *rand.Rand, n int) []float32 { return piece(rng, spiked, n) }

// smooth is normal without outliers: scores of a thousand say nothing about a softmax.
func smooth(rng *rand.Rand, n int) []float32 { return piece(rng, noise, n) }

// piece copies n values from a random place on, going round at the end.
func piece(rng *rand.Rand, of []float32, n int) []float32 {
	v := make([]float32, n)
	for at, done := rng.IntN(len(of)), 0; done < n; at = 0 {
		done += copy(v[done:], of[at:])
	}
	return v
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x5e87)) }

// weight loads the matrix.
func (r *rig) weight(m matrix) *kernels.Weight {
	r.Helper()
	w, err := r.dev.NewWeight(m.desc)
	r.must(err)
	r.made = append(r.made, w)
	return w
}

// keep gives the weight of a name, made once in the life of the rig.
func (r *rig) keep(name string, f func() matrix) *kernels.Weight {
	r.Helper()
	if r.kept[name] == nil {
		w, err := r.dev.NewWeight(f().desc)
		r.must(err)
		if r.kept == nil {
			r.kept = map[string]*kernels.Weight{}
		}
		r.kept[name] = w
	}
	return r.kept[name]
}

// vector loads a 1 x n f32 weight.
func (r *rig) vector(v []float32) *kernels.Weight {
	r.Helper()
	return r.weight(f32Matrix(v, 1, len(v)))
}

// near holds got against want: NaN with NaN, infinities with their like, numbers within tol*(|want| + scale).
func near(got, want, scale, tol float64) bool {
	if math.IsNaN(want) || math.IsNaN(got) {
		return math.IsNaN(want) && math.IsNaN(got)
	}
	if math.IsInf(want, 0) || math.IsInf(got, 0) {
		return got == want
	}
	return math.Abs(got-want) <= tol*(math.Abs(want)+scale)
}

func sameBits(a, b []float32) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d values against %d", len(a), len(b))
	}
	if bytes.Equal(rawBytes(a), rawBytes(b)) {
		return nil
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return fmt.Errorf("value %d: %g (%#x) against %g (%#x)", i, a[i], math.Float32bits(a[i]), b[i], math.Float32bits(b[i]))
		}
	}
	return nil
}

func rawBytes(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

func isInvalid(err error) bool { return errors.Is(err, kernels.ErrInvalid) }
