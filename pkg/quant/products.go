package quant

import (
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Products multiplies by matrices that are held for many products. A result must not depend on how many rows are multiplied at once, nor on
// the number of threads.
type Products interface {
	// Hold makes w [outs, ins] ready to be multiplied with; w may be changed afterwards.
	Hold(w []float32, outs, ins int) (Held, error)
}

// Held is a matrix w [outs, ins] of Products.
type Held interface {
	// Times sets out [rows, outs] = x * w^T. Rows of x begin stride values apart and have ins values; stride is at least ins, and x ends
	// with its last row or later.
	Times(out, x []float32, rows, stride int) error
	Close()
}

// Plain multiplies on this processor, with gonum.
type Plain struct{}

type plain struct{ w blas32.General }

// Hold copies w.
func (Plain) Hold(w []float32, outs, ins int) (Held, error) {
	if len(w) != outs*ins {
		return nil, fmt.Errorf("a matrix [%d, %d] of %d values", outs, ins, len(w))
	}
	return plain{blas32.General{Rows: outs, Cols: ins, Stride: ins, Data: append([]float32(nil), w...)}}, nil
}

func (p plain) Times(out, x []float32, rows, stride int) error {
	blas32.Gemm(blas.NoTrans, blas.Trans, 1, blas32.General{Rows: rows, Cols: p.w.Cols, Stride: stride, Data: x}, p.w, 0,
		blas32.General{Rows: rows, Cols: p.w.Rows, Stride: p.w.Rows, Data: out})
	return nil
}

func (plain) Close() {}

// form is the quadratic form d H d^T of a Gram matrix H [n, n]. H is symmetric, so only the blocks of columns up to each row's own are
// multiplied with, those off the diagonal twice as large: little more than half the work.
type form struct {
	n, side int
	parts   []Held // part i: rows [i*side, (i+1)*side) of H, columns [0, (i+1)*side)
	out     []float32
}

// formSides is into how many blocks a Gram matrix is cut at most, and formSide the least side of one: products with fewer outputs are slow.
const (
	formSides = 8
	formSide  = 256
)

// sideOf is the side of the blocks of a Gram matrix of n inputs.
func sideOf(n int) int { return min(n, max(formSide, (n+formSides-1)/formSides)) }

// formCost is how many multiplications the form of n inputs takes of a vector.
func formCost(n int) (cost float64) {
	for from := 0; from < n; from += sideOf(n) {
		to := min(from+sideOf(n), n)
		cost += float64(to-from) * float64(to)
	}
	return cost
}

// newForm holds H, with row and column j divided by scale[j]; a nil scale is of ones.
func newForm(p Products, gram, scale []float32, n int) (*form, error) {
	if len(gram) != n*n {
		return nil, fmt.Errorf("a Gram matrix of %d inputs with %d values", n, len(gram))
	}
	f := &form{n: n, side: sideOf(n)}
	for from := 0; from < n; from += f.side {
		to := min(from+f.side, n)
		part := make([]float32, (to-from)*to)
		err := parallel(to-from, func(lo, hi int) error {
			for i := lo; i < hi; i++ {
				if err := formRow(part[i*to:(i+1)*to], gram[(from+i)*n:], scale, [2]int{from, from + i}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		h, err := p.Hold(part, to-from, to)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("holding a Gram matrix of %d inputs: %w", n, err), f.close())
		}
		f.parts = append(f.parts, h)
	}
	return f, nil
}

// formRow fills a row of a part: at[0] is the first column of the diagonal block, at[1] the row of H.
func formRow(out, row, scale []float32, at [2]int) error {
	copy(out, row)
	if c := odd(out); c >= 0 {
		return fmt.Errorf("the Gram matrix of the inputs is %v at [%d, %d]: the model's activations are not finite", out[c], at[1], c)
	}
	for j := range out {
		if scale != nil {
			out[j] /= scale[j] * scale[at[1]]
		}
		if j < at[0] {
			out[j] *= 2
		}
	}
	return nil
}

// rows sets loss[i] = d_i H d_i^T for each row of d [len(loss), n].
func (f *form) rows(loss []float64, d []float32) error {
	clear(loss)
	for k, p := range f.parts {
		from, to := k*f.side, min((k+1)*f.side, f.n)
		if len(f.out) < len(loss)*f.side {
			f.out = make([]float32, len(loss)*f.side)
		}
		out := f.out[:len(loss)*(to-from)]
		if err := p.Times(out, d, len(loss), f.n); err != nil {
			return fmt.Errorf("multiplying by a Gram matrix of %d inputs: %w", f.n, err)
		}
		err := parallel(len(loss), func(lo, hi int) error {
			for i := lo; i < hi; i++ {
				loss[i] += dot(out[i*(to-from):(i+1)*(to-from)], d[i*f.n+from:i*f.n+to])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *form) close() error {
	for _, p := range f.parts {
		p.Close()
	}
	f.parts = nil
	return nil
}

// dot sums in float64.
func dot(a, b []float32) float64 {
	var s [4]float64
	b = b[:len(a)]
	for ; len(a) >= 4; a, b = a[4:], b[4:] {
		s[0] += float64(a[0]) * float64(b[0])
		s[1] += float64(a[1]) * float64(b[1])
		s[2] += float64(a[2]) * float64(b[2])
		s[3] += float64(a[3]) * float64(b[3])
	}
	for i, x := range a {
		s[0] += float64(x) * float64(b[i])
	}
	return s[0] + s[1] + (s[2] + s[3])
}
