package checkpoint

import (
	"fmt"
	"slices"
	"strings"
)

// A family is what tells one Llama-like architecture from another: names of tensors and where its options come from.
type family struct {
	name          string
	architectures []string // as config.json's "architectures" names them
	head          string   // the output matrix, where it is not tied to the embedding
	embed, norm   string
	layer         LayerNames // with %d for the layer
	headDim       int        // default of head_dim; 0: hidden_size / num_attention_heads
	qkvBias       option
	oBias         option
	mlpBias       option
	qkNorm        bool
	window        windowRule
}

// option is a yes or no that config.json decides under key, or the family alone when key is empty.
type option struct {
	key string
	def bool
}

// windowRule says which layers a sliding window holds in.
type windowRule int

const (
	noWindow       windowRule = iota // full attention everywhere
	windowAll                        // sliding_window in every layer (default 4096, null: none)
	windowFromMark                   // sliding_window if use_sliding_window, from layer max_window_layers on, or by layer_types
)

// LayerNames are the names of one layer's tensors; "" where the family has none. QKV stands for Q, K and V in one tensor: for each
// key head, its query heads' rows, its key rows, its value rows.
type LayerNames struct {
	AttnNorm, QKV, Q, K, V, O, QNorm, KNorm string
	MLPNorm, Gate, Up, Down                 string
}

// Sites are the layer's matrices, those together that share their input, in the order of the computation: queries, keys and values, or what
// is all three; attention's output; gate and up; down.
func (n LayerNames) Sites() [4][]string {
	qkv := []string{n.Q, n.K, n.V}
	if n.QKV != "" {
		qkv = []string{n.QKV}
	}
	return [4][]string{qkv, {n.O}, {n.Gate, n.Up}, {n.Down}}
}

// hfLayer are the names that Llama brought and most families kept.
var hfLayer = LayerNames{
	AttnNorm: "model.layers.%d.input_layernorm.weight",
	Q:        "model.layers.%d.self_attn.q_proj.weight",
	K:        "model.layers.%d.self_attn.k_proj.weight",
	V:        "model.layers.%d.self_attn.v_proj.weight",
	O:        "model.layers.%d.self_attn.o_proj.weight",
	MLPNorm:  "model.layers.%d.post_attention_layernorm.weight",
	Gate:     "model.layers.%d.mlp.gate_proj.weight",
	Up:       "model.layers.%d.mlp.up_proj.weight",
	Down:     "model.layers.%d.mlp.down_proj.weight",
}

var families = []family{
	{
		name: "llama", architectures: []string{"LlamaForCausalLM", "LLaMAForCausalLM"},
		embed: "model.embed_tokens.weight", norm: "model.norm.weight", head: "lm_head.weight", layer: hfLayer,
		qkvBias: option{key: "attention_bias"}, oBias: option{key: "attention_bias"}, mlpBias: option{key: "mlp_bias"},
	},
	{
		name: "mistral", architectures: []string{"MistralForCausalLM"},
		embed: "model.embed_tokens.weight", norm: "model.norm.weight", head: "lm_head.weight", layer: hfLayer,
		window: windowAll,
	},
	{
		name: "qwen2", architectures: []string{"Qwen2ForCausalLM"},
		embed: "model.embed_tokens.weight", norm: "model.norm.weight", head: "lm_head.weight", layer: hfLayer,
		qkvBias: option{def: true}, window: windowFromMark,
	},
	{
		name: "qwen3", architectures: []string{"Qwen3ForCausalLM"},
		embed: "model.embed_tokens.weight", norm: "model.norm.weight", head: "lm_head.weight", layer: withQKNorm(hfLayer),
		headDim: 128, qkNorm: true, qkvBias: option{key: "attention_bias"}, oBias: option{key: "attention_bias"}, window: windowFromMark,
	},
	{
		name: "internlm2", architectures: []string{"InternLM2ForCausalLM"},
		embed: "model.tok_embeddings.weight", norm: "model.norm.weight", head: "output.weight",
		layer: LayerNames{
			AttnNorm: "model.layers.%d.attention_norm.weight",
			QKV:      "model.layers.%d.attention.wqkv.weight",
			O:        "model.layers.%d.attention.wo.weight",
			MLPNorm:  "model.layers.%d.ffn_norm.weight",
			Gate:     "model.layers.%d.feed_forward.w1.weight",
			Up:       "model.layers.%d.feed_forward.w3.weight",
			Down:     "model.layers.%d.feed_forward.w2.weight",
		},
		qkvBias: option{key: "bias", def: true}, oBias: option{key: "bias", def: true},
	},
}

