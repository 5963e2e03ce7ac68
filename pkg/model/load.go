package model

import (
	"context"
	"fmt"
	"slices"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/packstore"
)

// Options say how a model is loaded.
type Options struct {
	Packs  *packstore.Store // where packed weights are shared with other processes; nil: they are this one's own
	Memory int64            // bytes that there are for weights that must be packed first; 0: unknown
	// Quantize rounds the matrices of the layers as they are loaded: "i8" to 8 bits, "i4" or "i4gN" to 4 bits in groups of N inputs,
	// default 128; and the output matrix, with an embedding that is tied to it, to 8 bits. It is plain rounding to nearest (rtn.go), to
	// measure kernels with: nothing is calibrated.
	Quantize string

	wide  bool  // for tests: activations of f32, whatever the matrices are
	apart bool  // for blocks and tests: each matrix a weight of its own, made by the backend
	chunk int64 // for tests: bytes that are packed at once
}

// loader makes weights of tensors. After the first error it does nothing more.
type loader struct {
	dev    *kernels.Device
	ck     *checkpoint.Checkpoint
	o      Options
	rtn    rtn
	info   kernels.Info
	blocks []*block // to be packed
	pack   *packstore.Pack
	mapped int64 // bytes that are used where they are mapped
	made   []*kernels.Weight
	err    error

	ctx      context.Context
	formats  []kernels.DType // of the layers' matrices
	onDevice int64           // bytes that were brought to a device's own memory
}

// begin asks what the device takes.
func (l *loader) begin(ctx context.Context) {
	l.ctx = ctx
	if l.info, l.err = l.dev.Info(); l.err != nil {
		return
	}
	if l.o.apart {
		l.info.Layout = ""
	}
	l.rtn, l.err = parseRTN(l.o.Quantize)
}

func (l *loader) load(ctx context.Context, m *Model) {
	if l.begin(ctx); l.err != nil {
		return
	}
	c := m.cfg
	if c.TieEmbeddings {
		l.matrix(&m.head, l.source(c.EmbedName()), l.rtn.head())
	} else {
		m.embed = l.embedding(l.source(c.EmbedName()))
		l.matrix(&m.head, l.source(c.HeadName()), l.rtn.head())
	}
	m.norm = l.vector(c.NormName())
	m.layers = make([]layer, c.Layers)
	for i := range m.layers {
		l.layer(&m.layers[i], c.LayerNames(i))
		m.layers[i].window = c.Windows[i]
	}
	l.packAll(ctx)
	if c.TieEmbeddings {
		m.embed = m.head
	}
}

func (l *loader) layer(y *layer, n checkpoint.LayerNames) {
	c := l.ck.Config()
	y.attnNorm, y.mlpNorm = l.vector(n.AttnNorm), l.vector(n.MLPNorm)
	y.qNorm, y.kNorm = l.vector(n.QNorm), l.vector(n.KNorm)
	qkv := []source{l.source(n.Q), l.source(n.K), l.source(n.V)}
	if n.QKV != "" {
		qkv = l.split(n.QKV)
	}
	l.group(&y.qkv, []*linear{&y.q, &y.k, &y.v}, qkv, c.QKVBias)
	l.group(&y.gateUp, []*linear{&y.gate, &y.up}, []source{l.source(n.Gate), l.source(n.Up)}, c.MLPBias)
	l.linear(&y.o, l.source(n.O), c.OBias)
	l.linear(&y.down, l.source(n.Down), c.MLPBias)
}

// source is a matrix [rows, cols] in a checkpoint, in pieces of whole rows that follow one another, with the bias that may go with it.
type source struct {
	name       string
	dtype      string
	rows, cols int
	pieces     [][]byte
	bias       func() []byte // f32 values, rows of them
}

func (s source) rowBytes() int { return s.cols * valueBytes(s.dtype) }

// tensor finds a tensor; Open has checked that it is there with its shape.
func (l *loader) tensor(name string) checkpoint.Tensor {
	t, err := l.ck.Tensor(name)
	if err != nil && l.err == nil {
		l.err = err
	}
	return t
}

