//go:build cgo

package kernels_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sextant/kernels"
)

// f8Values are the numbers of e4m3fn that are not negative, by their codes, which is in ascending order.
var f8Values = func() (all [127]float64) {
	for b := range all {
		all[b] = f8Value(byte(b))
	}
	return all
}()

// nearestF8 is the number of e4m3fn nearest to v in [-448, 448], ties to the even code.
func nearestF8(v float64) float64 {
	a := math.Abs(v)
	at, _ := slices.BinarySearch(f8Values[:], a)
	if below := at - 1; below >= 0 {
		if up, down := f8Values[at]-a, a-f8Values[below]; down < up || down == up && below%2 == 0 {
			at = below
		}
	}
	return math.Copysign(f8Values[at], v)
}

// rounded is what Round makes of rows of x, by its definition: in float64, with each step rounded to float32.
func rounded(x []float32, cols int, r kernels.Rounding) []float32 {
	out := make([]float32, 0, len(x))
	for ; len(x) > 0; x = x[cols:] {
		group := cols
		if r.Group > 0 && r.Scale == 0 {
			group = min(r.Group, cols)
		}
		for part := range slices.Chunk(x[:cols], group) {
			out = append(out, roundedPart(part, r)...)
		}
	}
	return out
}

func roundedPart(x []float32, r kernels.Rounding) []float32 {
	most, scale, finite, out := 127.0, float64(r.Scale), true, make([]float32, len(x))
	if r.To == kernels.F8 {
		most = 448
	}
	top := 0.0
	for _, v := range x {
		top = max(top, math.Abs(float64(v)))
		finite = finite && v-v == 0
	}
	if scale == 0 {
		scale = float64(float32(top / most))
	}
	for i, v := range x {
		q := max(-most, min(most, float64(float32(float64(v)/scale))))
		if r.To == kernels.F8 {
			q = nearestF8(q)
		} else {
			q = math.RoundToEven(q) + 0 // an integer code has no -0
		}
		switch {
		case v != v, r.Scale == 0 && !finite:
			out[i] = nan
		case scale > 0:
			out[i] = float32(q * scale)
		}
	}
	return out
}

// roundings are the ways to round a row of so many inputs: groups that divide it and that do not, of one, of more than there are.
func roundings(cols int) (all []kernels.Rounding) {
	for _, to := range []kernels.DType{kernels.I8, kernels.F8} {
		for _, group := range []int{0, 1, 3, 16, 40, 128, 1025, cols + 1} {
			all = append(all, kernels.Rounding{To: to, Group: group})
		}
		all = append(all, kernels.Rounding{To: to, Scale: 0.037, Group: 5}, kernels.Rounding{To: to, Scale: 1}, kernels.Rounding{To: to, Scale: 1e-40})
	}
	return all
}

// trickyRows are rows whose scales are 1, so that ties fall where one can see them, and such as have none.
func trickyRows(cols int) []float32 {
	const tiny = math.SmallestNonzeroFloat32
	rows := [][]float32{
		{127, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5, 126.5, 0.49999997, 0.50000006, float32(math.Copysign(0, -1)), -0.25},
		{448, 464, 15, 15.5, 16.5, 17, 19, -21, 232, 0.015625, 0.0146484375, 0x1p-10, 0x1.8p-9, 0x1p-9, 0x1.4p-8, -0x1p-11, 0x1.1p-6},
		{63 * tiny, -tiny}, {190 * tiny, tiny, -100 * tiny}, {300 * tiny, -tiny},
		{math.MaxFloat32, 1, -3e38}, {1e-38, -3e-39, 2e-38},
		{nan, 1, 2}, {1, inf, 2}, {-inf, nan}, {0, float32(math.Copysign(0, -1))}, {},
	}
	v := make([]float32, len(rows)*cols)
	for i, row := range rows {
		copy(v[i*cols:(i+1)*cols], row)
	}
	return v
}

// TestRound holds every backend and format of activations to the definition, bit for bit.
func TestRound(t *testing.T) {
	var rigs []*rig
	for _, tg := range slices.Concat([]target{{backend: "ref"}}, hostTargets(t), cudaTargets()) {
		if !strings.HasSuffix(tg.isa, "-model") {
			rigs = append(rigs, tg.open(t))
		}
	}
	for _, cols := range []int{1, 7, 16, 33, 128, 257, 1031, 2048} {
		all := append(trickyRows(cols), normal(seeded(uint64(cols)), 3*cols)...)
		for _, how := range roundings(cols) {
			wants := map[kernels.DType][]float32{}
			for _, r := range rigs {
				x, want := round(r.target.act, all), wants[r.target.act]
				if want == nil {
					want = round(r.target.act, rounded(x, cols, how))
					wants[r.target.act] = want
				}
				for what, got := range r.roundBothWays(x, cols, how) {
					if err := sameButNaN(got, want); err != nil {
						t.Fatalf("%v: %d columns, %+v, %s: %v", r.target, cols, how, what, err)
					}
				}
			}
		}
	}
}

