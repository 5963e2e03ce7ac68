package model

import (
	"fmt"
	"slices"
	"strings"

	"sextant/kernels"
	"sextant/pkg/qformat"
)

// runs says in words how a quantized matrix runs.
func runs(m *qformat.Matrix, f form, why string, r kernels.Rounding) string {
	var s string
	switch f.dtype {
	case kernels.I4, kernels.I8, kernels.F8:
		s = fmt.Sprintf("packed %v", f.dtype)
		if bits := map[kernels.DType]int{kernels.I4: 4, kernels.I8: 8, kernels.F8: 8}[f.dtype]; m.Bits < bits {
			s += fmt.Sprintf(" holding %d bits", m.Bits)
		}
	default:
		s = fmt.Sprintf("dequantized to %v", f.dtype)
		if why != "" {
			s += " (" + why + ")"
		}
	}
	if r.To != kernels.F32 {
		s += ", inputs rounded to " + m.Act.Format
	}
	return s
}

// Quantized tells whether the checkpoint is.
func (m *Model) Quantized() bool { return m.cfg.Quant != nil }

// Runs says in words how the quantized matrices run, for a score's details: "packed i4", or, where they differ, each way with its matrices
// counted, the most frequent first. "": there are none, and no rounded cache.
func (m *Model) Runs() string {
	var ways []string
	for way := range m.runs {
		ways = append(ways, way)
	}
	slices.SortFunc(ways, func(a, b string) int {
		if n := m.runs[b] - m.runs[a]; n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	if len(ways) > 1 {
		for i, way := range ways {
			ways[i] = fmt.Sprintf("%s (%d of the matrices)", way, m.runs[way])
		}
	}
	if m.kvRound != kernels.F32 {
		ways = append(ways, "cache rounded to "+m.cfg.Quant.KV())
	}
	return strings.Join(ways, "; ")
}
