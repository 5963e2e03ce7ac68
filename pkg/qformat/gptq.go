package qformat

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"sextant/internal/halves"
)

// gptq is AutoGPTQ's layout (0.7, auto_gptq/nn_modules/qlinear) and GPTQModel's (v1 and v2): of a matrix [out, in]
//
//	qweight  I32 [in*bits/32, out]  a stream of bits down each column, the first input lowest; 3 bits: 32 codes in three words
//	qzeros   I32 [groups, out*bits/32]  a stream of bits along each row; v1 stores zero-1, modulo 2^bits
//	scales   F16 [groups, out]
//	g_idx    I32 [in]  the group of each input
//
// Readers disagree on a v1 zero of 0, which is stored as 2^bits-1: some wrap it back, some take 2^bits for it, and GPTQModel subtracts and
// adds whole words, so that it borrows from the neighbour. So no zero of 0 is written as v1; in files of GPTQModel words are added, else values.
type gptq struct{ v2 bool }

func (f gptq) fits(m *Matrix) error {
	switch {
	case m.Float || m.Bits != 2 && m.Bits != 3 && m.Bits != 4 && m.Bits != 8:
		return fmt.Errorf("it holds integers of 2, 3, 4 or 8 bits")
	case m.BlockRows != 1:
		return fmt.Errorf("each output has scales of its own there")
	case m.Cols*m.Bits%32 != 0 || m.Rows*m.Bits%32 != 0 || m.Bits == 3 && (m.Cols|m.Rows)%32 != 0:
		return fmt.Errorf("the codes of its %d inputs, or the zeros of its %d outputs, do not fill whole words", m.Cols, m.Rows)
	}
	if i := slices.Index(m.Zeros, 0); i >= 0 && !f.v2 {
		return fmt.Errorf("zero %d is 0, which programs read as 0 or as %d there; gptq_v2 has no such doubt", i, 1<<m.Bits)
	}
	if err := m.divides(); err != nil {
		return err
	}
	if err := m.noAct(); err != nil {
		return err
	}
	return m.halves()
}

func (f gptq) pack(module string, m *Matrix) []Tensor {
	p, wide := packing{bits: m.Bits, dense: true}, m.Wide()
	zeros := transposed(m.implied(), m.Rows, wide)
	if !f.v2 {
		for i := range zeros {
			zeros[i] = (zeros[i] - 1) & (1<<m.Bits - 1)
		}
	}
	return []Tensor{
		{module + ".g_idx", "I32", []int{m.Cols}, packOrder(m)},
		{module + ".qweight", "I32", []int{p.words(m.Cols), m.Rows}, p.packDown(m.Codes, m.Cols, m.Rows)},
		{module + ".qzeros", "I32", []int{wide, p.words(m.Rows)}, p.packAcross(zeros, m.Rows)},
		{module + ".scales", "F16", []int{wide, m.Rows}, halves.Narrow(nil, "F16", transposed(m.Scales, m.Rows, wide))},
	}
}

func (f gptq) config(ms map[string]*Matrix, ignore []string) (map[string]any, error) {
	bits, group, err := common(ms)
	if err != nil {
		return nil, err
	}
	symmetric, reordered := true, false
	for _, m := range ms {
		symmetric, reordered = symmetric && m.Symmetric, reordered || m.GroupOf != nil
	}
	name := GPTQ
	if f.v2 {
		name = GPTQv2
	}
	config := map[string]any{"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": reordered, "sym": symmetric,
		"true_sequential": true, "lm_head": false, "checkpoint_format": name}
	dynamic := map[string]any{}
	for _, module := range ignore {
		if module != "lm_head" {
			dynamic["-:^"+regexp.QuoteMeta(module)+"$"] = map[string]any{}
		}
	}
	if len(dynamic) > 0 {
		config["dynamic"] = dynamic
	}
	return config, nil
}

