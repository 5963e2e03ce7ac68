package model

import (
	"slices"

	"sextant/kernels"
)

// Reaches tells whether hidden states can go from this part's device straight to that of the next part: both are GPUs of this process, and a
// copy that is tried brings what it took, which it does not on every machine that says it would. Nothing else may be using either device.
func (m *Model) Reaches(next *Model) bool {
	if m.info.ComputeCapability == 0 || next.info.ComputeCapability == 0 {
		return false
	}
	const rows = 64
	from, err := m.dev.NewTensor(rows, m.cfg.Hidden, kernels.F32)
	if err != nil {
		return false
	}
	defer free(&from)
	to, err := next.dev.NewTensor(rows, m.cfg.Hidden, kernels.F32)
	if err != nil {
		return false
	}
	defer free(&to)
	took, brought := make([]float32, rows*m.cfg.Hidden), make([]float32, rows*m.cfg.Hidden)
	for i := range took {
		took[i] = float32(i + 1)
	}
	return m.stream.UploadF32(from, took) == nil && m.stream.Sync() == nil && next.stream.Copy(to, from) == nil &&
		next.stream.DownloadF32(to, brought) == nil && slices.Equal(took, brought)
}

// Hold waits for the hidden states h, which ForwardPart gave, and keeps them on this part's device for ForwardFrom of the next one, until
// the next Hold or Close.
func (m *Model) Hold(h kernels.Tensor) error {
	if err := m.grow(&m.held, h.Rows, h.Cols, h.DType); err != nil {
		return err
	}
	return m.stream.Copy(m.held.SliceRows(0, h.Rows), h)
}

// ForwardFrom is ForwardPart with the hidden states that the part before holds. Once it has returned, that part may hold others.
func (m *Model) ForwardFrom(kv *kernels.KV, b Batch, before *Model) (kernels.Tensor, error) {
	return m.forwardWith(kv, b, func(x kernels.Tensor) error { return m.stream.Copy(x, before.held.SliceRows(0, x.Rows)) })
}
