package qformat

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"sextant/internal/halves"
)

// compressed is the layout of compressed-tensors (0.12, src/compressed_tensors/compressors/quantized_compressors): of a matrix [out, in] with
// p = 32/bits codes a word
//
//	pack-quantized   weight_packed  I32 [out, in/p]  code+2^(bits-1), inputs from the low end of a word; 3 bits: ten a word
//	                 weight_zero_point  I32 [out/p, groups]  likewise zeros, packed along the outputs; asymmetric only
//	                 weight_g_idx  I32 [in]  where groups are not of neighbours
//	                 weight_shape  I64 [2]
//	int-quantized    weight  I8 [out, in];  weight_zero_point I8, of the scales' shape; asymmetric only
//	float-quantized  weight  F8_E4M3 [out, in]
//	all              weight_scale  F16, BF16 or F32 [out, groups], [out, 1], [1], or, of blocks, [out/rows, in/cols]
//	                 input_scale  F32 [1]  where inputs are rounded by one scale
//
// Sizes are rounded up. Each scale is stored in the smallest dtype that holds all scales of its matrix.
type compressed struct{}

func (compressed) fits(m *Matrix) error {
	s := m.strategy()
	switch {
	case !m.Float && (s == perBlock || s == perTensor && !m.Symmetric && m.Rows > 1):
		return fmt.Errorf("it has blocks for e4m3 values only, and one scale for all with symmetric integers only")
	case m.Float && s == perGroup:
		return fmt.Errorf("its readers know no groups of e4m3 values, only blocks")
	case m.Float && m.GroupOf != nil || m.GroupOf != nil && s != perGroup:
		return fmt.Errorf("it has a g_idx for groups of integers only")
	case m.Act.Group > 0 && m.Act.Format == "int8":
		return fmt.Errorf("its readers round groups of a token's inputs to fp8 only")
	}
	if s == perGroup {
		return m.divides()
	}
	return nil
}

// form is compressed-tensors' name of how a matrix is stored.
func (compressed) form(m *Matrix) string {
	switch {
	case m.Float:
		return "float-quantized"
	case m.Bits == 8 && m.Act.Format != "" && m.strategy() != perGroup:
		return "int-quantized"
	}
	return "pack-quantized"
}