func withQKNorm(n LayerNames) LayerNames {
	n.QNorm = "model.layers.%d.self_attn.q_norm.weight"
	n.KNorm = "model.layers.%d.self_attn.k_norm.weight"
	return n
}

// findFamily returns the family of an architecture, or of a model_type where config.json names no architecture.
func findFamily(architecture, modelType string) (*family, error) {
	var known []string
	for i := range families {
		f := &families[i]
		if slices.Contains(f.architectures, architecture) || architecture == "" && f.name == modelType {
			return f, nil
		}
		known = append(known, f.architectures[0])
	}
	key, value := "architectures", architecture
	if architecture == "" {
		key, value = "model_type", modelType
	}
	return nil, fmt.Errorf("%s = %q is not a known architecture; known: %s", key, value, strings.Join(known, ", "))
}

func (c *Config) family() *family {
	f, err := findFamily("", c.Family)
	if err != nil {
		panic(err) // only parseConfig makes a Config, from this very table
	}
	return f
}

// EmbedName names the embedding, [vocab, hidden].
func (c *Config) EmbedName() string { return c.family().embed }

// NormName names the final norm's weight, [hidden].
func (c *Config) NormName() string { return c.family().norm }

// HeadName names the output matrix, [vocab, hidden]: the embedding's name where the two are tied.
func (c *Config) HeadName() string {
	if c.TieEmbeddings {
		return c.family().embed
	}
	return c.family().head
}

// LayerNames names the tensors of layer i, from 0.
func (c *Config) LayerNames(i int) LayerNames {
	n := c.family().layer
	for _, s := range []*string{&n.AttnNorm, &n.QKV, &n.Q, &n.K, &n.V, &n.O, &n.QNorm, &n.KNorm, &n.MLPNorm, &n.Gate, &n.Up, &n.Down} {
		if *s != "" {
			*s = fmt.Sprintf(*s, i)
		}
	}
	return n
}

// BiasName names the bias that goes with a weight.
func BiasName(weight string) string { return strings.TrimSuffix(weight, ".weight") + ".bias" }

// want is a tensor an architecture needs.
type want struct {
	name  string
	shape []int
}

// wants lists every tensor the model needs, with its shape.
func (c *Config) wants() []want {
	list := []want{{c.EmbedName(), []int{c.Vocab, c.Hidden}}, {c.NormName(), []int{c.Hidden}}}
	if !c.TieEmbeddings {
		list = append(list, want{c.HeadName(), []int{c.Vocab, c.Hidden}})
	}
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	matrix := func(name string, out, in int, bias bool) {
		if name == "" {
			return
		}
		list = append(list, want{name, []int{out, in}})
		if bias {
			list = append(list, want{BiasName(name), []int{out}})
		}
	}
	vector := func(name string, n int) {
		if name != "" {
			list = append(list, want{name, []int{n}})
		}
	}
	for i := range c.Layers {
		n := c.LayerNames(i)
		vector(n.AttnNorm, c.Hidden)
		matrix(n.QKV, q+2*kv, c.Hidden, c.QKVBias)
		matrix(n.Q, q, c.Hidden, c.QKVBias)
		matrix(n.K, kv, c.Hidden, c.QKVBias)
		matrix(n.V, kv, c.Hidden, c.QKVBias)
		vector(n.QNorm, c.HeadDim)
		vector(n.KNorm, c.HeadDim)
		matrix(n.O, c.Hidden, q, c.OBias)
		vector(n.MLPNorm, c.Hidden)
		matrix(n.Gate, c.Intermediate, c.Hidden, c.MLPBias)
		matrix(n.Up, c.Intermediate, c.Hidden, c.MLPBias)
		matrix(n.Down, c.Hidden, c.Intermediate, c.MLPBias)
	}
	return list
}
