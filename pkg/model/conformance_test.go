//go:build conformance

package model

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"sextant/internal/cudalib"
)

// TestStories holds a really trained model, in the three dtypes it comes in, against its float64 goldens. The goldens are those
// of the f32 weights: the tolerances of the other two are what rounding the weights costs, and hold the reading of the format, not
// the arithmetic.
func TestStories(t *testing.T) {
	data := os.Getenv("SEXTANT_DATA")
	if data == "" {
		t.Fatal("SEXTANT_DATA is not set: it names the folder of the conformance data")
	}
	data = filepath.Join(data, "stories260k")
	var lists map[string]struct{ IDs []int32 }
	if err := json.Unmarshal(readFile(t, data, "golden", "logits.json"), &lists); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir       string
		tolerance float64
	}{{"hf", 1e-3}, {"hf-f16", 0.05}, {"hf-bf16", 0.5}} {
		for _, backend := range []string{"cpu", "cuda"} {
			if backend == "cuda" && !cudalib.Named() {
				continue
			}
			t.Run(backend+"/"+c.dir, func(t *testing.T) {
				m := load(t, backend, open(t, filepath.Join(data, c.dir)))
				for _, list := range []string{"A", "B"} {
					want := floats64(readFile(t, data, "golden", "logits_"+list+".f64"))
					e := maxError(alone(t, m, lists[list].IDs), want)
					t.Logf("list %s: logits differ by %.2g", list, e)
					if !(e <= c.tolerance) {
						t.Errorf("list %s: logits differ by %g, tolerance %g", list, e, c.tolerance)
					}
				}
			})
		}
	}
	t.Run("hidden", func(t *testing.T) { storiesHidden(t, data, lists["A"].IDs) })
}

// storiesHidden compares the state behind every layer: the model cut short after i layers gives norm(state i).
func storiesHidden(t *testing.T, data string, ids []int32) {
	m := load(t, "cpu", open(t, filepath.Join(data, "hf")))
	states := floats64(readFile(t, data, "golden", "hidden_A.f64")) // [7, tokens, hidden]: embedding, each layer, final norm
	size := len(ids) * m.cfg.Hidden
	norm, err := open(t, filepath.Join(data, "hf")).Tensor(m.cfg.NormName())
	if err != nil {
		t.Fatal(err)
	}
	w, all := floats32(norm.Data), m.layers
	if len(states) != 7*size || len(all) != 5 {
		t.Fatalf("%d states of %d layers", len(states), len(all))
	}
	for i := 1; i <= len(all); i++ {
		m.layers = all[:i]
		got := hidden(t, m, ids)
		want := make([]float32, size)
		for r := range ids {
			row, sum := states[i*size+r*len(w):i*size+(r+1)*len(w)], 0.0
			for _, x := range row {
				sum += float64(x) * float64(x)
			}
			for j, x := range row {
				want[r*len(w)+j] = float32(float64(x) / math.Sqrt(sum/float64(len(w))+m.cfg.NormEps) * float64(w[j]))
			}
		}
		if e := maxError(got, want); !(e <= 1e-3) {
			t.Errorf("after layer %d: states differ by %g", i, e)
		}
		if i == len(all) {
			if e := maxError(got, states[6*size:]); !(e <= 1e-3) {
				t.Errorf("after the final norm: states differ by %g", e)
			}
		}
	}
}

// hidden is the final hidden states of tokens as one sequence.
func hidden(t *testing.T, m *Model, ids []int32) []float32 {
	t.Helper()
	c := newCache(t, m, 1, len(ids))
	b := Batch{Tokens: ids, Out: pages(len(ids), 0, 1)}
	b.Desc.QStart, b.Desc.KVLen, b.Desc.Pages, b.Desc.MaxPages = []int32{0, int32(len(ids))}, []int32{int32(len(ids))}, []int32{0}, 1
	h, err := m.Forward(c.kv, b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Download(h)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestStoriesLayouts holds that the trained model gives the same bits from Meta's files, in one part and in two, and from .bin files, in each of
// its dtypes.
func TestStoriesLayouts(t *testing.T) {
	data := os.Getenv("SEXTANT_DATA")
	if data == "" {
		t.Fatal("SEXTANT_DATA is not set: it names the folder of the conformance data")
	}
	for _, dtype := range []string{"hf", "hf-f16", "hf-bf16"} {
		from := filepath.Join(data, "stories260k", dtype)
		c := open(t, from).Config()
		params := map[string]any{"dim": c.Hidden, "n_layers": c.Layers, "n_heads": c.Heads, "n_kv_heads": c.KVHeads, "vocab_size": c.Vocab,
			"hidden_dim": c.Intermediate, "norm_eps": c.NormEps, "max_seq_len": c.MaxPositions}
		sameInLayouts(t, from, params, []int32{1, 403, 407, 261, 378, 432, 285, 410, 335, 13})
	}
}
