//go:build cgo

package kernels

// #include "shim.h"
import "C"

import (
	"unsafe"

	"sextant/internal/halves"
)

// UploadF32 writes v, Rows*Cols values row by row, into t; a bf16 or f16 tensor rounds them to nearest even.
func (s *Stream) UploadF32(t Tensor, v []float32) error {
	if err := t.checkHost("upload", len(v)); err != nil {
		return err
	}
	return t.eachRun(func(at int64, i, n int) error {
		return s.upload(t.Buf, at, encode(t.DType, v[i:i+n]))
	})
}

// DownloadF32 waits for the stream and reads t into dst, Rows*Cols values row by row.
func (s *Stream) DownloadF32(t Tensor, dst []float32) error {
	if err := t.checkHost("download", len(dst)); err != nil {
		return err
	}
	return t.eachRun(func(at int64, i, n int) error {
		if t.DType == F32 {
			return s.download(t.Buf, at, float32Bytes(dst[i:i+n]))
		}
		raw := make([]byte, 2*n)
		err := s.download(t.Buf, at, raw)
		halves.Widen(dst[i:i+n], stored[t.DType], raw)
		return err
	})
}

// Copy makes dst what src is: contiguous both, of equal shape and format. src may lie on another device of the same backend; then its values go
// from one to the other without the host where the machine can, and what makes them must have been waited for. Copy waits, too: once it
// returns src may be changed.
func (s *Stream) Copy(dst, src Tensor) error {
	if dst.Rows != src.Rows || dst.Cols != src.Cols || dst.DType != src.DType || !dst.Contiguous() || !src.Contiguous() {
		return invalid("copy", "a tensor [%d, %d] of %v with row stride %d to [%d, %d] of %v with row stride %d",
			src.Rows, src.Cols, src.DType, src.Stride, dst.Rows, dst.Cols, dst.DType, dst.Stride)
	}
	n := dst.Rows * dst.Cols
	if err := dst.checkHost("copy", n); err != nil {
		return err
	}
	h, bytes := src.Buf.owned(), int64(n)*dst.DType.Bytes()
	if h == nil || int64(n) > src.Buf.bytes {
		return invalid("copy", "[%d, %d] of %v from a buffer that is missing or too small", src.Rows, src.Cols, src.DType)
	}
	return s.call("copy", func(c C.shim) C.sx_status {
		from := (*C.sx_buffer)(nil)
		h.pin.Lock() // the device that src is of may be at work: it is not locked, and may not free src meanwhile
		defer h.pin.Unlock()
		if h.dev.ops == c.ops { // another backend's is none that this one knows
			from = src.Buf.p
		}
		return C.shim_copy(c, cBuffer(dst.Buf), C.int64_t(dst.Offset), from, C.int64_t(src.Offset), C.int64_t(bytes))
	})
}

// checkHost holds a host slice of n values against the tensor; bounds within the buffer are the backend's to check.
func (t Tensor) checkHost(op string, n int) error {
	if t.DType.Bytes() == 0 || t.Rows < 0 || t.Cols < 0 || t.Stride < t.Cols || (t.Cols > 0 && t.Rows > n/t.Cols) || n != t.Rows*t.Cols {
		return invalid(op, "%d values for a tensor [%d, %d] of %v with row stride %d", n, t.Rows, t.Cols, t.DType, t.Stride)
	}
	return nil
}

// eachRun calls f for each contiguous run of values: its byte offset in the buffer, its first value and their number.
func (t Tensor) eachRun(f func(at int64, i, n int) error) error {
	if t.Contiguous() {
		return f(t.Offset, 0, t.Rows*t.Cols)
	}
	for r := range t.Rows {
		if err := f(t.SliceRows(r, r+1).Offset, r*t.Cols, t.Cols); err != nil {
			return err
		}
	}
	return nil
}

// stored has the names that halves knows the narrow formats by.
var stored = map[DType]string{F16: "F16", BF16: "BF16"}

// encode gives the bytes of v in the format.
func encode(dt DType, v []float32) []byte {
	if dt == F32 {
		return float32Bytes(v)
	}
	return halves.Narrow(nil, stored[dt], v)
}

func float32Bytes(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

func (s *Stream) upload(b *Buffer, at int64, src []byte) error {
	return s.call("upload", func(c C.shim) C.sx_status {
		return C.shim_upload(c, cBuffer(b), C.int64_t(at), (*C.uint8_t)(unsafe.SliceData(src)), C.int64_t(len(src)))
	})
}

func (s *Stream) download(b *Buffer, at int64, dst []byte) error {
	return s.call("download", func(c C.shim) C.sx_status {
		return C.shim_download(c, (*C.uint8_t)(unsafe.SliceData(dst)), cBuffer(b), C.int64_t(at), C.int64_t(len(dst)))
	})
}

func cBuffer(b *Buffer) *C.sx_buffer {
	if b == nil {
		return nil
	}
	return b.p
}
