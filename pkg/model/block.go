package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"sextant/internal/halves"
	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// Block is one block's weights on the device: attention and MLP, each behind its norm, each adding to the hidden states.
type Block struct {
	in      *Blocks
	i       int
	l       layer
	weights map[string]*held
}

// held is a tensor of a block.
type held struct {
	to         []**kernels.Weight // what it is on the device; three of one with queries, keys and values
	rows, cols int                // a vector has one row
	values     []float32          // that Set gave; nil: the checkpoint's
}

// Load brings block i to the device.
func (b *Blocks) Load(i int) (*Block, error) {
	if i < 0 || i >= b.m.cfg.Layers {
		return nil, fmt.Errorf("block %d: the model has %d", i, b.m.cfg.Layers)
	}
	y := &Block{in: b, i: i, weights: map[string]*held{}}
	names := b.m.cfg.LayerNames(i)
	l := loader{dev: b.m.dev, ck: b.ck, o: Options{Dequantize: true, apart: true, wide: true, unrounded: true}}
	if l.begin(b.ctx); l.err == nil {
		l.layer(&y.l, names)
	}
	y.l.window = b.m.cfg.Windows[i]
	y.list(names)
	if l.err != nil {
		y.Close()
		return nil, fmt.Errorf("block %d: %w", i, l.err)
	}
	if b.m.info.Layout != "" { // then the backend has its own form of them
		y.release()
	}
	return y, nil
}

// list finds the weights by their names.
func (y *Block) list(n checkpoint.LayerNames) {
	c, l := y.in.m.cfg, &y.l
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	vector := func(name string, cols int, to ...**kernels.Weight) {
		if name != "" {
			y.weights[name] = &held{to: to, rows: 1, cols: cols}
		}
	}
	matrix := func(name string, rows, cols int, bias bool, to ...*linear) {
		if name == "" {
			return
		}
		w := &held{rows: rows, cols: cols}
		var biases []**kernels.Weight
		for _, t := range to {
			w.to, biases = append(w.to, &t.w), append(biases, &t.bias)
		}
		y.weights[name] = w
		if bias {
			vector(checkpoint.BiasName(name), rows, biases...)
		}
	}
	vector(n.AttnNorm, c.Hidden, &l.attnNorm)
	vector(n.MLPNorm, c.Hidden, &l.mlpNorm)
	vector(n.QNorm, c.HeadDim, &l.qNorm)
	vector(n.KNorm, c.HeadDim, &l.kNorm)
	matrix(n.QKV, q+2*kv, c.Hidden, c.QKVBias, &l.q, &l.k, &l.v)
	matrix(n.Q, q, c.Hidden, c.QKVBias, &l.q)
	matrix(n.K, kv, c.Hidden, c.QKVBias, &l.k)
	matrix(n.V, kv, c.Hidden, c.QKVBias, &l.v)
	matrix(n.O, c.Hidden, q, c.OBias, &l.o)
	matrix(n.Gate, c.Intermediate, c.Hidden, c.MLPBias, &l.gate)
	matrix(n.Up, c.Intermediate, c.Hidden, c.MLPBias, &l.up)
	matrix(n.Down, c.Hidden, c.Intermediate, c.MLPBias, &l.down)
}

// release gives back the pages of the checkpoint's files that the block has touched.
func (y *Block) release() {
	for name := range y.weights {
		if t, err := y.in.ck.View(name); err == nil {
			y.in.ck.Release(t.Data)
		}
	}
}

// Close frees the block's weights. It may be called twice.
func (y *Block) Close() {
	for _, w := range y.weights {
		for _, to := range w.to {
			if *to != nil {
				(*to).Free()
				*to = nil
			}
		}
		w.values = nil
	}
	y.release()
}

func (y *Block) find(name string) (*held, error) {
	if w := y.weights[name]; w != nil {
		return w, nil
	}
	return nil, fmt.Errorf("block %d has no tensor %q", y.i, name)
}

// Weights gives the values of a matrix [outputs, inputs], a norm or a bias as the block has them now, by its name in the checkpoint. The slice
// is the caller's.
func (y *Block) Weights(name string) ([]float32, error) {
	w, err := y.find(name)
	if err != nil {
		return nil, err
	}
	if w.values != nil {
		return slices.Clone(w.values), nil
	}
	out := make([]float32, w.rows*w.cols)
	m, err := y.in.ck.Matrix(name)
	if err != nil {
		return nil, fmt.Errorf("block %d: tensor %q: %w", y.i, name, err)
	}
	if m != nil {
		for r := range m.Rows {
			m.Values(out[r*m.Cols:], r)
		}
		return out, nil
	}
	t, err := y.in.ck.Tensor(name)
	if err != nil {
		return nil, fmt.Errorf("block %d: %w", y.i, err)
	}
	halves.Widen(out, t.DType, t.Data)
	y.in.ck.Release(t.Data)
	return out, nil
}

// Set replaces a matrix, a norm or a bias, by its name in the checkpoint. It is of f32 from then on; the values are copied. An error leaves
// the block without that weight: it cannot be run.
func (y *Block) Set(name string, values []float32) error {
	w, err := y.find(name)
	if err != nil {
		return err
	}
	if len(values) != w.rows*w.cols {
		return fmt.Errorf("block %d: %d values for tensor %q, which has %d", y.i, len(values), name, w.rows*w.cols)
	}
	w.values = slices.Clone(values)
	parts := [][]byte{floatBytes(w.values)}
	if len(w.to) == 3 {
		all := parts[0]
		parts = nil
		for _, rows := range regroup(y.in.m.cfg, all) {
			parts = append(parts, slices.Concat(rows...))
		}
	}
	for i, to := range w.to {
		desc := kernels.WeightDesc{DType: kernels.F32, Rows: 1, Cols: len(parts[i]) / 4, Data: parts[i]}
		if w.rows > 1 {
			desc.Rows, desc.Cols = desc.Cols/w.cols, w.cols
		}
		if *to != nil {
			(*to).Free()
		}
		if *to, err = y.in.m.dev.NewWeight(desc); err != nil {
			return fmt.Errorf("block %d: tensor %q: %w", y.i, name, err)
		}
	}
	return nil
}