func (r *rig) roundBothWays(x []float32, cols int, how kernels.Rounding) map[string][]float32 {
	r.Helper()
	defer r.done()
	in, out, place := r.in(len(x)/cols, cols, x), r.out(len(x)/cols, cols), r.inPlace(len(x)/cols, cols, x)
	r.must(r.st.Round(out, in, how))
	r.must(r.st.Round(place, place, how))
	return map[string][]float32{"apart": r.read(out), "in place": r.read(place)}
}

// sameButNaN is sameBits where one NaN is as good as another.
func sameButNaN(got, want []float32) error {
	got, want = slices.Clone(got), slices.Clone(want)
	for i := range min(len(got), len(want)) {
		if got[i] != got[i] && want[i] != want[i] {
			got[i], want[i] = nan, nan
		}
	}
	return sameBits(got, want)
}

// TestF8OfEveryCode: what e4m3fn holds is left as it is, and what lies between goes to the nearer neighbour.
func TestF8OfEveryCode(t *testing.T) {
	var x []float32
	for b := range 127 {
		v, next := float32(f8Value(byte(b))), float32(f8Value(byte(min(b+1, 126))))
		half := v + (next-v)/2
		x = append(x, v, -v, half, -half, math.Nextafter32(half, 0), math.Nextafter32(half, 500))
	}
	how := kernels.Rounding{To: kernels.F8, Scale: 1}
	for _, tg := range targets(t) {
		r := tg.open(t)
		out := r.out(1, len(x))
		r.must(r.st.Round(out, r.in(1, len(x), x), how))
		got := r.read(out)
		if err := sameBits(got, rounded(x, len(x), how)); err != nil {
			t.Errorf("%v: %v", tg, err)
		}
		for i := 0; i < len(x); i += 6 {
			if got[i] != x[i] || got[i+1] != x[i+1] {
				t.Errorf("%v: %g becomes %g, %g becomes %g", tg, x[i], got[i], x[i+1], got[i+1])
			}
		}
		r.done()
	}
}

// roundCases are the lines of the table: the oracle's results to the bit, but for how they are stored.
func roundCases(add func(string, float64, func(*rig, *rand.Rand, int, int) ([]float32, []float64))) {
	for _, how := range []kernels.Rounding{{To: kernels.I8}, {To: kernels.F8}, {To: kernels.I8, Group: 32}, {To: kernels.F8, Group: 7}, {To: kernels.I8, Scale: 0.03}, {To: kernels.F8, Scale: 0.5}} {
		add(fmt.Sprintf("round %v scale %g group %d", how.To, how.Scale, how.Group), 0, func(r *rig, rng *rand.Rand, rows, cols int) ([]float32, []float64) {
			out, x := r.outWide(rows, cols), normal(rng, rows*cols)
			if rows == 3 {
				copy(x[cols:], []float32{inf, -inf, nan}[:min(cols, 3)])
			}
			r.must(r.st.Round(out, r.in(rows, cols, x), how))
			return r.read(out), nil
		})
	}
}

// roundedShapes are attention over caches that round; without a rotation all backends round the same keys.
func roundedShapes() (all []attnShape) {
	for _, dt := range []kernels.DType{kernels.F32, kernels.BF16} {
		for _, to := range []kernels.DType{kernels.I8, kernels.F8} {
			for _, dim := range []int{2, 6, 64, 130} {
				all = append(all, attnShape{heads: 4, kvHeads: 2, dim: dim, page: 5, past: []int{7, 0, 66}, fresh: []int{3, 20, 1}, dtype: dt, round: to, still: true})
			}
		}
	}
	return all
}

