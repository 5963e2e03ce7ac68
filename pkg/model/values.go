package model

import (
	"encoding/binary"
	"math"
	"slices"

	"sextant/kernels"
)

// dtypes are the formats that checkpoints have weights in.
var dtypes = map[string]kernels.DType{"F32": kernels.F32, "F16": kernels.F16, "BF16": kernels.BF16}

func valueBytes(dtype string) int {
	if dtype == "F32" {
		return 4
	}
	return 2
}

// widen turns little-endian F32, F16 or BF16 values into f32 ones.
func widen(dtype string, data []byte) []byte {
	if dtype == "F32" {
		return slices.Clone(data)
	}
	out := make([]byte, 0, 2*len(data))
	for i := 0; i+1 < len(data); i += 2 {
		h := binary.LittleEndian.Uint16(data[i:])
		bits := uint32(h) << 16
		if dtype == "F16" {
			bits = math.Float32bits(half(h))
		}
		out = binary.LittleEndian.AppendUint32(out, bits)
	}
	return out
}

// half is the value of an IEEE binary16.
func half(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, int(h>>10&31), uint32(h&1023)
	switch exp {
	case 0:
		return float32(math.Copysign(math.Ldexp(float64(frac), -24), float64(int32(sign)|1)))
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | uint32(exp+112)<<23 | frac<<13)
}
