//go:build cgo

package kernels_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sextant/kernels"
)

// TestDeviceManyRows: one order of sums for all calls of more than Info.Few rows, at the sizes of a model's layers: what is multiplied by
// cuBLASLt, whose own choice of a kernel would go by the number of rows. An emulated device takes smaller sizes.
func TestDeviceManyRows(t *testing.T) {
	const most = 4096
	for _, r := range cudaRigs(t) {
		info, err := r.dev.Info()
		r.must(err)
		if r.target.act == kernels.F32 || !r.target.aligned {
			continue // simt, of which TestDeviceRowInvariance is
		}
		shapes, top, formats := [][2]int{{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}}, most, allFormats
		if strings.HasPrefix(info.Name, "emulated") {
			shapes, top, formats = [][2]int{{24, 64}}, 300, []kernels.DType{r.target.act, kernels.I4}
		}
		for i, s := range shapes {
			for _, dt := range formats {
				if dt == kernels.F32 || i > 0 && dt != r.target.act {
					continue
				}
				t.Run(fmt.Sprintf("%v/%v [%d, %d]", r.target, dt, s[0], s[1]), func(t *testing.T) { r.within(t).manyRows(dt, s[0], s[1], top) })
			}
		}
	}
}

// manyRows multiplies some of `top` rows and holds them to be what they are among all, with a bias and into the residual stream, too.
func (r *rig) manyRows(dt kernels.DType, n, k, top int) {
	defer r.done()
	x := r.plain(r.target.act, top, k, smooth(seeded(3), top*k))
	w, bias := r.weight(tall(dt, n, k)), r.vector(smooth(seeded(2), n))
	for _, c := range []struct {
		bias *kernels.Weight
		as   kernels.DType
	}{{nil, r.target.act}, {bias, r.target.wide}} {
		out := r.plain(c.as, top, n, nil)
		multiply := func(from, to int) []float32 {
			part := out.SliceRows(0, to-from)
			r.must(r.st.MatMul(part, x.SliceRows(from, to), w, c.bias))
			return r.read(part)
		}
		want := multiply(0, top)
		for i, m := range []int{65, 66, 96, 127, 128, 129, 200, 255, 256, 257, 384, 511, 640, 777, 1000, 1024, 1500, 2047, 2048, 2049, 3000, 4000, 4095} {
			if m > top {
				break
			}
			from := i * 37 % (top - m + 1)
			if err := sameBits(multiply(from, from+m), want[from*n:(from+m)*n]); err != nil {
				r.Errorf("%d rows from %d, into %v: %v", m, from, c.as, err)
			}
		}
	}
}

// tall is a matrix whose rows repeat after 512: to draw a hundred million values takes long.
func tall(dt kernels.DType, rows, cols int) matrix {
	if rows%512 != 0 {
		return seededMatrix(1, dt, rows, cols, groupOf(cols))
	}
	d := seededMatrix(1, dt, 512, cols, groupOf(cols)).desc
	n := rows / 512
	d.Rows, d.Data, d.Scales, d.Zeros = rows, slices.Repeat(d.Data, n), slices.Repeat(d.Scales, n), slices.Repeat(d.Zeros, n)
	return matrix{desc: d}
}

// plain is a tensor without guards.
func (r *rig) plain(dt kernels.DType, rows, cols int, v []float32) kernels.Tensor {
	r.Helper()
	t, err := r.dev.NewTensor(rows, cols, dt)
	r.must(err)
	r.made = append(r.made, t.Buf)
	if v != nil {
		r.must(r.st.UploadF32(t, v))
	}
	return t
}
