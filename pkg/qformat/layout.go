package qformat

import (
	"fmt"
	"slices"
	"strings"
)

// The layouts on disk.
const (
	CompressedTensors = "compressed-tensors" // compressed-tensors 0.12: pack-quantized, int-quantized, float-quantized
	AWQ               = "awq"                // AutoAWQ 0.2, version "gemm"
	GPTQ              = "gptq"               // AutoGPTQ 0.7, checkpoint_format "gptq": zeros are stored less one
	GPTQv2            = "gptq_v2"            // GPTQModel, checkpoint_format "gptq_v2": zeros as they are
	FP8               = "fp8"                // quant_method "fp8" of vLLM and transformers
)

// Tensor is a tensor of a safetensors file: row-major, little-endian.
type Tensor struct {
	Name  string
	DType string // as safetensors calls it: "F32", "F16", "BF16", "I32", "I64", "I8", "F8_E4M3"
	Shape []int
	Data  []byte
}

// format is how one layout stores one matrix.
type format interface {
	// fits says what of m the layout has no place for. Codes, scales and zeros that are not there yet are not looked at.
	fits(m *Matrix) error
	// pack makes the tensors of a matrix that fits.
	pack(module string, m *Matrix) []Tensor
	// config is the quantization_config of matrices that fit, without the key of the cache.
	config(ms map[string]*Matrix, ignore []string) (map[string]any, error)
}

var formats = map[string]format{
	CompressedTensors: compressed{}, AWQ: awq{}, GPTQ: gptq{}, GPTQv2: gptq{v2: true}, FP8: fp8{},
}

func findFormat(layout string) (format, error) {
	f, ok := formats[layout]
	if !ok {
		return nil, fmt.Errorf("layout %q is not known; known: %s", layout, strings.Join([]string{CompressedTensors, AWQ, GPTQ, GPTQv2, FP8}, ", "))
	}
	return f, nil
}

// Fits says why layout cannot hold m; nil: it can, exactly. With nil Codes, Scales and Zeros, as a plan has it, only sizes are looked at.
func Fits(layout string, m *Matrix) error {
	f, err := findFormat(layout)
	if err != nil {
		return err
	}
	if err := m.checkSizes(); err != nil {
		return err
	}
	if err := f.fits(m); err != nil {
		return fmt.Errorf("layout %s cannot hold %s: %w", layout, m.kind(), err)
	}
	return nil
}

// Pack gives the tensors in which layout stores m as the weight of module ("model.layers.0.mlp.down_proj"), sorted by name. Unpack by the
// Scheme of Config gives m again; only zeros that all are 2^(Bits-1) come back as a symmetric matrix, and a GroupOf of neighbours as nil.
func Pack(layout, module string, m *Matrix) ([]Tensor, error) {
	if err := Fits(layout, m); err != nil {
		return nil, fmt.Errorf("module %q: %w", module, err)
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("module %q: %w", module, err)
	}
	return formats[layout].pack(module, m), nil
}

// Native is the layout that suits m where any will do: compressed-tensors, but gptq_v2 for 3 bits where it fits, since that packs 32 codes
// in three words without waste. All matrices of a model share one: if one of them is for compressed-tensors, all are.
func Native(m *Matrix) string {
	if m.Bits == 3 && Fits(GPTQv2, m) == nil {
		return GPTQv2
	}
	return CompressedTensors
}

// kind says in words what a matrix is.
func (m *Matrix) kind() string {
	what := fmt.Sprintf("%d-bit integers", m.Bits)
	if m.Float {
		what = "e4m3 values"
	}
	what = fmt.Sprintf("[%d, %d] of %s, ", m.Rows, m.Cols, what)
	switch m.strategy() {
	case perTensor:
		what += "one scale"
	case perChannel:
		what += "a scale an output"
	case perGroup:
		what += fmt.Sprintf("groups of %d", m.Group)
	default:
		what += fmt.Sprintf("blocks of %d x %d", m.BlockRows, m.Group)
	}
	if m.GroupOf != nil {
		what += " in the order of g_idx"
	}
	if m.Act.Format != "" {
		what += ", inputs rounded to " + m.Act.Format
	}
	return what
}

// strategy is what of a matrix shares a scale, by compressed-tensors' names.
type strategy string

const (
	perTensor  strategy = "tensor"
	perChannel strategy = "channel"
	perGroup   strategy = "group"
	perBlock   strategy = "block"
)

func (m *Matrix) strategy() strategy {
	switch {
	case m.BlockRows == 1 && m.Group < m.Cols && !(m.Float && m.Rows == 1):
		return perGroup
	case m.BlockRows == 1 && m.Group == m.Cols:
		return perChannel
	case m.BlockRows == m.Rows && m.Group == m.Cols:
		return perTensor
	}
	return perBlock
}

// normal makes implied what need not be said: zeros that all are 2^(Bits-1), and an order in which groups are of neighbours.
func (m *Matrix) normal() {
	if !m.Float && !slices.ContainsFunc(m.Zeros, func(z byte) bool { return z != 1<<(m.Bits-1) }) {
		m.Symmetric, m.Zeros = true, nil
	}
	for c, g := range m.GroupOf {
		if int(g) != c/m.Group {
			return
		}
	}
	m.GroupOf = nil
}

// implied gives the zeros of a matrix whether they are stored or implied.
func (m *Matrix) implied() []byte {
	if m.Zeros != nil {
		return m.Zeros
	}
	zeros := make([]byte, m.Tall()*m.Wide())
	for i := range zeros {
		zeros[i] = 1 << (m.Bits - 1)
	}
	return zeros
}

// divides says that groups are whole.
func (m *Matrix) divides() error {
	if m.Cols%m.Group != 0 {
		return fmt.Errorf("its groups of %d do not divide %d inputs", m.Group, m.Cols)
	}
	return nil
}

// noAct says that a layout has no place for rounded inputs.
func (m *Matrix) noAct() error {
	if m.Act.Format != "" {
		return fmt.Errorf("it has no place for inputs rounded to %s; compressed-tensors has", m.Act.Format)
	}
	return nil
}

// halves says that every scale is a binary16.
func (m *Matrix) halves() error {
	if i := inexact(m.Scales, "F16"); i >= 0 {
		return fmt.Errorf("its scales are f16, and scale %d is %v: round them with scale_dtype = \"f16\"", i, m.Scales[i])
	}
	return nil
}
