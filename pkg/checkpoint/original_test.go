package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sextant/pkg/pickle/pickletest"
	"sextant/pkg/qformat"
)

// tinyParams fits the tensors of tinyOriginal.
const tinyParams = `{"dim": 8, "n_layers": 1, "n_heads": 4, "n_kv_heads": 2, "vocab_size": -1, "multiple_of": 4, "norm_eps": 1e-5}`

// tinyOriginal are the tensors of a model in so many parts: of each the number of its part is in every byte, but for the norms.
func tinyOriginal(parts int, llama2 bool) [][]pickletest.Tensor {
	const vocab, dim, kv, hidden = 12, 8, 4, 24 // 4 dim 2/3 = 21, raised to a multiple of 4
	var files [][]pickletest.Tensor
	for i := range parts {
		var list []pickletest.Tensor
		add := func(name string, fill int, shape ...int) {
			n := 4
			for _, d := range shape {
				n *= d
			}
			list = append(list, pickletest.Tensor{Name: name, DType: "F32", Shape: shape, Data: bytes.Repeat([]byte{byte(fill)}, n)})
		}
		if llama2 {
			add("tok_embeddings.weight", i, vocab, dim/parts)
		} else {
			add("tok_embeddings.weight", i, vocab/parts, dim)
		}
		add("norm.weight", 7, dim)
		add("output.weight", i, vocab/parts, dim)
		add("layers.0.attention_norm.weight", 7, dim)
		add("layers.0.ffn_norm.weight", 7, dim)
		add("layers.0.attention.wq.weight", i, dim/parts, dim)
		add("layers.0.attention.wk.weight", i, kv/parts, dim)
		add("layers.0.attention.wv.weight", i, kv/parts, dim)
		add("layers.0.attention.wo.weight", i, dim, dim/parts)
		add("layers.0.feed_forward.w1.weight", i, hidden/parts, dim)
		add("layers.0.feed_forward.w2.weight", i, dim, hidden/parts)
		add("layers.0.feed_forward.w3.weight", i, hidden/parts, dim)
		add("layers.0.attention.inner_attention.rope.freqs", 9, 1)
		files = append(files, list)
	}
	return files
}

// originalDir writes parts with params.json.
func originalDir(t testing.TB, params string, parts [][]pickletest.Tensor) string {
	t.Helper()
	files := map[string][]byte{paramsFile: []byte(params)}
	for i, p := range parts {
		files[fmt.Sprintf(partPattern, i)] = pickletest.File(p)
	}
	return writeModel(t, files)
}

