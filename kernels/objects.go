//go:build cgo

package kernels

/*
#include "shim.h"

#cgo noescape shim_stream_new
#cgo nocallback shim_stream_new
#cgo noescape shim_buffer_new
#cgo nocallback shim_buffer_new
#cgo noescape shim_weight_new
#cgo nocallback shim_weight_new
#cgo noescape shim_pack_size
#cgo nocallback shim_pack_size
#cgo noescape shim_pack
#cgo nocallback shim_pack
#cgo noescape shim_weight_put
#cgo nocallback shim_weight_put
#cgo noescape shim_kv_new
#cgo nocallback shim_kv_new
#cgo noescape shim_batch_new
#cgo nocallback shim_batch_new
#cgo noescape shim_batch_set
#cgo nocallback shim_batch_set
*/
import "C"

import (
	"cmp"
	"unsafe"
)

// Stream carries out operations in order.
type Stream struct {
	dev *Device
	h   *handle
	p   *C.sx_stream
	rec *Graph // being recorded; nil: none
}

// NewStream makes a stream.
func (d *Device) NewStream() (*Stream, error) {
	st := &Stream{dev: d}
	err := d.call("stream", func(s C.shim) C.sx_status {
		status := C.shim_stream_new(s, &st.p)
		if status == C.SX_OK {
			st.h = d.keep(func(s C.shim) { C.shim_stream_free(s, st.p); st.p = nil })
		}
		return status
	})
	return result(st, err)
}

// Free releases the stream.
func (s *Stream) Free() { s.h.release() }

// Buffer is memory of the device, zeroed when made.
type Buffer struct {
	h     *handle
	p     *C.sx_buffer
	bytes int64
}

// NewBuffer makes a buffer.
func (d *Device) NewBuffer(bytes int64) (*Buffer, error) {
	b := &Buffer{bytes: bytes}
	err := d.call("buffer", func(s C.shim) C.sx_status {
		status := C.shim_buffer_new(s, C.int64_t(bytes), &b.p)
		if status == C.SX_OK {
			b.h = d.keep(func(s C.shim) { C.shim_buffer_free(s, b.p); b.p = nil })
		}
		return status
	})
	return result(b, err)
}

// Free releases the buffer; tensors in it are refused from then on.
func (b *Buffer) Free() { b.h.release() }

// Bytes is the buffer's size.
func (b *Buffer) Bytes() int64 { return b.bytes }

// NewTensor makes a buffer and a contiguous tensor that fills it; t.Buf.Free releases it.
func (d *Device) NewTensor(rows, cols int, dt DType) (Tensor, error) {
	size := dt.Bytes()
	if size == 0 || rows < 0 || cols < 0 || (cols > 0 && int64(rows) > (1<<62)/size/int64(cols)) {
		return Tensor{}, invalid("tensor", "[%d, %d] of %v", rows, cols, dt)
	}
	b, err := d.NewBuffer(int64(rows) * int64(cols) * size)
	if err != nil {
		return Tensor{}, err
	}
	return Tensor{Buf: b, Rows: rows, Cols: cols, Stride: cols, DType: dt}, nil
}

// Weight is a matrix of parameters, made once.
type Weight struct {
	h          *handle
	p          *C.sx_weight
	rows, cols int
	own        *WeightDesc // keeps borrowed memory reachable
}

// shim checks the lengths of desc's slices against its shape, which C cannot.
func (desc *WeightDesc) shim() (c C.shim_weight, err error) {
	group, ok := i32(desc.Group)
	if err := desc.check(); err != nil || !ok {
		if err == nil {
			err = invalid("weight", "group %d", desc.Group)
		}
		return c, err
	}
	c = C.shim_weight{dtype: C.int32_t(desc.DType), group: group, rows: C.int64_t(desc.Rows), cols: C.int64_t(desc.Cols)}
	for _, f := range []struct {
		to *C.int32_t
		on bool
	}{{&c.borrow, desc.Borrow}, {&c.use, desc.Embed}, {&c.packed, desc.Packed}, {&c.row_scales, desc.rowScales()}} {
		if f.on {
			*f.to = 1
		}
	}
	return c, nil
}

