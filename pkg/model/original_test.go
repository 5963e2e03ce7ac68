package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sextant/internal/cudalib"
	"sextant/pkg/checkpoint"
	"sextant/pkg/pickle/pickletest"
)

// originalNames are Meta's names of the tensors of a layer, and whether the parts of a model have them by columns.
var originalNames = []struct {
	of      func(n checkpoint.LayerNames) string
	name    string
	columns bool
	heads   func(c *checkpoint.Config) int // of rows that are rotated
}{
	{func(n checkpoint.LayerNames) string { return n.AttnNorm }, "attention_norm", false, nil},
	{func(n checkpoint.LayerNames) string { return n.Q }, "attention.wq", false, func(c *checkpoint.Config) int { return c.Heads }},
	{func(n checkpoint.LayerNames) string { return n.K }, "attention.wk", false, func(c *checkpoint.Config) int { return c.KVHeads }},
	{func(n checkpoint.LayerNames) string { return n.V }, "attention.wv", false, nil},
	{func(n checkpoint.LayerNames) string { return n.O }, "attention.wo", true, nil},
	{func(n checkpoint.LayerNames) string { return n.MLPNorm }, "ffn_norm", false, nil},
	{func(n checkpoint.LayerNames) string { return n.Gate }, "feed_forward.w1", false, nil},
	{func(n checkpoint.LayerNames) string { return n.Up }, "feed_forward.w3", false, nil},
	{func(n checkpoint.LayerNames) string { return n.Down }, "feed_forward.w2", true, nil},
}

// writeOriginal writes a model as Meta lays it out, in so many parts; embedColumns: with the embedding's columns shared out, as in Llama 2, not
// its rows. Every tensor is copied out of ck, so the numbers are the same.
func writeOriginal(t testing.TB, ck *checkpoint.Checkpoint, parts int, embedColumns bool, params map[string]any) string {
	t.Helper()
	c, dir := ck.Config(), t.TempDir()
	files := make([][]pickletest.Tensor, parts)
	put := func(from, name string, columns bool, heads int) {
		tensor, err := ck.Tensor(from)
		if err != nil {
			t.Fatal(err)
		}
		data := tensor.Data
		if heads > 0 {
			data = neighbours(data, heads, c.HeadDim)
		}
		for i := range files {
			part := pickletest.Tensor{Name: name, DType: tensor.DType, Shape: slices.Clone(tensor.Shape), Data: data}
			if len(part.Shape) == 2 {
				part.Data = share(data, tensor.Shape[0], parts, i, columns)
				if columns {
					part.Shape[1] /= parts
				} else {
					part.Shape[0] /= parts
				}
			}
			files[i] = append(files[i], part)
		}
	}
	put(c.EmbedName(), "tok_embeddings.weight", embedColumns, 0)
	put(c.NormName(), "norm.weight", false, 0)
	if !c.TieEmbeddings {
		put(c.HeadName(), "output.weight", false, 0)
	}
	for i := range c.Layers {
		for _, o := range originalNames {
			heads := 0
			if o.heads != nil {
				heads = o.heads(c)
			}
			put(o.of(c.LayerNames(i)), fmt.Sprintf("layers.%d.%s.weight", i, o.name), o.columns, heads)
		}
	}
	for i, tensors := range files {
		tensors = append(tensors, pickletest.Tensor{Name: "rope.freqs", DType: "F32", Shape: []int{2}, Data: make([]byte, 8)})
		write(t, dir, fmt.Sprintf("consolidated.%02d.pth", i), pickletest.File(tensors))
	}
	data, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "params.json", data)
	return dir
}

func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// neighbours brings the two halves of each head's rows into turns: Meta's order, the inverse of what transformers' converter does.
func neighbours(data []byte, heads, dims int) (out []byte) {
	for _, head := range split(data, heads) {
		rows := split(head, dims)
		for i := range dims / 2 {
			out = append(append(out, rows[i]...), rows[dims/2+i]...)
		}
	}
	return out
}

// share is part i of n of a matrix, of its rows or of its columns.
func share(data []byte, rows, n, i int, columns bool) (out []byte) {
	if !columns {
		return split(data, n)[i]
	}
	for _, row := range split(data, rows) {
		out = append(out, split(row, n)[i]...)
	}
	return out
}

func split(data []byte, n int) [][]byte {
	return slices.Collect(slices.Chunk(data, len(data)/n))
}

// writeBin writes a model as older releases of transformers do: as .bin files, of which there are so many.
func writeBin(t testing.TB, ck *checkpoint.Checkpoint, config []byte, shards int) string {
	t.Helper()
	dir, files, index := t.TempDir(), make([][]pickletest.Tensor, shards), map[string]string{}
	file := func(i int) string { return fmt.Sprintf("pytorch_model-%05d-of-%05d.bin", i+1, shards) }
	for i, name := range ck.Names() {
		tensor, err := ck.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		n := i % shards
		files[n] = append(files[n], pickletest.Tensor{Name: name, DType: tensor.DType, Shape: tensor.Shape, Data: tensor.Data})
		index[name] = file(n)
	}
	write(t, dir, "config.json", config)
	if shards == 1 {
		write(t, dir, "pytorch_model.bin", pickletest.File(files[0]))
		return dir
	}
	for i, tensors := range files {
		write(t, dir, file(i), pickletest.File(tensors))
	}
	data, err := json.Marshal(map[string]any{"weight_map": index})
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "pytorch_model.bin.index.json", data)
	return dir
}