func TestOriginalParts(t *testing.T) {
	for _, llama2 := range []bool{false, true} {
		c := mustOpen(t, originalDir(t, tinyParams, tinyOriginal(2, llama2)))
		if got := c.Config(); got.Vocab != 12 || got.Intermediate != 24 || got.Family != "llama" || got.TieEmbeddings || !c.Original() {
			t.Errorf("%+v, as Meta publishes it: %v", got, c.Original())
		}
		n, total := c.Config().LayerNames(0), int64(0)
		for name, want := range map[string]int{n.AttnNorm: 1, n.V: 2, n.Up: 2, n.Q: 0, n.O: 0, n.Down: 0} {
			v, err := c.View(name)
			x, _ := c.Tensor(name)
			for range 2 {
				if kept, err := v.Keep(); err != nil || !bytes.Equal(kept, x.Data) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err != nil || len(v.Pieces()) != want || v.Whole() != (want == 1) {
				t.Errorf("%s: %d pieces, %v", name, len(v.Pieces()), err)
			}
		}
		for name, columns := range map[string]bool{n.O: true, n.Down: true, n.Q: false, n.V: false, n.Gate: false, "lm_head.weight": false,
			"model.embed_tokens.weight": llama2} {
			tensor, err := c.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			rows, width := tensor.Shape[0], tensor.Shape[1]*4
			for at, b := range tensor.Data {
				want := at / width * 2 / rows
				if columns {
					want = at % width * 2 / width
				}
				if int(b) != want {
					t.Fatalf("%s: byte %d of [%d %d] is of part %d, want %d", name, at, rows, width, b, want)
				}
			}
		}
		for _, name := range c.Names() {
			v, err := c.View(name)
			if err != nil {
				t.Fatal(err)
			}
			total += v.Bytes()
		}
		if total != c.WeightBytes() || total != 4*(2*12*8+3*8+2*8*8+2*4*8+3*8*24) {
			t.Errorf("%d bytes, %d in all", total, c.WeightBytes())
		}
	}
}

// TestOriginalOrder holds the order of a head's rows, however many are asked for at once.
func TestOriginalOrder(t *testing.T) {
	m := &merged{rows: 16, width: 2, head: 8}
	for part := range 2 {
		var p []byte
		for r := range 8 {
			p = append(p, byte(part), byte(r))
		}
		m.parts = append(m.parts, p)
	}
	var want []byte
	for part := range 2 {
		for _, r := range []byte{0, 2, 4, 6, 1, 3, 5, 7} {
			want = append(want, byte(part), r)
		}
	}
	v := View{Tensor{Name: "q", Shape: []int{16, 1}}, &Checkpoint{}, m}
	var buf []byte
	for from := range 16 {
		for n := range 17 - from {
			if buf = v.Rows(buf, from, n); !bytes.Equal(buf, want[2*from:2*(from+n)]) {
				t.Fatalf("rows %d to %d: %v", from, from+n, buf)
			}
		}
	}
	if v.Whole() {
		t.Error("is whole")
	}
}

func TestOriginalFaults(t *testing.T) {
	find := func(list []pickletest.Tensor, name string) *pickletest.Tensor {
		return &list[slices.IndexFunc(list, func(x pickletest.Tensor) bool { return x.Name == name })]
	}
	for _, c := range []struct {
		name   string
		params string
		change func(p [][]pickletest.Tensor) [][]pickletest.Tensor
		want   []string
	}{
		{"part missing", tinyParams, func(p [][]pickletest.Tensor) [][]pickletest.Tensor { return p[:1] },
			[]string{`"layers.0.attention.wq.weight": is [4 8] in each of 1 files, expected [8 8] in all`, "is a part missing", "params.json (llama)"}},
		{"tensor missing", tinyParams, func(p [][]pickletest.Tensor) [][]pickletest.Tensor { p[1] = p[1][1:]; return p },
			[]string{`tensor "tok_embeddings.weight": is missing in consolidated.01.pth`}},
		{"other shape", tinyParams, func(p [][]pickletest.Tensor) [][]pickletest.Tensor {
			x := find(p[1], "output.weight")
			x.Shape, x.Data = []int{5, 8}, x.Data[:160]
			return p
		}, []string{`tensor "output.weight": is F32 [6 8] in consolidated.00.pth, but F32 [5 8] in consolidated.01.pth`}},
		{"other model", tinyParams, func(p [][]pickletest.Tensor) [][]pickletest.Tensor {
			copy(find(p[1], "norm.weight").Data, "abcd")
			return p
		}, []string{`tensor "norm.weight": is whole in each of 2 files, but differs between consolidated.00.pth and consolidated.01.pth`}},
		{"extra tensor", tinyParams, func(p [][]pickletest.Tensor) [][]pickletest.Tensor {
			p[0] = append(p[0], pickletest.Tensor{Name: "layers.0.attention.q_norm.weight", DType: "F32", Shape: []int{1}, Data: make([]byte, 4)})
			return p
		}, []string{`tensor "layers.0.attention.q_norm.weight" in consolidated.00.pth is not one of a Llama model`}},
		{"no dim", `{"n_layers": 1, "n_heads": 4}`, nil, []string{"params.json: ", "dim is missing"}},
		{"no embedding", tinyParams, func(p [][]pickletest.Tensor) [][]pickletest.Tensor { p[0] = p[0][1:]; return p },
			[]string{"vocab_size = -1: the weights have no embedding"}},
		{"mixture", strings.Replace(tinyParams, "{", `{"moe": {"num_experts": 8}, `, 1), nil, []string{"params.json: moe = ", "mixtures of experts"}},
		{"images", strings.Replace(tinyParams, "{", `{"vision_chunk_size": 448, `, 1), nil, []string{"models with images are not supported"}},
		{"layers", strings.Replace(tinyParams, `"n_layers": 1`, `"n_layers": 2`, 1), nil,
			[]string{`"layers.1.attention_norm.weight": is missing in consolidated.00.pth`}},
		{"heads", strings.Replace(tinyParams, `"n_heads": 4`, `"n_heads": 3`, 1), nil, []string{"params.json, read as: config.json: ", "num_attention_heads"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			parts := tinyOriginal(2, false)
			if c.change != nil {
				parts = c.change(parts)
			}
			_, err := Open(originalDir(t, c.params, parts))
			wantError(t, err, c.want...)
		})
	}
	dir := originalDir(t, tinyParams, tinyOriginal(3, false)[:2])
	if err := os.Rename(filepath.Join(dir, "consolidated.01.pth"), filepath.Join(dir, "consolidated.02.pth")); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir)
	wantError(t, err, "found consolidated.02.pth, but not consolidated.01.pth")
}

