//go:build cgo

package kernels_test

import (
	"math"
	"testing"

	"sextant/kernels"
)

// The oracle itself against closed forms in float64, written here without its code.

func TestOracleMatMul(t *testing.T) {
	for _, dt := range allFormats {
		r := target{backend: "ref"}.open(t)
		rng := seeded(21)
		const m, n, k = 3, 6, 34
		w, x, bias := randomMatrix(rng, dt, n, k, 17), normal(rng, m*k), normal(rng, n)
		out := r.out(m, n)
		r.must(r.st.MatMul(out, r.in(m, k, x), r.weight(w), r.vector(bias)))
		for i, got := range r.read(out) {
			want := float64(bias[i%n])
			for j := range k {
				want += float64(x[i/n*k+j]) * w.value[i%n*k+j]
			}
			if !near(float64(got), want, 0, 1e-7) {
				t.Errorf("%v: value %d is %v, want %v", dt, i, got, want)
			}
		}
		r.done()
	}
}

// TestOracleFormats decodes every code of the small formats by their definitions.
func TestOracleFormats(t *testing.T) {
	r := target{backend: "ref"}.open(t)
	type codes struct {
		m     matrix
		value func(i int) float64
	}
	var all []codes
	f8 := kernels.WeightDesc{DType: kernels.F8, Rows: 256, Cols: 1, Scales: []float32{0.5}}
	i8 := kernels.WeightDesc{DType: kernels.I8, Rows: 1, Cols: 256, Scales: []float32{0.25}}
	i4 := kernels.WeightDesc{DType: kernels.I4, Group: 8, Rows: 1, Cols: 16, Scales: []float32{2, 3}, Zeros: []float32{8, 7.5}}
	for i := range 256 {
		f8.Data, i8.Data = append(f8.Data, byte(i)), append(i8.Data, byte(i))
	}
	for i := range 8 {
		i4.Data = append(i4.Data, byte(2*i|(2*i+1)<<4))
	}
	all = append(all,
		codes{matrix{desc: f8}, func(i int) float64 { return f8Value(byte(i)) / 2 }},
		codes{matrix{desc: i8}, func(i int) float64 { return float64(int8(i)) / 4 }},
		codes{matrix{desc: i4}, func(i int) float64 {
			return []float64{(float64(i) - 8) * 2, (float64(i) - 7.5) * 3}[i/8]
		}})
	for _, dt := range []kernels.DType{kernels.F16, kernels.BF16} {
		d := kernels.WeightDesc{DType: dt, Rows: 65536, Cols: 1}
		for i := range 65536 {
			d.Data = append(d.Data, byte(i), byte(i>>8))
		}
		all = append(all, codes{matrix{desc: d}, func(i int) float64 { return halfValue(dt, uint16(i)) }})
	}
	backends := []*rig{r}
	for _, tg := range targets(t) {
		backends = append(backends, tg.open(t))
	}
	for _, c := range all {
		for _, r := range backends {
			ids := make([]int32, c.m.desc.Rows)
			for i := range ids {
				ids[i] = int32(i)
			}
			out := r.out(c.m.desc.Rows, c.m.desc.Cols)
			r.must(r.st.Embed(out, r.weight(c.m), ids))
			for i, got := range r.read(out) {
				if want := c.value(i); !near(float64(got), want, 0, 0) {
					t.Fatalf("%v %v: code %#x is %v, want %v", r.target, c.m.desc.DType, i, got, want)
				}
			}
			r.done()
		}
	}
}

func TestOracleRMSNorm(t *testing.T) {
	r := target{backend: "ref"}.open(t)
	out := r.out(1, 4)
	r.must(r.st.RMSNorm(out, r.in(1, 4, []float32{1, -2, 3, -4}), nil, r.vector([]float32{1, 2, 0.5, -1}), 0.5))
	root := math.Sqrt(30.0/4 + 0.5)
	for i, want := range []float64{1 / root, -4 / root, 1.5 / root, 4 / root} {
		if got := r.read(out)[i]; !near(float64(got), want, 0, 1e-7) {
			t.Errorf("value %d is %v, want %v", i, got, want)
		}
	}
}

func TestOracleSwiGLU(t *testing.T) {
	r := target{backend: "ref"}.open(t)
	gate, up := []float32{0, 1, -1, 20, -20}, []float32{3, 2, 2, 0.5, 1e6}
	out := r.out(1, 5)
	r.must(r.st.SwiGLU(out, r.in(1, 5, gate), r.in(1, 5, up)))
	for i, got := range r.read(out) {
		g := float64(gate[i])
		if want := g / (1 + math.Exp(-g)) * float64(up[i]); !near(float64(got), want, 0, 1e-7) {
			t.Errorf("value %d is %v, want %v", i, got, want)
		}
	}
}

