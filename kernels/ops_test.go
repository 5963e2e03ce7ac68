//go:build cgo

package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sextant/kernels"
)

// opCase is one line of the table: an operation with its inputs, carried out by any backend. run gives what came out, and for each value
// the magnitude that its error is measured against beside the value itself.
type opCase struct {
	name string
	tol  float64
	run  func(r *rig) (out []float32, scale []float64)
}

// TestOps runs the table on every backend, build, thread count and format of activations against the oracle, which computes with the same
// rounded inputs.
func TestOps(t *testing.T) {
	oracle := target{backend: "ref"}.open(t)
	var rigs, devices []*rig
	for _, tg := range hostTargets(t) {
		rigs = append(rigs, tg.open(t))
	}
	for _, tg := range cudaTargets() {
		devices = append(devices, tg.open(t))
	}
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			for _, f := range formats() {
				some := slices.DeleteFunc(slices.Clone(devices), func(r *rig) bool {
					return r.target.act != f[0] || r.target.wide != f[1] || !chosen(c.name, r.target)
				})
				if len(some) == 0 && (f[0] != kernels.F32 || len(rigs) == 0) {
					continue
				}
				oracle.target.act, oracle.target.wide = f[0], f[1]
				want, scale := c.run(oracle.within(t))
				oracle.done()
				for i, r := range rigs {
					if f[0] == kernels.F32 && takes(c.name, i, len(rigs)) && (!strings.HasSuffix(r.target.isa, "-model") || onUnits(c.name)) { // else the same code as of the build wide
						c.hold(r.within(t), want, scale)
					}
				}
				for _, r := range some {
					t.Run(r.target.String(), func(t *testing.T) { c.hold(r.within(t), want, scale) })
				}
			}
		})
	}
}

// hold carries the case out and holds what comes out against the oracle's.
func (c opCase) hold(r *rig, want []float32, scale []float64) {
	r.Helper()
	tg := r.target
	r.reset()
	got, _ := c.run(r)
	r.done()
	if len(got) != len(want) {
		r.Fatalf("%v: %d values, want %d", tg, len(got), len(want))
	}
	if moves(c.name) {
		tg.act, tg.wide = kernels.F32, kernels.F32
	}
	tol := c.tol
	if of := onTiles.FindStringSubmatch(c.name); of != nil && tg.act == kernels.BF16 && of[1] == "bf16" {
		tol = 0x1p-7 // weights are rounded, and so is their sum with the values
	}
	for i := range got {
		s := 0.0
		if scale != nil {
			s = scale[i]
		}
		if math.IsNaN(s) { // an index, which the rounding of activations may turn
			if tg.narrowest() != kernels.F32 {
				continue
			}
			s = 0
		}
		if !tg.near(float64(got[i]), float64(want[i]), s, tol) {
			r.Fatalf("%v: value %d is %g, the oracle has %g (scale %g, tolerance %g)", r.target, i, got[i], want[i], s, tol)
		}
	}
}

func cases() []opCase {
	var all []opCase
	all = append(all, specialCases()...)
	all = append(all, matmulCases()...)
	all = append(all, rowCases()...)
	all = append(all, attentionCases()...)
	all = append(all, logprobCases()...)
	return all
}

// sizes are what kernels trip over: nothing, one, primes, around 16 and 32, and more than one block.
var sizes = []int{0, 1, 2, 7, 15, 16, 17, 31, 33, 127, 130, 257, 513, 1027}

func even(k int) int { return k + k%2 }

// groupOf gives an I4 group that divides k; odd ones, too.
func groupOf(k int) int {
	for _, g := range []int{128, 33, 17, 16, 13, 7, 3, 2} {
		if k >= g && k%g == 0 {
			return g
		}
	}
	return max(k, 1)
}

func matmulCases() []opCase {
	var all []opCase
	for _, dt := range allFormats {
		shapes := [][3]int{{3, 2, 4096}, {130, 9, 600}, {1, 1027, 33}, {129, 3, 17}, {17, 16, 512}, {16, 17, 514}}
		for _, n := range sizes {
			shapes = append(shapes, [3]int{n, 5, 16}, [3]int{4, n, 34}, [3]int{5, 3, n})
		}
		for _, s := range shapes {
			m, n, k := s[0], s[1], s[2]
			if dt == kernels.I4 {
				k = even(k)
			}
			for _, bias := range []bool{false, true} {
				all = append(all, matmulCase(dt, m, n, k, bias))
			}
		}
	}
	return all
}

