// Package model is the forward pass of the Llama-like families on the kernels: one pass for all of them (forward.go), which reads what
// differs from the checkpoint's Config.
//
// A backend that reads weights in a packed form gets them packed once (pack.go), in memory that the workers of a machine share where they can
// (pkg/packstore); the pages of the mapped files are given back as they are packed, so that the weights are in memory once. Matrices that
// share their input are one weight there. An embedding that is not the output matrix too, and every weight of another backend, stays in the
// mapped files, in the dtype it has there.
//
// Matrices that a checkpoint has quantized run in their own codes where kernels know them, and as values elsewhere (form.go); what goes into them,
// and into the cache, is rounded as the checkpoint says. They are unpacked as they are brought to the device, a few at a time (unpack.go).
//
// Calibration runs a model block by block (blocks.go): the same pass over one layer's weights, over hidden states in host memory, with taps on
// what goes into the matrices.
//
// What is computed for a token depends on its sequence alone, bit for bit, whatever shares its batch and however the sequence was cut
// into passes. The table of rotations is therefore one for all sequences (rope.go).
package model