// PackSize is the bytes that Pack writes for a weight. ErrUnsupported where the backend packs no such weight.
func (d *Device) PackSize(desc WeightDesc) (int64, error) {
	var n C.int64_t
	c, err := desc.shim()
	if err != nil {
		return 0, err
	}
	err = d.call("pack", func(s C.shim) C.sx_status {
		return C.shim_pack_size(s, c, (*C.uint8_t)(unsafe.SliceData(desc.Data)), cFloats(desc.Scales), cFloats(desc.Zeros), &n)
	})
	return int64(n), err
}

// Pack writes the form of a weight that MatMul reads to dst, which has PackSize bytes and is aligned to 64. The packed forms of matrices of
// equal dtype, group and columns whose rows are a multiple of 16 make, one behind another, that of the matrix of all their rows.
func (d *Device) Pack(desc WeightDesc, dst []byte) error {
	n, err := d.PackSize(desc)
	if err != nil {
		return err
	}
	if int64(len(dst)) != n {
		return invalid("pack", "[%d, %d] %v packs to %d bytes, with room for %d", desc.Rows, desc.Cols, desc.DType, n, len(dst))
	}
	c, err := desc.shim()
	if err != nil {
		return err
	}
	return d.call("pack", func(s C.shim) C.sx_status {
		return C.shim_pack(s, c, (*C.uint8_t)(unsafe.SliceData(desc.Data)), cFloats(desc.Scales), cFloats(desc.Zeros), (*C.uint8_t)(unsafe.SliceData(dst)))
	})
}

// NewWeight makes a weight; the lengths of desc's slices are checked against its shape. Where Info has Pieces, desc may be without Data,
// Scales and Zeros: then the weight's values are undefined until Put has filled all of its rows.
func (d *Device) NewWeight(desc WeightDesc) (*Weight, error) {
	c, err := desc.shim()
	if err != nil {
		return nil, err
	}
	if desc.Packed {
		if n, err := d.PackSize(desc); err != nil || n != int64(len(desc.Data)) {
			return nil, cmp.Or(err, invalid("weight", "[%d, %d] %v packed has %d bytes: want %d", desc.Rows, desc.Cols, desc.DType, len(desc.Data), n))
		}
	}
	w := &Weight{rows: desc.Rows, cols: desc.Cols}
	if desc.Borrow {
		w.own = &desc
	}
	err = d.call("weight", func(s C.shim) C.sx_status {
		status := C.shim_weight_new(s, c, (*C.uint8_t)(unsafe.SliceData(desc.Data)), cFloats(desc.Scales), cFloats(desc.Zeros), &w.p)
		if status == C.SX_OK {
			w.h = d.keep(func(s C.shim) { C.shim_weight_free(s, w.p); w.p = nil })
		}
		return status
	})
	return result(w, err)
}

// Put fills the rows from `row` on with those of part, which has the weight's format, group and columns; of F8 each part has one scale for
// its rows, or one a row. It is for a weight that was made without data. ErrUnsupported where Info has no Pieces.
func (w *Weight) Put(row int, part WeightDesc) error {
	c, err := part.shim()
	if err != nil {
		return err
	}
	if w == nil || w.h == nil {
		return invalid("weight", "no weight")
	}
	return w.h.dev.call("weight", func(s C.shim) C.sx_status {
		return C.shim_weight_put(s, w.p, C.int64_t(row), c, (*C.uint8_t)(unsafe.SliceData(part.Data)), cFloats(part.Scales), cFloats(part.Zeros))
	})
}

// Free releases the weight.
func (w *Weight) Free() { w.h.release() }

// Shape is the number of outputs and of inputs.
func (w *Weight) Shape() (rows, cols int) { return w.rows, w.cols }

// KV is a paged cache of keys and values.
type KV struct {
	h *handle
	p *C.sx_kv
}

