//go:build cgo

package kernels_test

import (
	"testing"

	"sextant/kernels"
)

// everyTarget is ref and all that runs here.
func everyTarget(t *testing.T) []target { return append(targets(t), target{backend: "ref"}) }

func (r *rig) sample(logits []float32, d kernels.SampleDesc, u float64) int32 {
	r.Helper()
	ids, err := r.st.Sample(r.inF32(1, len(logits), logits), []kernels.SampleDesc{d}, []float64{u})
	r.must(err)
	return ids[0]
}

// TestSample: worked by hand. At temperature 1 the logits log 4, log 2, log 1, log 1 have the probabilities 1/2, 1/4, 1/8, 1/8.
func TestSample(t *testing.T) {
	const l1, l2, l4 = 0, 0.6931472, 1.3862944
	logits := []float32{l1, l4, l1, l2}
	cases := []struct {
		name   string
		logits []float32
		d      kernels.SampleDesc
		u      float64
		want   int32
	}{
		{"greedy", logits, kernels.SampleDesc{TopP: 1}, 0.99, 1},
		{"greedy takes the first of equals", []float32{1, 3, 3, 2}, kernels.SampleDesc{TopP: 1}, 0.99, 1},
		{"negative temperature is greedy", logits, kernels.SampleDesc{Temperature: -1, TopK: 3, TopP: 0.5}, 0.99, 1},
		{"all, first", logits, kernels.SampleDesc{Temperature: 1, TopP: 1}, 0.49, 1},
		{"all, second", logits, kernels.SampleDesc{Temperature: 1, TopP: 1}, 0.51, 3},
		{"all, equal ones by id", logits, kernels.SampleDesc{Temperature: 1, TopP: 1}, 0.86, 0},
		{"all, last", logits, kernels.SampleDesc{Temperature: 1, TopP: 1}, 0.99, 2},
		{"u = 0", logits, kernels.SampleDesc{Temperature: 1, TopP: 1}, 0, 1},
		{"top_k 2: 2/3, 1/3", logits, kernels.SampleDesc{Temperature: 1, TopK: 2, TopP: 1}, 0.66, 1},
		{"top_k 2, second", logits, kernels.SampleDesc{Temperature: 1, TopK: 2, TopP: 1}, 0.67, 3},
		{"top_k 3 cuts equals by id", logits, kernels.SampleDesc{Temperature: 1, TopK: 3, TopP: 1}, 0.999, 0},
		{"top_k beyond all", logits, kernels.SampleDesc{Temperature: 1, TopK: 9, TopP: 1}, 0.99, 2},
		{"top_p 0.4 keeps one", logits, kernels.SampleDesc{Temperature: 1, TopP: 0.4}, 0.99, 1},
		{"top_p 0.6 keeps two", logits, kernels.SampleDesc{Temperature: 1, TopP: 0.6}, 0.99, 3},
		{"top_p 0.6, first of two", logits, kernels.SampleDesc{Temperature: 1, TopP: 0.6}, 0.65, 1},
		{"top_p within top_k: 0.6 of 2/3", logits, kernels.SampleDesc{Temperature: 1, TopK: 2, TopP: 0.6}, 0.99, 1},
		{"temperature 1/2 squares: 16, 4, 1, 1", logits, kernels.SampleDesc{Temperature: 0.5, TopP: 1}, 0.72, 1},
		{"temperature 1/2, second", logits, kernels.SampleDesc{Temperature: 0.5, TopP: 1}, 0.73, 3},
		{"one token", []float32{-7}, kernels.SampleDesc{Temperature: 1, TopP: 1}, 0.99, 0},
		{"tiny temperature", logits, kernels.SampleDesc{Temperature: 1e-30, TopP: 1}, 0.99, 1},
		{"NaN is never drawn", []float32{nan, 1, nan, 1}, kernels.SampleDesc{Temperature: 1, TopP: 1}, 0.99, 3},
		{"NaN is never best", []float32{nan, -inf, 2}, kernels.SampleDesc{TopP: 1}, 0, 2},
		{"-inf has no probability", []float32{1, -inf, -inf}, kernels.SampleDesc{Temperature: 1, TopP: 1}, 0.9999, 0},
		{"inf has all of it", []float32{1, inf, 1, inf}, kernels.SampleDesc{Temperature: 1, TopP: 1}, 0.6, 3},
		{"NaN alone", []float32{nan, nan}, kernels.SampleDesc{Temperature: 1, TopP: 1}, 0.6, 0},
	}
	for _, tg := range everyTarget(t) {
		r := tg.open(t)
		for _, c := range cases {
			if got := r.sample(c.logits, c.d, c.u); got != c.want {
				t.Errorf("%v: %s: %d, want %d", tg, c.name, got, c.want)
			}
		}
		r.done()
	}
}

// TestSampleAgrees draws from random logits with every kind of limit: all backends take the oracle's token.
func TestSampleAgrees(t *testing.T) {
	const rows = 60
	for _, v := range []int{1, 2, 17, 1000, 5003} {
		rng := seeded(uint64(v))
		logits, d, u := smooth(rng, rows*v), make([]kernels.SampleDesc, rows), make([]float64, rows)
		for i := range d {
			d[i] = kernels.SampleDesc{Temperature: float32(rng.Float64()*2 - 0.1), TopP: float32(0.05 + 1.1*rng.Float64())}
			if rng.IntN(2) == 0 {
				d[i].TopK = rng.IntN(v + 10)
			}
			u[i] = rng.Float64()
		}
		u[0] = 0.9999999999999999
		var want []int32
		for _, tg := range append([]target{{backend: "ref"}}, targets(t)...) {
			r := tg.open(t)
			got, err := r.st.Sample(r.inF32(rows, v, logits), d, u)
			r.must(err)
			if want == nil {
				want = got
			}
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("%v: %d logits, row %d %+v u %v: %d, the oracle took %d", tg, v, i, d[i], u[i], got[i], want[i])
				}
			}
			r.done()
		}
	}
}
