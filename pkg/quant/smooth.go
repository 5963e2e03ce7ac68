package quant

import (
	"errors"
	"fmt"
	"math"
)

// SmoothScale is what SmoothQuant (arXiv 2211.10438, eq. 4) divides the inputs of matrices by and multiplies their columns with:
// max|x_j|^alpha / max|w_j|^(1-alpha), at least 1e-5. maxX are the greatest |x| of each input, and max|w_j| is that of all matrices that
// share them, at least 1e-5. An input that was never anything but 0 keeps 1, so that what it is folded into stays within a half's range.
func SmoothScale(maxX []float32, ws []Dense, alpha float64) ([]float32, error) {
	if !(alpha >= 0 && alpha <= 1) {
		return nil, fmt.Errorf("alpha is %v: want 0 to 1", alpha)
	}
	maxW, err := columns(ws, len(maxX))
	if err == nil {
		err = inputs(maxX)
	}
	if err != nil {
		return nil, err
	}
	s := make([]float32, len(maxX))
	for j, x := range maxX {
		w := max(float64(maxW[j]), 1e-5)
		s[j] = float32(max(math.Pow(float64(x), alpha)/math.Pow(w, 1-alpha), 1e-5))
		if x == 0 {
			s[j] = 1
		}
	}
	return s, nil
}

// columns are the greatest |w| of each column.
func columns(ws []Dense, cols int) ([]float32, error) {
	most := make([]float32, cols)
	for _, w := range ws {
		if err := w.check(); err != nil {
			return nil, err
		}
		if w.Cols != cols {
			return nil, fmt.Errorf("a matrix of %d inputs among those of %d", w.Cols, cols)
		}
		for r := range w.Rows {
			for j, x := range w.Row(r) {
				most[j] = max(most[j], x, -x)
			}
		}
	}
	return most, nil
}

// inputs refuses statistics that cannot be.
func inputs(x []float32) error {
	if i := odd(x); i >= 0 {
		return fmt.Errorf("input %d of the matrices is %v over the calibration text: the model's activations are not finite", i, x[i])
	}
	for i, v := range x {
		if v < 0 {
			return errors.New("a mean or maximum of |x| is negative: input " + fmt.Sprint(i))
		}
	}
	return nil
}
