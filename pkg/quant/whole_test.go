package quant

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"sextant/internal/halves"
	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
	"sextant/pkg/qformat"
	"sextant/pkg/spec"
)

// The whole pipeline once more, in float64: the model's blocks in plain loops, the methods by reference_test.go over all tokens.

// refBlock is one block being quantized once more.
type refBlock struct {
	*refModel
	t     *testing.T
	q     spec.Quant
	got   *checkpoint.Checkpoint
	names checkpoint.LayerNames
	in    [4][]float64
	w     map[string][]float64 // of the block, as they are now: folded
	scale [4][]float64         // that inputs are divided by
	moved int
	flips int // scales that are explained
}

func (b *refBlock) tensor(name string) []float64 {
	if b.w[name] == nil {
		b.w[name] = slices.Clone(b.refModel.w[name])
	}
	return b.w[name]
}

// site is the matrices of a site with its tokens, for the searches.
func (b *refBlock) site(s model.Site) *site {
	names := b.names.Sites()[s]
	y := &site{x: b.in[s]}
	for _, name := range names {
		wide := b.tensor(name)
		rows := b.rows(name)
		y.cols = len(wide) / rows
		y.wide, y.matrices = append(y.wide, wide), append(y.matrices, Dense{Rows: rows, Cols: y.cols})
	}
	y.gram64, _, y.mean = gramOf(y.x, y.cols)
	return y
}

func (b *refBlock) rows(name string) int {
	t, err := b.ck.Tensor(name)
	if err != nil {
		b.t.Fatal(err)
	}
	return t.Shape[0]
}