// Run replaces hidden states x [n*seqLen, hidden], sequence by sequence, by the block's output. tap, where it is not nil, sees the input of
// each site in every pass; after its ErrStop the rows of that pass stay as they are, and the next pass is run. A tap that stops has to stop
// all passes at one site, or sequences longer than a pass lack keys. Any other error of it ends the run, with some of x replaced.
func (y *Block) Run(x []float32, seqLen int, tap Tap) error {
	c, stream := y.in.m.cfg, y.in.m.stream
	return y.each(len(x), c.Hidden, seqLen, func(p *pass, from, to int) error {
		rows := x[from*c.Hidden : to*c.Hidden]
		p.tap = tap
		p.err = stream.UploadF32(p.t.x, rows)
		p.attend()
		p.think()
		if p.err == nil {
			p.err = stream.Add(p.t.x, p.t.y)
		}
		if p.err == nil {
			p.err = stream.DownloadF32(p.t.x, rows)
		}
		return p.err
	})
}

// Part computes what lies between a site's input and the next addition to the hidden states: of SiteQKV the attention's output from its norm's
// output, of SiteGateUp the MLP's, of SiteO and SiteDown that of the one matrix. in is the site's input [n*seqLen, inputs], sequence by
// sequence; the outcome is [n*seqLen, hidden].
func (y *Block) Part(s Site, in []float32, seqLen int) ([]float32, error) {
	m := y.in.m
	cols := y.width(s)
	if cols == 0 {
		return nil, fmt.Errorf("block %d has no %v", y.i, s)
	}
	out := make([]float32, len(in)/cols*m.cfg.Hidden)
	err := y.each(len(in), cols, seqLen, func(p *pass, from, to int) error {
		p.err = m.stream.UploadF32(*p.input(s), in[from*cols:to*cols])
		switch s {
		case SiteQKV:
			p.mix()
			p.output()
		case SiteO:
			p.output()
		case SiteGateUp:
			p.expand()
			p.reduce()
		case SiteDown:
			p.reduce()
		}
		if p.err == nil {
			p.err = m.stream.DownloadF32(p.t.y, out[from*m.cfg.Hidden:to*m.cfg.Hidden])
		}
		return p.err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// width is the number of a site's inputs; 0: there is no such site.
func (y *Block) width(s Site) int {
	c := y.in.m.cfg
	switch s {
	case SiteQKV, SiteGateUp:
		return c.Hidden
	case SiteO:
		return c.Heads * c.HeadDim
	case SiteDown:
		return c.Intermediate
	}
	return 0
}

// input is where a site's matrices read.
func (p *pass) input(s Site) *kernels.Tensor {
	switch s {
	case SiteO:
		return &p.t.a
	case SiteDown:
		return &p.t.gate
	}
	return &p.t.h
}

// each runs f for each piece of sequences whose rows have so many columns, n values in all. from and to are f's rows.
func (y *Block) each(n, cols, seqLen int, f func(p *pass, from, to int) error) error {
	b := y.in
	if seqLen < 1 || seqLen > b.m.cfg.MaxPositions {
		return fmt.Errorf("block %d: sequences of %d tokens: the model takes 1 to %d", y.i, seqLen, b.m.cfg.MaxPositions)
	}
	for name, w := range y.weights {
		if slices.ContainsFunc(w.to, func(to **kernels.Weight) bool { return *to == nil }) {
			return fmt.Errorf("block %d has lost tensor %q: it is closed, or a Set failed", y.i, name)
		}
	}
	if n%(seqLen*cols) != 0 {
		return fmt.Errorf("block %d: %d values are no whole number of sequences [%d, %d]", y.i, n, seqLen, cols)
	}
	for _, piece := range pieces(n/(seqLen*cols), seqLen) {
		if b.ctx.Err() != nil {
			return fmt.Errorf("block %d: %w", y.i, context.Cause(b.ctx))
		}
		p, err := y.begin(piece, seqLen)
		if err == nil {
			from, to := piece.rows(seqLen)
			err = f(p, from, to)
		}
		if err != nil && !errors.Is(err, ErrStop) {
			return fmt.Errorf("block %d: %w", y.i, err)
		}
	}
	return nil
}

// begin makes room for a pass over a piece.
func (y *Block) begin(piece piece, seqLen int) (*pass, error) {
	b, m := y.in, y.in.m
	from, to := piece.rows(seqLen)
	if err := m.prepare(to-from, piece.hi); err != nil {
		return nil, err
	}
	if err := b.reserve((piece.to - piece.from) * pagesOf(seqLen)); err != nil {
		return nil, err
	}
	batch, err := m.stream.NewBatch(piece.layOut(seqLen))
	if err != nil {
		return nil, err
	}
	m.batch = batch
	return &pass{m: m, kv: b.kv, batch: batch, t: m.scratch.rows(to-from, m.cfg), l: &y.l}, nil
}

// floatBytes are the bytes of values in the order of the machine, which is the little-endian one wherever kernels run.
func floatBytes(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}