// specialCases hold NaN and infinities in inputs and weights, at the ends and in the middle of sums.
func specialCases() []opCase {
	const m, n, k = 19, 5, 1043
	poison := func(v []float32, cols int, rows ...int) []float32 {
		for i, row := range rows {
			v[row*cols+[]int{0, cols / 2, cols - 1}[i%3]] = []float32{nan, inf, -inf, inf, nan, -inf, inf}[i%7]
		}
		return v
	}
	return []opCase{
		{"matmul/NaN and inf", 1e-6, func(r *rig) ([]float32, []float64) {
			rng := seeded(1)
			x, w := poison(smooth(rng, m*k), k, 0, 1, 2, 3, 18, 18), poison(smooth(rng, n*k), k, 4, 3)
			w[0] = 0 // against an infinity: NaN
			out := r.outWide(m, n)
			r.must(r.st.MatMul(out, r.in(m, k, x), r.weight(f32Matrix(w, n, k)), nil))
			scale := make([]float64, m*n)
			for i := range scale {
				scale[i] = 40
			}
			return r.read(out), scale
		}},
		{"rmsnorm/NaN and inf", 1e-6, func(r *rig) ([]float32, []float64) {
			out := r.out(m, k)
			x := poison(smooth(seeded(1), m*k), k, 0, 1, 2, 3)
			for i := range 3 {
				x[4*k+i] = 3e38 // a square beyond f32
			}
			r.must(r.st.RMSNorm(out, r.inWide(m, k, x), nil, r.vector(smooth(seeded(2), k)), 1e-5))
			return r.read(out), subnormal(m * k)
		}},
		{"logprob/NaN and inf", 3e-6, func(r *rig) ([]float32, []float64) {
			const v, d = 700, 3
			w := smooth(seeded(1), v*d)
			for i := range v { // the first column picks poisoned logits when x[0] = 1
				w[i*d], w[i*d+1] = 0, 0
			}
			w[600*d], w[601*d], w[10*d+1] = inf, inf, nan
			x := smooth(seeded(2), m*d)
			for i := range m {
				x[i*d], x[i*d+1] = 1, 1
			}
			x[0], x[3*d], x[4*d], x[5*d+2] = nan, -1, 0, -inf
			return r.logprob(r.in(m, d, x), r.weight(f32Matrix(w, v, d)), kernels.Targets{IDs: make([]int32, m)})
		}},
		{"logprob/inf", 3e-6, func(r *rig) ([]float32, []float64) {
			const v = 600
			w := make([]float32, v)
			w[5], w[500], w[501] = -1, 1, 1
			return r.logprob(r.in(4, 1, []float32{inf, -inf, 3e38, 1}), r.weight(f32Matrix(w, v, 1)), kernels.Targets{IDs: []int32{500, 5, 0, 1}})
		}},
		{"logprob/inf without NaN", 3e-6, func(r *rig) ([]float32, []float64) {
			const v = 600
			w := make([]float32, v)
			for i := range w {
				w[i] = -1
			}
			w[300], w[501] = 1, 1
			all := make([]float32, v)
			for i := range all {
				all[i] = 1
			}
			a, sa := r.logprob(r.in(2, 1, []float32{inf, -inf}), r.weight(f32Matrix(w, v, 1)), kernels.Targets{IDs: []int32{500, 5}})
			b, sb := r.logprob(r.in(2, 1, []float32{inf, -inf}), r.weight(f32Matrix(all, v, 1)), kernels.Targets{IDs: []int32{500, 5}})
			return append(a, b...), append(sa, sb...)
		}},
	}
}