// NewKV makes a cache, zeroed.
func (d *Device) NewKV(desc KVDesc) (*KV, error) {
	var c C.sx_kv_desc
	for _, f := range []struct {
		to   *C.int32_t
		from int
	}{{&c.layers, desc.Layers}, {&c.kv_heads, desc.KVHeads}, {&c.head_dim, desc.HeadDim}, {&c.page_size, desc.PageSize}, {&c.pages, desc.Pages}} {
		v, ok := i32(f.from)
		if !ok {
			return nil, invalid("kv", "%+v: a number is too large", desc)
		}
		*f.to = v
	}
	c.dtype, c.round = C.sx_dtype(desc.DType), C.sx_dtype(desc.Round)
	kv := &KV{}
	err := d.call("kv", func(s C.shim) C.sx_status {
		status := C.shim_kv_new(s, c, &kv.p)
		if status == C.SX_OK {
			kv.h = d.keep(func(s C.shim) { C.shim_kv_free(s, kv.p); kv.p = nil })
		}
		return status
	})
	return result(kv, err)
}

// Free releases the cache.
func (kv *KV) Free() { kv.h.release() }

// Batch is the layout of one forward pass, on the device.
type Batch struct {
	h *handle
	p *C.sx_batch
}

// sizes checks the lengths of desc's slices, which C cannot.
func (desc *BatchDesc) sizes() (seqs, pages C.int32_t, err error) {
	if err := desc.check(); err != nil {
		return 0, 0, err
	}
	seqs, ok1 := i32(len(desc.KVLen))
	pages, ok2 := i32(desc.MaxPages)
	if !ok1 || !ok2 {
		return 0, 0, invalid("batch", "%d sequences, max_pages %d", len(desc.KVLen), desc.MaxPages)
	}
	return seqs, pages, nil
}

// SetBatch gives b other values: the same sequences, MaxPages and QStart, Tokens where there were some. It may be used by a recording.
func (s *Stream) SetBatch(b *Batch, desc BatchDesc) error {
	seqs, pages, err := desc.sizes()
	if err != nil {
		return err
	}
	return s.call("batch", func(c C.shim) C.sx_status {
		return C.shim_batch_set(c, cBatch(b), seqs, pages, cInts(desc.QStart), cInts(desc.KVLen), cInts(desc.Pages), cInts(desc.Tokens))
	})
}

// NewBatch copies the layout to the device.
func (s *Stream) NewBatch(desc BatchDesc) (*Batch, error) {
	seqs, pages, err := desc.sizes()
	if err != nil {
		return nil, err
	}
	b := &Batch{}
	err = s.call("batch", func(c C.shim) C.sx_status {
		status := C.shim_batch_new(c, seqs, pages, cInts(desc.QStart), cInts(desc.KVLen), cInts(desc.Pages), cInts(desc.Tokens), &b.p)
		if status == C.SX_OK {
			b.h = s.dev.keep(func(c C.shim) { C.shim_batch_free(c, b.p); b.p = nil })
		}
		return status
	})
	return result(b, err)
}

// Free releases the batch.
func (b *Batch) Free() { b.h.release() }

// call is Device.call on this stream.
func (s *Stream) call(op string, f func(C.shim) C.sx_status) error {
	if s == nil {
		return invalid(op, "no stream")
	}
	return s.dev.call(op, func(c C.shim) C.sx_status {
		c.stream = s.p
		return f(c)
	})
}

// result is the object, or nil beside an error.
func result[T any](object *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return object, nil
}

func cFloats(v []float32) *C.float { return (*C.float)(unsafe.SliceData(v)) }
func cInts(v []int32) *C.int32_t   { return (*C.int32_t)(unsafe.SliceData(v)) }
func cTensor(t *Tensor) C.sx_tensor {
	c := C.sx_tensor{
		offset_bytes: C.int64_t(t.Offset), rows: C.int64_t(t.Rows), cols: C.int64_t(t.Cols),
		stride: C.int64_t(t.Stride), dtype: C.sx_dtype(t.DType),
	}
	if t.Buf != nil {
		c.buf = t.Buf.p
	}
	return c
}
func cWeight(w *Weight) *C.sx_weight {
	if w == nil {
		return nil
	}
	return w.p
}
func cKV(kv *KV) *C.sx_kv {
	if kv == nil {
		return nil
	}
	return kv.p
}
func cBatch(b *Batch) *C.sx_batch {
	if b == nil {
		return nil
	}
	return b.p
}
