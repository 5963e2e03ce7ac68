package quant

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/lapack/lapack64"

	"sextant/pkg/qformat"
)

// GPTQOptions tunes GPTQ (spec.GPTQ says what they mean).
type GPTQOptions struct {
	ActOrder     bool
	StaticGroups bool // forced by ActOrder: groups stay those of neighbours, and no column needs to be told its group
	Damp         float64
	Block        int // columns whose errors are made good at once in those after them; it changes no result but by rounding
	Products     Products
}

// Hessian is what GPTQ needs of a Gram matrix H, of all matrices that share an input: with the columns in the order in which they are
// rounded, dead ones set aside and the diagonal damped, H = F^T F with F lower triangular.
type Hessian struct {
	// Damp is what was added to the diagonal, as a share of its mean: more than was asked for where H was not positive definite with that.
	Damp float64
	// Dead is the number of inputs that were always 0. Their weights become 0.
	Dead int

	o      GPTQOptions
	n      int
	order  []int // column order[i] is the i-th to be rounded; nil: as they stand
	dead   []bool
	factor []float32 // F [n, n]
}

// dampTries is how often the damping is made 10 times larger before a Gram matrix is given up.
const dampTries = 4

// NewHessian factors the Gram matrix [n, n], sum of x x^T over the calibration tokens, which stays as it is. It takes 8 n^2 bytes while it
// works, and 4 n^2 are kept.
func NewHessian(gram []float32, n int, o GPTQOptions) (*Hessian, error) {
	if n < 1 || len(gram) != n*n {
		return nil, fmt.Errorf("a Gram matrix of %d inputs with %d values", n, len(gram))
	}
	if i := odd(gram); i >= 0 {
		return nil, fmt.Errorf("the Gram matrix of the inputs is %v at [%d, %d]: the model's activations are not finite", gram[i], i/n, i%n)
	}
	if !(o.Damp >= 0) || o.Block < 1 {
		return nil, fmt.Errorf("damping by %v and blocks of %d columns: want at least 0 and 1", o.Damp, o.Block)
	}
	h := &Hessian{Damp: o.Damp, o: o, n: n, dead: make([]bool, n)}
	mean := h.survey(gram)
	a := make([]float64, n*n)
	for try := 0; ; try++ {
		h.fill(a, gram, h.Damp*mean)
		// R^T R = JHJ with J reversing the order, so that F = JRJ: rounding from the first column on needs the factor that begins at the last.
		t, ok := lapack64.Potrf(blas64.Symmetric{Uplo: blas.Upper, N: n, Stride: n, Data: a})
		if ok && odd64(t.Data) < 0 {
			break
		}
		if try == dampTries {
			return nil, fmt.Errorf("the Gram matrix of %d inputs is not positive definite, even with %v of its mean diagonal added: %s",
				n, h.Damp, "calibrate with more samples")
		}
		h.Damp = max(h.Damp*10, 0.01)
	}
	h.factor = make([]float32, n*n)
	err := parallel(n, func(from, to int) error {
		for i := from; i < to; i++ {
			for j := range i + 1 {
				h.factor[i*n+j] = float32(a[(n-1-i)*n+n-1-j])
			}
		}
		return nil
	})
	return h, err
}

// survey finds the dead columns and the order, and gives the mean of the diagonal.
func (h *Hessian) survey(gram []float32) (mean float64) {
	diagonal := make([]float64, h.n)
	for i := range diagonal {
		diagonal[i] = float64(gram[i*h.n+i])
		if diagonal[i] <= 0 {
			h.dead[i], diagonal[i] = true, 1
			h.Dead++
		}
		mean += diagonal[i] / float64(h.n)
	}
	if h.o.ActOrder {
		h.order = make([]int, h.n)
		for i := range h.order {
			h.order[i] = i
		}
		slices.SortStableFunc(h.order, func(a, b int) int {
			switch {
			case diagonal[a] > diagonal[b]:
				return -1
			case diagonal[a] < diagonal[b]:
				return 1
			}
			return 0
		})
	}
	return mean
}

// column is the place in the matrix of the i-th column to be rounded.
func (h *Hessian) column(i int) int {
	if h.order == nil {
		return i
	}
	return h.order[i]
}

// fill sets the upper triangle of a to that of JHJ, damped.
func (h *Hessian) fill(a []float64, gram []float32, damp float64) {
	n := h.n
	_ = parallel(n, func(from, to int) error {
		for i := from; i < to; i++ {
			row := gram[h.column(n-1-i)*n:]
			for j := i; j < n; j++ {
				a[i*n+j] = float64(row[h.column(n-1-j)])
			}
			if h.dead[h.column(n-1-i)] {
				a[i*n+i] = 1
			}
			a[i*n+i] += damp
		}
		return nil
	})
}

