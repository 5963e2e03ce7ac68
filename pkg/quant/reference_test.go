package quant

import (
	"math"
	"math/rand/v2"
	"testing"

	"sextant/pkg/qformat"
)

// The methods once more, in float64, with plain loops, written from the papers and from the table of conventions, not from this package.
// Inputs are tokens, not Gram matrices.

// refGrid is a scale and a zero for a list of values. dtype rounds the scale.
type refGrid struct {
	bits       int
	symmetric  bool
	convention string
	dtype      func(float64) float64
}

func refOf(g Grid) refGrid {
	round := map[string]func(float64) float64{"f32": func(x float64) float64 { return float64(float32(x)) }, "f16": nearestHalf, "none": func(x float64) float64 { return x }}
	return refGrid{g.Bits, g.Symmetric, g.Convention, round[g.Scale]}
}

// allF16 are all finite halves from 0 up.
var allF16 = func() []float64 {
	all := make([]float64, 0x7c00)
	for i := range all {
		if e, m := i>>10, float64(i&1023); e == 0 {
			all[i] = m * 0x1p-24
		} else {
			all[i] = math.Ldexp(1+m/1024, e-15)
		}
	}
	return all
}()

func nearestHalf(x float64) float64 {
	best := 0
	lo, hi := 0, len(allF16)-1
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; allF16[mid] <= x {
			lo = mid
		} else {
			hi = mid
		}
	}
	best = lo
	if a, b := x-allF16[lo], allF16[hi]-x; b < a || b == a && hi%2 == 0 {
		best = hi
	}
	return allF16[best]
}

func (g refGrid) find(values []float64) (scale, zero float64) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		lo, hi = math.Min(lo, v), math.Max(hi, v)
	}
	top := math.Pow(2, float64(g.bits)) - 1
	if z := -math.RoundToEven(lo / g.dtype(math.Max(hi-lo, 1e-5)/top)); g.convention != "llmc" || z < 0 || z > top {
		lo, hi = math.Min(lo, 0), math.Max(hi, 0)
	}
	absmax := math.Max(-lo, hi)
	switch {
	case g.convention == "llmc" && g.symmetric:
		return g.dtype(math.Max(absmax, 1e-5) / (math.Pow(2, float64(g.bits-1)) - 1)), (top + 1) / 2
	case g.symmetric:
		return g.dtype(absmax / (top / 2)), (top + 1) / 2
	}
	scale = g.dtype(math.Max(hi-lo, 1e-5) / top)
	return scale, math.Min(math.Max(-math.RoundToEven(lo/scale), 0), top)
}

// code is the code of v, and how far v is from where it would be another's, in steps.
func (g refGrid) code(v, scale, zero float64) (code, margin float64) {
	top := math.Pow(2, float64(g.bits)) - 1
	q := math.RoundToEven(v/scale) + zero
	return math.Min(math.Max(q, 0), top), 0.5 - math.Abs(v/scale-math.RoundToEven(v/scale))
}

// refMatrix is a quantized matrix in float64.
type refMatrix struct {
	rows, cols, group int
	codes, margins    []float64
	scales, zeros     []float64
	groupOf           func(c int) int
}

func newRef(rows, cols, group int) *refMatrix {
	group = min(group, cols)
	wide := (cols + group - 1) / group
	return &refMatrix{rows, cols, group, make([]float64, rows*cols), make([]float64, rows*cols), make([]float64, rows*wide), make([]float64, rows*wide), nil}
}

func (m *refMatrix) at(r, c int) int { return r*((m.cols+m.group-1)/m.group) + c/m.group }

func (m *refMatrix) value(r, c int) float64 {
	i := m.at(r, c)
	return (m.codes[r*m.cols+c] - m.zeros[i]) * m.scales[i]
}

func (m *refMatrix) put(g refGrid, r, c int, v float64) {
	i := m.at(r, c)
	m.codes[r*m.cols+c], m.margins[r*m.cols+c] = g.code(v, m.scales[i], m.zeros[i])
}

// refRTN rounds to nearest. limit is nil, or the most of |w| of each group.
func refRTN(g refGrid, w []float64, rows, cols, group int, limit []float64) *refMatrix {
	m := newRef(rows, cols, group)
	for r := range rows {
		for c := 0; c < cols; c += m.group {
			values := append([]float64(nil), w[r*cols+c:r*cols+min(c+m.group, cols)]...)
			i := m.at(r, c)
			for k := range values {
				if limit != nil {
					values[k] = math.Min(math.Max(values[k], -limit[i]), limit[i])
				}
			}
			m.scales[i], m.zeros[i] = g.find(values)
			for k, v := range values {
				m.put(g, r, c+k, v)
			}
		}
	}
	return m
}

