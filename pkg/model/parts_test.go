package model

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// inParts loads a model in so many parts, each on a device of its own.
func inParts(t testing.TB, backend string, ck *checkpoint.Checkpoint, n int, o Options) (parts []*Model) {
	t.Helper()
	cuts, _, err := Parts(ck, slices.Repeat([]float64{1}, n))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range cuts {
		dev, err := kernels.Open(backend, kernels.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(dev.Close)
		o.Part = p
		m, err := LoadWith(context.Background(), dev, ck, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		parts = append(parts, m)
	}
	return parts
}

// throughParts runs a batch through parts and returns the logits of its Out rows.
func throughParts(t testing.TB, parts []*Model, kvs []*kernels.KV, b Batch) []float32 {
	t.Helper()
	var states []float32
	for i, m := range parts {
		h, err := m.ForwardPart(kvs[i], b, states)
		if err == nil && m.Last() {
			if h, err = m.Logits(h); err != nil {
				t.Fatal(err)
			}
		}
		if err == nil {
			states, err = m.Download(h)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return states
}

// TestPartsSameBits holds that a model in parts gives the bits of the whole one, in passes of many tokens and of one, and that each part has its
// own weights and caches alone.
func TestPartsSameBits(t *testing.T) {
	for _, name := range goldenNames(t) {
		ck, g := openGolden(t, name)
		t.Run(name, func(t *testing.T) { partsSameBits(t, "cpu", ck, g.Lists[1], Options{}) })
	}
	t.Run("pocket", func(t *testing.T) {
		ck := open(t, filepath.Join("../../examples/pocket", "model"))
		partsSameBits(t, "cpu", ck, []int32{1, 447, 528, 3, 99, 7, 250, 13}, Options{})
		partsSameBits(t, "cpu", ck, []int32{1, 447, 528, 3, 99, 7, 250, 13}, Options{Quantize: "i8"})
		partsSameBits(t, "ref", ck, []int32{1, 447, 528, 9, 4, 17}, Options{})
	})
}

func partsSameBits(t *testing.T, backend string, ck *checkpoint.Checkpoint, ids []int32, o Options) {
	t.Helper()
	whole := inParts(t, backend, ck, 1, o)
	for n := 1; n <= min(3, ck.Config().Layers); n++ {
		parts := inParts(t, backend, ck, n, o)
		if len(parts) != n {
			t.Fatalf("%d parts, want %d", len(parts), n)
		}
		var kvs, all []*kernels.KV
		cached, packed := int64(0), int64(0)
		for _, m := range parts {
			kvs = append(kvs, newCache(t, m, 3, 16).kv)
			cached += m.PositionBytes()
			packed += m.Footprint().Packed
		}
		all = append(all, newCache(t, whole[0], 3, 16).kv)
		if want := whole[0].Footprint().Packed; cached != whole[0].PositionBytes() ||
			o.Quantize == "" && math.Abs(float64(packed-want)) > 4096*float64(n) {
			t.Errorf("%d parts: %d bytes a position and %d packed, the whole one %d and %d", n, cached, packed, whole[0].PositionBytes(), want)
		}
		if parts[n-1].Runs() != whole[0].Runs() || parts[0].Runs() != whole[0].Runs() {
			t.Errorf("%d parts run as %q and %q, the whole one as %q", n, parts[0].Runs(), parts[n-1].Runs(), whole[0].Runs())
		}
		for done, step := 0, len(ids)-3; done < len(ids); done, step = done+step, 1 {
			b := Batch{Tokens: ids[done : done+step], Desc: kernels.BatchDesc{QStart: []int32{0, int32(step)}, KVLen: []int32{int32(done + step)},
				Pages: []int32{2, 0, 1}, MaxPages: 3}, Out: []int32{int32(step - 1)}}
			if step > 1 {
				b.Out = []int32{1, int32(step - 1)}
			}
			sameBits(t, fmt.Sprintf("%d parts, %d tokens behind %d", n, step, done), throughParts(t, parts, kvs, b), throughParts(t, whole, all, b))
		}
	}
}

func TestPartRefusals(t *testing.T) {
	ck := open(t, "../../examples/pocket/model")
	for _, p := range []Part{{2, 2}, {-1, 2}, {0, 99}, {3, 1}} {
		dev, err := kernels.Open("cpu", kernels.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := LoadWith(context.Background(), dev, ck, Options{Part: p}); err == nil || !strings.Contains(err.Error(), "the model has 6") {
			t.Errorf("%v: %v", p, err)
		}
		dev.Close()
	}
	parts := inParts(t, "cpu", ck, 2, Options{})
	b := Batch{Tokens: []int32{1}, Desc: kernels.BatchDesc{QStart: []int32{0, 1}, KVLen: []int32{1}, Pages: []int32{0}, MaxPages: 1}}
	for i, m := range parts {
		kv := newCache(t, m, 1, 16).kv
		for _, in := range [][]float32{nil, make([]float32, m.Config().Hidden-1), make([]float32, m.Config().Hidden)} {
			_, err := m.ForwardPart(kv, b, in)
			if good := i == 0 && in == nil || i == 1 && len(in) == m.Config().Hidden; good != (err == nil) {
				t.Errorf("part %d, %d values: %v", i, len(in), err)
			}
		}
	}
}

// Cuts tile the layers, and none takes longer than in the best way of all.
func TestCutCosts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		costs := rapid.SliceOfN(rapid.Float64Range(0, 100), 1, 8).Draw(t, "costs")
		n := rapid.IntRange(1, len(costs)).Draw(t, "n")
		speeds := rapid.SliceOfN(rapid.Float64Range(0.1, 10), n, n).Draw(t, "speeds")
		slowest := func(ends []int) (d float64) {
			from := 0
			for i, to := range ends {
				d, from = max(d, sum(costs[from:to])/speeds[i]), to
			}
			return d
		}
		best := math.Inf(1)
		for mask := range 1 << (len(costs) - 1) {
			var ends []int
			for i := range len(costs) - 1 {
				if mask>>i&1 == 1 {
					ends = append(ends, i+1)
				}
			}
			if ends = append(ends, len(costs)); len(ends) == n {
				best = min(best, slowest(ends))
			}
		}
		var ends []int
		at := 0
		for _, p := range cutCosts(costs, speeds) {
			if p.From != at || p.To <= p.From {
				t.Fatalf("%v at %v: %v", costs, speeds, cutCosts(costs, speeds))
			}
			at = p.To
			ends = append(ends, at)
		}
		if len(ends) != n || at != len(costs) || slowest(ends) > best*(1+1e-12)+1e-9 {
			t.Fatalf("%v at %v: %v takes %v, best %v", costs, speeds, ends, slowest(ends), best)
		}
	})
}

// A large output matrix leaves the last part fewer layers.
func TestPartsHeed(t *testing.T) {
	ck := open(t, "../../examples/pocket/model")
	parts, share, err := Parts(ck, []float64{1, 1, 1})
	if err != nil {
		t.Fatal(err)
	}
	if total := sum(share); len(parts) != 3 || math.Abs(total-1) > 1e-9 || slices.Min(share) <= 0 {
		t.Errorf("%v with %v of the weights", parts, share)
	}
	if last := parts[2]; last.To-last.From > parts[0].To-parts[0].From {
		t.Errorf("%v: the last has the output matrix too", parts)
	}
	if parts, _, err = Parts(ck, []float64{2, 1}); err != nil || parts[0].To-parts[0].From < 4 {
		t.Errorf("%v: the first device is twice as fast (%v)", parts, err)
	}
}
