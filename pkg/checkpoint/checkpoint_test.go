package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	tensors := tinyTensors(t)
	extra := append(tensors, rawTensor{name: "model.layers.0.self_attn.rotary_emb.inv_freq", dtype: "F32", shape: []int{1}},
		rawTensor{name: "model.embed_positions", dtype: "I64", shape: []int{3}})
	c := mustOpen(t, tinyModel(t, extra))
	if c.Config().Family != "llama" {
		t.Errorf("family %q", c.Config().Family)
	}
	for _, w := range tensors {
		got, err := c.Tensor(w.name)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != w.name || got.DType != "F32" || fmt.Sprint(got.Shape) != fmt.Sprint(w.shape) || !bytes.Equal(got.Data, w.bytes()) {
			t.Errorf("tensor %q is not what was written", w.name)
		}
	}
	_, err := c.Tensor("nothing")
	wantError(t, err, `no tensor "nothing"`)
}

// sharded splits tensors over two files with an index.
func sharded(t *testing.T, tensors []rawTensor) map[string][]byte {
	t.Helper()
	files, weightMap := map[string][]byte{"config.json": []byte(tinyConfig)}, map[string]string{}
	half := len(tensors) / 2
	for i, part := range [][]rawTensor{tensors[:half], tensors[half:]} {
		name := fmt.Sprintf("model-0000%d-of-00002.safetensors", i+1)
		files[name] = safetensorsFile(part)
		for _, p := range part {
			weightMap[p.name] = name
		}
	}
	index, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": weightMap})
	if err != nil {
		t.Fatal(err)
	}
	files[indexFile] = index
	return files
}

func TestOpenSharded(t *testing.T) {
	tensors := tinyTensors(t)
	c := mustOpen(t, writeModel(t, sharded(t, tensors)))
	for _, w := range tensors {
		if got, err := c.Tensor(w.name); err != nil || !bytes.Equal(got.Data, w.bytes()) {
			t.Errorf("tensor %q: %v", w.name, err)
		}
	}
	one := mustOpen(t, tinyModel(t, tensors))
	if a, b := fingerprint(t, c), fingerprint(t, one); a != b {
		t.Errorf("sharding changed the fingerprint: %s, %s", a, b)
	}
}

func TestOpenShardedErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(files map[string][]byte)
		want   []string
	}{
		{"missing shard", func(f map[string][]byte) { delete(f, "model-00002-of-00002.safetensors") },
			[]string{"1 of 2 files", "model-00002-of-00002.safetensors (11 tensors)"}},
		{"tensor not in its shard", func(f map[string][]byte) {
			f["model-00001-of-00002.safetensors"] = f["model-00002-of-00002.safetensors"]
		}, []string{"model-00001-of-00002.safetensors: no tensor", "says is here"}},
		{"truncated shard", func(f map[string][]byte) {
			f["model-00002-of-00002.safetensors"] = f["model-00002-of-00002.safetensors"][:2000]
		}, []string{"model-00002-of-00002.safetensors: tensor", "truncated"}},
		{"escaping", func(f map[string][]byte) { f[indexFile] = []byte(`{"weight_map": {"a": "../x.safetensors"}}`) },
			[]string{indexFile, `weight_map["a"] = "../x.safetensors"`}},
		{"empty index", func(f map[string][]byte) { f[indexFile] = []byte(`{}`) }, []string{"weight_map is missing or empty"}},
		{"bad index", func(f map[string][]byte) { f[indexFile] = []byte(`{`) }, []string{indexFile, "unexpected end"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := sharded(t, tinyTensors(t))
			c.change(files)
			_, err := Open(writeModel(t, files))
			wantError(t, err, c.want...)
		})
	}
}

func TestOpenNotAModel(t *testing.T) {
	config := []byte(tinyConfig)
	pipe, dangling := writeModel(t, map[string][]byte{"config.json": config}), writeModel(t, map[string][]byte{"config.json": config})
	if err := errors.Join(unix.Mkfifo(pipe+"/model.safetensors", 0o600), os.Symlink("nowhere/model.safetensors", dangling+"/model.safetensors")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		dir  string
		want []string
	}{
		{"no such store", "model_weights:s3:///key/", []string{"want s3://BUCKET/KEY/ or PROFILE:s3://BUCKET/KEY/"}},
		{"nowhere", "/nonexistent/model", []string{"no such file"}},
		{"empty", t.TempDir(), []string{"no config.json", "supported:"}},
		{"pth", writeModel(t, map[string][]byte{"consolidated.00.pth": {}}), []string{"no config.json", "consolidated.00.pth", "need params.json", "supported:"}},
		{"params", writeModel(t, map[string][]byte{"params.json": {}}), []string{"no consolidated.00.pth beside params.json", "supported:"}},
		{"bin", writeModel(t, map[string][]byte{"config.json": config, "pytorch_model.bin": {}}), []string{"pytorch_model.bin: is not a file of torch.save"}},
		{"bin shards", writeModel(t, map[string][]byte{"config.json": config, "pytorch_model-00001-of-00002.bin": {}}),
			[]string{"no model.safetensors", "need pytorch_model.bin.index.json", "supported:"}},
		{"no weights", writeModel(t, map[string][]byte{"config.json": config}), []string{"no model.safetensors", "supported:"}},
		{"bad config", writeModel(t, map[string][]byte{"config.json": []byte("{")}), []string{"config.json: want a JSON object"}},
		{"a file", filepath.Join(writeModel(t, map[string][]byte{"f": {}}), "f"), []string{"is a file"}},
		{"a pipe", pipe, []string{"model.safetensors: is not a regular file"}},
		{"a dangling link", dangling, []string{"model.safetensors: stat ", "no such file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(c.dir)
			wantError(t, err, c.want...)
		})
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func([]rawTensor) []rawTensor
		want   []string
	}{
		{"missing", func(ts []rawTensor) []rawTensor { return ts[1:] }, []string{`tensor "model.embed_tokens.weight" [10 8] is missing`}},
		{"misshapen", func(ts []rawTensor) []rawTensor { ts[0].shape = []int{11, 8}; return ts },
			[]string{`"model.embed_tokens.weight" has shape [11 8], expected [10 8]`}},
		{"transposed", func(ts []rawTensor) []rawTensor { ts[4].shape = []int{1, 64}; return ts }, []string{"has shape [1 64], expected [8 8]"}},
		{"dtype", func(ts []rawTensor) []rawTensor { ts[0].dtype = "F8_E4M3"; return ts }, []string{"dtype F8_E4M3, which is not supported; supported: F32, F16, BF16"}},
		{"all at once", func(ts []rawTensor) []rawTensor { return nil }, []string{`"model.norm.weight" [8] is missing`, "and 11 more", "(llama)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(tinyModel(t, c.change(tinyTensors(t))))
			wantError(t, err, c.want...)
			if n := strings.Count(err.Error(), "\n"); n > shownErrors+1 {
				t.Errorf("%d lines of errors", n)
			}
		})
	}
}

