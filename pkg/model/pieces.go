package model

import (
	"context"
	"fmt"

	"sextant/kernels"
)

// fillWeight makes a weight in the memory of a device that takes it in pieces, each of some rows: rounded, brought there, and given back by the
// file's mapping, so that the host never holds more than a piece.
func (l *loader) fillWeight(to **kernels.Weight, s source, desc kernels.WeightDesc, r rtn) {
	w := l.make(s.name, desc)
	if w == nil {
		return
	}
	if l.err = l.ck.FetchAll(); l.err != nil {
		return
	}
	step := min(max(1, packChunk/s.rowBytes()), s.rows)
	shape := l.shaper(&s, r, step)
	row := 0
	for _, p := range s.spans {
		for from := 0; from < p.rows; from += step {
			if l.ctx.Err() != nil {
				l.err = context.Cause(l.ctx)
				return
			}
			n := min(step, p.rows-from)
			part, err := shape.rows(p, from, n)
			if err == nil {
				err = w.Put(row, part)
			}
			if err != nil {
				l.err = fmt.Errorf("tensor %q: %w", s.name, err)
				return
			}
			row += n
			l.onDevice += int64(len(part.Data)) + 4*int64(len(part.Scales)+len(part.Zeros))
			l.ck.Release(s.read(p, from, n))
		}
	}
	*to = w
}
