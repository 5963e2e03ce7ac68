package qformat

import (
	"fmt"
	"maps"
	"slices"

	"sextant/internal/halves"
)

// fp8 is the layout of quant_method "fp8" (vLLM, model_executor/layers/quantization/fp8.py; transformers' FineGrainedFP8Config): of a matrix
// [out, in]
//
//	weight            F8_E4M3 [out, in]
//	weight_scale      F32 [1]  one scale, multiplied; transformers calls it weight_scale_inv
//	weight_scale_inv  F32 [out/128, in/128], rounded up  where config.json has weight_block_size: a scale of each block, multiplied too
//	input_scale       F32 [1]  where activation_scheme is static; transformers calls it activation_scale
//
// A weight_scale of [out, 1] is read as well.
type fp8 struct{}

func (fp8) fits(m *Matrix) error {
	s := m.strategy()
	switch {
	case !m.Float:
		return fmt.Errorf("it holds e4m3 values")
	case m.Act.Format != "fp8":
		return fmt.Errorf("its readers round inputs to fp8; compressed-tensors need not")
	case s != perTensor && s != perBlock && m.Rows > 1:
		return fmt.Errorf("its readers know one scale, or blocks; compressed-tensors has a scale for each output")
	case m.GroupOf != nil:
		return fmt.Errorf("it has no g_idx")
	case s == perBlock && (m.Act.Scale != 0 || m.Act.Group != m.Group), s == perTensor && m.Act.Group != 0 && m.Act.Group != m.Group:
		return fmt.Errorf("with blocks, its readers round each token's groups of as many inputs as a block has; else whole tokens, or by one scale")
	}
	return nil
}

func (fp8) pack(module string, m *Matrix) []Tensor {
	out := []Tensor{{module + ".weight", "F8_E4M3", []int{m.Rows, m.Cols}, slices.Clone(m.Codes)}}
	if m.Act.Scale != 0 {
		out = slices.Insert(out, 0, Tensor{module + ".input_scale", "F32", []int{1}, halves.Narrow(nil, "F32", []float32{m.Act.Scale})})
	}
	if m.Act.Group != 0 {
		return append(out, Tensor{module + ".weight_scale_inv", "F32", []int{m.Tall(), m.Wide()}, halves.Narrow(nil, "F32", m.Scales)})
	}
	return append(out, Tensor{module + ".weight_scale", "F32", []int{1}, halves.Narrow(nil, "F32", m.Scales)})
}

func (fp8) config(ms map[string]*Matrix, ignore []string) (map[string]any, error) {
	static, dynamic, rows, cols := 0, 0, 0, 0
	for _, m := range ms {
		switch {
		case m.Act.Group != 0:
			rows, cols = max(rows, m.BlockRows), max(cols, m.Group)
			dynamic++
		case m.Act.Scale != 0:
			static++
		default:
			dynamic++
		}
	}
	if static > 0 && dynamic > 0 {
		return nil, fmt.Errorf("%d modules round inputs by a scale of their own, %d by each token's; the layout has one way for all", static, dynamic)
	}
	config := map[string]any{"quant_method": "fp8", "activation_scheme": "dynamic"}
	if static > 0 {
		config["activation_scheme"] = "static"
	}
	if rows > 0 {
		for _, module := range slices.Sorted(maps.Keys(ms)) {
			if m := ms[module]; m.Act.Group == 0 || m.BlockRows != min(rows, m.Rows) || m.Group != min(cols, m.Cols) {
				return nil, fmt.Errorf("module %q has blocks of %d x %d, others of %d x %d; the layout has one size for all",
					module, m.BlockRows, m.Group, rows, cols)
			}
		}
		config["weight_block_size"] = []int{rows, cols}
	}
	if len(ignore) > 0 {
		config["ignored_layers"], config["modules_to_not_convert"] = ignore, ignore // vLLM's name and transformers'
	}
	return config, nil
}

type fp8Scheme struct {
	rows, cols int // of a block; 0: none
	static     bool
}

func (s *fp8Scheme) read(p *parts, m *Matrix) (decode func() error) {
	t, ok := p.find(p.module + ".weight")
	if !ok || t.DType != "F8_E4M3" {
		return nil
	}
	m.Bits, m.Float, m.Act.Format = 8, true, "fp8"
	weight := p.want(".weight", "F8_E4M3", []int{m.Rows, m.Cols})
	scale := s.scale(p, m)
	switch {
	case s.static && p.has(".activation_scale"):
		m.Act.Scale = p.one(".activation_scale")
	case s.static:
		m.Act.Scale = p.one(".input_scale")
	case s.cols > 0:
		m.Act.Group = min(s.cols, m.Cols)
	}
	return func() (err error) {
		m.Scales, err = floats(scale)
		m.Codes = slices.Clone(weight.Data)
		return err
	}
}

// scale finds the tensor of scales and sets what shares one.
func (s *fp8Scheme) scale(p *parts, m *Matrix) Tensor {
	suffix := ".weight_scale"
	if p.has(".weight_scale_inv") {
		suffix = ".weight_scale_inv"
	}
	if s.rows > 0 {
		m.BlockRows, m.Group = min(s.rows, m.Rows), min(s.cols, m.Cols)
		return p.want(suffix, "F32 F16 BF16", []int{m.Tall(), m.Wide()})
	}
	m.BlockRows, m.Group = m.Rows, m.Cols
	t := p.want(suffix, "F32 F16 BF16", []int{1}, []int{}, []int{1, 1}, []int{m.Rows, 1}, []int{m.Rows})
	if len(t.Data) > sizes[t.DType] {
		m.BlockRows = 1
	}
	return t
}

func (s *fp8Scheme) String() string {
	switch {
	case s.rows > 0:
		return fmt.Sprintf("fp8 blocks of %dx%d", s.rows, s.cols)
	case s.static:
		return "fp8 with static inputs"
	}
	return "fp8"
}