// TestOracleAttention: rope as a rotation of complex numbers, then softmax attention over matrices held flat, for one sequence with grouped
// heads and a window.
func TestOracleAttention(t *testing.T) {
	base := attnShape{heads: 4, kvHeads: 2, dim: 6, page: 4, past: []int{5}, fresh: []int{6}}
	shapes := []attnShape{base}
	for _, f := range []func(*attnShape){
		func(s *attnShape) { s.window = 3 },
		func(s *attnShape) { s.interleaved = true },
		func(s *attnShape) { s.interleaved, s.window = true, 3 },
		func(s *attnShape) { s.still, s.round = true, kernels.I8 },
		func(s *attnShape) { s.still, s.round = true, kernels.F8 },
	} {
		s := base
		f(&s)
		shapes = append(shapes, s)
	}
	for _, s := range shapes {
		p := newProblem(s, seeded(31))
		gotQ, got := p.run(target{backend: "ref"}.open(t), p.whole())
		wantQ, want := closedAttention(p)
		for i := range got {
			if !near(float64(gotQ[i]), wantQ[i], 1, 1e-6) || !near(float64(got[i]), want[i], 1, 2e-6) {
				t.Fatalf("%v: value %d is q %v, out %v; want %v, %v", s, i, gotQ[i], got[i], wantQ[i], want[i])
			}
		}
	}
}

// closedAttention is the rotated q and the outputs of the new tokens of the problem's only sequence.
func closedAttention(p *problem) (qs, outs []float64) {
	turn := func(x []float32, pos int) []float64 {
		out, half := make([]float64, p.dim), p.dim/2
		for i := range half {
			angle := complex(0, float64(pos)*math.Pow(10000, -2*float64(i)/float64(p.dim)))
			if p.still {
				angle = 0
			}
			a, b := i, i+half
			if p.interleaved {
				a, b = 2*i, 2*i+1
			}
			c, s := math.Cos(imag(angle)), math.Sin(imag(angle))
			z := complex(float64(x[a]), float64(x[b])) * complex(c, s)
			out[a], out[b] = real(z), imag(z)
		}
		return out
	}
	for pos := p.past[0]; pos < p.past[0]+p.fresh[0]; pos++ {
		for h := range p.heads {
			q := turn(p.q[0][(pos*p.heads+h)*p.dim:][:p.dim], pos)
			qs = append(qs, q...)
			sum, out := 0.0, make([]float64, p.dim)
			for j := 0; j <= pos; j++ {
				if p.window > 0 && j <= pos-p.window {
					continue
				}
				at := (j*p.kvHeads + h/(p.heads/p.kvHeads)) * p.dim
				dot := 0.0
				for i, k := range p.kept(turn(p.k[0][at:][:p.dim], j)) {
					dot += q[i] * k
				}
				w := math.Exp(dot / math.Sqrt(float64(p.dim)))
				sum += w
				for i, v := range p.kept(turn(p.v[0][at:][:p.dim], 0)) {
					out[i] += w * v
				}
			}
			for _, o := range out {
				outs = append(outs, o/sum)
			}
		}
	}
	return qs, outs
}

// kept is a head's vector as the cache keeps it.
func (p *problem) kept(x []float64) []float64 {
	if p.round == kernels.F32 {
		return x
	}
	how, v, out := kernels.Rounding{To: p.round}, make([]float32, len(x)), make([]float64, len(x))
	if p.round == kernels.F8 {
		how.Scale = 1
	}
	for i := range x {
		v[i] = float32(x[i])
	}
	for i, r := range rounded(v, len(v), how) {
		out[i] = float64(r)
	}
	return out
}

func TestOracleLogProb(t *testing.T) {
	r := target{backend: "ref"}.open(t)
	w := f32Matrix([]float32{1, 0, 0, 1, 1, 1, 1, 1, -5, 0}, 5, 2)
	x := []float32{2, 3, 100, -100, 0, 0}
	lp, err := r.st.LogProb(r.in(3, 2, x), r.weight(w), kernels.Targets{IDs: []int32{4, 1, 2}})
	r.must(err)
	wantBest := []int32{2, 0, 0} // the first of equals
	for i := range 3 {
		sum := 0.0
		logit := func(v int) float64 {
			return float64(x[2*i])*w.value[2*v] + float64(x[2*i+1])*w.value[2*v+1]
		}
		for v := range 5 {
			sum += math.Exp(logit(v) - 50)
		}
		if want := 50 + math.Log(sum); !near(lp.LSE[i], want, 0, 1e-13) {
			t.Errorf("row %d: lse %v, want %v", i, lp.LSE[i], want)
		}
		if lp.Best[i] != wantBest[i] || float64(lp.BestLogit[i]) != logit(int(wantBest[i])) || float64(lp.Target[i]) != logit([]int{4, 1, 2}[i]) {
			t.Errorf("row %d: best %d (%v), target %v", i, lp.Best[i], lp.BestLogit[i], lp.Target[i])
		}
	}
}

// TestOracleEmbedBatch: the rows that a batch's tokens name.
func TestOracleEmbedBatch(t *testing.T) {
	r := target{backend: "ref"}.open(t)
	w := f32Matrix([]float32{1, 2, 3, 4, 5, 6}, 3, 2)
	b, err := r.st.NewBatch(kernels.BatchDesc{QStart: []int32{0, 2, 3}, KVLen: []int32{2, 1}, Tokens: []int32{2, 0, 2}})
	r.must(err)
	out := r.out(3, 2)
	r.must(r.st.EmbedBatch(out, r.weight(w), b))
	if err := sameBits(r.read(out), []float32{5, 6, 1, 2, 5, 6}); err != nil {
		t.Error(err)
	}
	r.done()
}
