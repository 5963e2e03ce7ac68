package quant

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
)

// invert is Gauss and Jordan's inverse of a positive definite matrix.
func invert(a []float64, n int) []float64 {
	a, b := append([]float64(nil), a...), make([]float64, n*n)
	for i := range n {
		b[i*n+i] = 1
	}
	for i := range n {
		p := a[i*n+i]
		for j := range n {
			a[i*n+j] /= p
			b[i*n+j] /= p
		}
		for k := range n {
			if f := a[k*n+i]; k != i && f != 0 {
				for j := range n {
					a[k*n+j] -= f * a[i*n+j]
					b[k*n+j] -= f * b[i*n+j]
				}
			}
		}
	}
	return b
}

// refGPTQ is the paper's algorithm in its plainest form (arXiv 2210.17323, section 3): the inverse Hessian itself, of which a row and a
// column are eliminated after each step, and every later weight changed at once.
func refGPTQ(g refGrid, w, gram []float64, size [3]int, o GPTQOptions) *refMatrix {
	rows, n, group := size[0], size[1], min(size[2], size[1])
	m := newRef(rows, n, group)
	w, h := append([]float64(nil), w...), append([]float64(nil), gram...)
	mean := 0.0
	for i := range n {
		if h[i*n+i] == 0 {
			h[i*n+i] = 1
			for r := range rows {
				w[r*n+i] = 0
			}
		}
		mean += h[i*n+i] / float64(n)
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if o.ActOrder {
		sort.SliceStable(order, func(a, b int) bool { return h[order[a]*n+order[a]] > h[order[b]*n+order[b]] })
	}
	for i := range n {
		h[i*n+i] += o.Damp * mean
	}
	inverse := invert(h, n)
	static := o.ActOrder || o.StaticGroups
	first, before := refRTN(g, w, rows, n, group, nil), append([]float64(nil), w...)
	if static {
		copy(m.scales, first.scales)
		copy(m.zeros, first.zeros)
	}
	for i, c := range order {
		if !static && c%group == 0 {
			for r := range rows {
				k := m.at(r, c)
				m.scales[k], m.zeros[k] = g.find(w[r*n+c : r*n+min(c+group, n)])
			}
		}
		for r := range rows {
			m.put(g, r, c, w[r*n+c])
			e := (w[r*n+c] - m.value(r, c)) / inverse[c*n+c]
			for _, j := range order[i+1:] {
				w[r*n+j] -= e * inverse[c*n+j]
			}
		}
		p := inverse[c*n+c]
		column := make([]float64, n)
		for j := range n {
			column[j] = inverse[c*n+j]
		}
		for _, a := range order[i+1:] {
			for _, b := range order[i+1:] {
				inverse[a*n+b] -= column[a] * column[b] / p
			}
		}
	}
	for r := range rows { // what is no better than rounding to nearest is rounded to nearest
		if first.error(before, h, r) < m.error(before, h, r) {
			copy(m.codes[r*n:(r+1)*n], first.codes[r*n:])
			copy(m.margins[r*n:(r+1)*n], first.margins[r*n:])
			copy(m.scales[m.at(r, 0):m.at(r, n-1)+1], first.scales[m.at(r, 0):])
			copy(m.zeros[m.at(r, 0):m.at(r, n-1)+1], first.zeros[m.at(r, 0):])
		}
	}
	return m
}

// error is (w'-w) H (w'-w)^T of a row.
func (m *refMatrix) error(w, h []float64, r int) (total float64) {
	for i := range m.cols {
		for j := range m.cols {
			total += (m.value(r, i) - w[r*m.cols+i]) * h[i*m.cols+j] * (m.value(r, j) - w[r*m.cols+j])
		}
	}
	return total
}

// TestGPTQIsTheReference compares with the algorithm of the paper: every option, blocks that do and do not divide, dead inputs. A code on the
// edge may be rounded the other way, which changes the rest of its row: that is told by same, and must be rare.
func TestGPTQIsTheReference(t *testing.T) {
	differ, all := 0, 0
	for i, c := range []struct {
		g Grid
		o GPTQOptions
	}{
		{Grid{4, false, 32, 1, true, "gptq", "f32"}, GPTQOptions{Damp: 0.01, Block: 128}},
		{Grid{4, false, 32, 1, false, "llmc", "f16"}, GPTQOptions{Damp: 0.01, Block: 64}},
		{Grid{3, false, 64, 1, false, "llmc", "f32"}, GPTQOptions{Damp: 0.01, Block: 16}},
		{Grid{4, false, 24, 1, false, "compressed-tensors", "f32"}, GPTQOptions{Damp: 0.05, Block: 100}},
		{Grid{2, false, 32, 1, false, "llmc", "f32"}, GPTQOptions{Damp: 0.01, Block: 1}},
		{Grid{4, false, Whole, 1, true, "llmc", "f16"}, GPTQOptions{Damp: 0.01, Block: 50}},
		{Grid{4, false, 32, 1, true, "gptq", "f16"}, GPTQOptions{Damp: 0.01, Block: 128, StaticGroups: true}},
		{Grid{4, false, 32, 1, true, "gptq", "f32"}, GPTQOptions{Damp: 0.01, Block: 40, ActOrder: true}},
		{Grid{3, false, 100, 1, false, "llmc", "f32"}, GPTQOptions{Damp: 0.01, Block: 128, ActOrder: true, StaticGroups: true}},
		{Grid{8, false, Whole, 1, true, "llmc", "f32"}, GPTQOptions{Damp: 0.01, Block: 128, ActOrder: true}},
	} {
		const rows, cols = 20, 160
		s := newSite(uint64(60+i), 300, cols, rows)
		if i%2 == 1 { // two inputs that are never used
			for _, dead := range []int{3, 77} {
				for j := range cols {
					s.gram64[dead*cols+j], s.gram64[j*cols+dead] = 0, 0
				}
			}
		}
		for j, v := range s.gram64 {
			s.gram[j] = float32(v)
			s.gram64[j] = float64(s.gram[j])
		}
		c.o.Products = Plain{}
		h, err := NewHessian(s.gram, cols, c.o)
		if err != nil || h.Damp != c.o.Damp || h.Dead != i%2*2 {
			t.Fatalf("%+v, %v", h, err)
		}
		m, out, err := GPTQ(c.g, s.matrices[0], h)
		if err != nil {
			t.Fatal(err)
		}
		want := refGPTQ(refOf(c.g), s.wide[0], s.gram64, [3]int{rows, cols, c.g.Group}, c.o)
		rowsThatDiffer := want.same(t, fmt.Sprintf("%+v %+v", c.g, c.o), m, 1e-4, true)
		differ, all = differ+rowsThatDiffer, all+rows
		if i%2 == 0 { // the weights of dead inputs are no error
			if e := damped(s, c.o, valuesOf(m)); math.Abs(out.Loss/e-1) > 1e-4 {
				t.Errorf("%+v %+v: loss %v, want %v", c.g, c.o, out.Loss, e)
			}
		}
	}
	if differ > all/50 {
		t.Errorf("%d of %d rows have a code that was rounded the other way", differ, all)
	}
	t.Logf("%d of %d rows have a code that was rounded the other way", differ, all)
}

// damped is (w'-w) H (w'-w)^T summed over outputs, with H damped.
func damped(s *site, o GPTQOptions, values []float64) (total float64) {
	total = outputError(values, s.wide[0], s.x, s.cols)
	mean := 0.0
	for i := range s.cols {
		mean += s.gram64[i*s.cols+i] / float64(s.cols)
	}
	for i, v := range values {
		total += o.Damp * mean * (v - s.wide[0][i]) * (v - s.wide[0][i])
	}
	return total
}

// TestGPTQBeatsRoundingToNearest, in the measure of its Hessian, on inputs of many kinds, and no output is worse.
func TestGPTQBeatsRoundingToNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	worst, kept, outputs := 0.0, 0, 0
	for i := range 150 {
		cols := 32 * (1 + r.IntN(4))
		s := newSite(uint64(1000+i), 40+r.IntN(200), cols, 1+r.IntN(12))
		g := Grid{2 + r.IntN(3), false, []int{16, 32, Whole}[r.IntN(3)], 1, r.IntN(2) == 0, []string{"llmc", "gptq"}[r.IntN(2)], "f16"}
		o := GPTQOptions{Damp: 0.01, Block: 1 + r.IntN(128), ActOrder: r.IntN(2) == 0, StaticGroups: r.IntN(2) == 0, Products: Plain{}}
		h, err := NewHessian(s.gram, cols, o)
		if err != nil {
			t.Fatal(err)
		}
		m, out, err := GPTQ(g, s.matrices[0], h)
		if err != nil {
			t.Fatal(err)
		}
		rtn, err := Quantize(g, s.matrices[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		o.Damp = h.Damp
		plain := damped(s, o, valuesOf(rtn))
		share := damped(s, o, valuesOf(m)) / plain
		if worst = max(worst, share); share >= 1 || math.Abs(out.Plain/plain-1) > 1e-4 {
			t.Errorf("case %d, %+v %+v: %v of the error of rounding to nearest; %v, want %v", i, g, o, share, out.Plain, plain)
		}
		kept, outputs = kept+out.Kept, outputs+m.Rows
	}
	t.Logf("at most %.3f of the error of rounding to nearest; %d of %d outputs kept that", worst, kept, outputs)
	if kept == 0 || kept > outputs/20 {
		t.Errorf("%d of %d outputs are rounded to nearest", kept, outputs)
	}
}

// TestHessianDampsMore where a Gram matrix is not positive definite, and says so.
func TestHessianDampsMore(t *testing.T) {
	const n = 48
	x := make([]float64, 4*n) // 4 tokens: rank 4
	r := rand.New(rand.NewPCG(5, 5))
	for i := range x {
		x[i] = r.NormFloat64()
	}
	_, gram, _ := gramOf(x, n)
	h, err := NewHessian(gram, n, GPTQOptions{Block: 16, Products: Plain{}})
	if err != nil || h.Damp != 0.01 {
		t.Errorf("%v, %v", h, err)
	}
	for i := range n { // not a Gram matrix at all
		for j := range n {
			gram[i*n+j] = 1e3
		}
		gram[i*n+i] = 1
	}
	if _, err := NewHessian(gram, n, GPTQOptions{Damp: 0.01, Block: 16, Products: Plain{}}); err == nil || !strings.Contains(err.Error(), "not positive definite") {
		t.Error(err)
	}
}

func TestGPTQRefuses(t *testing.T) {
	s := newSite(70, 50, 64, 4)
	o := GPTQOptions{Damp: 0.01, Block: 32, Products: Plain{}}
	says := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	hessian := func(gram []float32, n int, o GPTQOptions) error { _, err := NewHessian(gram, n, o); return err }
	says(hessian(s.gram[1:], 64, o), "with 4095 values")
	says(hessian(s.gram, 64, GPTQOptions{Damp: -1, Block: 32}), "damping by -1")
	says(hessian(s.gram, 64, GPTQOptions{Damp: 0.01}), "blocks of 0 columns")
	bad := append([]float32(nil), s.gram...)
	bad[65] = float32(math.NaN())
	says(hessian(bad, 64, o), "NaN at [1, 1]")
	h, err := NewHessian(s.gram, 64, o)
	if err != nil {
		t.Fatal(err)
	}
	gptq := func(g Grid, w Dense) error { _, _, err := GPTQ(g, w, h); return err }
	g := Grid{4, false, 32, 1, true, "gptq", "f16"}
	says(gptq(g, Dense{2, 32, make([]float32, 64)}), "32 inputs with the Hessian of 64")
	says(gptq(Grid{8, true, Whole, 1, true, "", "f32"}, s.matrices[0]), "fp8 true")
	s.matrices[0].Values[70] = 1e6
	says(gptq(g, s.matrices[0]), "output 1, input 0: a scale of 1.333e+05")
}
