package model

import "sextant/kernels"

// CopyPage makes the first positions of page dst of kv those of page src, in all layers.
func (m *Model) CopyPage(kv *kernels.KV, dst, src, positions int) error {
	return m.stream.KVCopy(kv, dst, src, positions)
}