func matmulCase(dt kernels.DType, m, n, k int, bias bool) opCase {
	// f32 sums of blocks: far below k roundings.
	return opCase{fmt.Sprintf("matmul/%v/%d,%d,%d/bias=%v", dt, m, n, k, bias), 4e-7 * (2 + math.Sqrt(float64(k))/8), func(r *rig) ([]float32, []float64) {
		rng := seeded(uint64(m*7919 + n*31 + k))
		w := seededMatrix(uint64(n+k), dt, n, k, groupOf(k))
		x := normal(rng, m*k)
		var b *kernels.Weight
		bv := make([]float32, n)
		if bias {
			bv = normal(rng, n)
			b = r.vector(bv)
		}
		out := r.outWide(m, n)
		r.must(r.st.MatMul(out, r.in(m, k, x), r.weight(w), b))
		if r.target.backend != "ref" {
			return r.read(out), nil
		}
		scale := make([]float64, m*n)
		for i := range scale {
			scale[i] = math.Abs(float64(bv[i%n]))
			for j := range k {
				scale[i] += math.Abs(float64(x[i/n*k+j])) * w.size(i%n*k+j)
			}
		}
		return r.read(out), scale
	}}
}

// rowCases are the operations that go value by value or row by row.
func rowCases() []opCase {
	var all []opCase
	add := func(name string, tol float64, run func(r *rig, rng *rand.Rand, rows, cols int) ([]float32, []float64)) {
		for _, cols := range sizes {
			for _, rows := range []int{0, 1, 3} {
				all = append(all, opCase{fmt.Sprintf("%s/%d,%d", name, rows, cols), tol, func(r *rig) ([]float32, []float64) {
					return run(r, seeded(uint64(rows*1000+cols)), rows, cols)
				}})
			}
		}
		shapes := [][2]int{{500, 300}}
		if strings.HasPrefix(name, "rmsnorm") { // rows that a device keeps in registers, and such that it reads again
			shapes = append(shapes, [2]int{3, 4096}, [2]int{2, 16384}, [2]int{2, 16391}, [2]int{1, 20000})
		}
		for _, s := range shapes {
			all = append(all, opCase{fmt.Sprintf("%s/%d,%d", name, s[0], s[1]), tol, func(r *rig) ([]float32, []float64) {
				return run(r, seeded(9), s[0], s[1])
			}})
		}
	}
	add("rmsnorm", 3e-7, func(r *rig, rng *rand.Rand, rows, cols int) ([]float32, []float64) {
		out := r.out(rows, cols)
		r.must(r.st.RMSNorm(out, r.inWide(rows, cols, normal(rng, rows*cols)), nil, r.vector(normal(rng, cols)), 1e-5))
		return r.read(out), nil
	})
	add("rmsnorm in place", 3e-7, func(r *rig, rng *rand.Rand, rows, cols int) ([]float32, []float64) {
		x := r.inPlace(rows, cols, normal(rng, rows*cols))
		r.must(r.st.RMSNorm(x, x, nil, r.vector(normal(rng, cols)), 1e-6))
		return r.read(x), nil
	})
	add("rmsnorm with add", 3e-7, func(r *rig, rng *rand.Rand, rows, cols int) ([]float32, []float64) {
		x, out := r.inPlaceWide(rows, cols, normal(rng, rows*cols)), r.out(rows, cols)
		residual := r.inWide(rows, cols, normal(rng, rows*cols))
		r.must(r.st.RMSNorm(out, x, &residual, r.vector(normal(rng, cols)), 1e-5))
		return append(r.read(out), r.read(x)...), nil
	})
	add("add", 0, func(r *rig, rng *rand.Rand, rows, cols int) ([]float32, []float64) {
		x := r.inPlaceWide(rows, cols, normal(rng, rows*cols))
		r.must(r.st.Add(x, r.in(rows, cols, normal(rng, rows*cols))))
		return r.read(x), nil
	})
	add("swiglu", 5e-7, func(r *rig, rng *rand.Rand, rows, cols int) ([]float32, []float64) {
		out, special := r.out(rows, cols), normal(rng, rows*cols)
		for i, v := range []float32{nan, inf, -inf, 0, float32(math.Copysign(0, -1)), -90, -104, -200, 90, 1e-30, 3e38, -3e38} {
			if i < len(special) {
				special[i] = v
			}
		}
		r.must(r.st.SwiGLU(out, r.in(rows, cols, special), r.in(rows, cols, normal(rng, rows*cols))))
		return r.read(out), subnormal(rows * cols)
	})
	add("swiglu in place", 5e-7, func(r *rig, rng *rand.Rand, rows, cols int) ([]float32, []float64) {
		gate, up := r.inPlace(rows, cols, normal(rng, rows*cols)), r.in(rows, cols, normal(rng, rows*cols))
		r.must(r.st.SwiGLU(gate, gate, up))
		return r.read(gate), subnormal(rows * cols)
	})
	roundCases(add)
	add("gather", 0, func(r *rig, rng *rand.Rand, rows, cols int) ([]float32, []float64) {
		out, ids := r.out(rows, cols), make([]int32, rows)
		for i := range ids {
			ids[i] = rng.Int32N(7)
		}
		r.must(r.st.Gather(out, r.in(7, cols, normal(rng, 7*cols)), ids))
		return r.read(out), nil
	})
	for _, dt := range allFormats {
		add(fmt.Sprintf("embed %v", dt), 1e-7, func(r *rig, rng *rand.Rand, rows, cols int) ([]float32, []float64) {
			if dt == kernels.I4 {
				cols = even(cols)
			}
			out, ids := r.outWide(rows, cols), make([]int32, rows)
			for i := range ids {
				ids[i] = rng.Int32N(11)
			}
			w := r.weight(seededMatrix(1, dt, 11, cols, groupOf(cols)))
			r.must(r.st.Embed(out, w, ids))
			all := r.read(out)
			b, err := r.st.NewBatch(kernels.BatchDesc{QStart: []int32{0, int32(rows)}, KVLen: []int32{int32(rows)}, Tokens: ids})
			r.must(err)
			r.made = append(r.made, b)
			again := r.outWide(rows, cols)
			r.must(r.st.EmbedBatch(again, w, b))
			r.must(sameBits(r.read(again), all))
			return all, nil
		})
	}
	return append(all, statCases()...)
}