// layouts are directories with the same model in every layout that is read.
func layouts(t testing.TB, ck *checkpoint.Checkpoint, config []byte, params map[string]any) map[string]string {
	return map[string]string{
		"one part":                  writeOriginal(t, ck, 1, false, params),
		"two parts":                 writeOriginal(t, ck, 2, false, params),
		"two parts, Llama 2's":      writeOriginal(t, ck, 2, true, params),
		"pytorch_model.bin":         writeBin(t, ck, config, 1),
		"pytorch_model.bin, shards": writeBin(t, ck, config, 3),
	}
}

// TestLayouts holds that a model gives the same bits however it lies in files: with a pack, without, rounded, and on a device that takes pieces.
func TestLayouts(t *testing.T) {
	ck, g := openGolden(t, "llama")
	params := map[string]any{"dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": -1, "multiple_of": 8,
		"ffn_dim_multiplier": 0.45, "norm_eps": 1e-5, "max_seq_len": 64}
	backends := []string{"ref", "cpu"}
	if cudalib.Named() {
		backends = append(backends, "cuda")
	}
	dirs := layouts(t, ck, readFile(t, "testdata", "llama", "config.json"), params)
	for _, backend := range backends {
		for _, o := range []Options{{}, {Quantize: "i8"}, {Quantize: "i4g4"}, {apart: true}, {chunk: 1}, {wide: true}} {
			want := alone(t, loadWith(t, backend, ck, o), g.Lists[1])
			for name, dir := range dirs {
				sameBits(t, fmt.Sprintf("%s, %s, %+v", name, backend, o), alone(t, loadWith(t, backend, open(t, dir), o), g.Lists[1]), want)
			}
		}
	}
	for name, dir := range dirs {
		sameTensors(t, name, open(t, dir), ck)
	}
}

// TestPocketLayouts has a trained model, in bf16 and with one matrix for both ends, in every layout.
func TestPocketLayouts(t *testing.T) {
	sameInLayouts(t, filepath.Join("../../examples/pocket", "model"), map[string]any{"dim": 128, "n_layers": 6, "n_heads": 4, "n_kv_heads": 2, "vocab_size": -1,
		"multiple_of": 128, "norm_eps": 1e-5, "max_seq_len": 512}, []int32{1, 447, 528, 3, 99, 7, 250, 13})
}

// sameInLayouts holds that the model in dir has the same tensors, and gives the same logits bit for bit, in every layout.
func sameInLayouts(t *testing.T, dir string, params map[string]any, ids []int32) {
	t.Helper()
	ck := open(t, dir)
	want := alone(t, load(t, "cpu", ck), ids)
	for name, other := range layouts(t, ck, readFile(t, dir, "config.json"), params) {
		got := open(t, other)
		sameTensors(t, name, got, ck)
		sameBits(t, name, alone(t, load(t, "cpu", got), ids), want)
	}
}

// sameTensors holds that the tensors of a model are those of another.
func sameTensors(t *testing.T, layout string, got, want *checkpoint.Checkpoint) {
	t.Helper()
	if !slices.Equal(got.Names(), want.Names()) {
		t.Errorf("%s: tensors %q, want %q", layout, got.Names(), want.Names())
	}
	for _, name := range want.Names() {
		a, err1 := got.Tensor(name)
		b, err2 := want.Tensor(name)
		if err1 != nil || err2 != nil || a.DType != b.DType || !slices.Equal(a.Shape, b.Shape) || !bytes.Equal(a.Data, b.Data) {
			t.Errorf("%s: tensor %q is another one: %v, %v", layout, name, err1, err2)
		}
	}
}

// TestOriginal reads a model that torch wrote in Meta's layout, in two parts with the embedding's columns shared out. testdata/make/original.py
// holds its logits, by a rotation of neighbours as Meta's programs have it, against those of transformers.
func TestOriginal(t *testing.T) {
	ck, g := openGolden(t, "llama")
	original := open(t, filepath.Join("testdata", "llama-original"))
	sameTensors(t, "original", original, ck)
	if c := original.Config(); c.MaxPositions != 4096 || c.Vocab != 64 || c.Intermediate != 40 || c.BOS != 1 {
		t.Errorf("%+v", c)
	}
	for i, ids := range g.Lists {
		got := alone(t, load(t, "cpu", original), ids)
		sameBits(t, "original", got, alone(t, load(t, "cpu", ck), ids))
		if e := maxError(got, g.logits[i]); !(e <= 1e-4) {
			t.Errorf("logits differ by %g", e)
		}
	}
}
