package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"sextant/kernels"
	"sextant/pkg/packstore"
)

const (
	panelRows = 16            // rows whose packed forms stand behind one another (kernels.Device.Pack)
	packAlign = 256           // bytes, of where a weight begins in a pack
	packChunk = 4 << 20       // bytes that are packed at once, about, to go through a buffer
	ownChunk  = 8 * packChunk // and where they are to stay: the threads wait for one another at the end of each
)

// block is a weight that is to be packed.
type block struct {
	source
	desc     kernels.WeightDesc // without its data
	rtn      rtn
	at, size int64 // in the pack
	to       **kernels.Weight
}

// panels says whether the packed form of each span can stand in one weight with others.
func (s source) panels() bool {
	for _, p := range s.spans {
		if p.rows%panelRows != 0 {
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
	l.count(s)
	desc := kernels.WeightDesc{DType: s.form.dtype, Group: s.form.group, Rows: s.rows, Cols: s.cols}
	if r.bits > 0 {
		if l.err = r.fits(s); l.err != nil {
			return
		}
		desc.DType, desc.Group = r.dtype, r.group
	}
	switch {
	case l.info.Pieces:
		l.fillWeight(to, s, desc, r)
	case l.info.Layout != "":
		l.blocks = append(l.blocks, &block{source: s, desc: desc, rtn: r, to: to})
	default:
		*to = l.make(s.name, l.whole(s, r))
	}
}

// packAll packs the blocks, or finds them packed by another process, and makes weights of them.
func (l *loader) packAll(ctx context.Context) {
	if l.err != nil || len(l.blocks) == 0 {
		return
	}
	key, err := l.key()
	for _, b := range l.blocks { // what the fingerprint has looked at
		for _, p := range b.spans {
			l.ck.Release(p.data)
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
func (l *loader) fill(ctx context.Context, w io.WriterAt, size int64) (err error) {
	if l.o.Memory > 0 && size > l.o.Memory {
		return errNoRoom(size, l.o.Memory)
	}
	if l.o.Memory > 0 {
		l.codes.room = min(l.codes.room, l.o.Memory-size)
	}
	var all [][]byte
	for _, b := range l.blocks {
		for _, p := range b.spans {
			all = append(all, l.lies(p)...)
		}
	}
	if err := l.ck.Fetch(all...); err != nil {
		return err
	}
	f := filler{l: l, w: w}
	defer func() { err = errors.Join(err, f.wait()) }()
	for i, b := range l.blocks {
		if i+1 < len(l.blocks) {
			for _, p := range l.blocks[i+1].spans {
				for _, data := range l.lies(p) {
					l.ck.Expect(data)
				}
			}
		}
		if err := f.block(ctx, b); err != nil {
			return fmt.Errorf("tensor %q: %w", b.name, err)
		}
	}
	return nil
}

// filler packs into memory at once, or through two buffers, which stay in the processor's caches: one is written while the other is filled.
type filler struct {
	l    *loader
	w    io.WriterAt
	bufs [2][]byte

	behind sync.WaitGroup // what is left to do for the chunk before
	err    error          // of it
}

// block packs a weight span by span, or, where the packed forms of spans cannot stand behind one another, as one.
func (f *filler) block(ctx context.Context, b *block) error {
	if len(b.spans) > 1 && !b.panels() {
		d, err := f.l.shaper(&b.source, b.rtn, b.rows).all()
		if err != nil {
			return err
		}
		dst := f.room(b.at, b.size)
		if err := f.l.dev.Pack(d, dst); err != nil {
			return err
		}
		return f.finish(nil, dst, b.at)
	}
	at := b.at
	for _, p := range b.spans {
		n, err := f.span(ctx, b, p, at)
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}

// span packs rows to byte `at` of the pack, and gives the bytes that they take.
func (f *filler) span(ctx context.Context, b *block, p span, at int64) (n int64, err error) {
	panel := b.size / int64((b.desc.Rows+panelRows-1)/panelRows)
	step := min(int(max(1, f.chunk(b)/panel))*panelRows, p.rows)
	shape := f.l.shaper(&b.source, b.rtn, step)
	for from := 0; from < p.rows; from += step {
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		rows := min(step, p.rows-from)
		d, err := shape.rows(p, from, rows)
		if err != nil {
			return n, err
		}
		size := panel * int64((rows+panelRows-1)/panelRows)
		dst := f.room(at+n, size)
		if err := f.l.dev.Pack(d, dst); err != nil {
			return n, err
		}
		if err := f.finish(b.read(p, from, rows), dst, at+n); err != nil {
			return n, err
		}
		n += size
	}
	return n, nil
}

// chunk is how many bytes are packed at once.
func (f *filler) chunk(b *block) int64 {
	if _, ok := f.w.(*packstore.Memory); ok && b.rtn.bits == 0 {
		return cmp.Or(f.l.o.chunk, ownChunk)
	}
	return cmp.Or(f.l.o.chunk, packChunk)
}

// room is where size bytes that belong at byte `at` are packed: there at once, if it can be reached, else a buffer.
func (f *filler) room(at, size int64) []byte {
	if m, ok := f.w.(*packstore.Memory); ok {
		return m.Slice(at, size)
	}
	f.bufs[0], f.bufs[1] = f.bufs[1], f.bufs[0]
	if int64(cap(f.bufs[0])) < size {
		f.bufs[0] = aligned(size)
	}
	return f.bufs[0][:size:size]
}

// finish gives back what was read for a chunk and writes what was packed to byte `at`, while the next chunk is packed. One chunk is written
// at a time: a file takes no more. An error is that of the chunk before.
func (f *filler) finish(read, packed []byte, at int64) error {
	if err := f.wait(); err != nil {
		return err
	}
	f.behind.Go(func() {
		f.l.ck.Release(read)
		if _, ok := f.w.(*packstore.Memory); !ok {
			_, f.err = f.w.WriteAt(packed, at)
		}
	})
	return nil
}

// wait ends when the last chunk is finished, and gives its error, once.
func (f *filler) wait() error {
	f.behind.Wait()
	err := f.err
	f.err = nil
	return err
}