// same compares a matrix with the reference's. Where the first difference of a row is, the reference must be within `margin` of a step of the
// place where the code would change (float32 arithmetic in between: what is rounded there may be rounded the other way), and where errors are
// handed on (chain) the rest of that row then differs too. It gives the number of rows with differences.
func (m *refMatrix) same(t *testing.T, name string, got *qformat.Matrix, margin float64, chain bool) (rows int) {
	t.Helper()
	if got.Rows != m.rows || got.Cols != m.cols || got.Group != m.group || got.Check() != nil {
		t.Fatalf("%s: [%d, %d] by %d: %v", name, got.Rows, got.Cols, got.Group, got.Check())
	}
	for r := range m.rows {
		differs := false
		for c := range m.cols {
			i := m.at(r, c)
			s := float64(got.Scales[i])
			if math.Abs(s-m.scales[i]) > 2e-6*m.scales[i] || float64(got.Zero(i)) != m.zeros[i] {
				if differs && chain {
					break
				}
				t.Errorf("%s: group of [%d, %d]: scale %v, zero %d; want %v, %v", name, r, c, s, got.Zero(i), m.scales[i], m.zeros[i])
				return rows
			}
			if float64(got.Codes[r*m.cols+c]) == m.codes[r*m.cols+c] {
				continue
			}
			if differs && chain {
				break
			}
			if m.margins[r*m.cols+c] > margin {
				t.Errorf("%s: [%d, %d] is %d, want %v, and it is %v of a step from another code", name, r, c, got.Codes[r*m.cols+c], m.codes[r*m.cols+c],
					m.margins[r*m.cols+c])
				return rows
			}
			differs = true
		}
		if differs {
			rows++
		}
	}
	return rows
}

// tokens are inputs as models have them: correlated, with a few strong channels.
func tokens(r *rand.Rand, n, cols int) []float64 {
	x := make([]float64, n*cols)
	basis := make([]float64, cols/4*cols)
	for i := range basis {
		basis[i] = r.NormFloat64()
	}
	strength := make([]float64, cols)
	for j := range strength {
		strength[j] = math.Exp(0.7 * r.NormFloat64())
		if r.IntN(16) == 0 {
			strength[j] *= 20
		}
	}
	hidden := make([]float64, cols/4)
	for i := range n {
		for k := range hidden {
			hidden[k] = r.NormFloat64()
		}
		for j := range cols {
			v := 0.3 * r.NormFloat64() * math.Sqrt(float64(len(hidden)))
			for k, h := range hidden {
				v += h * basis[k*cols+j]
			}
			x[i*cols+j] = float64(float32(v * strength[j])) // the package sees the same numbers
		}
	}
	return x
}

// weights are random ones with a few outliers, exact in float32.
func weights(r *rand.Rand, n int) (narrow []float32, wide []float64) {
	narrow, wide = make([]float32, n), make([]float64, n)
	for i := range narrow {
		v := 0.02 * r.NormFloat64()
		if r.IntN(200) == 0 {
			v *= 8
		}
		narrow[i] = float32(v)
		wide[i] = float64(narrow[i])
	}
	return narrow, wide
}

// gramOf is sum of x x^T, and mean |x|.
func gramOf(x []float64, cols int) (gram64 []float64, gram, mean []float32) {
	n := len(x) / cols
	gram64, gram, mean = make([]float64, cols*cols), make([]float32, cols*cols), make([]float32, cols)
	for j := range cols {
		total := 0.0
		for i := range n {
			total += math.Abs(x[i*cols+j])
		}
		mean[j] = float32(total / float64(n))
		for k := range cols {
			sum := 0.0
			for i := range n {
				sum += x[i*cols+j] * x[i*cols+k]
			}
			gram64[j*cols+k], gram[j*cols+k] = sum, float32(sum)
		}
	}
	return gram64, gram, mean
}

// outputError is the sum of squares of (w'-w)x over tokens and outputs.
func outputError(changed, w []float64, x []float64, cols int) (total float64) {
	for o := 0; o < len(w); o += cols {
		for i := 0; i < len(x); i += cols {
			y := 0.0
			for j := range cols {
				y += (changed[o+j] - w[o+j]) * x[i+j]
			}
			total += y * y
		}
	}
	return total
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// valuesOf dequantizes.
func valuesOf(m *qformat.Matrix) []float64 {
	row, all := make([]float32, m.Cols), []float64(nil)
	for r := range m.Rows {
		m.Values(row, r)
		all = append(all, widen(row)...)
	}
	return all
}
