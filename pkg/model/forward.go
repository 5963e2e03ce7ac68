package model

import (
	"fmt"
	"math"

	"sextant/kernels"
)

// Batch is the tokens of one forward pass: those of all sequences behind one another, laid out by Desc.
type Batch struct {
	Tokens []int32
	Desc   kernels.BatchDesc
	Out    []int32 // indices into Tokens whose final hidden state is wanted, ascending
}

// Forward runs the new tokens of b's sequences, writes their keys and values into kv and returns the hidden states, after the final norm,
// of the tokens in b.Out: [len(Out), hidden], valid until the next Forward. An error leaves the new positions of kv undefined.
func (m *Model) Forward(kv *kernels.KV, b Batch) (kernels.Tensor, error) {
	return m.ForwardPart(kv, b, nil)
}

// ForwardPart is Forward of a part of a model (Options.Part). in are the hidden states [len(b.Tokens), hidden], row by row, that the part before
// it gave; nil for the first part. A part that is not the last gives those that the next one takes, of all tokens whatever b.Out is.
func (m *Model) ForwardPart(kv *kernels.KV, b Batch, in []float32) (kernels.Tensor, error) {
	if in == nil {
		return m.forwardWith(kv, b, nil)
	}
	return m.forwardWith(kv, b, func(x kernels.Tensor) error { return m.stream.UploadF32(x, in) })
}

// forwardWith is ForwardPart with what brings the hidden states to this device; nil for the first part.
func (m *Model) forwardWith(kv *kernels.KV, b Batch, bring func(x kernels.Tensor) error) (kernels.Tensor, error) {
	h, err := m.forward(kv, b, bring)
	if err != nil {
		return kernels.Tensor{}, fmt.Errorf("forward pass of %d tokens: %w", len(b.Tokens), err)
	}
	return h, nil
}

func (m *Model) forward(kv *kernels.KV, b Batch, bring func(x kernels.Tensor) error) (kernels.Tensor, error) {
	longest, err := m.check(b)
	if err != nil {
		return kernels.Tensor{}, err
	}
	if (bring == nil) != m.first() {
		return kernels.Tensor{}, fmt.Errorf("%v: hidden states are for parts behind the first one", m.part)
	}
	b.Desc.Tokens = tokensOf(b)
	if err := m.prepare(len(b.Tokens), longest); err != nil {
		return kernels.Tensor{}, err
	}
	if bring != nil {
		if err := bring(m.scratch.x.SliceRows(0, len(b.Tokens))); err != nil {
			return kernels.Tensor{}, err
		}
	}
	if h, done, err := m.replay(kv, b); done {
		return h, err
	}
	batch, err := m.stream.NewBatch(b.Desc)
	if err != nil {
		return kernels.Tensor{}, err
	}
	m.batch = batch
	out := b.Out
	if len(out) == len(b.Tokens) || !m.Last() {
		out = nil
	} else if out == nil {
		out = []int32{}
	}
	return m.run(kv, batch, len(b.Tokens), out)
}

// run gives the pass to the device. out are the rows wanted; nil: all of them, and then it can be recorded.
func (m *Model) run(kv *kernels.KV, batch *kernels.Batch, tokens int, out []int32) (kernels.Tensor, error) {
	p := &pass{m: m, kv: kv, batch: batch, t: m.scratch.rows(tokens, m.cfg)}
	if m.first() {
		p.err = m.stream.EmbedBatch(p.t.x, m.embed, batch)
	}
	for i := range m.layers {
		if i > 0 {
			p.before = &p.t.y
		}
		p.l, p.at = &m.layers[i], i
		p.attend()
		if out != nil && i == len(m.layers)-1 {
			p.keep(out)
		}
		p.think()
		if p.err != nil {
			return kernels.Tensor{}, fmt.Errorf("layer %d: %w", m.part.From+i, p.err)
		}
	}
	if !m.Last() {
		return p.t.x, m.stream.Add(p.t.x, p.t.y)
	}
	p.norm(p.t.h, p.t.x, &p.t.y, m.norm)
	p.round(p.t.h, p.t.h, m.headRounding)
	return p.t.h, p.err
}

// pass is one forward pass under way. Its steps do nothing after the first error.
type pass struct {
	m     *Model
	kv    *kernels.KV
	batch *kernels.Batch
	t     tensors
	tap   Tap // sees what goes into matrices; nil: nobody
	err   error

	l      *layer
	at     int             // l's place in the cache
	before *kernels.Tensor // what the layer before left to be added to x; nil: nothing
}

// attend is the first half of a layer up to the mixed values: a = attention(norm(x)), with what the layer before left in y added to x.
func (p *pass) attend() {
	p.norm(p.t.h, p.t.x, p.before, p.l.attnNorm)
	p.mix()
}

// mix is attention behind its norm: from h to a.
func (p *pass) mix() {
	l, c, t := p.l, p.m.cfg, &p.t
	p.look(SiteQKV, t.h)
	p.linear(t.qkv, t.h, l.qkv)
	p.linear(t.q, t.h, l.q)
	p.linear(t.k, t.h, l.k)
	p.linear(t.v, t.h, l.v)
	if c.QKNorm {
		p.headNorm(t.q, l.qNorm)
		p.headNorm(t.k, l.kNorm)
	}
	if p.err != nil {
		return
	}
	p.err = p.m.stream.RopeKV(kernels.RopeArgs{Q: t.q, K: t.k, V: t.v, KV: p.kv, Batch: p.batch, Layer: p.at,
		Rope: kernels.Rope{Table: p.m.rope, Dims: c.HeadDim}})
	if p.err != nil {
		return
	}
	p.err = p.m.stream.Attention(kernels.AttentionArgs{Out: t.a, Q: t.q, KV: p.kv, Batch: p.batch, Layer: p.at,
		Heads: c.Heads, Window: l.window, Scale: float32(1 / math.Sqrt(float64(c.HeadDim)))})
}

