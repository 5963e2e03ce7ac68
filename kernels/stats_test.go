//go:build cgo

package kernels_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"sextant/kernels"
)

// TestOracleStatistics: worked by hand, over two calls.
func TestOracleStatistics(t *testing.T) {
	r := target{backend: "ref"}.open(t)
	max, sum, square := r.inPlace(1, 3, []float32{0, 5, 0}), r.inPlace(1, 3, []float32{1, 0, 0}), r.inPlace(1, 3, []float32{0, 0, 2})
	h := r.inPlace(3, 3, []float32{100, 0, 0, 10, 0, 0, 0, 0, 0})
	for _, x := range [][]float32{{1, -2, 0.5, -3, 4, 0}, {2, 0, -1}} {
		in := r.in(len(x)/3, 3, x)
		r.must(r.st.ColStats(max, sum, square, in))
		r.must(r.st.Hessian(h, in))
	}
	for _, c := range []struct {
		name string
		got  kernels.Tensor
		want []float32
	}{
		{"max", max, []float32{3, 5, 1}},
		{"sum", sum, []float32{7, 6, 1.5}},
		{"square", square, []float32{14, 20, 3.25}},
		{"hessian", h, []float32{114, -14, -1.5, -4, 20, -1, -1.5, -1, 1.25}},
	} {
		if err := sameBits(r.read(c.got), c.want); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	r.done()
}

// statCases are the statistics of calibration, added to what was there.
func statCases() []opCase {
	var all []opCase
	for _, s := range [][2]int{{0, 5}, {1, 1}, {3, 17}, {2, 33}, {70, 16}, {257, 31}, {64, 130}, {1030, 47}, {5, 1027}, {600, 96}} {
		m, k := s[0], s[1]
		for _, special := range []bool{false, true} {
			x := func() []float32 {
				v := normal(seeded(uint64(m+k)), m*k)
				for i, bad := range []float32{nan, inf, -inf, inf} {
					if special && m > 0 && i < k {
						v[(i*3)%m*k+i*5%k] = bad
					}
				}
				return v
			}
			all = append(all, opCase{fmt.Sprintf("colstats/%d,%d/special=%v", m, k, special), 1e-6, func(r *rig) ([]float32, []float64) {
				var to [3]kernels.Tensor
				for i := range to {
					was := smooth(seeded(uint64(i)), k)
					for j := range was {
						was[j] *= was[j]
					}
					if special && k > 2 {
						was[2] = nan
					}
					to[i] = r.inPlaceF32(1, k, was)
				}
				r.must(r.st.ColStats(to[0], to[1], to[2], r.in(m, k, x())))
				return slices.Concat(r.read(to[0]), r.read(to[1]), r.read(to[2])), nil
			}}, opCase{fmt.Sprintf("hessian/%d,%d/special=%v", m, k, special), 4e-7 * (2 + math.Sqrt(float64(m))/8), func(r *rig) ([]float32, []float64) {
				was, v := smooth(seeded(3), k*k), x()
				h := r.inPlaceF32(k, k, was)
				r.must(r.st.Hessian(h, r.in(m, k, v)))
				if r.target.backend != "ref" {
					return r.read(h), nil
				}
				scale := make([]float64, k*k)
				for i := range scale {
					scale[i] = math.Abs(float64(was[i]))
					for row := range m {
						if p := math.Abs(float64(v[row*k+i/k]) * float64(v[row*k+i%k])); p < math.MaxFloat32 {
							scale[i] += p
						}
					}
				}
				return r.read(h), scale
			}})
		}
	}
	return all
}

// TestStatisticsInvariance: the statistics of calibration have the same bits with any number of threads, in all fused builds, and x^T x is
// symmetric to the bit and the same where its rows are cut into calls at multiples of 512.
func TestStatisticsInvariance(t *testing.T) {
	const rows, cut = 700, 512
	for _, k := range []int{5, 40, 411} {
		x := normal(seeded(4), rows*k)
		for _, build := range [][]string{{"scalar"}, fused()} {
			var want []float32
			for _, isa := range build {
				for threads := 1; threads <= 3; threads++ {
					r := target{backend: "cpu", isa: isa, threads: threads}.open(t)
					var s [3]kernels.Tensor
					for i := range s {
						s[i] = r.inPlace(1, k, make([]float32, k))
					}
					h := r.inPlace(k, k, make([]float32, k*k))
					r.must(r.st.ColStats(s[0], s[1], s[2], r.in(rows, k, x)))
					r.must(r.st.Hessian(h, r.in(rows, k, x)))
					values, parts, whole := r.read(h), r.inPlace(k, k, make([]float32, k*k)), r.in(rows, k, x)
					r.must(r.st.Hessian(parts, whole.SliceRows(0, cut)))
					r.must(r.st.Hessian(parts, whole.SliceRows(cut, rows)))
					if err := sameBits(r.read(parts), values); err != nil {
						t.Fatalf("%s with %d threads, %d columns, in two calls: %v", isa, threads, k, err)
					}
					for i := range values {
						if values[i] != values[i%k*k+i/k] {
							t.Fatalf("%s with %d threads, %d columns: value %d of x^T x is %g, its twin %g", isa, threads, k, i, values[i], values[i%k*k+i/k])
						}
					}
					got := slices.Concat(values, r.read(s[0]), r.read(s[1]), r.read(s[2]))
					if want == nil {
						want = got
					}
					if err := sameBits(got, want); err != nil {
						t.Fatalf("%s with %d threads, %d columns: %v", isa, threads, k, err)
					}
					r.done()
					r.dev.Close()
				}
			}
		}
	}
}
