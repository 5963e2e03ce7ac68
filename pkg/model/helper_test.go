package model

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// golden is a case of testdata: token lists and the logits transformers gives for them (testdata/make/golden.py).
type golden struct {
	Lists   [][]int32
	Weights string      // the case whose weight files it uses
	logits  [][]float32 // of each list [tokens, vocab]
}

func goldenNames(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*/golden.json")
	if err != nil || len(paths) < 12 {
		t.Fatalf("%d goldens, %v", len(paths), err)
	}
	var names []string
	for _, p := range paths {
		names = append(names, filepath.Base(filepath.Dir(p)))
	}
	return names
}

func readFile(t testing.TB, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// openGolden opens a case's model: its own config.json with the weights it names.
func openGolden(t testing.TB, name string) (*checkpoint.Checkpoint, golden) {
	t.Helper()
	var g golden
	if err := json.Unmarshal(readFile(t, "testdata", name, "golden.json"), &g); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{"config.json": filepath.Join("testdata", name, "config.json")}
	weights, err := filepath.Glob(filepath.Join("testdata", g.Weights, "model*"))
	if err != nil || len(weights) == 0 {
		t.Fatalf("no weights for %s: %v", name, err)
	}
	for _, w := range weights {
		files[filepath.Base(w)] = w
	}
	for to, from := range files {
		if err := os.WriteFile(filepath.Join(dir, to), readFile(t, from), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ck := open(t, dir)
	values := floats32(readFile(t, "testdata", name, "logits.f32"))
	for _, ids := range g.Lists {
		n := len(ids) * ck.Config().Vocab
		g.logits, values = append(g.logits, values[:n]), values[n:]
	}
	if len(values) != 0 {
		t.Fatalf("%s: %d logits too many", name, len(values))
	}
	return ck, g
}

func floats32(data []byte) []float32 {
	out := make([]float32, len(data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return out
}

func floats64(data []byte) []float32 {
	out := make([]float32, len(data)/8)
	for i := range out {
		out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:])))
	}
	return out
}

func open(t testing.TB, dir string) *checkpoint.Checkpoint {
	t.Helper()
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ck.Close() })
	return ck
}

// load loads ck on a fresh device of the backend.
func load(t testing.TB, backend string, ck *checkpoint.Checkpoint) *Model {
	t.Helper()
	dev, err := kernels.Open(backend, kernels.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	m, err := Load(dev, ck)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// seq is a sequence under test: its tokens, how many are in the cache already, and its pages.
type seq struct {
	tokens []int32
	done   int
	pages  []int32
}

// cache is a KV cache with the page size its batches are laid out for.
type cache struct {
	kv       *kernels.KV
	pageSize int
}

func newCache(t testing.TB, m *Model, pages, pageSize int) cache {
	t.Helper()
	kv, err := m.NewKV(pages, pageSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kv.Free)
	return cache{kv, pageSize}
}

// pages gives n page numbers from first on, step apart.
func pages(n, first, step int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(first + i*step)
	}
	return out
}

// run advances each sequence by its count of new tokens in one pass and returns the logits of all of them, in order.
func run(t testing.TB, m *Model, c cache, seqs []*seq, counts ...int) []float32 {
	t.Helper()
	b := Batch{Desc: kernels.BatchDesc{QStart: []int32{0}}}
	for _, s := range seqs {
		b.Desc.MaxPages = max(b.Desc.MaxPages, len(s.pages))
	}
	for i, s := range seqs {
		b.Tokens = append(b.Tokens, s.tokens[s.done:s.done+counts[i]]...)
		s.done += counts[i]
		b.Desc.QStart = append(b.Desc.QStart, int32(len(b.Tokens)))
		b.Desc.KVLen = append(b.Desc.KVLen, int32(s.done))
		b.Desc.Pages = append(b.Desc.Pages, append(s.pages, make([]int32, b.Desc.MaxPages-len(s.pages))...)...)
	}
	for i := range b.Tokens {
		b.Out = append(b.Out, int32(i))
	}
	return forward(t, m, c.kv, b)
}

// forward returns the logits of a batch's Out rows.
func forward(t testing.TB, m *Model, kv *kernels.KV, b Batch) []float32 {
	t.Helper()
	h, err := m.Forward(kv, b)
	if err != nil {
		t.Fatal(err)
	}
	logits, err := m.Logits(h)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Download(logits)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// alone runs tokens as the only sequence, in one pass.
func alone(t testing.TB, m *Model, tokens []int32) []float32 {
	t.Helper()
	c := newCache(t, m, 1, max(len(tokens), 1))
	return run(t, m, c, []*seq{{tokens: tokens, pages: []int32{0}}}, len(tokens))
}

// maxError is the largest absolute difference; NaN counts as infinite.
func maxError(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= worst) {
			worst = d
			if math.IsNaN(d) {
				return math.Inf(1)
			}
		}
	}
	return worst
}

// sameBits compares bit for bit.
func sameBits(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}
