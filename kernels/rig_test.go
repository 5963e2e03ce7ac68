//go:build cgo

package kernels_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"sextant/kernels"
	"sextant/kernels/cpu"
)

// target is one way to carry out the table: a backend, its build, its threads.
type target struct {
	backend, isa string
	threads      int
}

func (t target) String() string {
	if t.isa == "" {
		return t.backend
	}
	return fmt.Sprintf("%s-%s-%d", t.backend, t.isa, t.threads)
}

// targets are all that run here. A build that this machine lacks is left out, loudly when SEXTANT_WANT_ISA names it.
func targets(t *testing.T) []target {
	var all []target
	for _, isa := range []string{"scalar", "avx2", "wide", "avx512"} {
		if !cpu.Runs(isa) {
			if os.Getenv("SEXTANT_WANT_ISA") == isa {
				t.Fatalf("SEXTANT_WANT_ISA=%s does not run here", isa)
			}
			continue
		}
		for threads := 1; threads <= 3; threads++ {
			if isa != "wide" || threads == 2 {
				all = append(all, target{"cpu", isa, threads})
			}
		}
	}
	return all
}

// fused are the builds that promise equal bits.
func fused() []string {
	var all []string
	for _, isa := range []string{"avx2", "wide", "avx512"} {
		if cpu.Runs(isa) {
			all = append(all, isa)
		}
	}
	return all
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
	input []float32 // what the whole buffer must still hold; nil for an output, whose view may change
}

const (
	guardValues = 37       // before and after the view
	guardStride = 5        // beyond each row
	sentinel    = -31337.5 // no op gives it here
)

// out is a guarded output [rows, cols], filled with sentinels.
func (r *rig) out(rows, cols int) kernels.Tensor { return r.guard(rows, cols, nil).t }

// in is a guarded tensor holding v; the view may not be changed by an op unless the test takes it off with inPlace.
func (r *rig) in(rows, cols int, v []float32) kernels.Tensor { return r.guard(rows, cols, v).t }

// inPlace is a guarded tensor holding v that an op may change.
func (r *rig) inPlace(rows, cols int, v []float32) kernels.Tensor {
	g := r.guard(rows, cols, v)
	g.input = nil
	return g.t
}

func (r *rig) guard(rows, cols int, v []float32) *guarded {
	r.Helper()
	stride := cols + guardStride
	whole, err := r.dev.NewTensor(1, 2*guardValues+rows*stride, kernels.F32)
	r.must(err)
	r.made = append(r.made, whole.Buf)
	all := make([]float32, whole.Cols)
	for i := range all {
		all[i] = sentinel
	}
	view := whole
	view.Offset, view.Rows, view.Cols, view.Stride = 4*guardValues, rows, cols, stride
	g := &guarded{t: view, whole: whole}
	if v != nil {
		for i := range rows {
			copy(all[guardValues+i*stride:], v[i*cols:(i+1)*cols])
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
		all := r.read(g.whole)
		for i, v := range all {
			want := float32(sentinel)
			if g.input != nil {
				want = g.input[i]
			} else if at := i - guardValues; at >= 0 && at < g.t.Rows*g.t.Stride && at%g.t.Stride < g.t.Cols {
				continue
			}
			if math.Float32bits(v) != math.Float32bits(want) {
				r.Fatalf("tensor %d [%d, %d]: value %d of its buffer (view from %d, stride %d) became %g, was %g", n, g.t.Rows, g.t.Cols, i, guardValues, g.t.Stride, v, want)
			}
		}
	}
	r.guards = nil
}

// normal gives n values about N(0, 1) with one in fifty 100 times larger: activations have outliers.
func normal(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
		if rng.IntN(50) == 0 {
			v[i] *= 100
		}
	}
	return v
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x5e87)) }

var allFormats = []kernels.DType{kernels.F32, kernels.BF16, kernels.F16, kernels.I8, kernels.I4, kernels.F8}

// matrix is a weight's description together with its values in real numbers, decoded by the test itself.
type matrix struct {
	desc  kernels.WeightDesc
	value []float64
}

