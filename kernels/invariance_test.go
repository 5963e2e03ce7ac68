//go:build cgo

package kernels_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sextant/kernels"
)

// rowOp computes rows of outputs from rows of inputs; it must give each row the same bits in any company.
type rowOp struct {
	name string
	cols int
	run  func(r *rig, rows int, x []float32) []float32
	out  int // columns of the output
}

func rowOps() []rowOp {
	var all []rowOp
	for _, dt := range allFormats {
		for i, k := range []int{34, 512, 1226, 96} {
			n := 37 + i/3
			all = append(all, rowOp{fmt.Sprintf("matmul %v K=%d", dt, k), k, func(r *rig, rows int, x []float32) []float32 {
				out := r.out(rows, n)
				w := r.keep("w", func() matrix { return seededMatrix(1, dt, n, k, groupOf(k)) })
				b := r.keep("bias", func() matrix { return f32Matrix(normal(seeded(2), n), 1, n) })
				r.must(r.st.MatMul(out, r.in(rows, k, x), w, b))
				return r.read(out)
			}, n})
		}
		all = append(all, rowOp{fmt.Sprintf("logprob %v", dt), 34, func(r *rig, rows int, x []float32) []float32 {
			w := r.keep("w", func() matrix { return seededMatrix(1, dt, 600, 34, 17) })
			lp, err := r.st.LogProb(r.in(rows, 34, x), w, kernels.Targets{IDs: make([]int32, rows)})
			r.must(err)
			var v []float32
			for i := range rows {
				hi := float32(lp.LSE[i])
				v = append(v, hi, float32(lp.LSE[i]-float64(hi)), lp.Target[i], float32(lp.Best[i]), lp.BestLogit[i])
			}
			return v
		}, 5})
	}
	const c = 300
	for _, how := range []kernels.Rounding{{To: kernels.I8}, {To: kernels.F8, Group: 7}, {To: kernels.I8, Group: 64}, {To: kernels.F8, Scale: 0.1}} {
		all = append(all, rowOp{fmt.Sprintf("round %+v", how), c, func(r *rig, rows int, x []float32) []float32 {
			out := r.out(rows, c)
			r.must(r.st.Round(out, r.in(rows, c, x), how))
			return r.read(out)
		}, c})
	}
	return append(all,
		rowOp{"rmsnorm", c, func(r *rig, rows int, x []float32) []float32 {
			out := r.out(rows, c)
			r.must(r.st.RMSNorm(out, r.in(rows, c, x), nil, r.vector(normal(seeded(2), c)), 1e-5))
			return r.read(out)
		}, c},
		rowOp{"swiglu", c, func(r *rig, rows int, x []float32) []float32 {
			out := r.out(rows, c)
			r.must(r.st.SwiGLU(out, r.in(rows, c, x), r.in(rows, c, x)))
			return r.read(out)
		}, c})
}

// TestRowInvariance: rows alone, in pairs, at other places and in a crowd; 1 to 3 threads; and all fused builds alike, and units and their
// models.
func TestRowInvariance(t *testing.T) {
	const rows = 200
	crowds := [][2]int{{0, 1}, {7, 8}, {rows - 1, rows}, {5, 7}, {3, 6}, {0, 16}, {11, 28}, {60, 197}}
	for _, op := range rowOps() {
		x := normal(seeded(4), rows*op.cols)
		builds := [][]string{{"scalar"}, fused()}
		if onUnits(op.name) {
			builds = append(builds, units()...)
		}
		for _, build := range builds {
			var want []float32
			for _, isa := range build {
				for threads := 1; threads <= 3; threads++ {
					if strings.HasSuffix(isa, "-model") && threads != 2 {
						continue
					}
					r := target{backend: "cpu", isa: isa, threads: threads}.open(t)
					got := op.run(r, rows, x)
					if want == nil {
						want = got
					}
					if err := sameBits(got, want); err != nil {
						t.Fatalf("%s: %s with %d threads: %v", op.name, isa, threads, err)
					}
					for _, c := range crowds {
						got := op.run(r, c[1]-c[0], x[c[0]*op.cols:c[1]*op.cols])
						if err := sameBits(got, want[c[0]*op.out:c[1]*op.out]); err != nil {
							t.Fatalf("%s: %s with %d threads: rows %v: %v", op.name, isa, threads, c, err)
						}
					}
					r.done()
					r.dev.Close()
				}
			}
		}
	}
}

// TestHalfIsItsValues: a weight of 16 bits computes bit for bit as the f32 matrix of its values.
func TestHalfIsItsValues(t *testing.T) {
	const m, n, k = 19, 21, 1054
	for _, tg := range targets(t) {
		r := tg.open(t)
		for _, dt := range []kernels.DType{kernels.BF16, kernels.F16} {
			if dt == kernels.BF16 && slices.Contains(units()[0], tg.isa) {
				continue // sums of units have an order of their own
			}
			w := r.weight(seededMatrix(9, dt, n, k, 17))
			rows, ids := r.out(n, k), make([]int32, n)
			for i := range ids {
				ids[i] = int32(i)
			}
			r.must(r.st.Embed(rows, w, ids))
			x := r.in(m, k, normal(seeded(10), m*k))
			out, plain := r.out(m, n), r.out(m, n)
			r.must(r.st.MatMul(out, x, w, nil))
			r.must(r.st.MatMul(plain, x, r.weight(f32Matrix(r.read(rows), n, k)), nil))
			if err := sameBits(r.read(out), r.read(plain)); err != nil {
				t.Errorf("%v %v: %v", tg, dt, err)
			}
			r.done()
		}
	}
}

// TestLogProbIsMatMul: the logits that logprob gives are those of matmul, bit for bit.
func TestLogProbIsMatMul(t *testing.T) {
	const rows, d, v = 140, 96, 700
	for _, tg := range targets(t) {
		r := tg.open(t)
		w, x := r.weight(seededMatrix(1, kernels.BF16, v, d, 0)), r.in(rows, d, normal(seeded(2), rows*d))
		out, targets := r.out(rows, v), make([]int32, rows)
		for i := range targets {
			targets[i] = int32(i * 5)
		}
		r.must(r.st.MatMul(out, x, w, nil))
		lp, err := r.st.LogProb(x, w, kernels.Targets{IDs: targets})
		r.must(err)
		logits := r.read(out)
		for i := range rows {
			if lp.Target[i] != logits[i*v+i*5] || lp.BestLogit[i] != logits[i*v+int(lp.Best[i])] {
				t.Fatalf("%v: row %d: target %g, best %g; matmul has %g, %g", tg, i, lp.Target[i], lp.BestLogit[i], logits[i*v+i*5], logits[i*v+int(lp.Best[i])])
			}
		}
		r.done()
	}
}
