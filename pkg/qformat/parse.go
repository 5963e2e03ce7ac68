package qformat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// supported is what errors about unknown configurations end in.
const supported = "supported: compressed-tensors (pack-, int-, float- and naive-quantized), awq (version gemm), gptq (gptq and gptq_v2), fp8"

// Scheme is what a config.json's quantization_config says of how a checkpoint's matrices are stored. It does not change: all its methods may
// be called by several goroutines at once.
type Scheme struct {
	how reader
	kv  string
}

// reader reads matrices of one layout.
type reader interface {
	// read sets the sizes of m, whose Rows and Cols are set, and checks the tensors it is stored in. What it returns fills it; nil: the module
	// is stored plain, where p has no error.
	read(p *parts, m *Matrix) (decode func() error)
	String() string
}

// KV is the rounding of the cache: "", "int8" (each token's head by its own largest value) or "fp8" (e4m3 with scale 1).
func (s *Scheme) KV() string { return s.kv }

// String says in a few words how matrices are stored, for people: "gptq w4 g128".
func (s *Scheme) String() string {
	if s.kv != "" {
		return s.how.String() + ", cache " + s.kv
	}
	return s.how.String()
}

// Look is Unpack without codes, scales, zeros and the order of groups: sizes, strategy and the inputs' rounding. It reads no large tensor.
func (s *Scheme) Look(module string, rows, cols int, find func(name string) (Tensor, bool)) (*Matrix, error) {
	m, _, err := s.look(module, rows, cols, find)
	return m, err
}

// Unpack reads the weight [rows, cols] of module ("model.layers.0.mlp.down_proj"), whose tensors find gives by their names. nil without an
// error: it is stored plain, or not at all. Nothing of the result is shared with the tensors.
func (s *Scheme) Unpack(module string, rows, cols int, find func(name string) (Tensor, bool)) (*Matrix, error) {
	m, decode, err := s.look(module, rows, cols, find)
	if m == nil || err != nil {
		return nil, err
	}
	if err := decode(); err != nil {
		return nil, err
	}
	m.normal()
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("module %q: %w", module, err)
	}
	return m, nil
}

func (s *Scheme) look(module string, rows, cols int, find func(name string) (Tensor, bool)) (*Matrix, func() error, error) {
	if rows < 1 || cols < 1 || rows > (1<<40)/cols {
		return nil, nil, fmt.Errorf("module %q: a matrix [%d, %d]", module, rows, cols)
	}
	p, m := &parts{module: module, find: find}, &Matrix{Rows: rows, Cols: cols}
	decode := s.how.read(p, m)
	if p.err != nil {
		return nil, nil, p.err
	}
	if decode == nil {
		return nil, nil, nil
	}
	for _, other := range []string{".qweight", ".weight_packed"} {
		if p.has(other) && p.has(".weight") {
			return nil, nil, fmt.Errorf("module %q is stored twice: as %q and %q", module, module+other, module+".weight")
		}
	}
	if err := m.checkSizes(); err != nil {
		return nil, nil, fmt.Errorf("module %q: %w", module, err)
	}
	return m, decode, nil
}

// rawConfig has the keys of all layouts; those that are not read do not change what a matrix is.
type rawConfig struct {
	Method string `json:"quant_method"`

	// awq, gptq
	Bits         *int                       `json:"bits"`
	WBit         *int                       `json:"w_bit"`
	GroupSize    *int                       `json:"group_size"`
	QGroupSize   *int                       `json:"q_group_size"`
	Version      string                     `json:"version"`
	Format       string                     `json:"format"` // of compressed-tensors, and of later awq and gptq
	Checkpoint   string                     `json:"checkpoint_format"`
	MarlinFormat bool                       `json:"is_marlin_format"`
	PackDType    string                     `json:"pack_dtype"`
	Meta         struct{ Quantizer any }    `json:"meta"`
	Dynamic      map[string]json.RawMessage `json:"dynamic"`
	Backend      string                     `json:"backend"`
	Scheme       string                     `json:"activation_scheme"`
	Block        []int                      `json:"weight_block_size"`
	ScaleFormat  string                     `json:"scale_fmt"`
	Groups       map[string]json.RawMessage `json:"config_groups"`
	Ignore       []string                   `json:"ignore"`
	KV           json.RawMessage            `json:"kv_cache_scheme"`
	Sparsity     json.RawMessage            `json:"sparsity_config"`
	Transform    json.RawMessage            `json:"transform_config"`
}

// ParseConfig reads a config.json's quantization_config, by any of the tools whose layouts there are.
func ParseConfig(raw json.RawMessage) (*Scheme, error) {
	var c rawConfig
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("quantization_config: %w", err)
	}
	s := &Scheme{}
	var err error
	switch c.Method {
	case "compressed-tensors":
		s.how, err = c.compressed()
	case "awq":
		s.how, err = c.awq()
	case "gptq":
		s.how, err = c.gptq()
	case "fp8":
		s.how, err = c.fp8()
	case "":
		err = errors.New("quant_method is missing; " + supported)
	default:
		err = fmt.Errorf("quant_method = %q is not supported%s; %s", c.Method, strange[c.Method], supported)
	}
	if err == nil {
		s.kv, err = c.cache()
	}
	if err != nil {
		return nil, fmt.Errorf("quantization_config: %w", err)
	}
	return s, nil
}

