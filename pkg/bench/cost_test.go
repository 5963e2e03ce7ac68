package bench

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sextant/pkg/checkpoint"
	"sextant/pkg/qformat"
)

func tinySizes(t *testing.T, quantize string) *sizes {
	t.Helper()
	ck, err := openRandom(shapes["tiny"], "bf16")
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	m, err := sizesOf(ck, quantize)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The tiny shape's sizes by hand.
func TestSizes(t *testing.T) {
	m := tinySizes(t, "")
	matrices := 2.0 * (64*64 + 2*32*64 + 64*64 + 3*64*160) // of both layers: q, k and v, o, and the three of the MLP
	all := matrices + 2*512*64 + 5*64                      // embedding, head, norms
	if m.dtype != "bf16" || float64(m.values) != all || m.fileBytes != 2*m.values || m.layers != (cost{2 * matrices, 2 * matrices}) ||
		m.head != (cost{2 * 512 * 64, 2 * 512 * 64}) || m.row != 2*64 || m.mix != 4*4*16 || m.cachedBytes != 2*4*2*16 || len(m.windows) != 2 {
		t.Errorf("%+v", m)
	}
	// One token on top of nine others, with its logits.
	want := cost{2*matrices + 2*4*4*16*10 + 2*512*64, 2*matrices + 2*64 + 2*2*4*2*16*10 + 2*512*64}
	if got := m.pass(1, span{9, 10}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// Quantized layers are codes, scales and zeros, the head codes of 8 bits and scales; the rest is as it was.
func TestSizesQuantized(t *testing.T) {
	m, plain := tinySizes(t, "i4g32"), tinySizes(t, "")
	values := plain.layers.ops / 2
	if want := values/2 + 8*values/32; m.layers != (cost{plain.layers.ops, want}) || m.head != (cost{plain.head.ops, plain.head.ops/2 + 4*plain.head.ops/2/64}) || m.row != plain.row || m.dtype != "i4g32" {
		t.Errorf("%+v", m)
	}
	outputs := 2.0 * (64 + 2*32 + 64 + 2*160 + 64)
	if m := tinySizes(t, "i8"); m.layers.bytes != values+4*outputs {
		t.Errorf("%+v", m)
	}
}

// A checkpoint that is quantized counts as what runs of it, and its file as what lies there.
func TestSizesStored(t *testing.T) {
	from := filepath.Join(t.TempDir(), "plain")
	if err := Save(from, "tiny", "bf16"); err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	var tensors []qformat.Tensor
	ms := map[string]*qformat.Matrix{}
	for _, name := range ck.Names() {
		src, err := ck.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		module := strings.TrimSuffix(name, ".weight")
		if !strings.HasSuffix(module, "_proj") {
			tensors = append(tensors, qformat.Tensor{Name: name, DType: src.DType, Shape: src.Shape, Data: src.Data})
			continue
		}
		rows, cols := src.Shape[0], src.Shape[1]
		ms[module] = &qformat.Matrix{Rows: rows, Cols: cols, Bits: 4, Symmetric: true, Group: 32, BlockRows: 1, Codes: make([]byte, rows*cols),
			Scales: slices.Repeat([]float32{1}, rows*cols/32)}
		packed, err := qformat.Pack(qformat.CompressedTensors, module, ms[module])
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, packed...)
	}
	config, err := qformat.Config(qformat.CompressedTensors, ms, []string{"lm_head"}, "")
	dir := t.TempDir()
	if err := errors.Join(err, checkpoint.WriteShard(filepath.Join(dir, "model.safetensors"), tensors), ck.CopyAux(dir, config)); err != nil {
		t.Fatal(err)
	}
	quantized, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer quantized.Close()
	m, err := sizesOf(quantized, "")
	if err != nil {
		t.Fatal(err)
	}
	plain, i4 := tinySizes(t, ""), tinySizes(t, "i4g32")
	if m.layers != i4.layers || m.head != plain.head || m.values != plain.values || m.fileBytes != quantized.WeightBytes() ||
		m.dtype != "compressed-tensors w4 g32" {
		t.Errorf("%+v", m)
	}
}

// seen is what a loop over positions counts.
func TestSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := span{from: rapid.IntRange(0, 40).Draw(t, "from")}
		s.to = s.from + rapid.IntRange(1, 40).Draw(t, "n")
		window := rapid.IntRange(0, 50).Draw(t, "window")
		all, held := 0, map[int]bool{}
		for p := s.from; p < s.to; p++ {
			for q := 0; q <= p; q++ {
				if window == 0 || q > p-window {
					all++
					held[q] = true
				}
			}
		}
		if a, d := s.seen(window); a != float64(all) || d != float64(len(held)) {
			t.Fatalf("%+v, window %d: %g and %g, want %d and %d", s, window, a, d, all, len(held))
		}
	})
}

// A prompt in parts costs the arithmetic of the whole, and the weights once more for each.
func TestPassesAdd(t *testing.T) {
	m := tinySizes(t, "")
	whole, parts := m.pass(0, span{0, 30}), m.pass(0, span{0, 11}).plus(m.pass(0, span{11, 30}))
	if whole.ops != parts.ops || parts.bytes <= whole.bytes+m.layers.bytes {
		t.Errorf("%+v whole, %+v in parts", whole, parts)
	}
}

func TestLastCache(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]string{"index0": "32K\n", "index2": "512K\n", "index3": "480M\n", "index4": "junk"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "size"), []byte(size), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if got := lastCache(dir); got != 480<<20 {
		t.Errorf("%d", got)
	}
	if got := lastCache(filepath.Join(dir, "none")); got != 0 {
		t.Errorf("%d of nothing", got)
	}
}

func TestReadBytes(t *testing.T) {
	for _, c := range []struct{ cache, free, want int64 }{
		{32 << 20, 0, 1 << 30}, {480 << 20, 0, 1920 << 20}, {480 << 20, 4 << 30, 1 << 30}, {0, 1 << 20, 64 << 20},
	} {
		if got := readBytes(c.cache, c.free); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// Every thread does its part once.
func TestEach(t *testing.T) {
	p := &probe{threads: 3}
	done := make([]int, 3)
	if seconds := p.each(func(thread int) { done[thread]++ }); seconds <= 0 || done[0] != 1 || done[1] != 1 || done[2] != 1 {
		t.Errorf("%v in %g s", done, seconds)
	}
}

func TestMedian(t *testing.T) {
	for want, list := range map[float64][]float64{0: nil, 3: {3}, 2: {1, 3}, 5: {9, 5, 1}} {
		if got := median(list); got != want {
			t.Errorf("%v: %g", list, got)
		}
	}
}
