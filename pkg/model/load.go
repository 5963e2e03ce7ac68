package model

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// loader makes weights of tensors. After the first error it does nothing more.
type loader struct {
	dev  *kernels.Device
	ck   *checkpoint.Checkpoint
	made []*kernels.Weight
	err  error
}

func (l *loader) load(m *Model) {
	c := m.cfg
	m.embed = l.matrix(c.EmbedName())
	m.head = m.embed
	if !c.TieEmbeddings {
		m.head = l.matrix(c.HeadName())
	}
	m.norm = l.vector(c.NormName())
	m.layers = make([]layer, c.Layers)
	for i := range m.layers {
		n := c.LayerNames(i)
		y := &m.layers[i]
		y.window = c.Windows[i]
		y.attnNorm, y.mlpNorm = l.vector(n.AttnNorm), l.vector(n.MLPNorm)
		y.qNorm, y.kNorm = l.vector(n.QNorm), l.vector(n.KNorm)
		if n.QKV != "" {
			y.q, y.k, y.v = l.fused(n.QKV)
		} else {
			y.q, y.k, y.v = l.linear(n.Q, c.QKVBias), l.linear(n.K, c.QKVBias), l.linear(n.V, c.QKVBias)
		}
		y.o = l.linear(n.O, c.OBias)
		y.gate, y.up, y.down = l.linear(n.Gate, c.MLPBias), l.linear(n.Up, c.MLPBias), l.linear(n.Down, c.MLPBias)
	}
}

// tensor finds a tensor; Open has checked that it is there with its shape.
func (l *loader) tensor(name string) checkpoint.Tensor {
	t, err := l.ck.Tensor(name)
	if err != nil && l.err == nil {
		l.err = err
	}
	return t
}

// make makes a weight and remembers it.
func (l *loader) make(name string, d kernels.WeightDesc) *kernels.Weight {
	if l.err != nil {
		return nil
	}
	w, err := l.dev.NewWeight(d)
	if err != nil {
		l.err = fmt.Errorf("tensor %q: %w", name, err)
		return nil
	}
	l.made = append(l.made, w)
	return w
}

var dtypes = map[string]kernels.DType{"F32": kernels.F32, "F16": kernels.F16, "BF16": kernels.BF16}

// matrix makes the weight of a tensor [outputs, inputs] from the mapped memory itself.
func (l *loader) matrix(name string) *kernels.Weight {
	t := l.tensor(name)
	if l.err != nil {
		return nil
	}
	d := kernels.WeightDesc{DType: dtypes[t.DType], Rows: t.Shape[0], Cols: t.Shape[1], Data: t.Data, Borrow: true}
	// The format does not promise that values are aligned. A misaligned tensor is copied.
	size := len(t.Data) / (d.Rows * d.Cols)
	if uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))%uintptr(size) != 0 {
		d.Data, d.Borrow = slices.Clone(t.Data), false
	}
	return l.make(name, d)
}

// vector makes a weight 1 x n in f32, as norms and biases have to be; nil for no name.
func (l *loader) vector(name string) *kernels.Weight {
	if name == "" {
		return nil
	}
	t := l.tensor(name)
	return l.vectorOf(name, t.DType, t.Data)
}

func (l *loader) vectorOf(name, dtype string, data []byte) *kernels.Weight {
	data = widen(dtype, data)
	return l.make(name, kernels.WeightDesc{DType: kernels.F32, Rows: 1, Cols: len(data) / 4, Data: data})
}

func (l *loader) linear(name string, bias bool) linear {
	y := linear{w: l.matrix(name)}
	if bias {
		y.bias = l.vector(checkpoint.BiasName(name))
	}
	return y
}

// fused makes q, k and v of one tensor whose rows are grouped by key head (InternLM2's wqkv). They are copied.
func (l *loader) fused(name string) (q, k, v linear) {
	c := l.ck.Config()
	t := l.tensor(name)
	if l.err != nil {
		return
	}
	out := [3]*linear{&q, &k, &v}
	for i, part := range regroup(c, t.Data) {
		out[i].w = l.make(name, kernels.WeightDesc{DType: dtypes[t.DType], Rows: len(part) * t.Shape[0] / len(t.Data), Cols: c.Hidden, Data: part})
	}
	if c.QKVBias {
		bias := l.tensor(checkpoint.BiasName(name))
		for i, part := range regroup(c, bias.Data) {
			out[i].bias = l.vectorOf(bias.Name, bias.DType, part)
		}
	}
	return q, k, v
}

// regroup takes rows laid out [kv_heads, q_per_kv + 2, head_dim] apart into those of q, k and v. Rows may be of any size.
func regroup(c *checkpoint.Config, data []byte) (parts [3][]byte) {
	per := c.Heads / c.KVHeads
	head := len(data) / (c.KVHeads * (per + 2)) // bytes of a head's rows
	for g := range c.KVHeads {
		rest := data[g*(per+2)*head:]
		parts[0] = append(parts[0], rest[:per*head]...)
		parts[1] = append(parts[1], rest[per*head:(per+1)*head]...)
		parts[2] = append(parts[2], rest[(per+1)*head:(per+2)*head]...)
	}
	return parts
}

// widen turns little-endian F32, F16 or BF16 values into f32 ones.
func widen(dtype string, data []byte) []byte {
	if dtype == "F32" {
		return slices.Clone(data)
	}
	out := make([]byte, 0, 2*len(data))
	for i := 0; i+1 < len(data); i += 2 {
		h := binary.LittleEndian.Uint16(data[i:])
		bits := uint32(h) << 16
		if dtype == "F16" {
			bits = math.Float32bits(half(h))
		}
		out = binary.LittleEndian.AppendUint32(out, bits)
	}
	return out
}

// half is the value of an IEEE binary16.
func half(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, int(h>>10&31), uint32(h&1023)
	switch exp {
	case 0:
		return float32(math.Copysign(math.Ldexp(float64(frac), -24), float64(int32(sign)|1)))
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | uint32(exp+112)<<23 | frac<<13)
}
