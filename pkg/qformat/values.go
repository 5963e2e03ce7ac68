package qformat

import (
	"encoding/binary"
	"fmt"
	"math"
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

// half is the value of an IEEE binary16.
func half(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch exp {
	case 0:
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// toHalf is v as an IEEE binary16, where it is one.
func toHalf(v float32) (h uint16, exact bool) {
	b := math.Float32bits(v)
	sign, exp, frac := uint16(b>>16&0x8000), int(b>>23&255)-127, b&(1<<23-1)
	switch {
	case b<<1 == 0:
		return sign, true
	case exp > 15 || exp < -24:
		return sign, false
	case exp < -14: // below the normal ones: so many bits fewer
		shift := uint(-1 - exp)
		whole := frac | 1<<23
		return sign | uint16(whole>>shift), whole&(1<<shift-1) == 0
	}
	return sign | uint16(exp+15)<<10 | uint16(frac>>13), frac&(1<<13-1) == 0
}

// sizes holds the bytes of one value of each dtype that layouts have.
var sizes = map[string]int{"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I8": 1, "I32": 4, "I64": 8}

// floats reads the values of a tensor of scales.
func floats(t Tensor) ([]float32, error) {
	n := len(t.Data) / max(1, sizes[t.DType])
	out := make([]float32, n)
	for i := range out {
		switch t.DType {
		case "F32":
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		case "F16":
			out[i] = half(binary.LittleEndian.Uint16(t.Data[2*i:]))
		case "BF16":
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(t.Data[2*i:])) << 16)
		default:
			return nil, fmt.Errorf("tensor %q is %s: want F32, F16 or BF16", t.Name, t.DType)
		}
		if v := float64(out[i]); math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("tensor %q: value %d is %v", t.Name, i, v)
		}
	}
	return out, nil
}

// narrow writes values as dtype, in which they are exact.
func narrow(values []float32, dtype string) []byte {
	out := make([]byte, 0, len(values)*sizes[dtype])
	for _, v := range values {
		switch dtype {
		case "F16":
			h, _ := toHalf(v)
			out = binary.LittleEndian.AppendUint16(out, h)
		case "BF16":
			out = binary.LittleEndian.AppendUint16(out, uint16(math.Float32bits(v)>>16))
		default:
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		}
	}
	return out
}

// narrowest is the smallest of F16, BF16 and F32 in which all values are exact.
func narrowest(values []float32) string {
	f16, bf16 := true, true
	for _, v := range values {
		if f16 {
			_, f16 = toHalf(v)
		}
		bf16 = bf16 && math.Float32bits(v)<<16 == 0
	}
	switch {
	case f16:
		return "F16"
	case bf16:
		return "BF16"
	}
	return "F32"
}
