//go:build cgo

package kernels_test

import (
	"errors"
	"slices"
	"testing"
	"unsafe"

	"sextant/kernels"
)

// aligned is n bytes at a multiple of 64.
func aligned(n int64) []byte {
	b := make([]byte, n+64)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & 63
	return b[skip : int64(skip)+n : int64(skip)+n]
}

// TestPackedWeight: a weight made of what Pack wrote, in parts too, computes and embeds as one made of the matrix.
func TestPackedWeight(t *testing.T) {
	const m, n, k = 19, 37, 130
	for _, tg := range hostTargets(t) {
		r := tg.open(t)
		x := normal(seeded(3), m*k)
		for _, dt := range allFormats {
			parts := []matrix{seededMatrix(1, dt, 32, k, 13), seededMatrix(2, dt, 5, k, 13)}
			whole := kernels.WeightDesc{DType: dt, Rows: n, Cols: k, Group: parts[0].desc.Group}
			var packed []byte
			for _, p := range parts {
				size, err := r.dev.PackSize(p.desc)
				r.must(err)
				piece := aligned(size)
				r.must(r.dev.Pack(p.desc, piece))
				packed = append(packed, piece...)
				whole.Data = append(whole.Data, p.desc.Data...)
				if dt == kernels.F8 && len(p.desc.Scales) == 1 { // the first part of f8 has a scale a row, the second one for all
					p.desc.Scales = slices.Repeat(p.desc.Scales, p.desc.Rows)
				}
				whole.Scales = append(whole.Scales, p.desc.Scales...)
				whole.Zeros = append(whole.Zeros, p.desc.Zeros...)
			}
			packed = append(aligned(int64(len(packed)))[:0], packed...)
			ids := make([]int32, n)
			for i := range ids {
				ids[i] = int32(n - 1 - i)
			}
			var outs, rows [2][]float32
			for i, d := range []kernels.WeightDesc{whole, {DType: dt, Rows: n, Cols: k, Group: whole.Group, Data: packed, Packed: true}} {
				w := r.weight(matrix{desc: d})
				out, row := r.out(m, n), r.out(n, k)
				r.must(r.st.MatMul(out, r.in(m, k, x), w, nil))
				r.must(r.st.Embed(row, w, ids))
				outs[i], rows[i] = r.read(out), r.read(row)
			}
			if err := errors.Join(sameBits(outs[1], outs[0]), sameBits(rows[1], rows[0])); err != nil {
				t.Errorf("%v %v: %v", tg, dt, err)
			}
			plain := r.out(n, k)
			whole.Embed = true
			w := r.weight(matrix{desc: whole})
			r.must(r.st.Embed(plain, w, ids))
			if err := sameBits(r.read(plain), rows[0]); err != nil {
				t.Errorf("%v %v, for embed alone: %v", tg, dt, err)
			}
			if err := r.st.MatMul(r.out(m, n), r.in(m, k, x), w, nil); !errors.Is(err, kernels.ErrInvalid) {
				t.Errorf("%v %v: matmul with a weight for embed alone: %v", tg, dt, err)
			}
			r.done()
		}
	}
}

// TestPackRefuses: what cannot be packed, and what is not what Pack wrote.
func TestPackRefuses(t *testing.T) {
	w := randomMatrix(seeded(1), kernels.I8, 20, 24, 0).desc
	r := target{backend: "ref"}.open(t)
	if _, err := r.dev.PackSize(w); !errors.Is(err, kernels.ErrUnsupported) {
		t.Errorf("the oracle packs: %v", err)
	}
	if info, err := r.dev.Info(); err != nil || info.Layout != "" {
		t.Errorf("the oracle has layout %q, %v", info.Layout, err)
	}
	r = hostTargets(t)[0].open(t)
	size, err := r.dev.PackSize(w)
	r.must(err)
	embed := w
	embed.Embed = true
	short := w
	short.Data = short.Data[1:]
	for name, err := range map[string]error{
		"too small":      r.dev.Pack(w, aligned(size-64)),
		"not aligned":    r.dev.Pack(w, aligned(size + 1)[1:]),
		"short data":     r.dev.Pack(short, aligned(size)),
		"for embed":      r.dev.Pack(embed, aligned(size)),
		"cut short":      errOf(r.dev.NewWeight(kernels.WeightDesc{DType: kernels.I8, Rows: 20, Cols: 24, Data: aligned(size - 1), Packed: true})),
		"with scales":    errOf(r.dev.NewWeight(kernels.WeightDesc{DType: kernels.I8, Rows: 20, Cols: 24, Data: aligned(size), Scales: w.Scales, Packed: true})),
		"packed a bit":   r.dev.Pack(kernels.WeightDesc{DType: kernels.I8, Rows: 20, Cols: 24, Data: aligned(size), Packed: true}, aligned(size)),
		"packed, embed":  errOf(r.dev.NewWeight(kernels.WeightDesc{DType: kernels.I8, Rows: 20, Cols: 24, Data: aligned(size), Packed: true, Embed: true})),
		"negative shape": errOf(r.dev.PackSize(kernels.WeightDesc{DType: kernels.I8, Rows: -1, Cols: 24})),
	} {
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
