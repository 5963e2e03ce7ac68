package model

import (
	"math"
	"slices"
	"testing"

	"sextant/internal/halves"
	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// wide is a forward pass in float64, written apart from the one under test, over plain weights, with inputs and cache rounded as the quantized
// checkpoint says.
type wide struct {
	t         *testing.T
	ck        *checkpoint.Checkpoint
	act       map[string]kernels.Rounding // of matrices by their names
	kv        string
	unrounded bool
	nearest   float64 // how near a rounded value came to the middle between two steps, relative to a step
}

func newWide(t *testing.T, plain, quantized *checkpoint.Checkpoint) *wide {
	t.Helper()
	f := &wide{t: t, ck: plain, act: map[string]kernels.Rounding{}, kv: quantized.Config().Quant.KV(), nearest: 1}
	for _, name := range append(matrices(plain.Config()), plain.Config().HeadName()) {
		m, err := quantized.Matrix(name)
		if err != nil {
			t.Fatal(err)
		}
		if m != nil {
			f.act[name] = roundingOf(m.Act)
		}
	}
	return f
}

func (f *wide) tensor(name string) []float64 {
	t, err := f.ck.Tensor(name)
	if err != nil {
		f.t.Fatal(err)
	}
	values := make([]float32, len(t.Data)/halves.Bytes(t.DType))
	halves.Widen(values, t.DType, t.Data)
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}

// round rounds one vector in place with the given scale, or by its greatest value.
func (f *wide) round(x []float64, to kernels.DType, scale float64) {
	if f.unrounded {
		return
	}
	if scale == 0 {
		most := 0.0
		for _, v := range x {
			most = max(most, math.Abs(v))
		}
		scale = most / map[kernels.DType]float64{kernels.I8: 127, kernels.F8: 448}[to]
	}
	if scale == 0 {
		return
	}
	for i, v := range x {
		q := v / scale
		if to == kernels.I8 {
			if math.Abs(q) < 127.4 {
				f.near(q, math.Floor(q)+0.5, 1)
			}
			x[i] = min(max(math.RoundToEven(q), -127), 127) * scale
			continue
		}
		code := toE4M3(q)
		at := int(code & 127)
		for _, other := range []int{at - 1, at + 1} {
			if other >= 0 && other < len(e4m3) {
				a, b := float64(e4m3[at]), float64(e4m3[other])
				f.near(math.Abs(q), (a+b)/2, math.Abs(a-b))
			}
		}
		x[i] = math.Copysign(float64(e4m3[at]), q) * scale
	}
}

func (f *wide) near(q, middle, step float64) { f.nearest = min(f.nearest, math.Abs(q-middle)/step) }

// linear is rounded(x) w^T + bias for each row of x.
func (f *wide) linear(name string, bias bool, x [][]float64) (out [][]float64) {
	w, r := f.tensor(name), f.act[name]
	var b []float64
	if bias {
		b = f.tensor(checkpoint.BiasName(name))
	}
	for _, row := range x {
		row = slices.Clone(row)
		group := len(row)
		if r.Group > 0 {
			group = r.Group
		}
		for part := range slices.Chunk(row, group) {
			if r.To != kernels.F32 {
				f.round(part, r.To, float64(r.Scale))
			}
		}
		y := make([]float64, len(w)/len(row))
		for i := range y {
			for j, v := range row {
				y[i] += v * w[i*len(row)+j]
			}
			if b != nil {
				y[i] += b[i]
			}
		}
		out = append(out, y)
	}
	return out
}

func (f *wide) norm(name string, x []float64) []float64 {
	w, sum := f.tensor(name), 0.0
	for _, v := range x {
		sum += v * v
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v / math.Sqrt(sum/float64(len(x))+f.ck.Config().NormEps) * w[i]
	}
	return out
}

func (f *wide) norms(name string, x [][]float64) (out [][]float64) {
	for _, row := range x {
		out = append(out, f.norm(name, row))
	}
	return out
}

// turn rotates the heads of a row at position p, each behind its norm where there is one.
func (f *wide) turn(x []float64, p int, norm string) {
	c := f.ck.Config()
	d := c.HeadDim
	freq := frequencies(&c.Rope, d, c.Rope.Theta)
	for head := range slices.Chunk(x, d) {
		if norm != "" {
			copy(head, f.norm(norm, head))
		}
		for i, w := range freq {
			sin, cos := math.Sincos(float64(p) * w)
			a, b := head[i], head[d/2+i]
			head[i], head[d/2+i] = a*cos-b*sin, b*cos+a*sin
		}
	}
}

// cached rounds the heads of a row as the cache does.
func (f *wide) cached(x []float64) {
	for head := range slices.Chunk(x, f.ck.Config().HeadDim) {
		switch f.kv {
		case "int8":
			f.round(head, kernels.I8, 0)
		case "fp8":
			f.round(head, kernels.F8, 1)
		}
	}
}

// attend is causal attention of rows q over k and v, without a window.
func (f *wide) attend(q, k, v [][]float64) (out [][]float64) {
	c := f.ck.Config()
	d, per := c.HeadDim, c.Heads/c.KVHeads
	for i := range q {
		row := make([]float64, c.Heads*d)
		for h := range c.Heads {
			at, total := h/per*d, 0.0
			weights := make([]float64, i+1)
			for j := range weights {
				dot := 0.0
				for e := range d {
					dot += q[i][h*d+e] * k[j][at+e]
				}
				weights[j] = math.Exp(dot / math.Sqrt(float64(d)))
				total += weights[j]
			}
			for j, w := range weights {
				for e := range d {
					row[h*d+e] += w / total * v[j][at+e]
				}
			}
		}
		out = append(out, row)
	}
	return out
}

func (f *wide) layer(i int, x [][]float64) {
	c, n := f.ck.Config(), f.ck.Config().LayerNames(i)
	in := f.norms(n.AttnNorm, x)
	q, k, v := f.linear(n.Q, c.QKVBias, in), f.linear(n.K, c.QKVBias, in), f.linear(n.V, c.QKVBias, in)
	for p := range x {
		f.turn(q[p], p, n.QNorm)
		f.turn(k[p], p, n.KNorm)
		f.cached(k[p])
		f.cached(v[p])
	}
	add(x, f.linear(n.O, c.OBias, f.attend(q, k, v)))
	in = f.norms(n.MLPNorm, x)
	gate, up := f.linear(n.Gate, c.MLPBias, in), f.linear(n.Up, c.MLPBias, in)
	for p := range gate {
		for j, g := range gate[p] {
			gate[p][j] = g / (1 + math.Exp(-g)) * up[p][j]
		}
	}
	add(x, f.linear(n.Down, c.MLPBias, gate))
}

func add(x, y [][]float64) {
	for i := range x {
		for j := range x[i] {
			x[i][j] += y[i][j]
		}
	}
}

// logits are those of all tokens.
func (f *wide) logits(ids []int32) (out []float32) {
	c := f.ck.Config()
	table := f.tensor(c.EmbedName())
	var x [][]float64
	for _, id := range ids {
		x = append(x, slices.Clone(table[int(id)*c.Hidden:(int(id)+1)*c.Hidden]))
	}
	for i := range c.Layers {
		f.layer(i, x)
	}
	for _, row := range f.linear(c.HeadName(), false, f.norms(c.NormName(), x)) {
		for _, v := range row {
			out = append(out, float32(v))
		}
	}
	return out
}
