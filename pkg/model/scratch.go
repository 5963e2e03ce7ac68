package model

import (
	"math/bits"

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

// slot is one tensor of the scratch and its width.
type slot struct {
	t    *kernels.Tensor
	cols int
}

func (t *tensors) slots(c *checkpoint.Config) []slot {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	return []slot{{&t.x, c.Hidden}, {&t.h, c.Hidden}, {&t.y, c.Hidden}, {&t.a, q}, {&t.qkv, q + 2*kv}, {&t.gateUp, 2 * c.Intermediate}}
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

// laidOut is how many rows of its input a matmul of the cpu backend lays out anew at once.
const laidOut = 504

// PassBytes is the memory, in bytes, that passes of so many tokens take beside weights and cache, where logits of so many rows are wanted.
func (m *Model) PassBytes(tokens, logits int) int64 {
	c := m.cfg
	widest, all := 0, 0
	for _, s := range (&tensors{}).slots(c) {
		all += s.cols
	}
	for _, n := range []int{c.Hidden, c.Heads * c.HeadDim, c.Intermediate} { // what matmuls have as input
		widest = max(widest, n)
	}
	n := int64(scratchRows(tokens))*int64(all) + int64(min(tokens, laidOut))*int64(widest)
	if logits > 0 {
		n += int64(scratchRows(logits)) * int64(c.Vocab)
	}
	return 4 * n
}

func (t *tensors) free() {
	for _, slot := range t.slots(&checkpoint.Config{}) {
		free(slot.t)
	}
}

// prepare waits for the last pass, whose layout is freed, and makes room for the next one.
func (m *Model) prepare(b Batch, longest int) error {
	if m.batch != nil {
		if err := m.stream.Sync(); err != nil {
			return err
		}
		m.batch.Free()
		m.batch = nil
	}
	for _, s := range m.scratch.slots(m.cfg) {
		if err := m.grow(s.t, len(b.Tokens), s.cols); err != nil {
			return err
		}
	}
	if err := m.reach(longest); err != nil {
		return err
	}
	batch, err := m.stream.NewBatch(b.Desc)
	m.batch = batch
	return err
}

// grow makes t a tensor of at least rows x cols. Its values are lost.
func (m *Model) grow(t *kernels.Tensor, rows, cols int) error {
	if t.Buf != nil && t.Rows >= rows {
		return nil
	}
	free(t)
	made, err := m.dev.NewTensor(scratchRows(rows), cols, kernels.F32)
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
