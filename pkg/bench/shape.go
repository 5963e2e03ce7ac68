package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// shape is the sizes of a model of the Llama family.
type shape struct {
	vocab, hidden, intermediate, layers, heads, kvHeads, headDim, positions int
	theta                                                                   float64
	tied                                                                    bool
}

// shapes are those of models that people know, and a tiny one for trying things out.
var shapes = map[string]shape{
	"tiny":       {vocab: 512, hidden: 64, intermediate: 160, layers: 2, heads: 4, kvHeads: 2, headDim: 16, positions: 2048, theta: 1e4},
	"llama-160m": {vocab: 32000, hidden: 768, intermediate: 3072, layers: 12, heads: 12, kvHeads: 12, headDim: 64, positions: 2048, theta: 1e4},
	// Llama-3.2-1B without the stretching of its rotations.
	"llama-1b": {vocab: 128256, hidden: 2048, intermediate: 8192, layers: 16, heads: 32, kvHeads: 8, headDim: 64, positions: 8192, theta: 5e5,
		tied: true},
	// Llama-3-8B, as Llama-3.1-8B without the stretching of its rotations.
	"llama-3-8b": {vocab: 128256, hidden: 4096, intermediate: 14336, layers: 32, heads: 32, kvHeads: 8, headDim: 128, positions: 8192, theta: 5e5},
	"llama-7b":   {vocab: 32000, hidden: 4096, intermediate: 11008, layers: 32, heads: 32, kvHeads: 32, headDim: 128, positions: 4096, theta: 1e4},
}

// Shapes names the shapes there are, sorted.
func Shapes() []string { return slices.Sorted(maps.Keys(shapes)) }

// formats gives the dtypes of random weights their names in the files: those that a model can be loaded in.
var formats = map[string]string{"f32": "F32", "f16": "F16", "bf16": "BF16"}

// DTypes names the dtypes that random weights can have, sorted.
func DTypes() []string { return slices.Sorted(maps.Keys(formats)) }

func findShape(name, dtype string) (shape, error) {
	s, ok := shapes[name]
	if !ok {
		return s, fmt.Errorf("there is no shape %q; there are %s", name, strings.Join(Shapes(), ", "))
	}
	if formats[dtype] == "" {
		return s, fmt.Errorf("random weights cannot be %q; they can be %s", dtype, strings.Join(DTypes(), ", "))
	}
	return s, nil
}

// config is the config.json of a model of this shape.
func (s shape) config(dtype string) ([]byte, error) {
	return json.MarshalIndent(map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
		"vocab_size": s.vocab, "hidden_size": s.hidden, "intermediate_size": s.intermediate, "num_hidden_layers": s.layers,
		"num_attention_heads": s.heads, "num_key_value_heads": s.kvHeads, "head_dim": s.headDim, "max_position_embeddings": s.positions,
		"rope_theta": s.theta, "tie_word_embeddings": s.tied, "bos_token_id": 1, "eos_token_id": 2,
		"torch_dtype": map[string]string{"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[dtype],
	}, "", "  ")
}

// tensor is one of a model's; one with one dimension is a norm's weight.
type tensor struct {
	name string
	dims []int
}

func (t tensor) values() int64 {
	n := int64(1)
	for _, d := range t.dims {
		n *= int64(d)
	}
	return n
}

// tensors lists what a model of this shape consists of.
func (s shape) tensors() []tensor {
	out := []tensor{{"model.embed_tokens.weight", []int{s.vocab, s.hidden}}, {"model.norm.weight", []int{s.hidden}}}
	if !s.tied {
		out = append(out, tensor{"lm_head.weight", []int{s.vocab, s.hidden}})
	}
	q, kv := s.heads*s.headDim, s.kvHeads*s.headDim
	for i := range s.layers {
		for _, t := range []tensor{
			{"input_layernorm", []int{s.hidden}}, {"post_attention_layernorm", []int{s.hidden}},
			{"self_attn.q_proj", []int{q, s.hidden}}, {"self_attn.k_proj", []int{kv, s.hidden}},
			{"self_attn.v_proj", []int{kv, s.hidden}}, {"self_attn.o_proj", []int{s.hidden, q}},
			{"mlp.gate_proj", []int{s.intermediate, s.hidden}}, {"mlp.up_proj", []int{s.intermediate, s.hidden}},
			{"mlp.down_proj", []int{s.hidden, s.intermediate}},
		} {
			out = append(out, tensor{fmt.Sprintf("model.layers.%d.%s.weight", i, t.name), t.dims})
		}
	}
	return out
}
