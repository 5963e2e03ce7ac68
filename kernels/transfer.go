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
