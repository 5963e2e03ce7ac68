package qformat

import (
	"fmt"
	"math"
	"slices"

	"sextant/internal/halves"
)

// Values writes the f32 values of one row to out, which has room for Cols: (code - zero) * scale, rounded once; of Float the e4m3fn value
// times the scale.
func (m *Matrix) Values(out []float32, row int) {
	out = out[:m.Cols]
	codes, wide, first := m.Codes[row*m.Cols:(row+1)*m.Cols], m.Wide(), row/m.BlockRows*m.Wide()
	if m.GroupOf != nil {
		for c, q := range codes {
			i := first + int(m.GroupOf[c])
			out[c] = float32(int32(q)-int32(m.Zero(i))) * m.Scales[i]
		}
		return
	}
	for g := range wide {
		from, to := g*m.Group, min((g+1)*m.Group, m.Cols)
		zero, scale, part := int32(m.Zero(first+g)), m.Scales[first+g], out[from:to]
		if m.Float {
			for c, q := range codes[from:to] {
				part[c] = e4m3[q] * scale
			}
			continue
		}
		for c, q := range codes[from:to] {
			part[c] = float32(int32(q)-zero) * scale
		}
	}
}

// e4m3 are the values of the e4m3fn codes: a sign, four bits of exponent with bias 7, three of mantissa, no infinities, and one NaN of each
// sign (Micikevicius et al., "FP8 Formats for Deep Learning", arXiv 2209.05433).
var e4m3 = func() (t [256]float32) {
	for i := range t {
		exp, frac, sign := i>>3&15, float64(i&7), 1.0
		if i > 127 {
			sign = -1
		}
		switch {
		case i&127 == 127:
			t[i] = float32(math.NaN())
		case exp == 0:
			t[i] = float32(math.Copysign(math.Ldexp(frac, -9), sign))
		default:
			t[i] = float32(sign * math.Ldexp(8+frac, exp-10))
		}
	}
	return t
}()

// sizes holds the bytes of one value of each dtype that layouts have.
var sizes = map[string]int{"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I8": 1, "I32": 4, "I64": 8}

// floats reads the values of a tensor of scales.
func floats(t Tensor) ([]float32, error) {
	if t.DType != "F32" && t.DType != "F16" && t.DType != "BF16" {
		return nil, fmt.Errorf("tensor %q is %s: want F32, F16 or BF16", t.Name, t.DType)
	}
	out := make([]float32, len(t.Data)/halves.Bytes(t.DType))
	halves.Widen(out, t.DType, t.Data)
	for i, x := range out {
		if v := float64(x); math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("tensor %q: value %d is %v", t.Name, i, v)
		}
	}
	return out, nil
}

// narrowest is the smallest of F16, BF16 and F32 in which all values are exact.
func narrowest(values []float32) string {
	for _, dtype := range []string{"F16", "BF16"} {
		if inexact(values, dtype) < 0 {
			return dtype
		}
	}
	return "F32"
}

// inexact is the place of the first value that is not finite or that a dtype does not have, or -1.
func inexact(values []float32, dtype string) int {
	return slices.IndexFunc(values, func(v float32) bool { return halves.Round(v, dtype) != v || math.IsInf(float64(v), 0) })
}
