package model

import (
	"math/bits"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// tensors are the activations of one pass, a row for each token. A model's own are the buffers behind those of every pass; they grow
// and are not given back before Close.
type tensors struct {
	x    kernels.Tensor // [tokens, hidden] the residual stream
	h    kernels.Tensor // [tokens, hidden] a norm's output
	y    kernels.Tensor // [tokens, hidden] a block's output, not yet in x
	q, a kernels.Tensor // [tokens, heads*head_dim] queries, mixed values
	k, v kernels.Tensor // [tokens, kv_heads*head_dim]
	gate kernels.Tensor // [tokens, intermediate]
	up   kernels.Tensor // [tokens, intermediate]
}

// slot is one tensor of the scratch and its width.
type slot struct {
	t    *kernels.Tensor
	cols int
}

func (t *tensors) slots(c *checkpoint.Config) []slot {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	return []slot{{&t.x, c.Hidden}, {&t.h, c.Hidden}, {&t.y, c.Hidden}, {&t.q, q}, {&t.a, q}, {&t.k, kv}, {&t.v, kv},
		{&t.gate, c.Intermediate}, {&t.up, c.Intermediate}}
}

// rows gives the first n rows of every tensor.
func (t tensors) rows(n int, c *checkpoint.Config) tensors {
	for _, slot := range t.slots(c) {
		*slot.t = slot.t.SliceRows(0, n)
	}
	return t
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

// grow makes t a tensor of at least rows x cols, in powers of two so that it seldom happens. Its values are lost.
func (m *Model) grow(t *kernels.Tensor, rows, cols int) error {
	if t.Buf != nil && t.Rows >= rows {
		return nil
	}
	free(t)
	made, err := m.dev.NewTensor(1<<bits.Len(uint(max(rows, 1)-1)), cols, kernels.F32)
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