func (b *refBlock) grid(cols int) Grid {
	g, err := GridOf(b.q, cols)
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// fold divides a site's inputs: by what the rounded norm says, or the rows of the matrix before.
func (b *refBlock) fold(s model.Site, scale []float64) {
	norm := map[model.Site]string{model.SiteQKV: b.names.AttnNorm, model.SiteGateUp: b.names.MLPNorm}[s]
	exact := slices.Clone(scale)
	if norm != "" {
		t, err := b.ck.Tensor(norm)
		if err != nil {
			b.t.Fatal(err)
		}
		w := b.tensor(norm)
		for j := range w {
			rounded := float64(halves.Round(float32(w[j]/scale[j]), t.DType))
			exact[j] = w[j] / rounded
			w[j] = rounded
		}
	} else {
		before := map[model.Site]string{model.SiteO: b.names.V, model.SiteDown: b.names.Up}[s]
		w, cols := b.tensor(before), len(b.tensor(before))/len(scale)
		for j := range w {
			w[j] /= scale[j/cols]
		}
		if bias := b.refModel.w[checkpoint.BiasName(before)]; bias != nil {
			v := b.tensor(checkpoint.BiasName(before))
			for j := range v {
				v[j] /= scale[j]
			}
		}
	}
	for _, name := range b.names.Sites()[s] {
		w := b.tensor(name)
		for j := range w {
			w[j] *= exact[j%len(exact)]
		}
	}
	b.scale[s] = exact
}

func (b *refBlock) folds(s model.Site) bool { return s != model.SiteO || b.c.KVHeads == b.c.Heads }

func (b *refBlock) awq() {
	for _, half := range [][]model.Site{{model.SiteQKV, model.SiteO}, {model.SiteGateUp, model.SiteDown}} {
		for _, s := range half {
			if y := b.site(s); b.folds(s) {
				_, best := y.refSearch(b.grid(y.cols), b.q.AWQ.Grid)
				if best > 0 {
					b.moved++
				}
				b.fold(s, refScale(y.mean, float64(best)/float64(b.q.AWQ.Grid)))
			}
		}
		for _, s := range half {
			y := b.site(s)
			scale := b.scale[s]
			if scale == nil {
				scale = refScale(y.mean, 0)
			}
			for k, name := range b.names.Sites()[s] {
				var limits []float64
				if g := b.grid(y.cols); *b.q.AWQ.Clip && name != b.names.Q && name != b.names.K {
					limits = y.refClip(refOf(g), k, g.Group, scale)
				}
				b.check(name, limits)
			}
		}
	}
}

// check compares a matrix of the pipeline's with rounding to nearest.
func (b *refBlock) check(name string, limits []float64) {
	rows := b.rows(name)
	w := b.tensor(name)
	cols := len(w) / rows
	g, got := b.grid(cols), matrix(b.t, b.got, name)
	want := refRTN(refOf(g), w, rows, cols, g.Group, limits)
	b.explain(want, w, limits, got)
	want.same(b.t, name, got, 1e-4, false)
}

// explain takes over scales that were between two halves, and rounded to the other one: the pipeline's arithmetic is of float32. What follows
// from such a scale is computed once more.
func (b *refBlock) explain(want *refMatrix, w, limits []float64, got *qformat.Matrix) {
	g := b.grid(want.cols)
	exact := refOf(g)
	exact.dtype = func(x float64) float64 { return x }
	before := refRTN(exact, w, want.rows, want.cols, g.Group, limits)
	wide := len(want.scales) / want.rows
	for i, s := range got.Scales {
		scale := float64(s)
		if scale == want.scales[i] || g.Scale == "f32" || math.Abs(before.scales[i]/((scale+want.scales[i])/2)-1) > 1e-5 {
			continue
		}
		b.flips++
		from := i/wide*want.cols + i%wide*want.group
		to := min(from+want.group, (i/wide+1)*want.cols)
		given := refOf(g)
		given.dtype = func(float64) float64 { return scale }
		limit := limits
		if limits != nil {
			limit = limits[i : i+1]
		}
		one := refRTN(given, w[from:to], 1, to-from, to-from, limit)
		want.scales[i], want.zeros[i] = one.scales[0], one.zeros[0]
		copy(want.codes[from:to], one.codes)
		copy(want.margins[from:to], one.margins)
	}
}

func (b *refBlock) smooth(alpha float64) {
	for s := model.SiteQKV; s <= model.SiteDown; s++ {
		y := b.site(s)
		most := columnsMost(b.in[s], y.cols)
		if s == model.SiteQKV || s == model.SiteGateUp {
			weights := make([]float64, y.cols)
			for _, w := range y.wide {
				for j, m := range columnsMost(w, y.cols) {
					weights[j] = math.Max(weights[j], m)
				}
			}
			scale := make([]float64, y.cols)
			for j := range scale {
				scale[j] = math.Max(math.Pow(most[j], alpha)/math.Pow(math.Max(weights[j], 1e-5), 1-alpha), 1e-5)
			}
			b.fold(s, scale)
			for j := range most {
				most[j] /= b.scale[s][j]
			}
		}
		for _, name := range b.names.Sites()[s] {
			b.check(name, nil)
			if a := matrix(b.t, b.got, name).Act; math.Abs(float64(a.Scale)*127/slices.Max(most)-1) > 1e-5 || a.Format != "int8" {
				b.t.Errorf("%s: inputs %+v, want the scale %v", name, a, slices.Max(most)/127)
			}
		}
	}
}

func columnsMost(x []float64, cols int) []float64 {
	most := make([]float64, cols)
	for i, v := range x {
		most[i%cols] = math.Max(most[i%cols], math.Abs(v))
	}
	return most
}

// gptq goes on with the pipeline's own codes, so that a difference that is explained is not met again in what follows from it.
func (b *refBlock) gptq(i int) (differ int) {
	o := GPTQOptions{ActOrder: b.q.GPTQ.ActOrder, StaticGroups: *b.q.GPTQ.StaticGroups, Damp: b.q.GPTQ.Damp}
	for s := model.SiteQKV; s <= model.SiteDown; s++ {
		b.in, _ = b.run(i)
		y := b.site(s)
		for k, name := range b.names.Sites()[s] {
			g := b.grid(y.cols)
			want := refGPTQ(refOf(g), y.wide[k], y.gram64, [3]int{b.rows(name), y.cols, g.Group}, o)
			got := matrix(b.t, b.got, name)
			differ += want.same(b.t, name, got, 2e-3, true)
			b.refModel.w[name] = valuesOf(got)
		}
	}
	return differ
}

// plainSame compares the norms and biases.
func (b *refBlock) plainSame() {
	for name, want := range b.w {
		t, err := b.got.Tensor(name)
		if err != nil || len(t.Shape) > 1 {
			continue // a matrix
		}
		for j, v := range floatsOf(t) {
			if e := math.Abs(float64(v) - want[j]); e > 3e-6*math.Abs(want[j])+1e-9 {
				b.t.Errorf("%s: value %d is %v, want %v", name, j, v, want[j])
				break
			}
		}
	}
}

// TestWholePipeline holds scales, zeros and codes of all matrices, and what is folded into norms and biases, against a re-computation of
// the whole in float64.
func TestWholePipeline(t *testing.T) {
	no := false
	// Where both ends of a range are cut the zero of an asymmetric one is between two integers: with scales of f32 the last bit decides.
	f32 := func(q *spec.Quant) { yes := true; q.ScaleDType, q.Symmetric = "f32", &yes }
	for i, c := range []struct {
		model string
		q     spec.Quant
	}{
		{"llama", recipe("rtn", nil)},
		{"gqa", recipe("rtn", func(q *spec.Quant) { q.Bits, q.Granularity, q.Group = 3, "channel", 0 })},
		{"llama", recipe("awq", f32)},
		{"biases", recipe("awq", nil)},
		{"gqa", recipe("awq", func(q *spec.Quant) { q.AWQ.Clip, q.Bits = &no, 3 })},
		{"llama", recipe("gptq", nil)},
		{"gqa", recipe("gptq", func(q *spec.Quant) { q.GPTQ.ActOrder = true })},
		{"biases", recipe("gptq", func(q *spec.Quant) { q.Bits, q.Symmetric = 3, &no })},
		{"biases", recipe("smoothquant", func(q *spec.Quant) { q.ActScale = "tensor" })},
		{"gqa", recipe("smoothquant", func(q *spec.Quant) { q.ActScale, q.Alpha = "tensor", 0.5 })},
	} {
		t.Run(fmt.Sprintf("%d %s %s", i, c.model, c.q.Name), func(t *testing.T) {
			t.Parallel()
			ck := openCheckpoint(t, toys[c.model].write(t))
			job := toyJob(t, ck, c.q)
			mustRun(t, job)
			got := openCheckpoint(t, job.Out)
			m := newRefModel(t, ck, job.Sample.IDs, job.Sample.SeqLen)
			moved, differ, flips := 0, 0, 0
			for i := range m.c.Layers {
				b := &refBlock{refModel: m, t: t, q: c.q, got: got, names: m.c.LayerNames(i), w: map[string][]float64{}}
				var out []float64
				b.in, out = m.run(i)
				switch c.q.Method {
				case "rtn":
					for _, names := range b.names.Sites() {
						for _, name := range names {
							b.check(name, nil)
						}
					}
				case "awq":
					b.awq()
					moved += b.moved
				case "smoothquant":
					b.smooth(c.q.Alpha)
				case "gptq":
					differ += b.gptq(i)
					_, out = m.run(i)
				}
				b.plainSame()
				m.x = out
				flips += b.flips
			}
			if c.q.Method == "awq" && moved < 4 {
				t.Errorf("%d sites were scaled: the case shows little", moved)
			}
			if differ > 20 || flips > 8 {
				t.Errorf("%d rows of codes and %d scales were rounded the other way", differ, flips)
			}
		})
	}
}
