package model

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"sextant/internal/cudalib"
	"sextant/kernels"
	"sextant/pkg/qformat"
)

// TestDeviceQuantized holds quantized checkpoints on a device, where matrices come in pieces, against the values they stand for.
func TestDeviceQuantized(t *testing.T) {
	cudalib.Want(t)
	int8, fp8 := qformat.Activation{Format: "int8"}, qformat.Activation{Format: "fp8"}
	for _, c := range []struct {
		model string
		r     recipe
		runs  string
	}{
		{"llama", recipe{layout: qformat.AWQ, bits: 4, group: 8, asym: true}, "packed i4"},
		{"internlm2-bias", recipe{layout: qformat.CompressedTensors, bits: 8}, "packed i8"},
		{"qwen3", recipe{layout: qformat.CompressedTensors, bits: 8, float: true}, "packed f8"},
		{"qwen2", recipe{layout: qformat.GPTQ, bits: 4, group: 8, order: true}, "dequantized to bf16 (groups in the order of g_idx)"},
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 8, act: int8}, "packed i8, inputs rounded to int8"},
		{"llama", recipe{layout: qformat.CompressedTensors, bits: 8, float: true, act: fp8}, "packed f8, inputs rounded to fp8"},
		{"qwen2", recipe{layout: qformat.CompressedTensors, bits: 8, act: int8, staticScales: true}, "packed i8, inputs rounded to int8"},
	} {
		t.Run(fmt.Sprintf("%s %s %s", c.model, c.r.layout, c.runs), func(t *testing.T) {
			ck, g := openGolden(t, c.model)
			quantized, _ := c.r.quantize(t, ck)
			m := load(t, "cuda", quantized)
			if got := m.Runs(); got != c.runs || m.Footprint().Device == 0 {
				t.Errorf("it runs %q, %+v", got, m.Footprint())
			}
			want := alone(t, loadWith(t, "cpu", quantized, Options{Dequantize: true}), g.Lists[0])
			e, limit := maxError(alone(t, m, g.Lists[0]), want), tolerances[kernels.BF16]
			if c.r.act.Format != "" { // a value near the middle between two steps may go to either
				limit = 0.1 * scale(want)
			}
			if t.Logf("%v: logits of up to %g differ by %.2g", m.act, scale(want), e); !(e <= limit) {
				t.Errorf("logits of up to %g differ by %g, tolerance %g", scale(want), e, limit)
			}
			if c.r.act.Format == "" {
				exact := loadWith(t, "cuda", quantized, Options{Dequantize: true})
				if e := maxError(alone(t, exact, g.Lists[0]), want); exact.act != kernels.F32 || !(e <= tolerances[kernels.F32]) {
					t.Errorf("dequantized, %v: logits differ by %g", exact.act, e)
				}
			}
			recorded(t, m, g.Lists[1])
		})
	}
}

// recorded holds that passes from a recording have the bits of those that are not.
func recorded(t *testing.T, m *Model, ids []int32) {
	t.Helper()
	decode := func(off bool) (got []float32) {
		m.graphs.off = off
		kv := newCache(t, m, 4, 4)
		s := &seq{tokens: ids, pages: pages(4, 0, 1)}
		for range 4 {
			got = append(got, run(t, m, kv, []*seq{s}, 1)...)
		}
		return got
	}
	want := decode(true)
	sameBits(t, "recorded passes", decode(false), want)
	n := 0
	for _, d := range m.graphs.of {
		if d.graph != nil {
			n++
		}
	}
	if m.graphs.off || n == 0 {
		t.Errorf("%d passes are recorded, off: %v", n, m.graphs.off)
	}
}

// TestDeviceBlocks holds the blocks on a device against a model with activations of f32 there.
func TestDeviceBlocks(t *testing.T) {
	cudalib.Want(t)
	for _, name := range []string{"llama", "qwen3", "internlm2-bias"} {
		ck, g := openGolden(t, name)
		m, b := loadWith(t, "cuda", ck, Options{wide: true, apart: true}), openBlocks(t, "cuda", 0, ck)
		ids := g.Lists[1]
		x := through(t, b, embed(t, b, ids), len(ids), nil)
		sameBits(t, name, head(t, m, x), alone(t, m, ids))
		y := loadBlock(t, b, 0)
		var v seen
		x = embed(t, b, ids)
		was := slices.Clone(x)
		if err := y.Run(x, 20, func(s Site, in kernels.Tensor) error {
			return errors.Join(v.tap(b, t)(s, in), stopAt(s))
		}); err != nil {
			t.Fatal(err)
		}
		sameBits(t, name+": after a stop", x, was)
		if len(v[SiteO]) != 40*y.width(SiteO) || v[SiteGateUp] != nil {
			t.Errorf("%s: taps saw %d and %d values", name, len(v[SiteO]), len(v[SiteGateUp]))
		}
	}
}

func stopAt(s Site) error {
	if s == SiteO {
		return ErrStop
	}
	return nil
}