// strange says what some methods are that are not supported.
var strange = map[string]string{
	"bitsandbytes": " (bitsandbytes' nf4 or int8)", "gguf": " (llama.cpp's blocks)", "mxfp4": " (blocks of 4-bit floats)",
	"marlin": " (repacked for one kind of GPU)", "fbgemm_fp8": " (fp8 with a bound on the inputs' scales)", "torchao": "", "hqq": "",
	"modelopt": " (NVIDIA's ModelOpt)", "auto-round": " (AutoRound's own packing; export it as auto_gptq, auto_awq or llm_compressor)",
}

func (c *rawConfig) awq() (reader, error) {
	bits, group, err := c.sizes()
	format := strings.ToLower(first(c.Version, c.Format, "gemm"))
	switch {
	case err != nil:
		return nil, err
	case format != "gemm" || c.Backend == "llm-awq":
		return nil, fmt.Errorf("awq of version %q is not supported (packed for other kernels); supported: gemm", first(c.Backend, format))
	case bits != 4:
		return nil, fmt.Errorf("awq of %d bits is not supported; supported: 4", bits)
	}
	return &awqScheme{group: group}, nil
}

func (c *rawConfig) gptq() (reader, error) {
	bits, group, err := c.sizes()
	format := strings.ToLower(first(c.Checkpoint, c.Format, "gptq"))
	if c.MarlinFormat {
		format = "marlin"
	}
	switch {
	case err != nil:
		return nil, err
	case format != GPTQ && format != GPTQv2:
		return nil, fmt.Errorf("gptq of checkpoint_format %q is not supported (packed for other kernels); supported: gptq, gptq_v2", format)
	case bits != 2 && bits != 3 && bits != 4 && bits != 8:
		return nil, fmt.Errorf("gptq of %d bits is not supported; supported: 2, 3, 4, 8", bits)
	case c.PackDType != "" && c.PackDType != "int32":
		return nil, fmt.Errorf("gptq packed in %s is not supported; supported: int32", c.PackDType)
	}
	words := strings.Contains(fmt.Sprint(c.Meta.Quantizer), "gptqmodel")
	return &gptqScheme{bits: bits, group: group, v2: format == GPTQv2, words: words, dynamic: len(c.Dynamic) > 0}, nil
}

// sizes reads bits and group; -1: whole rows.
func (c *rawConfig) sizes() (bits, group int, err error) {
	if c.Bits == nil {
		c.Bits = c.WBit
	}
	if c.GroupSize == nil {
		c.GroupSize = c.QGroupSize
	}
	if c.Bits == nil || c.GroupSize == nil {
		return 0, 0, errors.New("bits or group_size is missing")
	}
	if g := *c.GroupSize; g != -1 && (g < 1 || g > 1<<30) {
		return 0, 0, fmt.Errorf("group_size = %d: want -1, for whole rows, or the inputs of a group", g)
	}
	return *c.Bits, *c.GroupSize, nil
}

func (c *rawConfig) fp8() (reader, error) {
	s := &fp8Scheme{}
	switch first(strings.ToLower(c.Scheme), "dynamic") {
	case "dynamic":
	case "static":
		s.static = true
	default:
		return nil, fmt.Errorf("activation_scheme = %q is not supported; supported: dynamic, static", c.Scheme)
	}
	if f := c.ScaleFormat; f != "" && f != "float" {
		return nil, fmt.Errorf("scale_fmt = %q is not supported (scales that are powers of two); supported: float", f)
	}
	if c.Block != nil {
		if len(c.Block) != 2 || min(c.Block[0], c.Block[1]) < 1 || max(c.Block[0], c.Block[1]) > 1<<30 {
			return nil, fmt.Errorf("weight_block_size = %v: want the outputs and the inputs of a block", c.Block)
		}
		if s.rows, s.cols = c.Block[0], c.Block[1]; s.static {
			return nil, errors.New("weight_block_size goes with activation_scheme dynamic only")
		}
	}
	return s, nil
}

// cache reads kv_cache_scheme.
func (c *rawConfig) cache() (string, error) {
	if empty(c.KV) {
		return "", nil
	}
	var text string
	if json.Unmarshal(c.KV, &text) == nil {
		if text == "static" && c.Method == "fp8" {
			return "fp8", nil
		}
		return "", fmt.Errorf("kv_cache_scheme = %q is not supported", text)
	}
	var a rawArgs
	if err := json.Unmarshal(c.KV, &a); err != nil {
		return "", fmt.Errorf("kv_cache_scheme: %w", err)
	}
	a.defaults()
	switch {
	case a.Bits == 8 && a.Type == "float" && a.Strategy == perTensor && *a.Symmetric && !a.dynamic():
		return "fp8", nil
	case a.Bits == 8 && a.Type == "int" && a.Strategy == "token" && *a.Symmetric && a.dynamic():
		return "int8", nil
	}
	return "", fmt.Errorf("kv_cache_scheme of %d-bit %s by strategy %q is not supported; supported: 8-bit float by tensor, 8-bit int by token, dynamic",
		a.Bits, a.Type, a.Strategy)
}

// first is the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// empty says that a value is absent, null, {} or [].
func empty(raw json.RawMessage) bool {
	text := string(bytes.TrimSpace(raw))
	return text == "" || text == "null" || text == "{}" || text == "[]"
}
