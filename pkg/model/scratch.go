package model

import (
	"math/bits"
	"slices"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// tensors are the activations of one pass, a row for each token. A model's own are the buffers behind those of every pass; they grow
// and are not given back before Close.
type tensors struct {
	x      kernels.Tensor // [tokens, hidden] the residual stream
	h      kernels.Tensor // [tokens, hidden] a norm's output
	y      kernels.Tensor // [tokens, hidden] a block's output, not yet in x
	a      kernels.Tensor // [tokens, heads*head_dim] mixed values
	qkv    kernels.Tensor // [tokens, (heads+2*kv_heads)*head_dim] queries, keys and values
	gateUp kernels.Tensor // [tokens, 2*intermediate]

	q, k, v  kernels.Tensor // columns of qkv
	gate, up kernels.Tensor // columns of gateUp
}

// slot is one tensor of the scratch and its width. What feeds matmuls and attention may be of a narrow format.
type slot struct {
	t      *kernels.Tensor
	cols   int
	narrow bool
}

func (t *tensors) slots(c *checkpoint.Config) []slot {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	return []slot{{&t.x, c.Hidden, false}, {&t.h, c.Hidden, true}, {&t.y, c.Hidden, false}, {&t.a, q, true}, {&t.qkv, q + 2*kv, true},
		{&t.gateUp, 2 * c.Intermediate, true}}
}

// format is that of a slot.
func (m *Model) format(s slot) kernels.DType {
	if s.narrow {
		return m.act
	}
	return kernels.F32
}

// formatOf is that of activations that feed matmuls and attention, and of the cache: where the device has narrow ones, that of the layers'
// matrices that have one, bf16 where all have fewer bits; f32 where they are mixed.
func formatOf(info kernels.Info, matrices []kernels.DType) kernels.DType {
	if !info.Narrow || len(matrices) == 0 {
		return kernels.F32
	}
	var plain []kernels.DType
	for _, dt := range matrices {
		if dt.Bytes() > 0 && !slices.Contains(plain, dt) {
			plain = append(plain, dt)
		}
	}
	switch len(plain) {
	case 0:
		return kernels.BF16
	case 1:
		return plain[0]
	}
	return kernels.F32
}

// PositionBytes is the memory, in bytes, that a position takes in the cache.
func (m *Model) PositionBytes() int64 {
	return 2 * m.act.Bytes() * int64(len(m.layers)) * int64(m.cfg.KVHeads) * int64(m.cfg.HeadDim)
}

// rows gives the first n rows of every tensor.
func (t tensors) rows(n int, c *checkpoint.Config) tensors {
	for _, slot := range t.slots(c) {
		*slot.t = slot.t.SliceRows(0, n)
	}
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	t.q, t.k, t.v = t.qkv.SliceCols(0, q), t.qkv.SliceCols(q, q+kv), t.qkv.SliceCols(q+kv, q+2*kv)
	t.gate, t.up = t.gateUp.SliceCols(0, c.Intermediate), t.gateUp.SliceCols(c.Intermediate, 2*c.Intermediate)
	return t
}

// scratchRows is the rows that a tensor for so many has: a power of two, so that it seldom grows.
func scratchRows(n int) int { return 1 << bits.Len(uint(max(n, 1)-1)) }

// PassBytes is the memory of the device, in bytes, that passes of so many tokens take beside weights and cache, where logits of so many rows
// are wanted. What the device has put aside for its own scratch when it was opened is not in it.
func (m *Model) PassBytes(tokens, logits int) (n int64) {
	c := m.cfg
	for _, s := range (&tensors{}).slots(c) {
		n += int64(scratchRows(tokens)) * int64(s.cols) * m.format(s).Bytes()
	}
	if m.info.Layout != "" {
		widest := max(c.Hidden, c.Heads*c.HeadDim, c.Intermediate) // of what matmuls have as input
		n += 4 * int64(min(tokens, kernels.LaidOut)) * int64(widest)
	}
	if m.info.ComputeCapability > 0 && !m.Last() {
		n += 4 * int64(scratchRows(tokens)) * int64(c.Hidden) // what it may hold for the next part
	}
	if logits > 0 && m.Last() {
		n += 4 * int64(scratchRows(logits)) * int64(c.Vocab)
	}
	return n
}

func (t *tensors) free() {
	for _, slot := range t.slots(&checkpoint.Config{}) {
		free(slot.t)
	}
}

// prepare makes room for a pass of so many tokens, of sequences of up to `longest` positions. The one before may still be under way: what is freed, the device keeps until then.
func (m *Model) prepare(tokens, longest int) error {
	if m.batch != nil {
		m.batch.Free()
		m.batch = nil
	}
	for _, s := range m.scratch.slots(m.cfg) {
		if s.t.Buf == nil || s.t.Rows < tokens {
			m.graphs.drop()
		}
		if err := m.grow(s.t, tokens, s.cols, m.format(s)); err != nil {
			return err
		}
	}
	return m.reach(longest)
}

// grow makes t a tensor of at least rows x cols. Its values are lost.
func (m *Model) grow(t *kernels.Tensor, rows, cols int, dt kernels.DType) error {
	if t.Buf != nil && t.Rows >= rows {
		return nil
	}
	free(t)
	made, err := m.dev.NewTensor(scratchRows(rows), cols, dt)
	if err != nil {
		return err
	}
	*t = made
	return nil
}

func free(t *kernels.Tensor) {
	if t.Buf != nil {
		t.Buf.Free()
	}
	*t = kernels.Tensor{}
}
