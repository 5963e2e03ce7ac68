package model

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"sextant/internal/halves"
	"sextant/kernels"
)

// rtn is rounding to nearest of a matrix [outputs, inputs]. 8 bits: q = round(w / scale), scale = max |w| / 127 of each output. 4 bits: for
// each group of inputs of an output, scale = (max - min) / 15 of its values and 0, zero = round(-min / scale), q = round(w / scale) + zero.
// It is what quantizers are compared with (as in GPTQ, arXiv 2210.17323), and enough to measure kernels with.
type rtn struct {
	bits, group int // 0: none
	dtype       kernels.DType
}

// parseRTN reads "", "i8", "i4" or "i4gN".
func parseRTN(s string) (rtn, error) {
	group, isI4 := strings.CutPrefix(s, "i4")
	switch {
	case s == "":
		return rtn{}, nil
	case s == "i8":
		return rtn{bits: 8, dtype: kernels.I8}, nil
	case s == "i4":
		return rtn{bits: 4, group: 128, dtype: kernels.I4}, nil
	case isI4 && strings.HasPrefix(group, "g"):
		if n, err := strconv.Atoi(group[1:]); err == nil && n > 0 && n <= 1<<20 {
			return rtn{bits: 4, group: n, dtype: kernels.I4}, nil
		}
	}
	return rtn{}, fmt.Errorf("quantizing to %q: want i8, i4, or i4gN with groups of N inputs", s)
}

// head is the rounding of the output matrix, in place of r: never less than 8 bits, for its errors are in every logit. So do llama.cpp's
// mixtures (Q4_0 has an output of 6.6 bits a value).
func (r rtn) head() rtn {
	if r.bits == 0 {
		return r
	}
	return rtn{bits: 8, dtype: kernels.I8}
}

func (r rtn) String() string {
	switch r.bits {
	case 8:
		return "rtn-i8-head-i8"
	case 4:
		return fmt.Sprintf("rtn-i4g%d-head-i8", r.group)
	}
	return ""
}

// QuantizedBytes is what Options.Quantize makes of a matrix [rows, cols]: codes, scales and zeros.
func QuantizedBytes(quantize string, rows, cols int) (int64, error) {
	r, err := parseSome(quantize)
	return r.bytes(rows, cols), err
}

// QuantizedHeadBytes is the same of the output matrix, which is rounded to 8 bits whatever the layers are rounded to.
func QuantizedHeadBytes(quantize string, rows, cols int) (int64, error) {
	r, err := parseSome(quantize)
	return r.head().bytes(rows, cols), err
}

// parseSome is parseRTN where there must be a rounding.
func parseSome(quantize string) (rtn, error) {
	r, err := parseRTN(quantize)
	if err == nil && r.bits == 0 {
		err = errors.New("quantizing to nothing")
	}
	return r, err
}

func (r rtn) bytes(rows, cols int) int64 {
	n := int64(rows) * int64(cols)
	switch r.bits {
	case 8:
		return n + 4*int64(rows)
	case 4:
		return n/2 + 8*n/int64(r.group)
	}
	return 0
}

// fits refuses a matrix that does not divide into groups.
func (r rtn) fits(s source) error {
	if r.bits == 4 && (s.cols%2 != 0 || s.cols%r.group != 0) {
		return fmt.Errorf("tensor %q has %d inputs: they do not divide into groups of %d for 4 bits; choose another group", s.name, s.cols, r.group)
	}
	return nil
}

// rounding is room for the codes of so many rows.
type rounding struct {
	rtn
	cols          int
	codes         []byte
	scales, zeros []float32
}

func newRounding(r rtn, cols, rows int) *rounding {
	q := &rounding{rtn: r, cols: cols, codes: make([]byte, rows*cols*r.bits/8), scales: make([]float32, rows)}
	if r.bits == 4 {
		q.scales, q.zeros = make([]float32, rows*cols/r.group), make([]float32, rows*cols/r.group)
	}
	return q
}

// round gives a description of the rows in data, valid until it is called again.
func (q *rounding) round(dtype string, data []byte, threads int) kernels.WeightDesc {
	rowBytes := q.cols * halves.Bytes(dtype)
	rows := len(data) / rowBytes
	n := max(1, min(threads, rows))
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			row := make([]float32, q.cols)
			for r := i * rows / n; r < (i+1)*rows/n; r++ {
				halves.Widen(row, dtype, data[r*rowBytes:(r+1)*rowBytes])
				q.row(r, row)
			}
		})
	}
	wg.Wait()
	d := kernels.WeightDesc{DType: q.dtype, Group: q.group, Rows: rows, Cols: q.cols,
		Data: q.codes[:rows*q.cols*q.bits/8], Scales: q.scales[:rows]}
	if q.bits == 4 {
		groups := rows * q.cols / q.group
		d.Scales, d.Zeros = q.scales[:groups], q.zeros[:groups]
	}
	return d
}

func (q *rounding) row(r int, row []float32) {
	if q.bits == 8 {
		q.scales[r] = round8(q.codes[r*q.cols:(r+1)*q.cols], row)
		return
	}
	for i := 0; i < q.cols; i += q.group {
		at := r*q.cols + i
		g := at / q.group
		q.scales[g], q.zeros[g] = round4(q.codes, at, row[i:i+q.group])
	}
}

// nearest rounds to an integer, ties to even, where |x| < 2^22.
func nearest(x float32) int32 {
	const magic = 3 << 22
	return int32(math.Float32bits(x+magic)) - 0x4b400000
}

func round8(codes []byte, row []float32) (scale float32) {
	most := float32(0)
	for _, x := range row {
		most = max(most, float32(math.Abs(float64(x))))
	}
	if !(most > 0) { // NaN too
		clear(codes)
		return 0
	}
	scale = most / 127
	for i, x := range row {
		codes[i] = byte(min(max(nearest(x/scale), -127), 127))
	}
	return scale
}

// round4 writes the codes of values [at, at+len(values)), two a byte. Groups of an odd size share bytes, so each code is put by itself.
func round4(codes []byte, at int, values []float32) (scale, zero float32) {
	lo, hi := float32(0), float32(0)
	for _, x := range values {
		lo, hi = min(lo, x), max(hi, x)
	}
	scale = (hi - lo) / 15
	inverse := 1 / scale
	if !(scale > 0) || math.IsInf(float64(inverse), 0) {
		scale, inverse = 0, 0
	}
	z := nearest(-lo * inverse)
	for i, x := range values {
		c := byte(min(max(nearest(x*inverse)+z, 0), 15))
		if k := at + i; k%2 == 0 {
			codes[k/2] = c
		} else {
			codes[k/2] |= c << 4
		}
	}
	return scale, float32(z)
}

// aligned is n bytes at an address that is a multiple of 64.
func aligned(n int64) []byte {
	b := make([]byte, n+64)
	off := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & 63
	return b[off : int64(off)+n : int64(off)+n]
}
