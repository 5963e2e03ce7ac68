package quant

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sextant/internal/halves"
	"sextant/kernels"
	"sextant/pkg/calib"
	"sextant/pkg/checkpoint"
	"sextant/pkg/qformat"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// toy is a random model of two blocks.
type toy struct {
	family       string // "llama", "qwen2", "internlm2"
	kvHeads      int
	dtype        string
	hidden, wide int
	tied         bool
}

const (
	toyHeads = 4
	toyVocab = 50
)

var toys = map[string]toy{
	"llama":     {family: "llama", kvHeads: 4, dtype: "F32", hidden: 64, wide: 96},
	"bf16":      {family: "llama", kvHeads: 4, dtype: "BF16", hidden: 64, wide: 96, tied: true},
	"gqa":       {family: "qwen2", kvHeads: 2, dtype: "BF16", hidden: 64, wide: 128},
	"biases":    {family: "qwen2", kvHeads: 4, dtype: "F32", hidden: 64, wide: 96},
	"wide":      {family: "llama", kvHeads: 2, dtype: "BF16", hidden: 256, wide: 384},
	"internlm2": {family: "internlm2", kvHeads: 2, dtype: "F16", hidden: 64, wide: 96},
}

var architectures = map[string]string{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "internlm2": "InternLM2ForCausalLM"}

// config is its config.json.
func (y toy) config() map[string]any {
	dtypes := map[string]string{"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
	return map[string]any{"architectures": []string{architectures[y.family]}, "model_type": y.family, "vocab_size": toyVocab,
		"hidden_size": y.hidden, "intermediate_size": y.wide, "num_hidden_layers": 2, "num_attention_heads": toyHeads,
		"num_key_value_heads": y.kvHeads, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
		"tie_word_embeddings": y.tied, "torch_dtype": dtypes[y.dtype], "bias": false}
}

// write makes the model's directory: matrices with outliers in some inputs, norms of various sizes.
func (y toy) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(y.config())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"config.json": data, "generation_config.json": []byte(`{"eos_token_id": 2}`), "tokenizer.model": []byte("toy")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	d := rand.New(rand.NewPCG(7, uint64(len(y.family)+y.kvHeads)))
	var tensors []qformat.Tensor
	add := func(name string, sigma, mean float64, shape ...int) {
		n := 1
		for _, s := range shape {
			n *= s
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(mean + sigma*d.NormFloat64())
		}
		tensors = append(tensors, qformat.Tensor{Name: name, DType: y.dtype, Shape: shape, Data: halves.Narrow(nil, y.dtype, values)})
	}
	norm := func(name string) {
		values := make([]float32, y.hidden)
		for i := range values {
			values[i] = float32(math.Exp(0.8 * d.NormFloat64()))
		}
		tensors = append(tensors, qformat.Tensor{Name: name, DType: y.dtype, Shape: []int{y.hidden}, Data: halves.Narrow(nil, y.dtype, values)})
	}
	head := y.hidden / toyHeads
	q, kv := y.hidden, y.kvHeads*head
	sigma := 1 / math.Sqrt(float64(y.hidden))
	if y.family == "internlm2" {
		add("model.tok_embeddings.weight", 1, 0, toyVocab, y.hidden)
		add("output.weight", sigma, 0, toyVocab, y.hidden)
	} else {
		add("model.embed_tokens.weight", 1, 0, toyVocab, y.hidden)
		if !y.tied {
			add("lm_head.weight", sigma, 0, toyVocab, y.hidden)
		}
	}
	norm("model.norm.weight")
	for i := range 2 {
		at := fmt.Sprintf("model.layers.%d.", i)
		if y.family == "internlm2" {
			norm(at + "attention_norm.weight")
			norm(at + "ffn_norm.weight")
			add(at+"attention.wqkv.weight", sigma, 0, q+2*kv, y.hidden)
			add(at+"attention.wo.weight", sigma, 0, y.hidden, q)
			add(at+"feed_forward.w1.weight", sigma, 0, y.wide, y.hidden)
			add(at+"feed_forward.w3.weight", sigma, 0, y.wide, y.hidden)
			add(at+"feed_forward.w2.weight", sigma, 0, y.hidden, y.wide)
			continue
		}
		norm(at + "input_layernorm.weight")
		norm(at + "post_attention_layernorm.weight")
		for _, m := range []struct {
			name string
			rows int
		}{{"q", q}, {"k", kv}, {"v", kv}} {
			add(at+"self_attn."+m.name+"_proj.weight", sigma, 0, m.rows, y.hidden)
			if y.family == "qwen2" {
				add(at+"self_attn."+m.name+"_proj.bias", 0.1, 0, m.rows)
			}
		}
		add(at+"self_attn.o_proj.weight", sigma, 0, y.hidden, q)
		add(at+"mlp.gate_proj.weight", sigma, 0, y.wide, y.hidden)
		add(at+"mlp.up_proj.weight", sigma, 0, y.wide, y.hidden)
		add(at+"mlp.down_proj.weight", sigma, 0, y.hidden, y.wide)
	}
	if err := checkpoint.WriteShard(filepath.Join(dir, "model.safetensors"), tensors); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openCheckpoint(t testing.TB, dir string) *checkpoint.Checkpoint {
	t.Helper()
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ck.Close() })
	return ck
}

func openDevice(t testing.TB, threads int) *kernels.Device {
	t.Helper()
	dev, err := kernels.Open("cpu", kernels.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return dev
}

// toySample is random text: 12 sequences of 16 tokens.
func toySample() *calib.Tokens {
	d := rand.New(rand.NewPCG(3, 4))
	s := &calib.Tokens{SeqLen: 16, Digest: "sample"}
	for range 12 * 16 {
		s.IDs = append(s.IDs, int32(d.IntN(toyVocab)))
	}
	return s
}

// recipe is one with its defaults.
func recipe(method string, set func(q *spec.Quant)) spec.Quant {
	q := spec.Quant{Method: method, Calib: &spec.Calib{Name: "pileval"}}
	if method != "fp8" && method != "smoothquant" {
		q.Group = 32
	}
	if set != nil {
		set(&q)
	}
	return q.WithDefaults()
}

// toyJob is a job on a toy, in a directory of its own.
func toyJob(t testing.TB, ck *checkpoint.Checkpoint, q spec.Quant) Job {
	t.Helper()
	dir := t.TempDir()
	return Job{Checkpoint: ck, Model: "toy", Recipe: q, Sample: toySample(), Device: openDevice(t, 2), Fingerprint: "f-" + q.Name,
		Out: filepath.Join(dir, "variants", "toy-"+q.Name), Work: filepath.Join(dir, "variants", ".toy-"+q.Name+".work")}
}

func mustRun(t testing.TB, job Job) result.Manifest {
	t.Helper()
	m, err := Run(context.Background(), job)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(job.Work); err == nil {
		t.Errorf("the work directory is still there")
	}
	return m
}

// filesOf are the bytes of the files of a directory, without the manifest: it has seconds in it.
func filesOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "manifest.json" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

func sameFiles(t testing.TB, got, want map[string]string) {
	t.Helper()
	if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) {
		t.Fatalf("files %v, want %v", g, w)
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s differs", name)
		}
	}
}
