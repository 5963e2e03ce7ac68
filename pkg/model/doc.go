// Package model is the forward pass of the Llama-like families on the kernels: one pass for all of them (forward.go), which reads what
// differs from the checkpoint's Config. Weights stay in the mapped files, in the dtype they have there, where the backend can use them.
//
// What is computed for a token depends on its sequence alone, bit for bit, whatever shares its batch and however the sequence was cut
// into passes. The table of rotations is therefore one for all sequences (rope.go).
package model