func odd64(x []float64) int {
	return slices.IndexFunc(x, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}

// GPTQOutcome is what GPTQ made of a matrix: Loss is its error (W'-W) H (W'-W)^T, summed over outputs and tokens, with H damped; Plain that of
// rounding to nearest; Kept the number of outputs that are rounded to nearest since that is better for them.
type GPTQOutcome struct {
	Loss, Plain float64
	Kept        int
}

// GPTQ rounds a matrix column by column, and makes good each column's error in those that are still to be rounded (arXiv 2210.17323). It is
// greedy, and now and then an output comes out worse than by rounding to nearest, mostly of 2 bits: such outputs are rounded to nearest, so
// that Loss is never above Plain.
//
// The paper updates all later columns by rows of the Cholesky factor U of H's inverse. The same comes out of H's own factor, H = F^T F,
// without inverting: with d = w - w' the error of an output is |F d|^2, term k is F_kk d_k + sum over j < k of F_kj d_j, and the nearest
// code to w_k + (sum over j < k of F_kj d_j) / F_kk is the one that makes it least, the codes before being as they are. The weights that
// the paper has in columns k.. at that time, which the scales of a group are found from, are w + x where F restricted to them takes x to
// those sums.
func GPTQ(g Grid, w Dense, h *Hessian) (m *qformat.Matrix, out GPTQOutcome, err error) {
	if err := errors.Join(g.check(), w.check()); err != nil {
		return nil, out, err
	}
	if w.Cols != h.n || g.Float {
		return nil, out, fmt.Errorf("a matrix of %d inputs with the Hessian of %d, fp8 %v: want the same, of integers", w.Cols, h.n, g.Float)
	}
	w = Dense{w.Rows, w.Cols, h.alive(w)}
	nearest, err := Quantize(g, w, nil)
	if err != nil {
		return nil, out, err
	}
	p := newGPTQPass(g, w, h)
	plain, err := p.error(nearest, w)
	if err != nil {
		return nil, out, err
	}
	if p.static {
		copy(p.m.Scales, nearest.Scales)
		copy(p.m.Zeros, nearest.Zeros)
	}
	for from := 0; from < h.n; from += p.block {
		if err := p.columns(from, min(from+p.block, h.n)); err != nil {
			return nil, out, err
		}
	}
	for r, l := range p.loss {
		out.Plain += plain[r]
		if plain[r] < l {
			keep(p.m, nearest, r)
			l = plain[r]
			out.Kept++
		}
		out.Loss += l
	}
	return p.m, out, nil
}

// keep copies row r.
func keep(to, from *qformat.Matrix, r int) {
	wide := to.Wide()
	copy(to.Codes[r*to.Cols:(r+1)*to.Cols], from.Codes[r*to.Cols:])
	copy(to.Scales[r*wide:(r+1)*wide], from.Scales[r*wide:])
	if to.Zeros != nil {
		copy(to.Zeros[r*wide:(r+1)*wide], from.Zeros[r*wide:])
	}
}

// gptqPass is a matrix on its way. Columns are in the order in which they are rounded.
type gptqPass struct {
	*Hessian
	ranger
	m      *qformat.Matrix
	w, d   []float32 // [rows, n]: the weights; weights less their rounded values, of the columns that are done
	sums   []float32 // [rows, columns of a block]: of F_kj d_j over the columns j before the block
	loss   []float64 // of each row
	static bool
	block  int
}

func newGPTQPass(g Grid, w Dense, h *Hessian) *gptqPass {
	p := &gptqPass{Hessian: h, ranger: g.ranger(), m: g.blank(w.Rows, w.Cols), d: make([]float32, len(w.Values)), loss: make([]float64, w.Rows)}
	p.static = h.o.StaticGroups || h.o.ActOrder || p.m.Group == w.Cols
	p.block = h.o.Block
	if !p.static { // a group's columns are in one block
		p.block = max(1, p.block/p.m.Group) * p.m.Group
	}
	p.block = min(p.block, h.n)
	p.sums = make([]float32, w.Rows*p.block)
	p.w = w.Values
	if h.order != nil {
		p.w = make([]float32, len(w.Values))
		for i := range p.w {
			p.w[i] = w.Values[i-i%h.n+h.order[i%h.n]]
		}
	}
	return p
}

// alive is the weights with those of dead inputs 0.
func (h *Hessian) alive(w Dense) []float32 {
	if h.Dead == 0 {
		return w.Values
	}
	values := slices.Clone(w.Values)
	for i := range values {
		if h.dead[i%w.Cols] {
			values[i] = 0
		}
	}
	return values
}

// error is |F d|^2 of each row of a rounded matrix. It uses the room for d.
func (p *gptqPass) error(m *qformat.Matrix, w Dense) ([]float64, error) {
	loss := make([]float64, m.Rows)
	err := parallel(m.Rows, func(a, b int) error {
		row := make([]float32, p.n)
		for r := a; r < b; r++ {
			m.Values(row, r)
			for i := range p.n {
				c := p.column(i)
				p.d[r*p.n+i] = w.Values[r*p.n+c] - row[c]
			}
		}
		return nil
	})
	for from := 0; from < p.n && err == nil; from += errorSide {
		wide := min(errorSide, p.n-from)
		var out []float32
		if out, err = p.times(from, wide, from+wide); err != nil {
			break
		}
		err = parallel(m.Rows, func(a, b int) error {
			for r := a; r < b; r++ {
				row := out[r*wide : (r+1)*wide]
				loss[r] += dot(row, row)
			}
			return nil
		})
	}
	return loss, err
}

// errorSide is how many rows of a factor are multiplied with at once to find an error.
const errorSide = 512

// times is [rows, wide]: the sums of F_kj d_j of the rows k from `from` on, over the columns j below `to`.
func (p *gptqPass) times(from, wide, to int) ([]float32, error) {
	part := make([]float32, wide*to)
	for i := range wide {
		copy(part[i*to:(i+1)*to], p.factor[(from+i)*p.n:])
	}
	f, err := p.o.Products.Hold(part, wide, to)
	if err != nil {
		return nil, fmt.Errorf("holding %d rows of a Hessian's factor: %w", wide, err)
	}
	defer f.Close()
	if len(p.sums) < p.m.Rows*wide {
		p.sums = make([]float32, p.m.Rows*wide)
	}
	out := p.sums[:p.m.Rows*wide]
	if err := f.Times(out, p.d, p.m.Rows, p.n); err != nil {
		return nil, fmt.Errorf("multiplying by a Hessian's factor: %w", err)
	}
	return out, nil
}

// columns rounds the columns [from, to).
func (p *gptqPass) columns(from, to int) error {
	n, wide := p.n, to-from
	if from > 0 {
		if _, err := p.times(from, wide, from); err != nil {
			return err
		}
	}
	local := make([]float64, wide*wide) // the diagonal block of F
	for i := range wide {
		for j := range i + 1 {
			local[i*wide+j] = float64(p.factor[(from+i)*n+from+j])
		}
	}
	return parallel(p.m.Rows, func(a, b int) error {
		row := gptqRow{p, from, wide, local, make([]float64, wide), make([]float64, wide)}
		for r := a; r < b; r++ {
			if err := row.round(r); err != nil {
				return fmt.Errorf("output %d, input %d: %w", r, from, err)
			}
		}
		return nil
	})
}

// gptqRow is the part of a row that is in a block of columns.
type gptqRow struct {
	*gptqPass
	from, wide int
	local      []float64 // [wide, wide]
	sums, d    []float64 // [wide]
}

func (p *gptqRow) round(r int) error {
	for k := range p.wide {
		p.sums[k] = 0
		if p.from > 0 {
			p.sums[k] = float64(p.gptqPass.sums[r*p.wide+k])
		}
	}
	w := p.w[r*p.n+p.from : r*p.n+p.from+p.wide]
	var s step
	for k := range p.wide {
		c := p.column(p.from + k)
		entry := r*p.m.Wide() + c/p.m.Group
		if !p.static && c%p.m.Group == 0 {
			if err := p.measure(entry, k, w); err != nil {
				return err
			}
		}
		if p.order != nil || k == 0 || c%p.m.Group == 0 {
			s = stepOf(p.m, entry)
		}
		f := p.local[k*p.wide : k*p.wide+k+1]
		sum := p.sums[k] + floats.Dot(f[:k], p.d[:k])
		q := s.code(float64(w[k]) + sum/f[k])
		p.m.Codes[r*p.n+c] = byte(q)
		p.d[k] = float64(w[k]) - float64(s.value(q))
		p.gptqPass.d[r*p.n+p.from+k] = float32(p.d[k])
		sum += f[k] * p.d[k]
		p.loss[r] += sum * sum
	}
	return nil
}

// measure finds the scale of the group that begins at column k of the block, from the weights as they are by then.
func (p *gptqRow) measure(entry, k int, w []float32) error {
	end := min(k+p.m.Group, p.wide)
	x := make([]float64, end-k)
	lo, hi := math.Inf(1), math.Inf(-1)
	for i := k; i < end; i++ {
		f := p.local[i*p.wide : i*p.wide+i+1]
		x[i-k] = (p.sums[i] + floats.Dot(f[:k], p.d[:k]) - floats.Dot(f[k:i], x[:i-k])) / f[i]
		v := float64(w[i]) + x[i-k]
		lo, hi = min(lo, v), max(hi, v)
	}
	s, err := p.step(lo, hi)
	if err != nil {
		return err
	}
	p.m.Scales[entry] = float32(s.scale)
	if p.m.Zeros != nil {
		p.m.Zeros[entry] = byte(s.zero)
	}
	return nil
}
