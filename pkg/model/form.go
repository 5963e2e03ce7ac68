package model

import (
	"encoding/binary"
	"math"
	"sync"

	"sextant/kernels"
	"sextant/pkg/qformat"
)

// form is what kernels get of a matrix.
type form struct {
	dtype kernels.DType
	group int // of I4
}

// formOf is the form in which a quantized matrix runs, and why it is dequantized where no kernel has its codes: integers of at most 4 bits in
// groups of neighbouring inputs run as I4 (2 and 3 bits in codes of 4), larger ones around 0 with a scale for each output as I8, e4m3 values
// with a scale for each output as F8. Codes, scales and zeros are the checkpoint's then: nothing is rounded again. Dequantized values are f32, but
// bf16 on a device that has activations of 16 bits.
func (l *loader) formOf(m *qformat.Matrix, reordered bool) (f form, why string) {
	channel := m.Group == m.Cols
	switch {
	case l.o.Dequantize:
		return form{dtype: kernels.F32}, ""
	case reordered:
		why = "groups in the order of g_idx"
	case m.Float && channel:
		return form{dtype: kernels.F8}, ""
	case m.Float:
		why = "blocks of scales"
	case m.Bits > 4 && m.Symmetric && channel:
		return form{dtype: kernels.I8}, ""
	case m.Bits > 4 && channel:
		why = "zeros of more than 4 bits"
	case m.Bits > 4:
		why = "groups of more than 4 bits"
	case m.Cols%2 == 0 && m.Cols%m.Group == 0:
		return form{dtype: kernels.I4, group: m.Group}, ""
	default:
		why = "groups that do not divide the inputs"
	}
	if l.info.Narrow {
		return form{dtype: kernels.BF16}, why
	}
	return form{dtype: kernels.F32}, why
}

// StoredBytes is what a quantized matrix takes on a host where it runs as its sizes have it: codes, scales and zeros, or values that are
// dequantized.
func StoredBytes(m *qformat.Matrix) int64 {
	f, _ := (&loader{}).formOf(m, m.GroupOf != nil)
	n, rows := int64(m.Rows)*int64(m.Cols), int64(m.Rows)
	switch f.dtype {
	case kernels.I4:
		return n/2 + 8*n/int64(f.group)
	case kernels.I8, kernels.F8:
		return n + 4*rows
	}
	return n * f.dtype.Bytes()
}

// recoder brings rows of quantized matrices into a form.
type recoder struct {
	form
	rows, cols    int
	data          []byte
	scales, zeros []float32
}

// newRecoder makes room for so many rows.
func newRecoder(f form, cols, rows int) *recoder {
	n := rows * cols
	q := &recoder{form: f, rows: rows, cols: cols}
	switch f.dtype {
	case kernels.I4:
		q.data, q.scales, q.zeros = make([]byte, n/2), make([]float32, n/f.group), make([]float32, n/f.group)
	case kernels.I8, kernels.F8:
		q.data, q.scales = make([]byte, n), make([]float32, rows)
	default:
		q.data = make([]byte, n*int(f.dtype.Bytes()))
	}
	return q
}

// take makes row `at` and those behind it of n rows of m, from row `from` on.
func (q *recoder) take(at int, m *qformat.Matrix, from, n, threads int) {
	threads = max(1, min(threads, n))
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			values := make([]float32, q.cols)
			for r := i * n / threads; r < (i+1)*n/threads; r++ {
				q.row(at+r, m, from+r, values)
			}
		})
	}
	wg.Wait()
}

// row makes row `to` of row r of m. values is room for a row.
func (q *recoder) row(to int, m *qformat.Matrix, r int, values []float32) {
	codes, first := m.Codes[r*m.Cols:(r+1)*m.Cols], r/m.BlockRows*m.Wide()
	switch q.dtype {
	case kernels.I4:
		for i := range len(codes) / 2 {
			q.data[to*q.cols/2+i] = codes[2*i] | codes[2*i+1]<<4
		}
		groups := q.cols / q.group
		for g := range groups {
			q.scales[to*groups+g], q.zeros[to*groups+g] = m.Scales[first+g], float32(m.Zero(first+g))
		}
	case kernels.I8:
		zero := m.Zero(first)
		for i, c := range codes {
			q.data[to*q.cols+i] = c - zero
		}
		q.scales[to] = m.Scales[first]
	case kernels.F8:
		copy(q.data[to*q.cols:], codes)
		q.scales[to] = m.Scales[first]
	default:
		m.Values(values, r)
		put(q.data[int64(to*q.cols)*q.dtype.Bytes():], q.dtype, values)
	}
}

// desc describes the first rows. It is valid until take is called again.
func (q *recoder) desc(rows int) kernels.WeightDesc {
	d := kernels.WeightDesc{DType: q.dtype, Group: q.group, Rows: rows, Cols: q.cols, Data: q.data[:len(q.data)/q.rows*rows]}
	switch q.dtype {
	case kernels.I4:
		n := rows * q.cols / q.group
		d.Scales, d.Zeros = q.scales[:n], q.zeros[:n]
	case kernels.I8, kernels.F8:
		d.Scales = q.scales[:rows]
	}
	return d
}

// put writes values as f32 or, rounded to nearest even, bf16.
func put(out []byte, dt kernels.DType, values []float32) {
	for i, v := range values {
		bits := math.Float32bits(v)
		if dt == kernels.F32 {
			binary.LittleEndian.PutUint32(out[4*i:], bits)
			continue
		}
		if v == v {
			bits += 0x7fff + bits>>16&1
		}
		binary.LittleEndian.PutUint16(out[2*i:], uint16(bits>>16))
	}
}
