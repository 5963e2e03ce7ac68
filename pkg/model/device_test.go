package model

import (
	"slices"
	"testing"

	"sextant/internal/cudalib"
	"sextant/kernels"
)

// tolerances are those of logits, by the format of activations.
var tolerances = map[kernels.DType]float64{kernels.F32: 1e-4, kernels.F16: 0.05, kernels.BF16: 0.5}

// TestDeviceGoldens holds every family on the cuda backend against transformers, with activations of f32, and as near as those of 16 bits allow.
func TestDeviceGoldens(t *testing.T) {
	cudalib.Want(t)
	for _, name := range goldenNames(t) {
		t.Run(name, func(t *testing.T) {
			ck, g := openGolden(t, name)
			m := load(t, "cuda", ck)
			f := m.Footprint()
			if f.Device == 0 || f.Mapped != 0 || f.Packed != 0 || m.layers[0].gateUp.w == nil {
				t.Errorf("%+v, gate and up joined: %v", f, m.layers[0].gateUp.w != nil)
			}
			for i, ids := range g.Lists {
				e := maxError(alone(t, m, ids), g.logits[i])
				t.Logf("%v, %d tokens: %.2g", m.act, len(ids), e)
				if e := maxError(alone(t, loadWith(t, "cuda", ck, Options{wide: true}), ids), g.logits[i]); !(e <= tolerances[kernels.F32]) {
					t.Errorf("activations of f32, %d tokens: logits differ by %g", len(ids), e)
				}
				if !(e <= tolerances[m.act]) {
					t.Errorf("%v, %d tokens: logits differ by %g, tolerance %g", m.act, len(ids), e, tolerances[m.act])
				}
			}
		})
	}
}

// TestDeviceDecodes holds that passes from a recording have the bits of those that are not, as sequences grow over pages and end.
func TestDeviceDecodes(t *testing.T) {
	cudalib.Want(t)
	for _, name := range []string{"llama", "mistral", "qwen3"} {
		t.Run(name, func(t *testing.T) {
			ck, g := openGolden(t, name)
			decodeAll := func(off bool) (*Model, []float32) {
				m := load(t, "cuda", ck)
				m.graphs.off = off
				kv := newCache(t, m, 30, 4)
				ids := g.Lists[1]
				seqs := []*seq{{tokens: ids, pages: pages(10, 0, 1)}, {tokens: slices.Concat(ids[20:], ids[:20]), pages: pages(10, 10, 1)}, {tokens: ids[3:], pages: pages(10, 29, -1)}}
				got := run(t, m, kv, seqs, 5, 1, 9)
				for i := range 20 {
					if i == 12 {
						seqs = seqs[:2]
					}
					got = append(got, run(t, m, kv, seqs, slices.Repeat([]int{1}, len(seqs))...)...)
				}
				return m, got
			}
			m, got := decodeAll(false)
			_, want := decodeAll(true)
			sameBits(t, "recorded passes", got, want)
			recorded := 0
			for _, d := range m.graphs.of {
				if d.graph != nil {
					recorded++
				}
			}
			if m.graphs.off || recorded != 2 {
				t.Errorf("%d passes are recorded, off: %v; want one for three sequences and one for two", recorded, m.graphs.off)
			}
			before := len(m.graphs.of)
			alone(t, m, slices.Repeat(g.Lists[1][:1], 64)) // the scratch grows
			if before == 0 || len(m.graphs.of) != 0 {
				t.Errorf("%d recordings before the scratch grew, %d after", before, len(m.graphs.of))
			}
		})
	}
}

// TestGraphs holds the choice of what is kept, without a device.
func TestGraphs(t *testing.T) {
	var g graphs
	for n := range 2 * mostGraphs {
		if _, found := g.find(graphKey{seqs: n}); found {
			t.Errorf("%d sequences were not seen before", n)
		}
		if _, found := g.find(graphKey{seqs: 0}); n > 0 && !found {
			t.Errorf("the one that is used most is gone after %d", n)
		}
	}
	if _, found := g.find(graphKey{seqs: 2*mostGraphs - 1}); !found || len(g.of) != mostGraphs {
		t.Errorf("%d are kept", len(g.of))
	}
	g.drop()
	if len(g.of) != 0 {
		t.Errorf("%d are left", len(g.of))
	}
	for _, c := range []struct {
		b    Batch
		want bool
	}{
		{Batch{}, false},
		{Batch{Tokens: []int32{1, 2}, Out: []int32{0, 1}, Desc: kernels.BatchDesc{QStart: []int32{0, 1, 2}, KVLen: []int32{5, 6}}}, true},
		{Batch{Tokens: []int32{1, 2}, Out: []int32{1}, Desc: kernels.BatchDesc{QStart: []int32{0, 1, 2}, KVLen: []int32{5, 6}}}, false},
		{Batch{Tokens: []int32{1, 2}, Out: []int32{0, 1}, Desc: kernels.BatchDesc{QStart: []int32{0, 2, 2}, KVLen: []int32{5, 6}}}, false},
		{Batch{Tokens: []int32{1, 2}, Out: []int32{0, 1}, Desc: kernels.BatchDesc{QStart: []int32{0, 2}, KVLen: []int32{5}}}, false},
	} {
		if got := c.b.decodes(); got != c.want {
			t.Errorf("%+v decodes: %v", c.b, got)
		}
	}
	d := widened(kernels.BatchDesc{KVLen: []int32{1, 2}, Pages: []int32{1, 2, 3, 4, 5, 6}, MaxPages: 3})
	if d.MaxPages != 4 || !slices.Equal(d.Pages, []int32{1, 2, 3, 0, 4, 5, 6, 0}) {
		t.Errorf("widened: %+v", d)
	}
}

func TestFormats(t *testing.T) {
	narrow := kernels.Info{Narrow: true}
	for _, c := range []struct {
		info     kernels.Info
		matrices []kernels.DType
		want     kernels.DType
	}{
		{kernels.Info{}, []kernels.DType{kernels.BF16}, kernels.F32},
		{narrow, nil, kernels.F32},
		{narrow, []kernels.DType{kernels.BF16, kernels.BF16}, kernels.BF16},
		{narrow, []kernels.DType{kernels.F16, kernels.F16}, kernels.F16},
		{narrow, []kernels.DType{kernels.F32, kernels.F32}, kernels.F32},
		{narrow, []kernels.DType{kernels.I8, kernels.I4, kernels.F8, kernels.BF16}, kernels.BF16},
		{narrow, []kernels.DType{kernels.I4, kernels.F16, kernels.I4}, kernels.F16},
		{narrow, []kernels.DType{kernels.I4, kernels.F8}, kernels.BF16},
		{narrow, []kernels.DType{kernels.I4, kernels.F32}, kernels.F32},
		{narrow, []kernels.DType{kernels.BF16, kernels.F16}, kernels.F32},
		{narrow, []kernels.DType{kernels.F32, kernels.BF16}, kernels.F32},
	} {
		if got := formatOf(c.info, c.matrices); got != c.want {
			t.Errorf("%v: %v, want %v", c.matrices, got, c.want)
		}
	}
}
