package model

import (
	"sextant/internal/halves"
	"sextant/kernels"
)

// dtypes are the formats that checkpoints have weights in.
var dtypes = map[string]kernels.DType{"F32": kernels.F32, "F16": kernels.F16, "BF16": kernels.BF16}

// widen turns little-endian F32, F16 or BF16 values into f32 ones.
func widen(dtype string, data []byte) []byte {
	out := make([]float32, len(data)/halves.Bytes(dtype))
	halves.Widen(out, dtype, data)
	return floatBytes(out)
}