// source is a tensor [outputs, inputs] by its name; nothing for no name.
func (l *loader) source(name string) source {
	if name == "" || l.err != nil {
		return source{}
	}
	t := l.tensor(name)
	if l.err != nil {
		return source{}
	}
	return source{name: name, dtype: t.DType, rows: t.Shape[0], cols: t.Shape[1], pieces: [][]byte{t.Data}, bias: func() []byte {
		b := l.tensor(checkpoint.BiasName(name))
		return widen(b.DType, b.Data)
	}}
}

// split gives q, k and v of one tensor whose rows are grouped by key head (InternLM2's wqkv).
func (l *loader) split(name string) []source {
	whole := l.source(name)
	if l.err != nil {
		return make([]source, 3)
	}
	c := l.ck.Config()
	out := slices.Repeat([]source{whole}, 3)
	for i, pieces := range regroup(c, whole.pieces[0]) {
		out[i].pieces, out[i].rows = pieces, 0
		for _, p := range pieces {
			out[i].rows += len(p) / whole.rowBytes()
		}
		out[i].bias = func() []byte {
			b := l.tensor(checkpoint.BiasName(name))
			return widen(b.DType, slices.Concat(regroup(c, b.Data)[i]...))
		}
	}
	return out
}

// regroup takes rows laid out [kv_heads, q_per_kv + 2, head_dim] apart into those of q, k and v. Rows may be of any size.
func regroup(c *checkpoint.Config, data []byte) (parts [3][][]byte) {
	per := c.Heads / c.KVHeads
	head := len(data) / (c.KVHeads * (per + 2)) // bytes of a head's rows
	for g := range c.KVHeads {
		rest := data[g*(per+2)*head:]
		parts[0] = append(parts[0], rest[:per*head])
		parts[1] = append(parts[1], rest[per*head:(per+1)*head])
		parts[2] = append(parts[2], rest[(per+1)*head:(per+2)*head])
	}
	return parts
}

// group makes one weight of matrices that share their input, or, where they do not lie behind one another when packed, one of each.
func (l *loader) group(all *linear, each []*linear, from []source, bias bool) {
	if l.err != nil {
		return
	}
	one := from[0]
	one.rows, one.pieces = 0, nil
	for _, s := range from {
		if s.dtype != one.dtype || l.o.apart || !l.info.Pieces && (!s.panels() || l.info.Layout == "") {
			for i, s := range from {
				l.linear(each[i], s, bias)
			}
			return
		}
		one.rows += s.rows
		one.pieces = append(one.pieces, s.pieces...)
	}
	one.bias = func() (b []byte) {
		for _, s := range from {
			b = append(b, s.bias()...)
		}
		return b
	}
	l.linear(all, one, bias)
}

// linear makes a matrix of a layer with its bias.
func (l *loader) linear(to *linear, s source, bias bool) {
	l.matrix(&to.w, s, l.rtn)
	if l.err == nil && l.rtn.bits > 0 {
		l.formats = append(l.formats, l.rtn.dtype)
	} else if l.err == nil {
		l.formats = append(l.formats, dtypes[s.dtype])
	}
	if bias && l.err == nil {
		to.bias = l.f32(s.name+"'s bias", s.bias())
	}
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

// vector makes a weight 1 x n in f32, as norms have to be; nil for no name.
func (l *loader) vector(name string) *kernels.Weight {
	if name == "" {
		return nil
	}
	t := l.tensor(name)
	return l.f32(name, widen(t.DType, t.Data))
}

func (l *loader) f32(name string, data []byte) *kernels.Weight {
	return l.make(name, kernels.WeightDesc{DType: kernels.F32, Rows: 1, Cols: len(data) / 4, Data: data})
}

// embedding makes a weight whose rows are read where they are mapped.
func (l *loader) embedding(s source) *kernels.Weight {
	if l.err != nil {
		return nil
	}
	if l.info.Pieces {
		var w *kernels.Weight
		l.fillWeight(&w, s, kernels.WeightDesc{DType: dtypes[s.dtype], Rows: s.rows, Cols: s.cols, Embed: true}, rtn{})
		return w
	}
	l.mapped += int64(len(s.pieces[0]))
	return l.make(s.name, kernels.WeightDesc{DType: dtypes[s.dtype], Rows: s.rows, Cols: s.cols, Data: s.pieces[0], Borrow: true, Embed: true})
}
