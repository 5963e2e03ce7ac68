package qformat

import (
	"fmt"

	"sextant/internal/halves"
)

// awq is AutoAWQ's layout of version "gemm" (0.2, awq/modules/linear/gemm.py): of a matrix [out, in]
//
//	qweight  I32 [in, out/8]  eight outputs a word, in the order 0 2 4 6 1 3 5 7 from the low end
//	qzeros   I32 [groups, out/8]  likewise, the zeros as they are
//	scales   F16 [groups, out]
type awq struct{}

// awqOrder has at k the place of output k in its word.
var (
	awqOrder   = [8]uint8{0, 4, 1, 5, 2, 6, 3, 7}
	awqPacking = packing{bits: 4, order: &awqOrder}
)

func (awq) fits(m *Matrix) error {
	switch {
	case m.Float || m.Bits != 4:
		return fmt.Errorf("it holds integers of 4 bits")
	case m.BlockRows != 1:
		return fmt.Errorf("each output has scales of its own there")
	case m.GroupOf != nil:
		return fmt.Errorf("it has no g_idx")
	case m.Rows%8 != 0:
		return fmt.Errorf("its %d outputs do not fill words of 8", m.Rows)
	}
	if err := m.divides(); err != nil {
		return err
	}
	if err := m.noAct(); err != nil {
		return err
	}
	return m.halves()
}

func (awq) pack(module string, m *Matrix) []Tensor {
	wide := m.Wide()
	return []Tensor{
		{module + ".qweight", "I32", []int{m.Cols, m.Rows / 8}, awqPacking.packAcross(transposed(m.Codes, m.Rows, m.Cols), m.Rows)},
		{module + ".qzeros", "I32", []int{wide, m.Rows / 8}, awqPacking.packAcross(transposed(m.implied(), m.Rows, wide), m.Rows)},
		{module + ".scales", "F16", []int{wide, m.Rows}, halves.Narrow(nil, "F16", transposed(m.Scales, m.Rows, wide))},
	}
}

func (awq) config(ms map[string]*Matrix, ignore []string) (map[string]any, error) {
	bits, group, err := common(ms)
	if err != nil {
		return nil, err
	}
	var skip any
	if len(ignore) > 0 {
		skip = ignore
	}
	return map[string]any{"quant_method": "awq", "bits": bits, "group_size": group, "zero_point": true, "version": "gemm",
		"modules_to_not_convert": skip}, nil
}

type awqScheme struct{ group int } // -1: whole rows

func (s *awqScheme) read(p *parts, m *Matrix) (decode func() error) {
	if !p.has(".qweight") {
		return nil
	}
	m.Bits, m.BlockRows, m.Group = 4, 1, s.group
	if s.group == -1 {
		m.Group = m.Cols
	}
	m.Group = min(m.Group, m.Cols)
	wide, words := m.Wide(), awqPacking.words(m.Rows)
	if m.Rows%8 != 0 || m.Cols%m.Group != 0 {
		p.fail("module %q: a matrix [%d, %d] cannot be stored in AutoAWQ's layout with groups of %d", p.module, m.Rows, m.Cols, m.Group)
	}
	qweight := p.want(".qweight", "I32", []int{m.Cols, words})
	qzeros := p.want(".qzeros", "I32", []int{wide, words})
	scales := p.want(".scales", "F16 BF16 F32", []int{wide, m.Rows})
	return func() (err error) {
		if m.Scales, err = floats(scales); err != nil {
			return err
		}
		m.Scales = transposed(m.Scales, wide, m.Rows)
		codes := make([]byte, m.Rows*m.Cols)
		awqPacking.across(codes, m.Rows, grid{qweight.Data, words})
		m.Codes = transposed(codes, m.Cols, m.Rows)
		zeros := make([]byte, m.Rows*wide)
		awqPacking.across(zeros, m.Rows, grid{qzeros.Data, words})
		m.Zeros = transposed(zeros, wide, m.Rows)
		return nil
	}
}

func (s *awqScheme) String() string {
	if s.group == -1 {
		return "awq w4"
	}
	return fmt.Sprintf("awq w4 g%d", s.group)
}
