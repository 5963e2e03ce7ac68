package checkpoint

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

const models = "../model/testdata"

// TestConfigReleases holds the two forms of config.json against each other: transformers 5's and 4's.
func TestConfigReleases(t *testing.T) {
	old, err := filepath.Glob(filepath.Join(models, "*", "config.v4.json"))
	if err != nil || len(old) < 8 {
		t.Fatalf("%d models in %s, %v", len(old), models, err)
	}
	for _, path := range old {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			v4, v5 := readConfig(t, path), readConfig(t, filepath.Join(filepath.Dir(path), "config.json"))
			if !reflect.DeepEqual(v4, v5) {
				t.Errorf("as 4 writes it:\n%+v\nas 5 writes it:\n%+v", v4, v5)
			}
		})
	}
}

func readConfig(t *testing.T, path string) *Config {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseConfig(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigValues(t *testing.T) {
	base := Config{Vocab: 64, Hidden: 32, Intermediate: 40, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, MaxPositions: 64, NormEps: 1e-5,
		Rope: RopeConfig{Type: "default", Theta: 10000}, Windows: []int{0, 0}, BOS: 1, EOS: []int{2}, DType: "bfloat16"}
	for _, c := range []struct {
		model  string
		change func(*Config)
	}{
		{"llama", func(c *Config) { c.Family, c.DType = "llama", "float32" }},
		{"llama-linear", func(c *Config) {
			c.Family, c.MaxPositions = "llama", 160
			c.Rope = RopeConfig{Type: "linear", Theta: 10000, Factor: 2.5}
		}},
		{"llama-dynamic", func(c *Config) {
			c.Family, c.MaxPositions = "llama", 48
			c.Rope = RopeConfig{Type: "dynamic", Theta: 10000, Factor: 2, OriginalMax: 24}
		}},
		{"llama-yarn", func(c *Config) {
			c.Family = "llama"
			c.Rope = RopeConfig{Type: "yarn", Theta: 6, Factor: 4, OriginalMax: 16, BetaFast: 1.5, BetaSlow: 0.5, AttentionFactor: 0.1*math.Log(4) + 1}
		}},
		{"llama-yarn-factor", func(c *Config) {
			c.Family, c.MaxPositions = "llama", 80
			c.Rope = RopeConfig{Type: "yarn", Theta: 5, Factor: 8, OriginalMax: 10, BetaFast: 32, BetaSlow: 1, AttentionFactor: 0.8, Untruncated: true}
		}},
		{"llama3", func(c *Config) {
			c.Family, c.TieEmbeddings, c.EOS, c.DType = "llama", true, []int{2, 5}, "float16"
			c.Rope = RopeConfig{Type: "llama3", Theta: 500000, Factor: 8, OriginalMax: 16, LowFreqFactor: 1, HighFreqFactor: 4}
		}},
		{"llama-bias", func(c *Config) {
			c.Family, c.HeadDim, c.KVHeads, c.QKVBias, c.OBias, c.MLPBias = "llama", 12, 1, true, true, true
		}},
		{"mistral", func(c *Config) { c.Family, c.HeadDim, c.Windows = "mistral", 16, []int{6, 6} }},
		{"mistral-full", func(c *Config) { c.Family, c.HeadDim, c.Rope.Theta = "mistral", 16, 1e6 }},
		{"qwen2", func(c *Config) {
			c.Family, c.Layers, c.Windows, c.QKVBias, c.TieEmbeddings, c.Rope.Theta = "qwen2", 3, []int{0, 5, 5}, true, true, 1e6
		}},
		{"qwen3", func(c *Config) { c.Family, c.HeadDim, c.QKNorm, c.Rope.Theta = "qwen3", 16, true, 1e6 }},
		{"internlm2", func(c *Config) { c.Family = "internlm2" }},
		{"internlm2-bias", func(c *Config) {
			c.Family, c.QKVBias, c.OBias, c.MaxPositions = "internlm2", true, true, 72
			c.Rope = RopeConfig{Type: "dynamic", Theta: 1e6, Factor: 3, OriginalMax: 24}
		}},
	} {
		t.Run(c.model, func(t *testing.T) {
			want := base
			c.change(&want)
			if got := readConfig(t, filepath.Join(models, c.model, "config.json")); !reflect.DeepEqual(*got, want) {
				t.Errorf("got\n%+v\nwant\n%+v", *got, want)
			}
		})
	}
}

// TestConfigOptions holds single keys: what an edit of the tiny Llama changes.
func TestConfigOptions(t *testing.T) {
	mistral := map[string]any{"architectures": []string{"MistralForCausalLM"}}
	for _, c := range []struct {
		name  string
		set   map[string]any
		check func(*Config) bool
	}{
		{"head_dim by division", nil, func(c *Config) bool { return c.HeadDim == 2 }},
		{"no kv heads", map[string]any{"num_key_value_heads": nil}, func(c *Config) bool { return c.KVHeads == 4 }},
		{"model_type alone", map[string]any{"architectures": nil, "model_type": "qwen2"}, func(c *Config) bool { return c.Family == "qwen2" && c.QKVBias && !c.OBias }},
		{"qwen3's head_dim", map[string]any{"architectures": []string{"Qwen3ForCausalLM"}}, func(c *Config) bool { return c.HeadDim == 128 && c.QKNorm }},
		{"internlm2's bias", map[string]any{"architectures": []string{"InternLM2ForCausalLM"}}, func(c *Config) bool { return c.QKVBias && c.OBias && !c.MLPBias }},
		{"mistral without the key", mistral, func(c *Config) bool { return c.Windows[0] == 4096 && c.Windows[1] == 4096 }},
		{"no bos, no eos", map[string]any{"bos_token_id": nil, "eos_token_id": nil}, func(c *Config) bool { return c.BOS == -1 && c.EOS == nil }},
		{"floats that are whole", map[string]any{"hidden_size": 16.0, "rope_theta": 1e6}, func(c *Config) bool { return c.Hidden == 16 && c.Rope.Theta == 1e6 }},
		{"swish", map[string]any{"hidden_act": "swish"}, func(c *Config) bool { return true }},
		{"experts none", map[string]any{"num_experts": 0}, func(c *Config) bool { return true }},
		{"layer_types decide", map[string]any{"architectures": []string{"Qwen3ForCausalLM"}, "use_sliding_window": true, "sliding_window": 7,
			"layer_types": []string{"sliding_attention", "full_attention"}}, func(c *Config) bool { return c.Windows[0] == 7 && c.Windows[1] == 0 }},
		{"mark beyond the layers", map[string]any{"architectures": []string{"Qwen2ForCausalLM"}, "use_sliding_window": true, "sliding_window": 7},
			func(c *Config) bool { return c.Windows[0] == 0 && c.Windows[1] == 0 }},
		{"yarn mscale", map[string]any{"rope_scaling": map[string]any{"type": "yarn", "factor": 4, "mscale": 1, "mscale_all_dim": 2}},
			func(c *Config) bool {
				return math.Abs(c.Rope.AttentionFactor-(0.1*math.Log(4)+1)/(0.2*math.Log(4)+1)) < 1e-15 && c.MaxPositions == 128
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseConfig(edit(t, tinyConfig, c.set), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !c.check(got) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestGenerationConfig(t *testing.T) {
	for _, c := range []struct {
		generation string
		want       []int
	}{
		{`{"eos_token_id": [7, 8]}`, []int{7, 8}}, {`{"eos_token_id": 9}`, []int{9}}, {`{"temperature": 0.6}`, []int{2}}, {`{"eos_token_id": null}`, []int{2}},
	} {
		got, err := parseConfig([]byte(tinyConfig), []byte(c.generation))
		if err != nil || !reflect.DeepEqual(got.EOS, c.want) {
			t.Errorf("%s: EOS %v, %v; want %v", c.generation, got, err, c.want)
		}
	}
	_, err := parseConfig([]byte(tinyConfig), []byte(`{"eos_token_id": "x"}`))
	wantError(t, err, "generation_config.json", `eos_token_id = "x"`)
}

func TestConfigErrors(t *testing.T) {
	rope := func(kv ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return map[string]any{"rope_scaling": m}
	}
	qwen := func(kv ...any) map[string]any {
		m := rope(kv...)["rope_scaling"].(map[string]any)
		m["architectures"] = []string{"Qwen2ForCausalLM"}
		return m
	}
	for _, c := range []struct {
		name string
		set  map[string]any
		want []string
	}{
		{"unknown architecture", map[string]any{"architectures": []string{"GPT2LMHeadModel"}},
			[]string{`architectures = "GPT2LMHeadModel"`, "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, InternLM2ForCausalLM"}},
		{"no architecture", map[string]any{"architectures": nil, "model_type": "gpt2"}, []string{`model_type = "gpt2"`, "known: "}},
		{"two at once", map[string]any{"vocab_size": nil, "hidden_act": "gelu"}, []string{"2 errors", "vocab_size is missing", `hidden_act = "gelu"`}},
		{"wrong type", map[string]any{"hidden_size": "big"}, []string{`hidden_size = "big": want a number`}},
		{"fraction", map[string]any{"hidden_size": 8.5}, []string{"hidden_size = 8.5: want a whole number"}},
		{"zero layers", map[string]any{"num_hidden_layers": 0}, []string{"num_hidden_layers = 0"}},
		{"absurd layers", map[string]any{"num_hidden_layers": 1000000}, []string{"num_hidden_layers = 1000000: want at most 4096"}},
		{"absurd size", map[string]any{"vocab_size": 1e15}, []string{"vocab_size = 1000000000000000"}},
		{"kv heads", map[string]any{"num_key_value_heads": 3}, []string{"num_key_value_heads = 3: does not divide num_attention_heads = 4"}},
		{"heads", map[string]any{"num_attention_heads": 3, "num_key_value_heads": 3}, []string{"num_attention_heads = 3: does not divide hidden_size = 8"}},
		{"odd head_dim", map[string]any{"head_dim": 3}, []string{"head_dim = 3: want an even size"}},
		{"experts", map[string]any{"num_local_experts": 8}, []string{"num_local_experts = 8: mixtures of experts"}},
		{"quantized", map[string]any{"quantization_config": map[string]any{"quant_method": "awq"}}, []string{`quantization_config: bits or group_size is missing`}},
		{"partial rotation", map[string]any{"partial_rotary_factor": 0.5}, []string{"partial_rotary_factor = 0.5"}},
		{"eps", map[string]any{"rms_norm_eps": -1}, []string{"rms_norm_eps = -1"}},
		{"eos", map[string]any{"eos_token_id": "x"}, []string{`eos_token_id = "x": want a token id`}},
		{"rope type", rope("rope_type", "longrope", "factor", 2), []string{`rope_scaling.rope_type = "longrope" is not supported; supported: default, linear`}},
		{"rope factor", rope("type", "linear"), []string{`rope_scaling.factor = (absent): rope type "linear" needs`}},
		{"rope factor small", rope("type", "yarn", "factor", 0.5), []string{"rope_scaling.factor = 0.5"}},
		{"rope theta", rope("rope_theta", -1), []string{"rope_scaling.rope_theta = -1"}},
		{"rope list", map[string]any{"rope_parameters": []int{1}}, []string{"rope_parameters = [1]: want an object"}},
		{"rope by layer", rope("full_attention", map[string]any{}), []string{"rope_scaling.full_attention"}},
		{"llama3 without bounds", rope("rope_type", "llama3", "factor", 8), []string{"low_freq_factor"}},
		{"dynamic with tiny heads", rope("type", "dynamic", "factor", 2), []string{"head_dim of at least 4"}},
		{"layer_types for llama", map[string]any{"layer_types": []string{"sliding_attention", "full_attention"}}, []string{"layer_types[0]", "no sliding window"}},
		{"layer_types short", map[string]any{"layer_types": []string{"full_attention"}}, []string{"layer_types: has 1 entries", "2 layers"}},
		{"layer_types unknown", map[string]any{"layer_types": []string{"chunked_attention", "full_attention"}}, []string{`"chunked_attention" is not supported`}},
		{"mistral mixed", map[string]any{"architectures": []string{"MistralForCausalLM"}, "sliding_window": 4,
			"layer_types": []string{"sliding_attention", "full_attention"}}, []string{"layer_types: disagrees with sliding_window = 4"}},
		{"qwen2 window", qwen("use_sliding_window", true, "sliding_window", 0), []string{"sliding_window = 0"}},
		{"not an object", nil, []string{"want a JSON object"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := []byte("[]")
			if c.set != nil {
				data = edit(t, tinyConfig, c.set)
			}
			_, err := parseConfig(data, nil)
			wantError(t, err, append(c.want, "config.json: ")...)
		})
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(tinyConfig))
	paths, _ := filepath.Glob(filepath.Join(models, "*", "config*.json"))
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data, nil)
		if err != nil {
			return
		}
		if c.Heads%c.KVHeads != 0 || c.HeadDim%2 != 0 || len(c.Windows) != c.Layers || c.MaxPositions < 1 || c.Vocab < 1 || c.Intermediate < 1 {
			t.Fatalf("accepted %+v", c)
		}
		for _, v := range []float64{c.NormEps, c.Rope.Theta, c.Rope.Factor, c.Rope.AttentionFactor} {
			if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
				t.Fatalf("accepted %+v", c)
			}
		}
		for _, w := range c.wants() {
			for _, n := range w.shape {
				if n < 1 {
					t.Fatalf("tensor %q %v of %+v", w.name, w.shape, c)
				}
			}
		}
	})
}