func (f compressed) pack(module string, m *Matrix) []Tensor {
	form, shape, p := f.form(m), scaleShape(m), packing{bits: m.Bits}
	dtype := narrowest(m.Scales)
	out := []Tensor{{module + ".weight_scale", dtype, shape, halves.Narrow(nil, dtype, m.Scales)}}
	switch form {
	case "float-quantized":
		out = append(out, Tensor{module + ".weight", "F8_E4M3", []int{m.Rows, m.Cols}, slices.Clone(m.Codes)})
	case "int-quantized":
		out = append(out, Tensor{module + ".weight", "I8", []int{m.Rows, m.Cols}, offset(m.Codes, -1<<(m.Bits-1))})
		if m.Zeros != nil {
			out = append(out, Tensor{module + ".weight_zero_point", "I8", shape, offset(m.Zeros, -1<<(m.Bits-1))})
		}
	default:
		sides := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(m.Rows)), uint64(m.Cols))
		out = append(out, Tensor{module + ".weight_packed", "I32", []int{m.Rows, p.words(m.Cols)}, p.packAcross(m.Codes, m.Cols)},
			Tensor{module + ".weight_shape", "I64", []int{2}, sides})
		if m.Zeros != nil {
			zeros := p.packDown(transposed(m.Zeros, m.Rows, m.Wide()), m.Rows, m.Wide())
			out = append(out, Tensor{module + ".weight_zero_point", "I32", []int{p.words(m.Rows), m.Wide()}, zeros})
		}
		if m.GroupOf != nil {
			out = append(out, Tensor{module + ".weight_g_idx", "I32", []int{m.Cols}, packOrder(m)})
		}
	}
	if m.Act.Scale != 0 {
		out = append(out, Tensor{module + ".input_scale", "F32", []int{1}, halves.Narrow(nil, "F32", []float32{m.Act.Scale})})
	}
	slices.SortFunc(out, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func scaleShape(m *Matrix) []int {
	if m.strategy() == perTensor && (!m.Float || m.Act.Group == 0) {
		return []int{1}
	}
	return []int{m.Tall(), m.Wide()}
}

// offset adds n to bytes, modulo 256.
func offset(in []byte, n int) []byte {
	out := make([]byte, len(in))
	for i, b := range in {
		out[i] = b + byte(n)
	}
	return out
}

// compressedArgs is how one group of modules is stored.
type compressedArgs struct {
	bits       int
	float      bool
	symmetric  bool
	strategy   strategy
	group      int  // of strategy group; of blocks the columns
	rows       int  // of blocks
	reordered  bool // with a g_idx
	act        Activation
	staticActs bool
}

type compressedScheme struct {
	targets []target
	args    []*compressedArgs // of each target
	ignore  []pattern
}

// args is what is said of a module; nil: nothing, it is plain.
func (s *compressedScheme) of(module string) (*compressedArgs, error) {
	for _, p := range s.ignore {
		if hit, err := p.matches(module); hit || err != nil {
			return nil, err
		}
	}
	for i, t := range s.targets {
		if hit, err := t.matches(module); hit || err != nil {
			return s.args[i], err
		}
	}
	return nil, nil
}

func (s *compressedScheme) read(p *parts, m *Matrix) (decode func() error) {
	t, whole := p.find(p.module + ".weight")
	packed := p.has(".weight_packed")
	if !packed && (!whole || t.DType != "I8" && t.DType != "F8_E4M3") {
		return nil
	}
	a, err := s.of(p.module)
	if a == nil && err == nil {
		err = fmt.Errorf("module %q is stored quantized, but quantization_config ignores it", p.module)
	}
	if p.err = err; err != nil {
		return nil
	}
	a.shape(m)
	if a.staticActs {
		m.Act.Scale = p.one(".input_scale")
	}
	scale := p.want(".weight_scale", "F16 BF16 F32", scaleShapes(m)...)
	codes, zeros := a.codes(p, m, packed), a.zeros(p, m, packed)
	var index Tensor
	if p.has(".weight_g_idx") {
		index = p.want(".weight_g_idx", "I32", []int{m.Cols})
	}
	return func() (err error) {
		if m.Scales, err = floats(scale); err == nil && index.Data != nil {
			m.GroupOf, err = order(index, m.Wide())
		}
		if err == nil {
			m.Codes, err = codes()
		}
		if err == nil && zeros != nil {
			m.Zeros, err = zeros()
		}
		return err
	}
}

// scaleShapes are the shapes in which scales are read, the usual one first.
func scaleShapes(m *Matrix) [][]int {
	shapes := [][]int{{m.Tall(), m.Wide()}}
	if m.Wide() == 1 {
		shapes = append(shapes, []int{m.Tall()})
	}
	if m.Tall() == 1 && m.Wide() == 1 {
		shapes = append(shapes, []int{})
	}
	return shapes
}

// shape sets what the configuration says of a matrix.
func (a *compressedArgs) shape(m *Matrix) {
	m.Bits, m.Float, m.Symmetric = a.bits, a.float, a.symmetric && !a.float
	m.BlockRows, m.Group, m.Act = 1, m.Cols, a.act
	m.Act.Group = min(m.Act.Group, m.Cols)
	switch a.strategy {
	case perTensor:
		m.BlockRows = m.Rows
	case perGroup:
		m.Group = min(a.group, m.Cols)
	case perBlock:
		m.BlockRows, m.Group = min(a.rows, m.Rows), min(a.group, m.Cols)
	}
}

// codes finds the tensors of the codes, and gives what unpacks them.
func (a *compressedArgs) codes(p *parts, m *Matrix, packed bool) func() ([]byte, error) {
	switch {
	case a.float && !packed:
		t := p.want(".weight", "F8_E4M3", []int{m.Rows, m.Cols})
		return func() ([]byte, error) { return slices.Clone(t.Data), nil }
	case !packed:
		t := p.want(".weight", "I8", []int{m.Rows, m.Cols})
		return func() ([]byte, error) { return signed(t, m.Bits) }
	case a.float:
		p.fail("module %q: e4m3 values are not stored as weight_packed", p.module)
		return nil
	}
	pack := packing{bits: m.Bits}
	t := p.want(".weight_packed", "I32", []int{m.Rows, pack.words(m.Cols)})
	if p.has(".weight_shape") {
		if s := p.want(".weight_shape", "I64 I32", []int{2}); p.err == nil {
			if rows, cols := integer(s, 0), integer(s, 1); rows != m.Rows || cols != m.Cols {
				p.fail("tensor %q says [%d, %d], expected [%d, %d]", s.Name, rows, cols, m.Rows, m.Cols)
			}
		}
	}
	return func() ([]byte, error) {
		out := make([]byte, m.Rows*m.Cols)
		pack.across(out, m.Cols, grid{t.Data, pack.words(m.Cols)})
		return out, nil
	}
}

// zeros finds the tensor of the zeros; nil: they are implied. Next to packed codes a single zero is not packed.
func (a *compressedArgs) zeros(p *parts, m *Matrix, packed bool) func() ([]byte, error) {
	if m.Symmetric || m.Float {
		return nil
	}
	if !packed || a.strategy == perTensor {
		t := p.want(".weight_zero_point", "I8", scaleShapes(m)...)
		return func() ([]byte, error) { return signed(t, m.Bits) }
	}
	pack := packing{bits: m.Bits}
	t := p.want(".weight_zero_point", "I32", []int{pack.words(m.Rows), m.Wide()})
	return func() ([]byte, error) {
		out := make([]byte, m.Rows*m.Wide())
		pack.down(out, m.Rows, grid{t.Data, m.Wide()})
		return transposed(out, m.Wide(), m.Rows), nil
	}
}

// signed reads integers around 0 as codes of bits bits.
func signed(t Tensor, bits int) ([]byte, error) {
	out := offset(t.Data, 1<<(bits-1))
	for i, q := range out {
		if bits < 8 && q>>bits != 0 {
			return nil, fmt.Errorf("tensor %q: value %d is %d, which is not of %d bits", t.Name, i, int8(t.Data[i]), bits)
		}
	}
	return out, nil
}

func (s *compressedScheme) String() string {
	out := CompressedTensors
	for i, a := range s.args {
		if !slices.Contains(s.args[:i], a) {
			if i > 0 {
				out += ","
			}
			out += " " + a.String()
		}
	}
	return out
}

func (a *compressedArgs) String() string {
	s := fmt.Sprintf("w%d", a.bits)
	if a.float {
		s = "fp8"
	}
	switch a.strategy {
	case perGroup:
		s += fmt.Sprintf(" g%d", a.group)
	case perBlock:
		s += fmt.Sprintf(" blocks of %dx%d", a.rows, a.group)
	case perTensor:
		s += " one scale"
	}
	if !a.float && !a.symmetric {
		s += " asymmetric"
	}
	if a.act.Format != "" {
		s += ", inputs " + a.act.Format
	}
	if a.staticActs {
		s += " static"
	}
	return s
}
