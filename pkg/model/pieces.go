package model

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"sextant/kernels"
)

// fillWeight makes a weight in the memory of a device that takes it in pieces, each of some rows: rounded, brought there, and given back by the
// file's mapping, so that the host never holds more than a piece.
func (l *loader) fillWeight(to **kernels.Weight, s source, desc kernels.WeightDesc, r rtn) {
	w := l.make(s.name, desc)
	if w == nil {
		return
	}
	step := max(1, packChunk/s.rowBytes())
	var q *rounding
	if r.bits > 0 {
		q = newRounding(r, s.cols, min(step, s.rows))
	}
	row := 0
	for _, piece := range s.pieces {
		for data := range slices.Chunk(piece, step*s.rowBytes()) {
			if l.ctx.Err() != nil {
				l.err = context.Cause(l.ctx)
				return
			}
			part := desc
			part.Rows, part.Data = len(data)/s.rowBytes(), data
			if q != nil {
				part = q.round(s.dtype, part.Data, runtime.GOMAXPROCS(0)) // a device has no threads of its own
			}
			if err := w.Put(row, part); err != nil {
				l.err = fmt.Errorf("tensor %q: %w", s.name, err)
				return
			}
			row += part.Rows
			l.onDevice += int64(len(part.Data)) + 4*int64(len(part.Scales)+len(part.Zeros))
			l.ck.Release(data)
		}
	}
	*to = w
}