// subnormal is the scale of results that have a factor below the normal numbers, as silu of -90 is: there a backend may give 0.
func subnormal(n int) []float64 {
	floor := make([]float64, n)
	for i := range floor {
		floor[i] = 1e-27
	}
	return floor
}

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

// logprobCases give lse as its difference from the best logit, which keeps the precision of a float32.
func logprobCases() []opCase {
	var all []opCase
	for _, dt := range allFormats {
		for _, v := range []int{1, 2, 15, 17, 255, 256, 257, 1027} {
			for _, rows := range []int{0, 1, 5, 131, 509} {
				all = append(all, opCase{fmt.Sprintf("logprob/%v/%d,%d", dt, rows, v), 3e-6, func(r *rig) ([]float32, []float64) {
					const d = 34
					rng := seeded(uint64(v*10 + rows))
					x, targets := normal(rng, rows*d), kernels.Targets{Rows: []int32{}, IDs: []int32{}}
					for i := range rows {
						for range (i + 1) % 4 { // none of some rows, three of others
							targets.Rows, targets.IDs = append(targets.Rows, int32(i)), append(targets.IDs, rng.Int32N(int32(v)))
						}
					}
					w := r.weight(seededMatrix(1, dt, v, d, 17))
					return r.logprob(r.in(rows, d, x), w, targets)
				}})
			}
		}
	}
	return all
}

func (r *rig) logprob(x kernels.Tensor, w *kernels.Weight, targets kernels.Targets) (out []float32, scale []float64) {
	lp, err := r.st.LogProb(x, w, targets)
	r.must(err)
	for i := range lp.LSE {
		size := math.Abs(float64(lp.BestLogit[i])) + 20
		out = append(out, float32(lp.LSE[i]), float32(lp.Best[i]), lp.BestLogit[i])
		scale = append(scale, size, math.NaN(), size)
	}
	for j, l := range lp.Target {
		row := j
		if targets.Rows != nil {
			row = int(targets.Rows[j])
		}
		out, scale = append(out, l), append(scale, math.Abs(float64(lp.BestLogit[row]))+20)
	}
	return out, scale
}
