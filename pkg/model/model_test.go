package model

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// TestGoldens holds every family and rope against transformers, on every backend of hosts.
func TestGoldens(t *testing.T) {
	const tolerance = 1e-4
	for _, name := range goldenNames(t) {
		ck, g := openGolden(t, name)
		for _, backend := range []string{"ref", "cpu"} {
			t.Run(name+"/"+backend, func(t *testing.T) {
				m := load(t, backend, ck)
				for i, ids := range g.Lists {
					e := maxError(alone(t, m, ids), g.logits[i])
					t.Logf("%d tokens: %.2g", len(ids), e)
					if !(e <= tolerance) {
						t.Errorf("%d tokens: logits differ by %g, tolerance %g", len(ids), e, tolerance)
					}
				}
			})
		}
	}
}

// TestPocket holds the model that ships with the project against its float64 goldens.
func TestPocket(t *testing.T) {
	const tolerance = 1e-3
	dir := "../../examples/pocket"
	var cases []struct {
		IDs  []int32
		File string
	}
	if err := json.Unmarshal(readFile(t, dir, "golden", "logits.json"), &cases); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	m := load(t, "cpu", open(t, filepath.Join(dir, "model")))
	for _, c := range cases {
		if e := maxError(alone(t, m, c.IDs), floats64(readFile(t, dir, "golden", c.File))); !(e <= tolerance) {
			t.Errorf("%s: logits differ by %g, tolerance %g", c.File, e, tolerance)
		}
	}
}

// TestCuts holds that a sequence gives the same bits however it is cut into passes and wherever its pages lie.
func TestCuts(t *testing.T) {
	for _, name := range []string{"llama3", "llama-dynamic", "llama-yarn", "mistral", "qwen2", "qwen3", "internlm2-bias"} {
		t.Run(name, func(t *testing.T) {
			ck, g := openGolden(t, name)
			m := load(t, "cpu", ck)
			ids := g.Lists[1]
			want := alone(t, m, ids)
			for _, c := range []struct {
				pageSize int
				pages    []int32
				cut      int
			}{
				{8, pages(5, 0, 1), len(ids)}, {8, pages(5, 8, -2), len(ids)}, {1, pages(40, 39, -1), 7}, {3, pages(14, 1, 3), 11},
				{16, pages(3, 0, 1), 1}, {5, pages(8, 7, -1), 1}, {64, pages(1, 2, 1), 39},
			} {
				kv := newCache(t, m, int(slices.Max(c.pages))+1, c.pageSize)
				s := &seq{tokens: ids, pages: c.pages}
				var got []float32
				for s.done < len(ids) {
					got = append(got, run(t, m, kv, []*seq{s}, min(c.cut, len(ids)-s.done))...)
				}
				sameBits(t, fmt.Sprintf("passes of %d with pages of %d", c.cut, c.pageSize), got, want)
			}
		})
	}
}

// TestBatches holds that a sequence gives the same bits beside others, at any stage of theirs.
func TestBatches(t *testing.T) {
	for _, name := range []string{"llama", "mistral", "qwen2", "qwen3"} {
		t.Run(name, func(t *testing.T) {
			ck, g := openGolden(t, name)
			m := load(t, "cpu", ck)
			a, b, c := g.Lists[1], g.Lists[0], g.Lists[1][13:30]
			v := m.Config().Vocab
			wantA, wantB, wantC := alone(t, m, a), alone(t, m, b), alone(t, m, c)

			kv := newCache(t, m, 40, 4)
			seqs := []*seq{{tokens: a, pages: pages(10, 0, 4)}, {tokens: b, pages: pages(2, 1, 1)}, {tokens: c, pages: pages(5, 39, -4)}}
			var gotA, gotB, gotC []float32
			for _, counts := range [][]int{{9, 7, 0}, {1, 0, 16}, {0, 0, 1}, {30, 0, 0}} {
				out := run(t, m, kv, seqs, counts...)
				for i, got := range []*[]float32{&gotA, &gotB, &gotC} {
					*got, out = append(*got, out[:counts[i]*v]...), out[counts[i]*v:]
				}
			}
			sameBits(t, "sequence a", gotA, wantA)
			sameBits(t, "sequence b", gotB, wantB)
			sameBits(t, "sequence c", gotC, wantC)
		})
	}
}

