package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rawTensor is a tensor to write; its data is a repeated byte unless given.
type rawTensor struct {
	name, dtype string
	shape       []int
	fill        byte
}

func (t rawTensor) bytes() []byte {
	n := dtypeSizes[t.dtype]
	for _, d := range t.shape {
		n *= d
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = t.fill
	}
	return b
}

// safetensorsFile renders tensors as a file.
func safetensorsFile(tensors []rawTensor) []byte {
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for _, t := range tensors {
		b := t.bytes()
		header[t.name] = map[string]any{"dtype": t.dtype, "shape": t.shape, "data_offsets": []int{len(data), len(data) + len(b)}}
		data = append(data, b...)
	}
	h, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return withHeader(string(h), data)
}

// withHeader puts a header of any kind before data.
func withHeader(header string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	out = append(out, header...)
	return append(out, data...)
}

const tinyConfig = `{"architectures": ["LlamaForCausalLM"], "vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2}`

// edit parses base, sets keys (nil deletes) and renders it again.
func edit(t testing.TB, base string, set map[string]any) []byte {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(base), &m); err != nil {
		t.Fatal(err)
	}
	for k, v := range set {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tinyTensors are the tensors that fit tinyConfig.
func tinyTensors(t testing.TB) []rawTensor {
	t.Helper()
	c, err := parseConfig([]byte(tinyConfig), nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []rawTensor
	for i, w := range c.wants() {
		out = append(out, rawTensor{name: w.name, dtype: "F32", shape: w.shape, fill: byte(i)})
	}
	return out
}

// writeModel makes a model directory of files.
func writeModel(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func tinyModel(t testing.TB, tensors []rawTensor) string {
	return writeModel(t, map[string][]byte{"config.json": []byte(tinyConfig), "model.safetensors": safetensorsFile(tensors)})
}

func mustOpen(t testing.TB, dir string) *Checkpoint {
	t.Helper()
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// wantError checks that err says every one of parts.
func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error does not say %q:\n%v", p, err)
		}
	}
}
