package checkpoint

import (
	"encoding/json"
	"fmt"
	"slices"

	"sextant/pkg/qformat"
)

// Config is a model's architecture, whichever release of transformers wrote its config.json: every default is filled in.
type Config struct {
	Family       string // "llama", "mistral", "qwen2", "qwen3", "internlm2"
	Vocab        int    // rows of the embedding
	Hidden       int
	Intermediate int
	Layers       int
	Heads        int
	KVHeads      int // divides Heads
	HeadDim      int // even; Heads*HeadDim need not be Hidden
	MaxPositions int // tokens a sequence may have, rope scaling included
	NormEps      float64
	Rope         RopeConfig

	TieEmbeddings bool // the output matrix is the embedding
	QKVBias       bool
	OBias         bool
	MLPBias       bool
	QKNorm        bool // RMSNorm of each query and key head before the rotation

	Windows []int  // a layer's sliding window in positions, the token's own included; 0: none
	BOS     int    // -1: none
	EOS     []int  // tokens that end a generation: generation_config.json's where it has them, else config.json's
	DType   string // what the writer said: "float32", "bfloat16", "float16" or ""; the tensors' own dtypes decide

	Quant *qformat.Scheme // how quantized matrices are stored; nil: there are none
}

// Limits of sizes: nothing real comes near them, and products of two cannot overflow.
const (
	maxSize   = 1 << 30
	maxLayers = 1 << 12
)

// parseConfig reads a config.json, and a generation_config.json where there is one. Every fault is reported at once.
func parseConfig(data, generation []byte) (*Config, error) {
	f, err := newFields(data)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	fam, err := findFamily(f.firstText("architectures"), f.text("model_type", ""))
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	c := &Config{Family: fam.name, QKNorm: fam.qkNorm}
	f.refuse()
	f.quant(c)
	f.sizes(c, fam)
	f.options(c, fam)
	f.rope(c)
	f.windows(c, fam.window)
	if err := f.err(); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if generation == nil {
		return c, nil
	}
	g, err := newFields(generation)
	if err != nil {
		return nil, fmt.Errorf("generation_config.json: %w", err)
	}
	if eos := g.ints("eos_token_id"); len(eos) > 0 {
		c.EOS = eos
	}
	if err := g.err(); err != nil {
		return nil, fmt.Errorf("generation_config.json: %w", err)
	}
	return c, nil
}

// refuse reports keys that change the computation in ways the forward pass does not know.
func (f *fields) refuse() {
	for _, key := range []string{"num_experts", "num_local_experts", "n_routed_experts"} {
		if n := f.number(key, 0); n > 0 {
			f.fail(key, "mixtures of experts are not supported")
		}
	}
	if act := f.text("hidden_act", "silu"); act != "silu" && act != "swish" {
		f.fail("hidden_act", `only "silu" is supported`)
	}
	if f.number("partial_rotary_factor", 1) != 1 {
		f.fail("partial_rotary_factor", "only 1 is supported")
	}
}

// quantKeys are where config.json says how the weights are quantized; the second is the name that compressed-tensors gave it once.
var quantKeys = []string{"quantization_config", "compression_config"}

func (f *fields) quant(c *Config) {
	for _, key := range quantKeys {
		if !f.has(key) || c.Quant != nil {
			continue
		}
		var err error
		if c.Quant, err = qformat.ParseConfig(f.values[key]); err != nil {
			f.addf("%w", err)
			return
		}
	}
}

