package quant

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"

	"sextant/pkg/qformat"
)

// Dense is a matrix of weights [Rows = outputs, Cols = inputs], row by row.
type Dense struct {
	Rows, Cols int
	Values     []float32
}

// Row is one output's weights.
func (d Dense) Row(r int) []float32 { return d.Values[r*d.Cols : (r+1)*d.Cols] }

// check refuses wrong sizes and values that are not finite.
func (d Dense) check() error {
	if d.Rows < 1 || d.Cols < 1 || len(d.Values) != d.Rows*d.Cols {
		return fmt.Errorf("a matrix [%d, %d] of %d values", d.Rows, d.Cols, len(d.Values))
	}
	return parallel(d.Rows, func(from, to int) error {
		for r := from; r < to; r++ {
			if c := odd(d.Row(r)); c >= 0 {
				return fmt.Errorf("weight [%d, %d] is %v: a matrix with NaN or infinite weights cannot be quantized; ignore it, or repair the model",
					r, c, d.Values[r*d.Cols+c])
			}
		}
		return nil
	})
}

// odd is the place of the first value that is not finite, or -1.
func odd(values []float32) int {
	const exponent = 0x7f800000
	for i, x := range values {
		if math.Float32bits(x)&exponent == exponent {
			return i
		}
	}
	return -1
}

// parallel cuts [0, n) among as many goroutines as may run, and gives the error of the lowest part.
func parallel(n int, f func(from, to int) error) error {
	parts := max(1, min(n, runtime.GOMAXPROCS(0)))
	errs := make([]error, parts)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() { errs[i] = f(i*n/parts, (i+1)*n/parts) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Quantize rounds a matrix to the nearest codes of the grid. clip is nil, or the greatest |w| of each entry of the table of scales: values
// beyond are taken as that (SearchClip finds it).
func Quantize(g Grid, w Dense, clip []float32) (*qformat.Matrix, error) {
	if err := errors.Join(g.check(), w.check()); err != nil {
		return nil, err
	}
	m := g.blank(w.Rows, w.Cols)
	if clip != nil && len(clip) != len(m.Scales) {
		return nil, fmt.Errorf("%d limits for %d groups", len(clip), len(m.Scales))
	}
	if err := scales(g, m, w, clip); err != nil {
		return nil, err
	}
	return m, parallel(m.Rows, func(from, to int) error {
		for r := from; r < to; r++ {
			encode(m, r, w.Row(r), clip)
		}
		return nil
	})
}

// scales fills the table of scales and zeros of m.
func scales(g Grid, m *qformat.Matrix, w Dense, clip []float32) error {
	k, wide := g.ranger(), m.Wide()
	return parallel(len(m.Scales), func(from, to int) error {
		for i := from; i < to; i++ {
			r, c := i/wide*m.BlockRows, i%wide*m.Group
			var lo, hi float32 = math.MaxFloat32, -math.MaxFloat32
			for y := r; y < min(r+m.BlockRows, m.Rows); y++ {
				l, h := limits(w.Row(y)[c:min(c+m.Group, m.Cols)])
				lo, hi = min(lo, l), max(hi, h)
			}
			if clip != nil {
				lo, hi = clamp(lo, clip[i]), clamp(hi, clip[i])
			}
			s, err := k.entry(float64(lo), float64(hi))
			if err != nil {
				return fmt.Errorf("output %d, input %d: %w", r, c, err)
			}
			m.Scales[i] = float32(s.scale)
			if m.Zeros != nil {
				m.Zeros[i] = byte(s.zero)
			}
		}
		return nil
	})
}

// entry is an entry of the table of scales: of integers or of e4m3fn values.
func (r ranger) entry(lo, hi float64) (s step, err error) {
	if r.Float {
		s.scale, err = r.floatScale(max(-lo, hi))
		return s, err
	}
	return r.step(lo, hi)
}

// limits are the least and the greatest value.
func limits(values []float32) (lo, hi float32) {
	lo, hi = values[0], values[0]
	for _, x := range values[1:] {
		if x < lo {
			lo = x
		}
		if x > hi {
			hi = x
		}
	}
	return lo, hi
}

func clamp(x, most float32) float32 {
	if x > most {
		return most
	}
	if x < -most {
		return -most
	}
	return x
}

// encode fills the codes of row r.
func encode(m *qformat.Matrix, r int, row, clip []float32) {
	codes := m.Codes[r*m.Cols : (r+1)*m.Cols]
	for c := 0; c < m.Cols; c += m.Group {
		i := r/m.BlockRows*m.Wide() + c/m.Group
		s := stepOf(m, i)
		most := float32(math.Inf(1))
		if clip != nil {
			most = clip[i]
		}
		for j := c; j < min(c+m.Group, m.Cols); j++ {
			if x := clamp(row[j], most); m.Float {
				codes[j] = e4m3(float64(x) / s.scale)
			} else {
				codes[j] = byte(s.code(float64(x)))
			}
		}
	}
}

// stepOf is the step of an entry of the table of scales.
func stepOf(m *qformat.Matrix, i int) step {
	return step{scale: float64(m.Scales[i]), zero: float64(m.Zero(i)), top: float64(int(1)<<m.Bits - 1)}
}