// TestParams holds what is made of the params.json of Meta's releases.
func TestParams(t *testing.T) {
	const vocab = 32000
	for _, c := range []struct {
		name, params                string
		intermediate, positions, kv int
		theta, factor               float64
		bos                         int
	}{
		{"Llama 7B", `{"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-06, "vocab_size": -1}`, 11008, 2048, 32, 1e4, 0, 1},
		{"Llama 65B", `{"dim": 8192, "multiple_of": 256, "n_heads": 64, "n_layers": 80, "norm_eps": 1e-05, "vocab_size": -1}`, 22016, 2048, 64, 1e4, 0, 1},
		{"Llama 2 7B", `{"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-05, "vocab_size": -1}`, 11008, 4096, 32, 1e4, 0, 1},
		{"Llama 2 13B", `{"dim": 5120, "multiple_of": 256, "n_heads": 40, "n_layers": 40, "norm_eps": 1e-05, "vocab_size": -1}`, 13824, 4096, 40, 1e4, 0, 1},
		{"Llama 2 70B", `{"dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3, "n_heads": 64, "n_kv_heads": 8, "n_layers": 80, "norm_eps": 1e-05, "vocab_size": -1}`,
			28672, 4096, 8, 1e4, 0, 1},
		{"Code Llama 7B", `{"dim": 4096, "n_layers": 32, "n_heads": 32, "multiple_of": 256, "ffn_dim_multiplier": 1.0, "norm_eps": 1e-5, "rope_theta": 1000000}`,
			11008, 16384, 32, 1e6, 0, 1},
		{"Llama 3 8B", `{"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "multiple_of": 1024, "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0}`,
			14336, 8192, 8, 5e5, 0, 128000},
		{"Llama 3.1 8B", `{"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "ffn_dim_multiplier": 1.3, "multiple_of": 1024, "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": true}`,
			14336, 131072, 8, 5e5, 8, 128000},
		{"Llama 3.2 1B", `{"dim": 2048, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "ffn_dim_multiplier": 1.5, "multiple_of": 256, "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": true}`,
			8192, 131072, 8, 5e5, 32, 128000},
		{"within, set", `{"model": {"dim": 64, "n_layers": 1, "n_heads": 8, "n_kv_heads": null, "max_seq_len": 77, "hidden_dim": 100, "eos_token_id": [4, 5]}}`,
			100, 77, 8, 1e4, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := []part{{table: map[string]entry{embedOriginal: {name: embedOriginal, dtype: "BF16", shape: []int{vocab, 8}}, headOriginal: {name: headOriginal}}}}
			data, err := fromParams([]byte(c.params), p)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parseConfig(data, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Intermediate != c.intermediate || got.MaxPositions != c.positions || got.KVHeads != c.kv || got.Rope.Theta != c.theta ||
				got.Rope.Factor != c.factor || got.BOS != c.bos || got.DType != "bfloat16" {
				t.Errorf("%+v", got)
			}
			if got.Vocab != vocab && got.Vocab != 128256 {
				t.Errorf("vocabulary %d", got.Vocab)
			}
		})
	}
}

// TestOriginalFingerprint holds that it is of the model: another value, another order of parts or another setting is another one.
func TestOriginalFingerprint(t *testing.T) {
	seen := map[string]string{}
	look := func(what, params string, change func(p [][]pickletest.Tensor)) {
		parts := tinyOriginal(2, false)
		change(parts)
		f := fingerprint(t, mustOpen(t, originalDir(t, params, parts)))
		if seen[f] != "" {
			t.Errorf("%s has the fingerprint of %s", what, seen[f])
		}
		seen[f] = what
	}
	look("the model", tinyParams, func([][]pickletest.Tensor) {})
	look("other parts", tinyParams, func(p [][]pickletest.Tensor) { p[0], p[1] = p[1], p[0] })
	look("another rope", strings.Replace(tinyParams, "{", `{"rope_theta": 5, `, 1), func([][]pickletest.Tensor) {})
	for i := range 2 {
		for j := range 12 {
			look(fmt.Sprintf("part %d, tensor %d", i, j), tinyParams, func(p [][]pickletest.Tensor) {
				for part := range p {
					if norm := len(p[part][j].Shape) == 1; norm || part == i {
						p[part][j].Data[4+i] = 99
					}
				}
			})
		}
	}
}