// output is y = o(a).
func (p *pass) output() {
	p.look(SiteO, p.t.a)
	p.linear(p.t.y, p.t.a, p.l.o)
}

// think is the second half of a layer: x += o(a), then y = mlp(norm(x)), which the next norm adds.
func (p *pass) think() {
	p.output()
	p.norm(p.t.h, p.t.x, &p.t.y, p.l.mlpNorm)
	p.expand()
	p.reduce()
}

// expand is the MLP behind its norm up to its last matrix: from h to gate.
func (p *pass) expand() {
	l, t := p.l, &p.t
	p.look(SiteGateUp, t.h)
	p.linear(t.gateUp, t.h, l.gateUp)
	p.linear(t.gate, t.h, l.gate)
	p.linear(t.up, t.h, l.up)
	if p.err == nil {
		p.err = p.m.stream.SwiGLU(t.gate, t.gate, t.up)
	}
}

// reduce is y = down(gate).
func (p *pass) reduce() {
	p.look(SiteDown, p.t.gate)
	p.linear(p.t.y, p.t.gate, p.l.down)
}

// look shows the tap what goes into a site's matrices, and rounds it in place where they all want it rounded alike.
func (p *pass) look(s Site, in kernels.Tensor) {
	if p.err == nil && p.tap != nil {
		p.err = p.tap(s, in)
	}
	p.round(in, in, p.l.rounding[s])
}

func (p *pass) round(out, x kernels.Tensor, r kernels.Rounding) {
	if p.err == nil && r.To != kernels.F32 {
		p.err = p.m.stream.Round(out, x, r)
	}
}

// keep narrows the pass to some rows: behind the last attention the other tokens have no use.
func (p *pass) keep(rows []int32) {
	if p.err != nil {
		return
	}
	x, a := p.t.x, p.t.a
	p.t = p.m.scratch.rows(len(rows), p.m.cfg)
	// y and q are free here, as wide as x and a, and of their formats.
	p.t.x, p.t.a, p.t.y = p.t.y, p.t.q, p.t.x
	if p.err = p.m.stream.Gather(p.t.x, x, rows); p.err == nil {
		p.err = p.m.stream.Gather(p.t.a, a, rows)
	}
}

func (p *pass) norm(out, x kernels.Tensor, add *kernels.Tensor, w *kernels.Weight) {
	if p.err == nil {
		p.err = p.m.stream.RMSNorm(out, x, add, w, float32(p.m.cfg.NormEps))
	}
}

// headNorm norms each head of t [tokens, heads*head_dim] on its own, in place. Heads lie behind one another within a token alone: the calls
// go by tokens or by heads, whichever are fewer.
func (p *pass) headNorm(t kernels.Tensor, w *kernels.Weight) {
	d := p.m.cfg.HeadDim
	heads := t.Cols / d
	if t.Rows <= heads {
		for i := range t.Rows {
			row := t.SliceRows(i, i+1)
			row.Rows, row.Cols, row.Stride = heads, d, d
			p.norm(row, row, nil, w)
		}
		return
	}
	for i := range heads {
		head := t.SliceCols(i*d, (i+1)*d)
		p.norm(head, head, nil, w)
	}
}

// linear does nothing for a weight that is part of another. Only matrices behind norms share their input: what they round of it, each in its
// own way, goes to y, which the norm has added to x.
func (p *pass) linear(out, x kernels.Tensor, l linear) {
	if l.w == nil {
		return
	}
	if l.rounding.To != kernels.F32 {
		p.round(p.t.y, x, l.rounding)
		x = p.t.y
	}
	if p.err == nil {
		p.err = p.m.stream.MatMul(out, x, l.w, l.bias)
	}
}

// check refuses what the kernels would not name well, and returns the positions of the longest sequence.
func (m *Model) check(b Batch) (int, error) {
	d := b.Desc
	if len(d.QStart) != len(d.KVLen)+1 || d.QStart[0] != 0 || int(d.QStart[len(d.KVLen)]) != len(b.Tokens) {
		return 0, fmt.Errorf("%d sequences with starts %v do not lay out %d tokens", len(d.KVLen), d.QStart, len(b.Tokens))
	}
	longest := 0
	for i, n := range d.KVLen {
		fresh := d.QStart[i+1] - d.QStart[i]
		if fresh < 0 || n < fresh {
			return 0, fmt.Errorf("sequence %d has %d new tokens of %d positions", i, fresh, n)
		}
		if int(n) > m.cfg.MaxPositions {
			return 0, fmt.Errorf("sequence %d has %d positions, the model takes %d", i, n, m.cfg.MaxPositions)
		}
		longest = max(longest, int(n))
	}
	for i, id := range b.Tokens {
		if id < 0 || int(id) >= m.cfg.Vocab {
			return 0, fmt.Errorf("token %d has id %d, the model's vocabulary is %d", i, id, m.cfg.Vocab)
		}
	}
	last := int32(-1)
	for i, row := range b.Out {
		if row <= last || int(row) >= len(b.Tokens) {
			return 0, fmt.Errorf("output %d is token %d: want ascending indices below %d", i, row, len(b.Tokens))
		}
		last = row
	}
	return longest, nil
}