// TestOut holds that wanting fewer rows changes none of them.
func TestOut(t *testing.T) {
	ck, g := openGolden(t, "qwen3")
	m := load(t, "cpu", ck)
	ids, v := g.Lists[1], m.Config().Vocab
	want := alone(t, m, ids)
	kv := newCache(t, m, 1, 64)
	b := Batch{Tokens: ids, Desc: kernels.BatchDesc{QStart: []int32{0, int32(len(ids))}, KVLen: []int32{int32(len(ids))}, Pages: []int32{0}, MaxPages: 1}}
	for _, rows := range [][]int32{{0}, {39}, {3, 4, 20, 39}, {}} {
		b.Out = rows
		var expect []float32
		for _, r := range rows {
			expect = append(expect, want[int(r)*v:(int(r)+1)*v]...)
		}
		sameBits(t, fmt.Sprintf("rows %v", rows), forward(t, m, kv.kv, b), expect)
	}
	if got := forward(t, m, kv.kv, Batch{Desc: kernels.BatchDesc{QStart: []int32{0}}}); len(got) != 0 {
		t.Errorf("an empty batch gives %d logits", len(got))
	}
}

// TestHeads holds LogProbs and Sample against the logits.
func TestHeads(t *testing.T) {
	ck, g := openGolden(t, "llama3")
	m := load(t, "cpu", ck)
	ids, v := g.Lists[0], m.Config().Vocab
	logits := alone(t, m, ids)
	h, err := m.Forward(newCache(t, m, 1, 8).kv, Batch{Tokens: ids, Out: pages(7, 0, 1),
		Desc: kernels.BatchDesc{QStart: []int32{0, 7}, KVLen: []int32{7}, Pages: []int32{0}, MaxPages: 1}})
	if err != nil {
		t.Fatal(err)
	}
	lp, err := m.LogProbs(h, kernels.Targets{IDs: ids})
	if err != nil {
		t.Fatal(err)
	}
	greedy, err := m.Sample(h, slices.Repeat([]kernels.SampleDesc{{TopP: 1}}, 7), make([]float64, 7))
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		row := logits[i*v : (i+1)*v]
		sum, best := 0.0, 0
		for j, x := range row {
			sum += math.Exp(float64(x))
			if x > row[best] {
				best = j
			}
		}
		if math.Abs(lp.LSE[i]-math.Log(sum)) > 1e-5 || math.Abs(float64(lp.Target[i]-row[id])) > 1e-5 || int(lp.Best[i]) != best || int(greedy[i]) != best {
			t.Errorf("row %d: lse %v, target %v, best %d, sampled %d; want %v, %v, %d", i, lp.LSE[i], lp.Target[i], lp.Best[i], greedy[i], math.Log(sum), row[id], best)
		}
	}
}

// TestMisaligned moves a model's weights to odd addresses: they are copied, and nothing else changes.
func TestMisaligned(t *testing.T) {
	dir := t.TempDir()
	file := readFile(t, "testdata/llama/model.safetensors")
	file[0]++ // one more space behind the header
	file = slices.Insert(file, 8+int(file[0])+int(file[1])<<8-1, ' ')
	for name, data := range map[string][]byte{"config.json": readFile(t, "testdata/llama/config.json"), "model.safetensors": file} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ck, g := openGolden(t, "llama")
	want := alone(t, load(t, "cpu", ck), g.Lists[0])
	sameBits(t, "misaligned weights", alone(t, load(t, "cpu", open(t, dir)), g.Lists[0]), want)
}