// TestOriginalCopied holds that what is written of such a model is one in transformers' layout.
func TestOriginalCopied(t *testing.T) {
	from := originalDir(t, tinyParams, tinyOriginal(2, true))
	if err := os.WriteFile(filepath.Join(from, "tokenizer.model"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, dir := mustOpen(t, from), t.TempDir()
	var tensors []qformat.Tensor
	for _, name := range c.Names() {
		x, err := c.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, qformat.Tensor{Name: x.Name, DType: x.DType, Shape: x.Shape, Data: x.Data})
	}
	if err := WriteShard(filepath.Join(dir, "model.safetensors"), tensors); err != nil {
		t.Fatal(err)
	}
	if err := c.CopyAux(dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tokenizer.model")); err != nil {
		t.Error(err)
	}
	got := mustOpen(t, dir)
	if a, b := fmt.Sprintf("%+v", got.Config()), fmt.Sprintf("%+v", c.Config()); a != b {
		t.Errorf("%s, want %s", a, b)
	}
	for _, x := range tensors {
		if y, err := got.Tensor(x.Name); err != nil || !bytes.Equal(y.Data, x.Data) {
			t.Errorf("tensor %q: %v", x.Name, err)
		}
	}
}

// binFiles are the tensors of tinyModel as .bin files.
func binFiles(t *testing.T, shards int) map[string][]byte {
	t.Helper()
	files, index, lists := map[string][]byte{"config.json": []byte(tinyConfig)}, map[string]string{}, make([][]pickletest.Tensor, shards)
	for i, x := range tinyTensors(t) {
		n := i % shards
		lists[n] = append(lists[n], pickletest.Tensor{Name: x.name, DType: x.dtype, Shape: x.shape, Data: x.bytes()})
		index[x.name] = fmt.Sprintf("pytorch_model-%05d-of-%05d.bin", n+1, shards)
	}
	if shards == 1 {
		files["pytorch_model.bin"] = pickletest.File(lists[0])
		return files
	}
	for _, name := range slices.Sorted(maps.Values(index)) {
		if files[name] == nil {
			files[name] = pickletest.File(lists[len(files)-1])
		}
	}
	data, err := json.Marshal(map[string]any{"weight_map": index})
	if err != nil {
		t.Fatal(err)
	}
	files["pytorch_model.bin.index.json"] = data
	return files
}

// TestBin holds that .bin files are the same model, and that safetensors go first.
func TestBin(t *testing.T) {
	want := fingerprint(t, mustOpen(t, tinyModel(t, tinyTensors(t))))
	for shards := range 4 {
		files := binFiles(t, max(1, shards))
		if shards == 0 {
			files["model.safetensors"], files["pytorch_model.bin"] = safetensorsFile(tinyTensors(t)), []byte("no pickle")
		}
		files[paramsFile] = []byte("{}") // some have it beside config.json, which goes first
		if got := fingerprint(t, mustOpen(t, writeModel(t, files))); got != want {
			t.Errorf("%d shards: fingerprint %s, want %s", shards, got, want)
		}
	}
	files := binFiles(t, 2)
	delete(files, "pytorch_model-00002-of-00002.bin")
	_, err := Open(writeModel(t, files))
	wantError(t, err, "1 of 2 files that pytorch_model.bin.index.json names are missing: pytorch_model-00002-of-00002.bin (10 tensors)")
	files = binFiles(t, 2)
	files["pytorch_model-00002-of-00002.bin"] = files["pytorch_model-00001-of-00002.bin"]
	_, err = Open(writeModel(t, files))
	wantError(t, err, "pytorch_model-00002-of-00002.bin: no tensor", "which pytorch_model.bin.index.json says is here")
}

// TestBinStrided refuses a needed tensor that was saved turned, by its name, and none that is not needed.
func TestBinStrided(t *testing.T) {
	var turned []pickletest.Tensor
	for _, x := range tinyTensors(t) {
		turned = append(turned, pickletest.Tensor{Name: x.name, DType: x.dtype, Shape: x.shape, Data: x.bytes()})
	}
	open := func(name string) error {
		list := append(slices.Clone(turned), pickletest.Tensor{Name: "unused", DType: "F32", Shape: []int{8, 8}, Data: make([]byte, 256)})
		pickle := pickletest.Pickle(list)
		at := bytes.Index(pickle, []byte(name))
		stride := pickletest.Int(pickletest.Int([]byte("t("), 8), 1)
		i := at + bytes.Index(pickle[at:], stride)
		copy(pickle[i:], pickletest.Int(pickletest.Int([]byte("t("), 1), 8))
		entries := []pickletest.Entry{{Name: "a/data.pkl", Data: pickle}}
		for i, x := range list {
			entries = append(entries, pickletest.Entry{Name: fmt.Sprintf("a/data/%d", i), Data: x.Data})
		}
		c, err := Open(writeModel(t, map[string][]byte{"config.json": []byte(tinyConfig), "pytorch_model.bin": pickletest.Zip(entries)}))
		if err == nil {
			c.Close()
		}
		return err
	}
	wantError(t, open("model.layers.1.self_attn.q_proj.weight"), "the weights do not fit config.json",
		`tensor "model.layers.1.self_attn.q_proj.weight" [8 8] is stored with stride [1 8], not row after row`, ".contiguous()")
	if err := open("unused"); err != nil {
		t.Error(err)
	}
}