// common gives the bits and the group of matrices that have to share them; -1: whole rows.
func common(ms map[string]*Matrix) (bits, group int, err error) {
	for _, module := range slices.Sorted(maps.Keys(ms)) {
		m := ms[module]
		g := m.Group
		if m.strategy() == perChannel {
			g = -1
		}
		switch {
		case bits == 0:
			bits, group = m.Bits, g
		case bits != m.Bits:
			return 0, 0, fmt.Errorf("module %q has %d bits, others %d, and the layout has one number for all", module, m.Bits, bits)
		case group == -1 && g != -1:
			group = g
		}
	}
	for _, module := range slices.Sorted(maps.Keys(ms)) { // a row that is as long as the group is one
		if m := ms[module]; group != -1 && m.Group != group || group == -1 && m.Group != m.Cols {
			return 0, 0, fmt.Errorf("module %q has groups of %d, others of %d, and the layout has one number for all", module, m.Group, group)
		}
	}
	return bits, group, nil
}

// gptqScheme is how the matrices of a checkpoint are stored.
type gptqScheme struct {
	bits, group int // group -1: whole rows
	v2          bool
	words       bool // v1: to the stored zeros 1 is added word by word
	dynamic     bool // a module may have other bits and another group, which its tensors' shapes tell
}

func (s *gptqScheme) read(p *parts, m *Matrix) (decode func() error) {
	if !p.has(".qweight") {
		return nil
	}
	m.Bits, m.Group = s.shape(p, m)
	m.BlockRows = 1
	wide, pack := m.Wide(), packing{bits: m.Bits, dense: true}
	qweight := p.want(".qweight", "I32", []int{pack.words(m.Cols), m.Rows})
	qzeros := p.want(".qzeros", "I32", []int{wide, pack.words(m.Rows)})
	scales := p.want(".scales", "F16 BF16 F32", []int{wide, m.Rows})
	var index Tensor
	if p.has(".g_idx") {
		index = p.want(".g_idx", "I32", []int{m.Cols})
	}
	return func() (err error) {
		if m.Scales, err = floats(scales); err != nil {
			return err
		}
		m.Scales = transposed(m.Scales, wide, m.Rows)
		if index.Data != nil {
			if m.GroupOf, err = order(index, wide); err != nil {
				return err
			}
		}
		m.Codes = make([]byte, m.Rows*m.Cols)
		pack.down(m.Codes, m.Cols, grid{qweight.Data, m.Rows})
		m.Zeros = transposed(s.zeros(pack, wide, m.Rows, qzeros.Data), wide, m.Rows)
		return nil
	}
}

// shape gives bits and group of a matrix: the configuration's, or, where modules may differ, those that fit its tensors.
func (s *gptqScheme) shape(p *parts, m *Matrix) (bits, group int) {
	bits, group = s.bits, s.group
	if group == -1 {
		group = m.Cols
	}
	group = min(group, m.Cols)
	if !s.dynamic {
		return bits, group
	}
	if t, _ := p.find(p.module + ".qweight"); len(t.Shape) == 2 && t.Shape[0] != (packing{bits: bits, dense: true}).words(m.Cols) {
		for _, b := range []int{2, 3, 4, 8} {
			if t.Shape[0] == (packing{bits: b, dense: true}).words(m.Cols) {
				bits = b
			}
		}
	}
	if t, _ := p.find(p.module + ".scales"); len(t.Shape) == 2 && t.Shape[0] > 0 && t.Shape[0] != (m.Cols+group-1)/group && m.Cols%t.Shape[0] == 0 {
		group = m.Cols / t.Shape[0]
	}
	return bits, group
}

// zeros gives the zeros [wide, rows].
func (s *gptqScheme) zeros(p packing, wide, rows int, data []byte) []byte {
	out := make([]byte, wide*rows)
	g := grid{data, p.words(rows)}
	if s.words && p.bits != 3 && !s.v2 {
		ones := ^uint32(0) / (1<<p.bits - 1)
		g.data = make([]byte, len(data))
		old := grid{data, g.cols}
		for r := range wide {
			for c := range g.cols {
				g.set(r, c, old.at(r, c)+ones)
			}
		}
	}
	p.across(out, rows, g)
	if !s.v2 && (!s.words || p.bits == 3) {
		for i := range out {
			out[i] = (out[i] + 1) & (1<<p.bits - 1)
		}
	}
	return out
}

func (s *gptqScheme) String() string {
	name := GPTQ
	if s.v2 {
		name = GPTQv2
	}
	if s.group == -1 {
		return fmt.Sprintf("%s w%d", name, s.bits)
	}
	return fmt.Sprintf("%s w%d g%d", name, s.bits, s.group)
}
