package model

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"sextant/internal/smalldisk"
	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/packstore"
	"sextant/pkg/qformat"
)

// scale is the greatest |x|.
func scale(x []float32) (most float64) {
	for _, v := range x {
		most = max(most, math.Abs(float64(v)))
	}
	return most
}

// TestQuantizedLayouts holds what a quantized checkpoint gives, packed and dequantized, against a plain one with the very values.
func TestQuantizedLayouts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tmpfs")
	smalldisk.Mount(t, dir, "64m")
	store := &packstore.Store{Dir: filepath.Join(dir, "packs"), Least: 1}
	for _, c := range []struct {
		model string
		r     recipe
		runs  string
	}{
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 4, group: 8, asym: true}, "packed i4"},
		{"qwen2", recipe{layout: qformat.CompressedTensors, bits: 4, group: 4}, "packed i4"},
		{"internlm2-bias", recipe{layout: qformat.CompressedTensors, bits: 4, asym: true}, "packed i4"},
		{"qwen3", recipe{layout: qformat.CompressedTensors, bits: 8}, "packed i8"},
		{"internlm2-bias", recipe{layout: qformat.CompressedTensors, bits: 8}, "packed i8"},
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 6}, "packed i8 holding 6 bits"},
		{"qwen2", recipe{layout: qformat.CompressedTensors, bits: 8, asym: true}, "dequantized to f32 (zeros of more than 4 bits)"},
		{"internlm2-bias", recipe{layout: qformat.CompressedTensors, bits: 8, group: 8}, "dequantized to f32 (groups of more than 4 bits)"},
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 4, group: 8, head: true}, "packed i4"},
		{"llama", recipe{layout: qformat.AWQ, bits: 4, group: 8, asym: true}, "packed i4"},
		{"qwen3", recipe{layout: qformat.GPTQ, bits: 4, group: 8}, "packed i4"},
		{"llama-bias", recipe{layout: qformat.CompressedTensors, bits: 3, group: 8, asym: true}, "packed i4 holding 3 bits"},
		{"qwen2", recipe{layout: qformat.CompressedTensors, bits: 2, group: 8, asym: true}, "packed i4 holding 2 bits"},
		{"qwen2", recipe{layout: qformat.GPTQ, bits: 4, group: 8, order: true}, "dequantized to f32 (groups in the order of g_idx)"},
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 8, float: true, blockRows: -1}, "packed f8"},
		{"internlm2-bias", recipe{layout: qformat.CompressedTensors, bits: 8, float: true}, "packed f8"},
		{"qwen3", recipe{layout: qformat.CompressedTensors, bits: 8, float: true, group: 16, blockRows: 8}, "dequantized to f32 (blocks of scales)"},
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 4, group: 8, apart: true}, "packed i4"},
	} {
		t.Run(fmt.Sprintf("%s %s %d %d %s", c.model, c.r.layout, c.r.bits, c.r.group, c.runs), func(t *testing.T) {
			ck, g := openGolden(t, c.model)
			quantized, plain := c.r.quantize(t, ck)
			same := load(t, "cpu", plain)
			dequantized := loadWith(t, "cpu", quantized, Options{Dequantize: true})
			ways := map[string]*Model{
				"its own memory": load(t, "cpu", quantized), "the maker of a pack": loadWith(t, "cpu", quantized, Options{Packs: store}),
				"a found pack": loadWith(t, "cpu", quantized, Options{Packs: store}), "a panel at a time": loadWith(t, "cpu", quantized, Options{chunk: 1}),
				"apart": loadWith(t, "cpu", quantized, Options{apart: true}),
			}
			packed, ref := ways["its own memory"], load(t, "ref", quantized)
			if got := packed.Runs(); got != c.runs || !packed.Quantized() || same.Quantized() || same.Runs() != "" {
				t.Errorf("it runs %q", got)
			}
			if got := dequantized.Runs(); got != "dequantized to f32" {
				t.Errorf("dequantized, it runs %q", got)
			}
			for _, ids := range g.Lists {
				want := alone(t, same, ids)
				sameBits(t, "dequantized", alone(t, dequantized, ids), want)
				logits := alone(t, packed, ids)
				for what, m := range ways {
					sameBits(t, what, alone(t, m, ids), logits)
				}
				for _, got := range [][]float32{logits, alone(t, ref, ids)} {
					if e := maxError(got, want); !(e <= 1e-5*scale(want)) {
						t.Errorf("%d tokens: packed, logits of up to %g differ by %g", len(ids), scale(want), e)
					}
				}
			}
			blocksOf(t, quantized, same, g.Lists[1])
		})
	}
}

