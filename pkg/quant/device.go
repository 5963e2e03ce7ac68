package quant

import (
	"context"
	"fmt"

	"sextant/kernels"
)

// deviceProducts multiplies on a device. It ends with its context.
type deviceProducts struct {
	ctx    context.Context
	dev    *kernels.Device
	stream *kernels.Stream
	in     kernels.Tensor // room for what is multiplied, and for what comes out; they grow
	out    kernels.Tensor
	did    func(multiplications float64)
}

func (p *deviceProducts) Hold(w []float32, outs, ins int) (Held, error) {
	if len(w) != outs*ins {
		return nil, fmt.Errorf("a matrix [%d, %d] of %d values", outs, ins, len(w))
	}
	held, err := p.dev.NewWeight(kernels.WeightDesc{DType: kernels.F32, Rows: outs, Cols: ins, Data: floatBytes(w)})
	if err != nil {
		return nil, err
	}
	return &deviceHeld{p: p, w: held, outs: outs, ins: ins}, nil
}

func (p *deviceProducts) free() {
	for _, t := range []*kernels.Tensor{&p.in, &p.out} {
		if t.Buf != nil {
			t.Buf.Free()
			*t = kernels.Tensor{}
		}
	}
}

// reserve gives the first rows*cols values of t, made larger where they are not there.
func (p *deviceProducts) reserve(t *kernels.Tensor, rows, cols int) (kernels.Tensor, error) {
	if t.Buf == nil || t.Cols < rows*cols {
		if t.Buf != nil {
			t.Buf.Free()
		}
		made, err := p.dev.NewTensor(1, rows*cols, kernels.F32)
		if err != nil {
			*t = kernels.Tensor{}
			return *t, err
		}
		*t = made
	}
	view := *t
	view.Rows, view.Cols, view.Stride = rows, cols, cols
	return view, nil
}

type deviceHeld struct {
	p         *deviceProducts
	w         *kernels.Weight
	outs, ins int
}

func (h *deviceHeld) Times(out, x []float32, rows, stride int) error {
	p := h.p
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	if rows == 0 {
		return nil
	}
	whole := rows
	if len(x) < rows*stride { // the last row is short
		whole--
	}
	in, err := p.reserve(&p.in, rows, stride)
	if err != nil {
		return err
	}
	if whole > 0 {
		err = p.stream.UploadF32(in.SliceRows(0, whole), x[:whole*stride])
	}
	if err == nil && whole < rows {
		err = p.stream.UploadF32(in.SliceRows(whole, rows).SliceCols(0, h.ins), x[whole*stride:whole*stride+h.ins])
	}
	if err != nil {
		return err
	}
	to, err := p.reserve(&p.out, rows, h.outs)
	if err != nil {
		return err
	}
	if err := p.stream.MatMul(to, in.SliceCols(0, h.ins), h.w, nil); err != nil {
		return err
	}
	if err := p.stream.DownloadF32(to, out[:rows*h.outs]); err != nil {
		return err
	}
	p.did(float64(rows) * float64(h.outs) * float64(h.ins))
	return nil
}

func (h *deviceHeld) Close() { h.w.Free() }
