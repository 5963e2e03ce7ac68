package quant

import (
	"math"
	"slices"
	"testing"

	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
)

// refModel is a model without its head.
type refModel struct {
	c      *checkpoint.Config
	ck     *checkpoint.Checkpoint
	w      map[string][]float64
	seqLen int
	x      []float64 // hidden states before the next block [tokens, hidden]
}

func newRefModel(t testing.TB, ck *checkpoint.Checkpoint, ids []int32, seqLen int) *refModel {
	t.Helper()
	m := &refModel{c: ck.Config(), ck: ck, w: map[string][]float64{}, seqLen: seqLen}
	for _, name := range ck.Names() {
		tensor, err := ck.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		m.w[name] = widen(floatsOf(tensor))
	}
	embed := m.w[m.c.EmbedName()]
	for _, id := range ids {
		m.x = append(m.x, embed[int(id)*m.c.Hidden:int(id+1)*m.c.Hidden]...)
	}
	return m
}

// linear is x w^T + bias.
func (m *refModel) linear(name string, x []float64, rows int) []float64 {
	w, bias := m.w[name], m.w[checkpoint.BiasName(name)]
	cols := len(w) / rows
	out := make([]float64, 0, len(x)/cols*rows)
	for t := 0; t < len(x); t += cols {
		for r := range rows {
			y := 0.0
			for j := range cols {
				y += w[r*cols+j] * x[t+j]
			}
			if bias != nil {
				y += bias[r]
			}
			out = append(out, y)
		}
	}
	return out
}

func (m *refModel) norm(name string, x []float64) []float64 {
	n := m.c.Hidden
	out := make([]float64, len(x))
	for t := 0; t < len(x); t += n {
		square := 0.0
		for _, v := range x[t : t+n] {
			square += v * v
		}
		for j, v := range x[t : t+n] {
			out[t+j] = v / math.Sqrt(square/float64(n)+m.c.NormEps) * m.w[name][j]
		}
	}
	return out
}

// rotate turns pairs (i, i+d/2) of each head.
func (m *refModel) rotate(x []float64, heads int) {
	d := m.c.HeadDim
	for t := 0; t < len(x)/(heads*d); t++ {
		for h := range heads {
			v := x[(t*heads+h)*d : (t*heads+h+1)*d]
			for i := range d / 2 {
				angle := float64(t%m.seqLen) * math.Pow(m.c.Rope.Theta, -2*float64(i)/float64(d))
				a, b := v[i], v[i+d/2]
				v[i], v[i+d/2] = a*math.Cos(angle)-b*math.Sin(angle), b*math.Cos(angle)+a*math.Sin(angle)
			}
		}
	}
}

// attention mixes values.
func (m *refModel) attention(q, k, v []float64) []float64 {
	c, d := m.c, m.c.HeadDim
	out := make([]float64, len(q))
	for t := range len(q) / (c.Heads * d) {
		first := t / m.seqLen * m.seqLen
		for h := range c.Heads {
			g := h / (c.Heads / c.KVHeads)
			weights, sum := make([]float64, t-first+1), 0.0
			for p := first; p <= t; p++ {
				dot := 0.0
				for i := range d {
					dot += q[(t*c.Heads+h)*d+i] * k[(p*c.KVHeads+g)*d+i]
				}
				weights[p-first] = math.Exp(dot / math.Sqrt(float64(d)))
				sum += weights[p-first]
			}
			for p := first; p <= t; p++ {
				for i := range d {
					out[(t*c.Heads+h)*d+i] += weights[p-first] / sum * v[(p*c.KVHeads+g)*d+i]
				}
			}
		}
	}
	return out
}

// run gives block i's inputs of each site, and what comes out of it.
func (m *refModel) run(i int) (sites [4][]float64, out []float64) {
	c, n := m.c, m.c.LayerNames(i)
	h := m.norm(n.AttnNorm, m.x)
	sites[model.SiteQKV] = h
	q, k, v := m.linear(n.Q, h, c.Heads*c.HeadDim), m.linear(n.K, h, c.KVHeads*c.HeadDim), m.linear(n.V, h, c.KVHeads*c.HeadDim)
	m.rotate(q, c.Heads)
	m.rotate(k, c.KVHeads)
	a := m.attention(q, k, v)
	sites[model.SiteO] = a
	out = slices.Clone(m.x)
	for j, y := range m.linear(n.O, a, c.Hidden) {
		out[j] += y
	}
	h = m.norm(n.MLPNorm, out)
	sites[model.SiteGateUp] = h
	gate, up := m.linear(n.Gate, h, c.Intermediate), m.linear(n.Up, h, c.Intermediate)
	for j, g := range gate {
		gate[j] = g / (1 + math.Exp(-g)) * up[j]
	}
	sites[model.SiteDown] = gate
	for j, y := range m.linear(n.Down, gate, c.Hidden) {
		out[j] += y
	}
	return sites, out
}
