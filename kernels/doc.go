// Package kernels binds kernels.h, the C ABI between the worker and a kernel backend. Open gives a Device of a named backend; a Stream
// carries out operations on Tensors (views of Buffers), Weights and paged KV caches.
//
// ref is the oracle, cpu the fast host backend. What is computed for one row depends on that row alone, bit for bit: not on the other
// rows of a call, on thread counts or on the pages of the cache.
//
// A Device serialises its calls. Close frees everything made from it; Free may be called twice, and after Close. Errors read
// "kernels: matmul: ..." and match ErrInvalid, ErrNoMemory, ErrUnsupported or ErrDevice.
//
// Built without cgo the package compiles and Open answers an error.
package kernels
