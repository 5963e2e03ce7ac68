//go:build cgo

package kernels

// #include "shim.h"
import "C"

import (
	"encoding/binary"
	"math"
	"unsafe"
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
		decode(t.DType, raw, dst[i:i+n])
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

// encode gives the bytes of v in the format.
func encode(dt DType, v []float32) []byte {
	if dt == F32 {
		return float32Bytes(v)
	}
	round := bf16
	if dt == F16 {
		round = f16
	}
	raw := make([]byte, 0, 2*len(v))
	for _, f := range v {
		raw = binary.LittleEndian.AppendUint16(raw, round(f))
	}
	return raw
}

// decode gives the values of bytes in one of the two formats of 16 bits.
func decode(dt DType, raw []byte, v []float32) {
	for i := range v {
		h := binary.LittleEndian.Uint16(raw[2*i:])
		if dt == F16 {
			v[i] = fromF16(h)
		} else {
			v[i] = math.Float32frombits(uint32(h) << 16)
		}
	}
}

// bf16 rounds to nearest even; NaN stays NaN.
func bf16(f float32) uint16 {
	u := math.Float32bits(f)
	if f != f {
		return uint16(u>>16 | 0x40)
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// f16 rounds to nearest even; beyond 65520 it is infinite, and NaN stays NaN.
func f16(f float32) uint16 {
	u := math.Float32bits(f)
	sign, mag := uint16(u>>16&0x8000), u&0x7fffffff
	switch {
	case mag > 0x7f800000:
		return sign | 0x7e00 | uint16(mag>>13&0x1ff)
	case mag >= 0x477ff000: // 65520, halfway beyond the largest
		return sign | 0x7c00
	case mag < 0x38800000: // subnormal: adding 1/2 leaves multiples of 2^-24 in the lowest bits, rounded
		return sign | uint16(math.Float32bits(math.Float32frombits(mag)+0.5)-math.Float32bits(0.5))
	}
	return sign | uint16((mag-112<<23+0xfff+mag>>13&1)>>13)
}

func fromF16(h uint16) float32 {
	sign, mag := uint32(h>>15)<<31, uint32(h&0x7fff)
	switch {
	case mag >= 0x7c00:
		return math.Float32frombits(sign | 0x7f800000 | mag<<13)
	case mag < 0x400:
		return math.Float32frombits(sign | math.Float32bits(float32(mag)*0x1p-24))
	}
	return math.Float32frombits(sign | (mag<<13 + 112<<23))
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
