package quant

import (
	"errors"
	"fmt"
	"math"
)

// chunkValues is about how many values of candidates are made and multiplied at once.
const chunkValues = 8 << 20

// AWQSearch is one site of a model: the matrices that share an input, and what is known of it.
type AWQSearch struct {
	Grid     Grid
	Steps    int       // ratios 0, 1/Steps, ... below 1; the paper's 20
	Mean     []float32 // mean |x| of each input over the calibration tokens
	Matrices []Dense   // [outputs, inputs]

	// Gram is sum of x x^T [inputs, inputs] over the Tokens; with Products it is what SearchScale needs, and SearchScaleBy does not.
	Gram     []float32
	Tokens   int
	Products Products
}

// AWQPoint is a point of the search: s = mean|x|^Ratio. Loss is its mean squared error of an output of a token (or what the caller's loss
// is), and Plain that of ratio 0, which is rounding to nearest.
type AWQPoint struct{ Ratio, Loss, Plain float64 }

// SearchScale finds the scale of the inputs with which rounding costs least (AWQ, arXiv 2306.00978, section 3.2): of s = mean|x|^(i/Steps),
// at least 1e-4, divided by sqrt(max s * min s), that for which the matrices' own outputs are nearest to what they were, where W' =
// dequant(quantize(W*s)) / s. Of equal ones it is that of the least i. The caller multiplies the columns of the matrices by s and divides
// what makes their input by it.
func SearchScale(in AWQSearch) (s []float32, best AWQPoint, err error) {
	if err := in.check(); err != nil {
		return nil, best, err
	}
	f, err := newForm(in.Products, in.Gram, nil, len(in.Mean))
	if err != nil {
		return nil, best, err
	}
	defer f.close()
	scales := in.scales()
	loss := make([]float64, in.Steps)
	outputs := 0
	for _, w := range in.Matrices {
		if err := in.losses(loss, w, scales, f); err != nil {
			return nil, best, err
		}
		outputs += w.Rows
	}
	for i := range loss {
		loss[i] /= float64(outputs) * float64(max(in.Tokens, 1))
	}
	return in.choose(scales, loss)
}

// SearchScaleBy is SearchScale with a loss of the caller's: of the weights W' of each point, in the order of Matrices. They are valid until
// loss returns.
func SearchScaleBy(in AWQSearch, loss func(candidates [][]float32) (float64, error)) (s []float32, best AWQPoint, err error) {
	if err := in.check(); err != nil {
		return nil, best, err
	}
	candidates := make([][]float32, len(in.Matrices))
	for i, w := range in.Matrices {
		candidates[i] = make([]float32, len(w.Values))
	}
	scales := in.scales()
	losses := make([]float64, in.Steps)
	for i, s := range scales {
		for k, w := range in.Matrices {
			c := candidate{ranger: in.Grid.ranger(), scale: s}
			err := parallel(w.Rows, func(from, to int) error {
				for r := from; r < to; r++ {
					if err := c.row(candidates[k][r*w.Cols:(r+1)*w.Cols], w.Row(r)); err != nil {
						return fmt.Errorf("output %d: %w", r, err)
					}
				}
				return nil
			})
			if err != nil {
				return nil, best, err
			}
		}
		if losses[i], err = loss(candidates); err != nil {
			return nil, best, fmt.Errorf("ratio %d/%d: %w", i, in.Steps, err)
		}
	}
	return in.choose(scales, losses)
}

func (in AWQSearch) check() error {
	if err := in.Grid.check(); err != nil {
		return err
	}
	if in.Grid.Float || in.Steps < 1 || len(in.Matrices) == 0 {
		return fmt.Errorf("an AWQ search of %d points and %d matrices, fp8 %v: want some, of integers", in.Steps, len(in.Matrices), in.Grid.Float)
	}
	for i, w := range in.Matrices {
		if w.Cols != len(in.Mean) {
			return fmt.Errorf("matrix %d has %d inputs, and there are statistics of %d", i, w.Cols, len(in.Mean))
		}
		if err := w.check(); err != nil {
			return fmt.Errorf("matrix %d: %w", i, err)
		}
	}
	return inputs(in.Mean)
}

// scales are the points of the search.
func (in AWQSearch) scales() [][]float32 {
	all := make([][]float32, in.Steps)
	for i := range all {
		s := make([]float64, len(in.Mean))
		lo, hi := math.Inf(1), 0.0
		for j, x := range in.Mean {
			s[j] = max(math.Pow(float64(x), float64(i)/float64(in.Steps)), 1e-4)
			lo, hi = min(lo, s[j]), max(hi, s[j])
		}
		all[i] = make([]float32, len(s))
		for j := range s {
			all[i][j] = float32(s[j] / math.Sqrt(lo*hi))
		}
	}
	return all
}

// choose is the point of the least loss.
func (in AWQSearch) choose(scales [][]float32, loss []float64) ([]float32, AWQPoint, error) {
	best := -1
	for i, l := range loss {
		if !math.IsNaN(l) && (best < 0 || l < loss[best]) {
			best = i
		}
	}
	if best < 0 {
		return nil, AWQPoint{}, errors.New("no point of the AWQ search has a finite error: the model's activations are not finite")
	}
	return scales[best], AWQPoint{Ratio: float64(best) / float64(in.Steps), Loss: loss[best], Plain: loss[0]}, nil
}

// losses adds to loss the error of each point in one matrix, summed over tokens and outputs. The points of several rows are multiplied as
// rows of one product; each row's error is summed by itself, and rows are added in their order.
func (in AWQSearch) losses(loss []float64, w Dense, scales [][]float32, f *form) error {
	step := min(w.Rows, max(1, chunkValues/(w.Cols*in.Steps)))
	d := make([]float32, step*in.Steps*w.Cols)
	each := make([]float64, step*in.Steps)
	for from := 0; from < w.Rows; from += step {
		n := min(step, w.Rows-from) * in.Steps
		err := parallel(n, func(lo, hi int) error {
			for i := lo; i < hi; i++ {
				c := candidate{ranger: in.Grid.ranger(), scale: scales[i%in.Steps]}
				row, out := w.Row(from+i/in.Steps), d[i*w.Cols:(i+1)*w.Cols]
				if err := c.row(out, row); err != nil {
					return fmt.Errorf("output %d: %w", from+i/in.Steps, err)
				}
				for j, x := range row {
					out[j] -= x
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := f.rows(each[:n], d[:n*w.Cols]); err != nil {
			return err
		}
		for i, l := range each[:n] {
			loss[i%in.Steps] += l
		}
	}
	return nil
}

// candidate is a point of a search: inputs' scales.
type candidate struct {
	ranger
	scale []float32
}

// row sets out = dequant(quantize(w * scale)) / scale.
func (c candidate) row(out, w []float32) error {
	for j, x := range w {
		out[j] = x * c.scale[j]
	}
	n := min(c.Group, len(out))
	for i := 0; i < len(out); i += n {
		group := out[i:min(i+n, len(out))]
		lo, hi := limits(group)
		s, err := c.step(float64(lo), float64(hi))
		if err != nil {
			return err
		}
		scale := c.scale[i:]
		for j, x := range group {
			group[j] = s.value(s.code(float64(x))) / scale[j]
		}
	}
	return nil
}