// TestRoundedValues: what attention to a single position gives is its value as the cache holds it.
func TestRoundedValues(t *testing.T) {
	const heads, dim = 3, 34
	v := slices.Concat(normal(seeded(1), dim), []float32{1, inf}, make([]float32, dim-2), []float32{500, -449, 0.001, 3.3}, normal(seeded(2), dim-4))
	for _, tg := range slices.Concat([]target{{backend: "ref"}}, hostTargets(t)) {
		r := tg.open(t)
		if info, err := r.dev.Info(); err != nil || !info.RoundsKV {
			t.Errorf("%v: rounds keys and values: %v, %v", tg, info.RoundsKV, err)
		}
		for _, how := range []kernels.Rounding{{To: kernels.F32}, {To: kernels.I8}, {To: kernels.F8, Scale: 1}} {
			for _, dt := range []kernels.DType{kernels.F32, kernels.BF16} {
				kv, err := r.dev.NewKV(kernels.KVDesc{Layers: 1, KVHeads: heads, HeadDim: dim, PageSize: 4, Pages: 1, DType: dt, Round: how.To})
				r.must(err)
				batch, err := r.st.NewBatch(kernels.BatchDesc{QStart: []int32{0, 1}, KVLen: []int32{1}, Pages: []int32{0}, MaxPages: 1})
				r.must(err)
				r.made = append(r.made, kv, batch)
				q, out, table := r.inPlace(1, heads*dim, make([]float32, heads*dim)), r.out(1, heads*dim), make([]float32, dim)
				for i := range dim / 2 {
					table[i] = 1
				}
				r.must(r.st.RopeKV(kernels.RopeArgs{Q: q, K: r.in(1, heads*dim, normal(seeded(3), heads*dim)), V: r.in(1, heads*dim, v),
					Rope: kernels.Rope{Table: r.inF32(1, dim, table), Dims: dim}, KV: kv, Batch: batch}))
				r.must(r.st.Attention(kernels.AttentionArgs{Out: out, Q: q, KV: kv, Batch: batch, Heads: heads, Scale: 1}))
				want := v
				if how.To != kernels.F32 {
					want = rounded(v, dim, how)
				}
				for i, got := range r.read(out) {
					if w := round(dt, want)[i]; !near(float64(got), float64(w), 0, 0) {
						t.Fatalf("%v: %+v in %v: value %d is %g, want %g", tg, how, dt, i, got, w)
					}
				}
				r.done()
			}
		}
	}
	for _, tg := range cudaTargets() {
		r := tg.open(t)
		info, err := r.dev.Info()
		r.must(err)
		_, err = r.dev.NewKV(kernels.KVDesc{Layers: 1, KVHeads: 1, HeadDim: 1, PageSize: 1, Pages: 1, Round: kernels.I8})
		if info.RoundsKV || !errors.Is(err, kernels.ErrUnsupported) || !strings.Contains(err.Error(), "rounds no keys and values") {
			t.Errorf("%v: rounds keys and values: %v, %v", tg, info.RoundsKV, err)
		}
	}
}

// TestF8RowScales: a matrix of f8 with a scale a row is that of one scale where they are equal, and the parts of one may have either.
func TestF8RowScales(t *testing.T) {
	const m, n, k = 70, 37, 64
	for _, tg := range everyTarget(t) {
		r := tg.open(t)
		info, err := r.dev.Info()
		r.must(err)
		d := seededMatrix(3, kernels.F8, n, k, 0).desc
		if len(d.Scales) != 1 {
			t.Fatal("the matrix has scales a row")
		}
		each := d
		each.Scales = slices.Repeat(d.Scales, n)
		x := r.in(m, k, normal(seeded(1), m*k))
		product := func(w *kernels.Weight) []float32 {
			out := r.outWide(m, n)
			r.must(r.st.MatMul(out, x, w, nil))
			return r.read(out)
		}
		if err := sameBits(product(r.weight(matrix{desc: each})), product(r.weight(matrix{desc: d}))); err != nil {
			t.Errorf("%v: %v", tg, err)
		}
		for _, count := range []int{0, 2, n - 1, n + 1} {
			bad := d
			bad.Scales = make([]float32, count)
			if _, err := r.dev.NewWeight(bad); !isInvalid(err) {
				t.Errorf("%v: %d scales for %d rows: %v", tg, count, n, err)
			}
		}
		if info.Pieces {
			parts := kernels.WeightDesc{DType: kernels.F8, Rows: n, Cols: k}
			w := r.weight(matrix{desc: parts})
			parts.Data = d.Data
			for from, to := 0, 0; from < n; from = to {
				to = min(from+1+from, n)
				p := rowsOf(d, from, to)
				p.Scales = []float32{0.01 * float32(1+from)}
				if from%2 == 1 {
					p.Scales = scales(seeded(uint64(from)), to-from)
				}
				r.must(w.Put(from, p))
				if len(p.Scales) == 1 {
					p.Scales = slices.Repeat(p.Scales, to-from)
				}
				parts.Scales = append(parts.Scales, p.Scales...)
			}
			if err := sameBits(product(w), product(r.weight(matrix{desc: parts}))); err != nil {
				t.Errorf("%v: in parts: %v", tg, err)
			}
		}
		r.done()
	}
}
