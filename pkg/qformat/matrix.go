// Package qformat is what quantized matrices are, in memory and on disk: Matrix, the layouts in which AutoAWQ, GPTQ, compressed-tensors and
// the fp8 checkpoints of vLLM store one as tensors of a safetensors file, and the quantization_config by which their loaders know it. It
// computes no scale: it packs, unpacks and dequantizes.
package qformat

import (
	"fmt"
	"math"
)

// Matrix is a quantized matrix [Rows = outputs, Cols = inputs] with w = (code - zero) * scale. A scale and a zero serve BlockRows x Group
// values: those of row r and column c are at [r/BlockRows, c/Group], in a table [Tall, Wide].
type Matrix struct {
	Rows, Cols int
	Bits       int  // 2 to 8; of Float 8
	Float      bool // codes are the bits of e4m3fn values, and there are no zeros
	Symmetric  bool // all zeros are 2^(Bits-1), and Zeros is nil
	Group      int  // columns that share a scale, at least 1; Cols: a whole row
	BlockRows  int  // rows that share a scale, at least 1; Rows: all of them

	Codes  []byte    // [Rows*Cols], one a byte, from 0 to 2^Bits-1; symmetric ones with 2^(Bits-1) added
	Scales []float32 // [Tall*Wide]
	Zeros  []byte    // [Tall*Wide]; nil where they are implied

	// GroupOf is the group of each column where groups are not of neighbours (GPTQ's act-order, g_idx); nil: c/Group.
	GroupOf []int32
	// Act is what must be done to the matrix's input before it is multiplied.
	Act Activation
}

// Activation is how the inputs of a matrix are rounded: to Format, "int8" (symmetric, 127 steps) or "fp8" (e4m3fn), with a scale of each token,
// of each token's groups of Group inputs, or, where Scale is not 0, that one. "": not at all.
type Activation struct {
	Format string
	Scale  float32
	Group  int
}

// Tall is the number of rows of the table of scales.
func (m *Matrix) Tall() int { return (m.Rows + m.BlockRows - 1) / m.BlockRows }

// Wide is its number of columns.
func (m *Matrix) Wide() int { return (m.Cols + m.Group - 1) / m.Group }

// Zero is the zero of one entry of the table.
func (m *Matrix) Zero(i int) byte {
	switch {
	case m.Float:
		return 0
	case m.Zeros == nil:
		return 1 << (m.Bits - 1)
	}
	return m.Zeros[i]
}

// Check says what is wrong with the sizes or the values.
func (m *Matrix) Check() error {
	if err := m.checkSizes(); err != nil {
		return err
	}
	entries, zeros := m.Tall()*m.Wide(), 0
	if !m.Float && !m.Symmetric {
		zeros = entries
	}
	if len(m.Codes) != m.Rows*m.Cols || len(m.Scales) != entries || len(m.Zeros) != zeros || m.GroupOf != nil && len(m.GroupOf) != m.Cols {
		return fmt.Errorf("a quantized matrix [%d, %d] has %d codes, %d scales, %d zeros and %d groups of inputs: want %d, %d, %d and none or %d",
			m.Rows, m.Cols, len(m.Codes), len(m.Scales), len(m.Zeros), len(m.GroupOf), m.Rows*m.Cols, entries, zeros, m.Cols)
	}
	return m.checkValues()
}

// checkSizes looks at all but what is stored for each value and each scale.
func (m *Matrix) checkSizes() error {
	if m.Rows < 1 || m.Cols < 1 || m.Rows > (1<<40)/m.Cols || m.Bits < 2 || m.Bits > 8 || m.Float && m.Bits != 8 {
		return fmt.Errorf("a quantized matrix [%d, %d] of %d bits", m.Rows, m.Cols, m.Bits)
	}
	if m.Group < 1 || m.Group > m.Cols || m.BlockRows < 1 || m.BlockRows > m.Rows {
		return fmt.Errorf("a quantized matrix [%d, %d] with groups of %d inputs and %d outputs", m.Rows, m.Cols, m.Group, m.BlockRows)
	}
	if m.Float && m.GroupOf != nil {
		return fmt.Errorf("a matrix of e4m3 values with groups that are not of neighbours")
	}
	switch a := m.Act; {
	case a == Activation{}:
	case a.Format != "int8" && a.Format != "fp8" || !(a.Scale >= 0) || a.Group < 0 || a.Scale > 0 && a.Group > 0:
		return fmt.Errorf("inputs rounded to %q with scale %v and groups of %d: want \"int8\" or \"fp8\", and one of the two at most",
			a.Format, a.Scale, a.Group)
	}
	return nil
}

func (m *Matrix) checkValues() error {
	for i, s := range m.Scales {
		if v := float64(s); math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("scale %d is %v", i, s)
		}
	}
	for c, g := range m.GroupOf {
		if g < 0 || int(g) >= m.Wide() {
			return fmt.Errorf("input %d is in group %d of %d", c, g, m.Wide())
		}
	}
	if m.Float {
		for i, q := range m.Codes {
			if q&127 == 127 {
				return fmt.Errorf("code %d is not a number", i)
			}
		}
	}
	if top := byte(1<<m.Bits - 1); m.Bits < 8 {
		for i, q := range m.Codes {
			if q > top {
				return fmt.Errorf("code %d of %d bits is %d", i, m.Bits, q)
			}
		}
		for i, z := range m.Zeros {
			if z > top {
				return fmt.Errorf("zero %d of %d bits is %d", i, m.Bits, z)
			}
		}
	}
	return nil
}