func TestForwardErrors(t *testing.T) {
	ck, _ := openGolden(t, "llama")
	m := load(t, "ref", ck)
	kv := newCache(t, m, 4, 32)
	good := func() Batch {
		return Batch{Tokens: []int32{1, 2, 3}, Out: []int32{2},
			Desc: kernels.BatchDesc{QStart: []int32{0, 3}, KVLen: []int32{3}, Pages: []int32{0, 1, 2}, MaxPages: 3}}
	}
	for _, c := range []struct {
		name   string
		change func(*Batch)
		want   string
	}{
		{"id too large", func(b *Batch) { b.Tokens[1] = 64 }, "token 1 has id 64, the model's vocabulary is 64"},
		{"id negative", func(b *Batch) { b.Tokens[2] = -1 }, "token 2 has id -1"},
		{"too long", func(b *Batch) { b.Desc.KVLen[0] = 65 }, "sequence 0 has 65 positions, the model takes 64"},
		{"fewer positions than tokens", func(b *Batch) { b.Desc.KVLen[0] = 2 }, "sequence 0 has 3 new tokens of 2 positions"},
		{"tokens beyond the layout", func(b *Batch) { b.Tokens = append(b.Tokens, 1) }, "do not lay out 4 tokens"},
		{"no layout", func(b *Batch) { b.Desc = kernels.BatchDesc{} }, "do not lay out 3 tokens"},
		{"decreasing starts", func(b *Batch) { b.Desc.QStart, b.Desc.KVLen = []int32{0, 4, 3}, []int32{4, 3} }, "sequence 1 has -1 new tokens"},
		{"output beyond", func(b *Batch) { b.Out = []int32{3} }, "output 0 is token 3"},
		{"outputs not ascending", func(b *Batch) { b.Out = []int32{1, 1} }, "output 1 is token 1"},
		{"too few pages", func(b *Batch) { b.Desc.KVLen[0], b.Desc.Pages, b.Desc.MaxPages = 40, []int32{0}, 1 }, "page"},
		{"page outside the cache", func(b *Batch) { b.Desc.Pages[0] = 9 }, "page"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := good()
			c.change(&b)
			_, err := m.Forward(kv.kv, b)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "forward pass") {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
			if _, err := m.Forward(kv.kv, good()); err != nil {
				t.Errorf("a good batch after it: %v", err)
			}
		})
	}
	if _, err := m.Forward(nil, good()); err == nil {
		t.Error("no cache is accepted")
	}
}

func TestLoadOnClosedDevice(t *testing.T) {
	ck, _ := openGolden(t, "llama")
	dev, err := kernels.Open("cpu", kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dev.Close()
	if _, err := Load(dev, ck); err == nil || !strings.Contains(err.Error(), "loading the model") {
		t.Errorf("error %v", err)
	}
	m := load(t, "cpu", ck)
	m.Close()
	m.Close()
}

// TestLongTable holds that the table of rotations grows: a late position does not depend on what was asked before.
func TestLongTable(t *testing.T) {
	ck, g := openGolden(t, "llama-linear")
	ck.Config().MaxPositions = 3 * firstPositions
	n := firstPositions + 50
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = g.Lists[1][i%40]
	}
	m := load(t, "cpu", ck)
	alone(t, m, ids[:10])
	got := alone(t, m, ids)
	if m.rope.Rows != 2*firstPositions {
		t.Errorf("the table has %d rows", m.rope.Rows)
	}
	sameBits(t, "grown table", got, alone(t, load(t, "cpu", ck), ids))
}

// TestRotations holds the table against closed forms where there are any.
func TestRotations(t *testing.T) {
	plain := rotations(&checkpoint.RopeConfig{Type: "default", Theta: 10000}, 4, 3)
	want := []float64{1, 1, 0, 0, math.Cos(1), math.Cos(0.01), math.Sin(1), math.Sin(0.01), math.Cos(2), math.Cos(0.02), math.Sin(2), math.Sin(0.02)}
	for i, v := range plain {
		if v != float32(want[i]) {
			t.Errorf("value %d is %v, want %v", i, v, float32(want[i]))
		}
	}
	dynamic := rotations(&checkpoint.RopeConfig{Type: "dynamic", Theta: 10000, Factor: 2, OriginalMax: 2}, 4, 3)
	sameBits(t, "dynamic within the original positions", dynamic[:8], plain[:8])
	if f := math.Pow(10000*2*2, -0.5); dynamic[9] != float32(math.Cos(2*f)) { // stretch 2*3/2-1 = 2, to the power 4/2
		t.Errorf("dynamic beyond them: %v, want %v", dynamic[9], float32(math.Cos(2*f)))
	}
}
