// Package checkpoint opens a model as Hugging Face lays it out: config.json beside safetensors files, or beside the .bin files of older
// models; or as Meta publishes Llama, params.json beside consolidated.00.pth and its further parts, whose tensors get the names, the order of
// rows and the wholeness that they have in transformers (original.go). Opening reads and checks everything but the weights: the configuration,
// each file's tensor table, and that every tensor the architecture needs is there with its shape, plain or in one of the quantized layouts of
// package qformat. The weights are mapped into memory, not read; those in an object store are mapped in the node's cache, and fetched when they are
// needed (remote.go). It also writes models. It is pure Go, so that the static submit and the worker share it.
//
// A model family is one entry of a table (families.go): what its tensors are called and which options it has. A new family of the
// Llama kind is a new entry, never new code.
package checkpoint
