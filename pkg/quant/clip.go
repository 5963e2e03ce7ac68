package quant

import "fmt"

// The ranges that SearchClip tries: absmax * (1 - i/clipSteps), i below clipTries.
const (
	clipSteps = 20
	clipTries = 10
)

// ClipSearch is matrices that share an input, whose ranges may be narrowed.
type ClipSearch struct {
	Grid     Grid
	Matrices []Dense   // as they will be rounded: with AWQ's scale multiplied in
	Gram     []float32 // sum of x x^T [inputs, inputs]
	Scale    []float32 // what the inputs behind Gram are yet to be divided by: AWQ's scale; nil: nothing
	Products Products
}

// SearchClip finds, for each output and group of inputs, the greatest |w| with which the group's part of the output is nearest to what it
// was, over all calibration tokens (AWQ's clip search): of absmax, 0.95 absmax, ... 0.55 absmax; of equal ones the greatest. The result is
// Quantize's clip for each matrix. It is not for q and k, whose outputs' products decide and not their errors by themselves.
//
// The error of a group is the quadratic form of its diagonal block of the Gram matrix.
func SearchClip(in ClipSearch) ([][]float32, error) {
	if err := in.Grid.check(); err != nil {
		return nil, err
	}
	if in.Grid.Float || len(in.Matrices) == 0 {
		return nil, fmt.Errorf("a clip search of %d matrices, fp8 %v: want some, of integers", len(in.Matrices), in.Grid.Float)
	}
	cols := in.Matrices[0].Cols
	if len(in.Gram) != cols*cols || in.Scale != nil && len(in.Scale) != cols {
		return nil, fmt.Errorf("matrices of %d inputs with a Gram matrix of %d values and %d scales", cols, len(in.Gram), len(in.Scale))
	}
	group := min(in.Grid.Group, cols)
	wide := (cols + group - 1) / group
	limit := make([][]float32, len(in.Matrices))
	for i, w := range in.Matrices {
		if w.Cols != cols {
			return nil, fmt.Errorf("matrix %d has %d inputs, matrix 0 has %d", i, w.Cols, cols)
		}
		if err := w.check(); err != nil {
			return nil, fmt.Errorf("matrix %d: %w", i, err)
		}
		limit[i] = make([]float32, w.Rows*wide)
	}
	for g := range wide {
		if err := in.group(limit, g*group, min((g+1)*group, cols)); err != nil {
			return nil, fmt.Errorf("inputs from %d: %w", g*group, err)
		}
	}
	return limit, nil
}

// group searches the columns [from, to) of all matrices.
func (in ClipSearch) group(limit [][]float32, from, to int) error {
	n, cols := to-from, in.Matrices[0].Cols
	block := make([]float32, n*n)
	for i := range n {
		copy(block[i*n:(i+1)*n], in.Gram[(from+i)*cols+from:])
	}
	scale := in.Scale
	if scale != nil {
		scale = scale[from:to]
	}
	f, err := newForm(in.Products, block, scale, n)
	if err != nil {
		return err
	}
	defer f.close()
	step := max(1, chunkValues/(n*clipTries))
	d := make([]float32, step*clipTries*n)
	loss := make([]float64, step*clipTries)
	for i, w := range in.Matrices {
		wide := len(limit[i]) / w.Rows
		for r := 0; r < w.Rows; r += step {
			rows := min(step, w.Rows-r)
			part := clipPart{in.Grid.ranger(), w, r, from, to}
			if err := part.search(f, d[:rows*clipTries*n], loss[:rows*clipTries]); err != nil {
				return fmt.Errorf("matrix %d: %w", i, err)
			}
			for k := range rows {
				lo, hi := limits(w.Row(r + k)[from:to])
				limit[i][(r+k)*wide+from/min(in.Grid.Group, cols)] = clipTry(max(-lo, hi), least(loss[k*clipTries:(k+1)*clipTries]))
			}
		}
	}
	return nil
}

func clipTry(absmax float32, i int) float32 {
	return float32(float64(absmax) * (1 - float64(i)/clipSteps))
}

// least is the first of the least values.
func least(x []float64) int {
	best := 0
	for i, v := range x {
		if v < x[best] {
			best = i
		}
	}
	return best
}

// clipPart is rows from `row` and columns [from, to) of a matrix.
type clipPart struct {
	ranger
	w             Dense
	row, from, to int
}

// search sets loss to the errors of the tries of each row; d is room for what they differ in.
func (p clipPart) search(f *form, d []float32, loss []float64) error {
	n := p.to - p.from
	err := parallel(len(loss), func(a, b int) error {
		for i := a; i < b; i++ {
			values := p.w.Row(p.row + i/clipTries)[p.from:p.to]
			lo, hi := limits(values)
			most := clipTry(max(-lo, hi), i%clipTries)
			s, err := p.step(float64(clamp(lo, most)), float64(clamp(hi, most)))
			if err != nil {
				return fmt.Errorf("output %d: %w", p.row+i/clipTries, err)
			}
			out := d[i*n : (i+1)*n]
			for j, x := range values {
				out[j] = s.value(s.code(float64(clamp(x, most)))) - x
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.rows(loss, d)
}
