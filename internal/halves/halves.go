// Package halves turns float32 values into those of checkpoints and devices, F32, F16 (IEEE binary16) and BF16, and back. Bytes are
// little-endian.
package halves

import (
	"encoding/binary"
	"math"
	"slices"
)

// Bytes is how many a value of a dtype takes: 4 of "F32", 2 of "F16" and "BF16".
func Bytes(dtype string) int {
	if dtype == "F32" {
		return 4
	}
	return 2
}

// Widen sets out to the first len(out) values of data, which are of that dtype.
func Widen(out []float32, dtype string, data []byte) {
	switch dtype {
	case "F32":
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case "BF16":
		for i := range out {
			out[i] = FromBF16(binary.LittleEndian.Uint16(data[2*i:]))
		}
	default:
		for i := range out {
			out[i] = FromF16(binary.LittleEndian.Uint16(data[2*i:]))
		}
	}
}

// Narrow appends values in a dtype, rounded half to even; beyond the greatest value of F16 and BF16 is infinite.
func Narrow(out []byte, dtype string, values []float32) []byte {
	out = slices.Grow(out, len(values)*Bytes(dtype))
	switch dtype {
	case "F32":
		for _, x := range values {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
		}
	case "BF16":
		for _, x := range values {
			out = binary.LittleEndian.AppendUint16(out, BF16(x))
		}
	default:
		for _, x := range values {
			out = binary.LittleEndian.AppendUint16(out, F16(x))
		}
	}
	return out
}

// Round gives x as the nearest value of a dtype, half to even.
func Round(x float32, dtype string) float32 {
	switch dtype {
	case "F32":
		return x
	case "BF16":
		return FromBF16(BF16(x))
	}
	return FromF16(F16(x))
}

// BF16 rounds half to even; NaN stays NaN.
func BF16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16 | 0x40) // quiet, and not infinite
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// FromBF16 is exact.
func FromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// F16 rounds half to even; from 65520 on it is infinite, and NaN stays NaN.
func F16(x float32) uint16 {
	b := math.Float32bits(x)
	sign, mag := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case mag > 0x7f800000:
		return sign | 0x7e00 | uint16(mag>>13&0x1ff)
	case mag >= 0x477ff000: // 65520, halfway beyond the greatest
		return sign | 0x7c00
	case mag < 0x38800000: // subnormal: adding 1/2 leaves multiples of 2^-24 in the lowest bits, rounded
		return sign | uint16(math.Float32bits(math.Float32frombits(mag)+0.5)-math.Float32bits(0.5))
	}
	return sign | uint16((mag-112<<23+0xfff+mag>>13&1)>>13)
}

// FromF16 is exact; NaN keeps its bits.
func FromF16(h uint16) float32 {
	sign, mag := uint32(h>>15)<<31, uint32(h&0x7fff)
	switch {
	case mag >= 0x7c00:
		return math.Float32frombits(sign | 0x7f800000 | mag<<13)
	case mag < 0x400:
		return math.Float32frombits(sign | math.Float32bits(float32(mag)*0x1p-24))
	}
	return math.Float32frombits(sign | (mag<<13 + 112<<23))
}