func (f *fields) sizes(c *Config, fam *family) {
	c.Vocab = f.size("vocab_size", 0)
	c.Hidden = f.size("hidden_size", 0)
	c.Intermediate = f.size("intermediate_size", 0)
	c.Layers = f.size("num_hidden_layers", 0)
	c.Heads = f.size("num_attention_heads", 0)
	c.KVHeads = f.size("num_key_value_heads", max(c.Heads, 1))
	c.MaxPositions = f.size("max_position_embeddings", 0)
	c.HeadDim = f.size("head_dim", max(fam.headDim, 1))
	if c.Layers > maxLayers {
		f.fail("num_hidden_layers", "want at most %d", maxLayers)
	}
	if c.Heads == 0 || c.KVHeads == 0 || c.Hidden == 0 {
		return // reported already
	}
	if c.Heads%c.KVHeads != 0 {
		f.fail("num_key_value_heads", "does not divide num_attention_heads = %d", c.Heads)
	}
	if !f.has("head_dim") && fam.headDim == 0 {
		c.HeadDim = c.Hidden / c.Heads
		if c.Hidden%c.Heads != 0 {
			f.fail("num_attention_heads", "does not divide hidden_size = %d, and there is no head_dim", c.Hidden)
			return
		}
	}
	if c.HeadDim%2 != 0 {
		f.addf("head_dim = %d: want an even size, the rotation turns pairs", c.HeadDim)
	}
	if c.Heads > maxSize/max(c.HeadDim, 1) {
		f.addf("head_dim = %d: with %d heads larger than any model", c.HeadDim, c.Heads)
	}
}

func (f *fields) options(c *Config, fam *family) {
	c.NormEps = f.number("rms_norm_eps", 1e-6)
	if !(c.NormEps >= 0 && c.NormEps < 1) {
		f.fail("rms_norm_eps", "want a small number of at least 0")
	}
	c.TieEmbeddings = f.boolean("tie_word_embeddings", false)
	c.QKVBias = f.option(fam.qkvBias)
	c.OBias = f.option(fam.oBias)
	c.MLPBias = f.option(fam.mlpBias)
	c.DType = f.text("dtype", f.text("torch_dtype", ""))
	c.EOS = f.ints("eos_token_id")
	c.BOS = -1
	if bos := f.ints("bos_token_id"); len(bos) > 0 {
		c.BOS = bos[0]
	}
}

// windows fills c.Windows. layer_types, where it is given, must agree with the family's own keys or, for the families that have
// it, decides.
func (f *fields) windows(c *Config, rule windowRule) {
	if c.Layers < 1 || c.Layers > maxLayers {
		return // reported already
	}
	window, from := 0, 0
	switch {
	case rule == windowAll && !f.present("sliding_window"):
		window = 4096
	case rule == windowAll && f.has("sliding_window"):
		window = f.size("sliding_window", 0)
	case rule == windowFromMark && f.boolean("use_sliding_window", false) && (f.has("sliding_window") || !f.present("sliding_window")):
		window = f.size("sliding_window", 4096)
		from = int(f.whole("max_window_layers", 28))
	}
	c.Windows = make([]int, c.Layers)
	for i := max(from, 0); i < c.Layers; i++ {
		c.Windows[i] = window
	}
	if types := f.texts("layer_types"); types != nil {
		f.layerTypes(c, types, window, rule)
	}
}

func (f *fields) layerTypes(c *Config, types []string, window int, rule windowRule) {
	if len(types) != c.Layers {
		f.addf("layer_types: has %d entries, want one for each of %d layers", len(types), c.Layers)
		return
	}
	windows := make([]int, c.Layers)
	for i, t := range types {
		switch {
		case t == "sliding_attention" && window > 0:
			windows[i] = window
		case t == "sliding_attention":
			f.addf("layer_types[%d] = %q: the configuration has no sliding window in use", i, t)
			return
		case t != "full_attention":
			f.addf("layer_types[%d] = %q is not supported; supported: full_attention, sliding_attention", i, t)
			return
		}
	}
	if rule == windowFromMark {
		c.Windows = windows
	} else if !slices.Equal(windows, c.Windows) {
		f.addf("layer_types: disagrees with sliding_window = %d; %s has one window for all layers", window, c.Family)
	}
}

// canonical renders JSON with sorted keys and no white space, so that a rewritten file with the same content is the same.
func canonical(data []byte) ([]byte, error) {
	f, err := newFields(data)
	if err != nil {
		return nil, err
	}
	out := make(map[string]any, len(f.values))
	for k, raw := range f.values {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		out[k] = v
	}
	return json.Marshal(out)
}
