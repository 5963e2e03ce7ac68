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
	Part Part // what of the model is loaded; the zero one: all

	Packs  *packstore.Store // where packed weights are shared with other processes; nil: they are this one's own
	Memory int64            // bytes that there are for weights that must be packed first; 0: unknown
	// Quantize rounds the matrices of the layers as they are loaded: "i8" to 8 bits, "i4" or "i4gN" to 4 bits in groups of N inputs,
	// default 128; and the output matrix, with an embedding that is tied to it, to 8 bits. It is plain rounding to nearest (rtn.go), to
	// measure kernels with: nothing is calibrated.
	Quantize string

	// Dequantize makes quantized matrices f32 values, and activations f32 with them; inputs and cache are still rounded as the checkpoint says.
	Dequantize bool

	wide      bool  // for tests: activations of f32, whatever the matrices are
	apart     bool  // for blocks and tests: each matrix a weight of its own, made by the backend
	unrounded bool  // for blocks: inputs of matrices are not rounded
	chunk     int64 // for tests: bytes that are packed at once
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
	runs     map[string]int  // how quantized matrices run, and how many
	codes    unpacker
	copied   []byte // of a tensor that does not lie in one piece, what was read last
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
	l.codes = unpacker{ck: l.ck, threads: l.threads(), room: aheadBytes}
	if l.rtn, l.err = parseRTN(l.o.Quantize); l.err == nil && l.rtn.bits > 0 && l.ck.Config().Quant != nil {
		l.err = fmt.Errorf("quantizing to %q: the checkpoint is quantized already (%v)", l.o.Quantize, l.ck.Config().Quant)
	}
}

func (l *loader) load(ctx context.Context, m *Model) {
	if l.begin(ctx); l.err == nil {
		m.part, l.err = l.o.Part.of(m.cfg)
	}
	if l.err != nil {
		return
	}
	l.codes.order = l.order(m.part)
	defer l.codes.close()
	c := m.cfg
	head := l.source(c.HeadName()) // never quantized where it is the embedding
	l.ends(m, head)
	m.layers = make([]layer, m.part.To-m.part.From)
	for i := range c.Layers {
		if i < m.part.From || i >= m.part.To {
			l.elsewhere(c.LayerNames(i))
			continue
		}
		y := &m.layers[i-m.part.From]
		l.layer(y, c.LayerNames(i))
		y.window = c.Windows[i]
	}
	l.packAll(ctx)
	for i := range m.layers {
		m.layers[i].join()
	}
	if c.TieEmbeddings && m.first() && m.Last() {
		m.embed = m.head
	}
}

// ends loads what is before the first layer and behind the last, as far as it is the part's.
func (l *loader) ends(m *Model, head source) {
	c := m.cfg
	switch {
	case !m.first():
	case !c.TieEmbeddings:
		m.embed = l.embedding(l.source(c.EmbedName()))
	case m.Last():
	case l.rtn.bits > 0:
		l.matrix(&m.embed, head, l.rtn.head()) // rounded as where it is the output matrix
	default:
		m.embed = l.embedding(head)
	}
	if !m.Last() {
		l.count(head)
		return
	}
	l.matrix(&m.head, head, l.rtn.head())
	m.headRounding = head.rounding
	m.norm = l.vector(c.NormName())
}

// elsewhere notes a layer of another part: the format of activations, and how the matrices run, are those of the whole model.
func (l *loader) elsewhere(n checkpoint.LayerNames) {
	for _, name := range matrixNames(n) {
		s := l.source(name)
		l.count(s)
		l.format(s)
	}
}

// matrixNames are those of a layer in the order in which they are loaded.
func matrixNames(n checkpoint.LayerNames) []string {
	sites := n.Sites()
	return slices.Concat(sites[:]...)
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
	l.linear(&y.o, l.source(n.O), c.OBias)
	l.group(&y.gateUp, []*linear{&y.gate, &y.up}, []source{l.source(n.Gate), l.source(n.Up)}, c.MLPBias)
	l.linear(&y.down, l.source(n.Down), c.MLPBias)
}

// join has inputs that all matrices of a site round alike rounded once. The weights have been made.
func (y *layer) join() {
	for s, site := range y.sites() {
		var used []*linear
		for _, l := range site {
			if l.w != nil {
				used = append(used, l)
			}
		}
		if len(used) == 0 || slices.ContainsFunc(used, func(l *linear) bool { return l.rounding != used[0].rounding }) {
			continue
		}
		y.rounding[s] = used[0].rounding
		for _, l := range used {
			l.rounding = kernels.Rounding{}
		}
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

// group makes one weight of matrices that share their input, or, where they do not lie behind one another when packed, one of each.
func (l *loader) group(all *linear, each []*linear, from []source, bias bool) {
	if l.err != nil {
		return
	}
	one := from[0]
	one.rows, one.spans, one.runs = 0, nil, nil
	for _, s := range from {
		if s.dtype != one.dtype || s.form != one.form || s.rounding != one.rounding || l.o.apart || !l.info.Pieces && (!s.panels() || l.info.Layout == "") {
			for i, s := range from {
				l.linear(each[i], s, bias)
			}
			return
		}
		one.rows += s.rows
		one.spans, one.runs = append(one.spans, s.spans...), append(one.runs, s.runs...)
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
	to.rounding = s.rounding
	l.format(s)
	if bias && l.err == nil {
		to.bias = l.f32(s.name+"'s bias", s.bias())
	}
}

// format notes that of a layer's matrix.
func (l *loader) format(s source) {
	switch {
	case l.err != nil:
	case l.rtn.bits > 0:
		l.formats = append(l.formats, l.rtn.dtype)
	default:
		l.formats = append(l.formats, s.form.dtype)
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
		l.fillWeight(&w, s, kernels.WeightDesc{DType: s.form.dtype, Rows: s.rows, Cols: s.cols, Embed: true}, rtn{})
		return w
	}
	desc := l.whole(s, rtn{})
	desc.Embed = true
	return l.make(s.name, desc)
}

// whole describes all of a matrix.
func (l *loader) whole(s source, r rtn) kernels.WeightDesc {
	desc, err := l.shaper(&s, r, s.rows).all()
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("tensor %q: %w", s.name, err)
	}
	if desc.Borrow && s.spans[0].data != nil { // what the checkpoint keeps a copy of is in no file
		l.mapped += int64(len(desc.Data))
	}
	return desc
}

// count notes how matrices run.
func (l *loader) count(s source) {
	for _, way := range s.runs {
		if l.runs == nil {
			l.runs = map[string]int{}
		}
		l.runs[way]++
	}
}