// randomMatrix makes a weight of a format; group is for I4.
func randomMatrix(rng *rand.Rand, dt kernels.DType, rows, cols, group int) matrix {
	m := matrix{desc: kernels.WeightDesc{DType: dt, Rows: rows, Cols: cols}, value: make([]float64, rows*cols)}
	switch dt {
	case kernels.F32:
		return f32Matrix(normal(rng, rows*cols), rows, cols)
	case kernels.BF16, kernels.F16:
		for i := range m.value {
			h := randomHalf(rng, dt)
			m.value[i] = halfValue(dt, h)
			m.desc.Data = binary.LittleEndian.AppendUint16(m.desc.Data, h)
		}
	case kernels.I8:
		m.desc.Scales = scales(rng, rows)
		for i := range m.value {
			q := int8(rng.IntN(256) - 128)
			m.desc.Data = append(m.desc.Data, byte(q))
			m.value[i] = float64(q) * float64(m.desc.Scales[i/cols])
		}
	case kernels.F8:
		m.desc.Scales = scales(rng, 1)
		for i := range m.value {
			b := byte(rng.IntN(256))
			if b&0x7f == 0x7f {
				b--
			}
			m.desc.Data = append(m.desc.Data, b)
			m.value[i] = f8Value(b) * float64(m.desc.Scales[0])
		}
	case kernels.I4:
		m.desc.Group = group
		m.desc.Scales, m.desc.Zeros = scales(rng, rows*cols/group), scales(rng, rows*cols/group)
		m.desc.Data = make([]byte, rows*cols/2)
		for i := range m.value {
			q := rng.IntN(16)
			m.desc.Zeros[i/group] = float32(i / group % 16)
			m.desc.Data[i/2] |= byte(q << (i % 2 * 4))
			m.value[i] = (float64(q) - float64(i/group%16)) * float64(m.desc.Scales[i/group])
		}
	}
	return m
}

func f32Matrix(v []float32, rows, cols int) matrix {
	m := matrix{desc: kernels.WeightDesc{Rows: rows, Cols: cols}, value: make([]float64, len(v))}
	for i, f := range v {
		m.value[i] = float64(f)
		m.desc.Data = binary.LittleEndian.AppendUint32(m.desc.Data, math.Float32bits(f))
	}
	return m
}

func scales(rng *rand.Rand, n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(math.Exp(rng.NormFloat64()) / 64)
	}
	return s
}

// randomHalf gives a finite value of the format, subnormal ones now and then.
func randomHalf(rng *rand.Rand, dt kernels.DType) uint16 {
	if dt == kernels.F16 {
		if rng.IntN(8) == 0 {
			return uint16(rng.IntN(1024)) | uint16(rng.IntN(2))<<15
		}
		return uint16(10+rng.IntN(8))<<10 | uint16(rng.IntN(1024)) | uint16(rng.IntN(2))<<15
	}
	return uint16(120+rng.IntN(10))<<7 | uint16(rng.IntN(128)) | uint16(rng.IntN(2))<<15
}

// halfValue decodes by the definition of the formats, not by moving bits.
func halfValue(dt kernels.DType, h uint16) float64 {
	mant, bias := 10, 15
	if dt == kernels.BF16 {
		mant, bias = 7, 127
	}
	exps := 15 - mant
	e, m := int(h>>mant)&(1<<exps-1), float64(int(h)&(1<<mant-1))
	v := math.Ldexp(1+m/float64(int(1)<<mant), e-bias)
	switch {
	case e == 0:
		v = math.Ldexp(m, 1-bias-mant)
	case e == 1<<exps-1 && m == 0:
		v = math.Inf(1)
	case e == 1<<exps-1:
		v = math.NaN()
	}
	if h>>15 == 1 {
		return -v
	}
	return v
}

func f8Value(b byte) float64 {
	e, m := int(b>>3)&15, float64(b&7)
	v := math.Ldexp(1+m/8, e-7)
	if e == 0 {
		v = math.Ldexp(m/8, -6)
	}
	if b&0x7f == 0x7f {
		v = math.NaN()
	}
	if b>>7 == 1 {
		return -v
	}
	return v
}

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
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return fmt.Errorf("value %d: %g (%#x) against %g (%#x)", i, a[i], math.Float32bits(a[i]), b[i], math.Float32bits(b[i]))
		}
	}
	return nil
}

func isInvalid(err error) bool { return errors.Is(err, kernels.ErrInvalid) }