func TestTied(t *testing.T) {
	open := func(change func([]rawTensor) []rawTensor) error {
		dir := writeModel(t, map[string][]byte{"config.json": edit(t, tinyConfig, map[string]any{"tie_word_embeddings": true}),
			"model.safetensors": safetensorsFile(change(tinyTensors(t)))})
		c, err := Open(dir)
		if err != nil {
			return err
		}
		if c.Config().HeadName() != "model.embed_tokens.weight" {
			t.Errorf("head %q", c.Config().HeadName())
		}
		return c.Close()
	}
	wantError(t, open(func(ts []rawTensor) []rawTensor { return ts }), "tie_word_embeddings = true", `"lm_head.weight" differs`)
	if err := open(func(ts []rawTensor) []rawTensor { ts[2].fill = ts[0].fill; return ts }); err != nil {
		t.Errorf("an equal copy of the embedding: %v", err)
	}
	if err := open(func(ts []rawTensor) []rawTensor { return append(ts[:2], ts[3:]...) }); err != nil {
		t.Errorf("no head: %v", err)
	}
}

func fingerprint(t *testing.T, c *Checkpoint) string {
	t.Helper()
	f, err := c.Fingerprint()
	if err != nil || len(f) != 64 {
		t.Fatalf("fingerprint %q, %v", f, err)
	}
	return f
}

func TestFingerprint(t *testing.T) {
	base := fingerprint(t, mustOpen(t, tinyModel(t, tinyTensors(t))))
	if again := fingerprint(t, mustOpen(t, tinyModel(t, tinyTensors(t)))); again != base {
		t.Errorf("the same model twice: %s, %s", base, again)
	}
	seen := map[string]string{base: "unchanged"}
	differs := func(what, dir string) {
		t.Helper()
		f := fingerprint(t, mustOpen(t, dir))
		if other, ok := seen[f]; ok {
			t.Errorf("%s has the fingerprint of %s", what, other)
		}
		seen[f] = what
	}
	for i := range tinyTensors(t) {
		changed := tinyTensors(t)
		changed[i].fill ^= 0x80
		differs(changed[i].name, tinyModel(t, changed))
	}
	weights := safetensorsFile(tinyTensors(t))
	differs("another epsilon", writeModel(t, map[string][]byte{"config.json": edit(t, tinyConfig, map[string]any{"rms_norm_eps": 1e-6}), "model.safetensors": weights}))
	differs("other ends", writeModel(t, map[string][]byte{"config.json": []byte(tinyConfig), "model.safetensors": weights,
		"generation_config.json": []byte(`{"eos_token_id": [2, 3]}`)}))
	respaced := writeModel(t, map[string][]byte{"config.json": edit(t, tinyConfig, nil), "model.safetensors": weights})
	if f := fingerprint(t, mustOpen(t, respaced)); f != base {
		t.Error("white space and key order changed the fingerprint")
	}
}

// TestSamples holds what the fingerprint sees of a large tensor: its start, middle and end, and not the rest.
func TestSamples(t *testing.T) {
	data := make([]byte, 2_000_000)
	before := bytes.Clone(samples(data))
	for _, c := range []struct {
		at   int
		seen bool
	}{{0, true}, {4095, true}, {4096, false}, {1_000_000, true}, {1_995_903, false}, {1_995_904, true}, {1_999_999, true}} {
		data[c.at] = 1
		if got := !bytes.Equal(samples(data), before); got != c.seen {
			t.Errorf("a change at %d: seen %v, want %v", c.at, got, c.seen)
		}
		data[c.at] = 0
	}
	if n := len(samples(make([]byte, wholeTensor))); n != wholeTensor {
		t.Errorf("a tensor that is not large gives %d bytes", n)
	}
}

func TestCloseTwice(t *testing.T) {
	c, err := Open(tinyModel(t, tinyTensors(t)))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err = c.Fingerprint()
	wantError(t, err, "closed")
}

// TestPocket opens the model that ships with the project.
func TestPocket(t *testing.T) {
	dir := "../../examples/pocket/model"
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	cfg := mustOpen(t, dir).Config()
	if cfg.Family != "llama" || cfg.Vocab != 1024 || cfg.Layers != 6 || cfg.HeadDim != 32 || !cfg.TieEmbeddings || cfg.DType != "bfloat16" {
		t.Errorf("%+v", cfg)
	}
}
