package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"sextant/kernels"
	"sextant/pkg/packstore"
)

const (
	panelRows = 16      // rows whose packed forms stand behind one another (kernels.Device.Pack)
	packAlign = 256     // bytes, of where a weight begins in a pack
	packChunk = 4 << 20 // bytes that are packed at once, about
)

// block is a weight that is to be packed.
type block struct {
	source
	desc     kernels.WeightDesc // without its data
	rtn      rtn
	at, size int64 // in the pack
	to       **kernels.Weight
}

// panels says whether the packed form of each piece can stand in one weight with others.
func (s source) panels() bool {
	for _, p := range s.pieces {
		if len(p)/s.rowBytes()%panelRows != 0 {
			return false
		}
	}
	return true
}

// matrix has *to made of s, rounded by r: now, or by packAll where the backend has a packed form.
func (l *loader) matrix(to **kernels.Weight, s source, r rtn) {
	if l.err != nil {
		return
	}
	data, copied := s.pieces[0], len(s.pieces) > 1
	if copied && (!s.panels() || l.info.Layout == "") {
		data = slices.Concat(s.pieces...)
		s.pieces = [][]byte{data}
	}
	desc := kernels.WeightDesc{DType: dtypes[s.dtype], Rows: s.rows, Cols: s.cols}
	if r.bits > 0 {
		if l.err = r.fits(s); l.err != nil {
			return
		}
		desc.DType, desc.Group = r.dtype, r.group
	}
	if l.info.Layout != "" {
		l.blocks = append(l.blocks, &block{source: s, desc: desc, rtn: r, to: to})
		return
	}
	if r.bits > 0 {
		desc = newRounding(r, s.cols, s.rows).round(s.dtype, data, l.info.Threads)
	} else {
		desc.Data, desc.Borrow = data, !copied
		l.mapped += int64(len(data))
	}
	*to = l.make(s.name, desc)
}

// packAll packs the blocks, or finds them packed by another process, and makes weights of them.
func (l *loader) packAll(ctx context.Context) {
	if l.err != nil || len(l.blocks) == 0 {
		return
	}
	key, err := l.key()
	for _, b := range l.blocks { // what the fingerprint has looked at
		for _, p := range b.pieces {
			l.ck.Release(p)
		}
	}
	if err == nil {
		l.pack, err = l.o.Packs.Get(ctx, key, func(w io.WriterAt) error { return l.fill(ctx, w, key.Size) })
	}
	if l.err = err; err != nil {
		return
	}
	for _, b := range l.blocks {
		d := b.desc
		d.Data, d.Packed, d.Borrow = l.pack.Data[b.at:b.at+b.size:b.at+b.size], true, true
		*b.to = l.make(b.name, d)
	}
}

// key lays the blocks out, and says all that their bytes depend on.
func (l *loader) key() (k packstore.Key, err error) {
	var table strings.Builder
	for _, b := range l.blocks {
		d := b.desc
		d.Packed, d.Data = true, []byte{0} // so that a size is told of no data
		if b.size, err = l.dev.PackSize(d); err != nil {
			return k, fmt.Errorf("tensor %q: %w", b.name, err)
		}
		b.at = (k.Size + packAlign - 1) / packAlign * packAlign
		k.Size = b.at + b.size
		fmt.Fprintf(&table, "%s %v %d [%d, %d] %d %d\n", b.name, d.DType, d.Group, d.Rows, d.Cols, b.at, b.size)
	}
	k.Layout, k.Recipe, k.Table = l.info.Layout, l.rtn.String(), table.String()
	if l.o.Packs != nil {
		k.Fingerprint, err = l.ck.Fingerprint()
	}
	return k, err
}

// errNoRoom is told before memory is used up, since that would end this process or another.
func errNoRoom(want, have int64) error {
	return fmt.Errorf("the packed weights take %d bytes, and there are %d: %w", want, have, kernels.ErrNoMemory)
}

// fill packs the blocks into w, chunk by chunk. What it has read of a mapped file is given back at once, so that the weights are in this
// process's memory once.
func (l *loader) fill(ctx context.Context, w io.WriterAt, size int64) error {
	if l.o.Memory > 0 && size > l.o.Memory {
		return errNoRoom(size, l.o.Memory)
	}
	f := filler{l: l, w: w}
	for i, b := range l.blocks {
		if i+1 < len(l.blocks) {
			for _, p := range l.blocks[i+1].pieces {
				l.ck.Expect(p)
			}
		}
		at := b.at
		for _, p := range b.pieces {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n, err := f.piece(b, p, at)
			if err != nil {
				return fmt.Errorf("tensor %q: %w", b.name, err)
			}
			at += n
		}
	}
	return nil
}

// filler packs into memory, or through one buffer, which stays in the processor's caches.
type filler struct {
	l   *loader
	w   io.WriterAt
	buf []byte
}

// piece packs whole rows to byte `at` of the pack, and gives the bytes that they take.
func (f *filler) piece(b *block, data []byte, at int64) (n int64, err error) {
	panel := b.size / int64((b.desc.Rows+panelRows-1)/panelRows)
	step := int(max(1, packChunk/panel)) * panelRows
	rows := len(data) / b.rowBytes()
	var q *rounding
	if b.rtn.bits > 0 {
		q = newRounding(b.rtn, b.cols, min(step, rows))
	}
	for from := 0; from < rows; from += step {
		d := b.desc
		d.Rows = min(step, rows-from)
		d.Data = data[from*b.rowBytes() : (from+d.Rows)*b.rowBytes()]
		if q != nil {
			d = q.round(b.dtype, d.Data, f.l.info.Threads)
		}
		size := panel * int64((d.Rows+panelRows-1)/panelRows)
		dst := f.room(at+n, size)
		if err := f.l.dev.Pack(d, dst); err != nil {
			return n, err
		}
		f.l.ck.Release(data[from*b.rowBytes() : (from+d.Rows)*b.rowBytes()])
		if err := f.write(dst, at+n); err != nil {
			return n, err
		}
		n += size
	}
	return n, nil
}

// room is where size bytes that belong at byte `at` are packed: there at once, if it can be reached, else a buffer.
func (f *filler) room(at, size int64) []byte {
	if m, ok := f.w.(*packstore.Memory); ok {
		_ = f.each(size, func(from, n int64) error { m.Have(at+from, n); return nil })
		return m.Slice(at, size)
	}
	if int64(cap(f.buf)) < size {
		f.buf = aligned(size)
	}
	return f.buf[:size:size]
}

// write brings the buffer to the pack.
func (f *filler) write(b []byte, at int64) error {
	if _, ok := f.w.(*packstore.Memory); ok {
		return nil
	}
	return f.each(int64(len(b)), func(from, n int64) error {
		_, err := f.w.WriteAt(b[from:from+n], at+from)
		return err
	})
}

// each calls do for parts of size bytes, by as many goroutines as the device has threads: most of the time goes into finding fresh memory.
func (f *filler) each(size int64, do func(from, n int64) error) error {
	const piece = 256 << 10
	var next atomic.Int64
	errs := make([]error, min(int64(max(f.l.info.Threads, 1)), size/piece+1))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for errs[i] == nil {
				from := next.Add(piece) - piece
				if from >= size {
					return
				}
				errs[i] = do(from, min(piece, size-from))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