// TestQuantizedWays holds how a model that runs in several ways says so.
func TestQuantizedWays(t *testing.T) {
	m := &Model{runs: map[string]int{"packed i4": 20, "dequantized to f32": 4}}
	if got, want := m.Runs(), "packed i4 (20 of the matrices); dequantized to f32 (4 of the matrices)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRoundedInputs holds models whose inputs and caches are rounded against a pass in float64 that rounds so. A value that lies within the
// error of f32 of the middle between two steps may be rounded to either, and that moves logits by far more than f32 does: so the float64 pass
// tells how near one came, relative to a step, and only sequences in which none came nearer than 1e-5 are compared, of which there must be some.
func TestRoundedInputs(t *testing.T) {
	int8, fp8 := qformat.Activation{Format: "int8"}, qformat.Activation{Format: "fp8"}
	for _, c := range []struct {
		model string
		r     recipe
		runs  string
	}{
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 8, act: int8}, "packed i8, inputs rounded to int8"},
		{"qwen3", recipe{layout: qformat.CompressedTensors, bits: 8, act: int8, kv: "int8"}, "packed i8, inputs rounded to int8; cache rounded to int8"},
		{"qwen2", recipe{layout: qformat.CompressedTensors, bits: 8, act: int8, staticScales: true}, "packed i8, inputs rounded to int8"},
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 8, float: true, act: fp8}, "packed f8, inputs rounded to fp8"},
		{"qwen3", recipe{layout: qformat.CompressedTensors, bits: 8, float: true, act: fp8, kv: "fp8"}, "packed f8, inputs rounded to fp8; cache rounded to fp8"},
		{"llama", recipe{layout: qformat.FP8, bits: 8, float: true, group: 8, blockRows: 8, act: qformat.Activation{Format: "fp8", Group: 8}},
			"dequantized to f32 (blocks of scales), inputs rounded to fp8"},
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 4, group: 8, kv: "int8"}, "packed i4; cache rounded to int8"},
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 8, act: int8, head: true}, "packed i8, inputs rounded to int8"},
	} {
		t.Run(c.model+" "+c.runs, func(t *testing.T) {
			ck, g := openGolden(t, c.model)
			quantized, plain := c.r.quantize(t, ck)
			packed, dequantized := load(t, "cpu", quantized), loadWith(t, "cpu", quantized, Options{Dequantize: true})
			if got := packed.Runs(); got != c.runs {
				t.Errorf("it runs %q", got)
			}
			compared := 0
			for n := range 20 {
				ids := g.Lists[1][2*n : 2*n+2]
				f := newWide(t, plain, quantized)
				want := f.logits(ids)
				if f.nearest < 1e-5 {
					continue
				}
				compared++
				for what, m := range map[string]*Model{"packed": packed, "dequantized": dequantized} {
					if e := maxError(alone(t, m, ids), want); !(e <= 2e-5*scale(want)) {
						t.Errorf("%s, tokens %v: logits of up to %g differ by %g", what, ids, scale(want), e)
					}
				}
				f.unrounded = true
				if e := maxError(f.logits(ids), want); !(e > 1e-4) {
					t.Errorf("rounding moves logits by %g", e)
				}
			}
			if t.Logf("%d of 20 sequences compared", compared); compared < 5 {
				t.Errorf("%d sequences are compared", compared)
			}
			cut(t, packed, g.Lists[1])
		})
	}
}

// cut holds that rounding leaves a sequence's bits the same however it is cut into passes.
func cut(t *testing.T, m *Model, ids []int32) {
	t.Helper()
	kv := newCache(t, m, 10, 4)
	s := &seq{tokens: ids, pages: pages(10, 9, -1)}
	var got []float32
	for _, n := range []int{1, 1, 7, 20, 11} {
		got = append(got, run(t, m, kv, []*seq{s}, n)...)
	}
	sameBits(t, "in several passes", got, alone(t, m, ids))
}

// blocksOf holds that calibration sees a quantized checkpoint's values.
func blocksOf(t *testing.T, ck *checkpoint.Checkpoint, same *Model, ids []int32) {
	t.Helper()
	b := openBlocks(t, "cpu", 2, ck)
	x := through(t, b, embed(t, b, ids), len(ids), nil)
	sameBits(t, "blocks", head(t, same, x), alone(t, same, ids))
}

func TestQuantizedRefusals(t *testing.T) {
	ck, _ := openGolden(t, "llama")
	quantized, _ := recipe{layout: qformat.CompressedTensors, bits: 4, group: 8}.quantize(t, ck)
	dev, err := kernels.Open("cpu", kernels.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	_, err = LoadWith(context.Background(), dev, quantized, Options{Quantize: "i8"})
	if err == nil || !strings.Contains(err.Error(), `quantizing to "i8": the checkpoint is quantized already`) {
		t.Errorf("error %v", err)
	}
	m := &Model{info: kernels.Info{Name: "a GPU"}, cfg: ck.Config()}
	if err := m.roundCache("int8"); err == nil || !strings.Contains(err.Error(), "a GPU") {
		t.Errorf("error %v", err)
	}
	m.info.RoundsKV = true
	for kv, want := range map[string]kernels.DType{"": kernels.F32, "int8": kernels.I8, "fp8": kernels.F8} {
		if err := m.roundCache(kv); err != nil || m.kvRound != want {
			t.Errorf("%q: %v, error %v", kv, m.kvRound, err)
		}
	}
	if err := m.roundCache("int4"); err == nil {
		t.Error("a cache of int4 is taken")
	}
}
