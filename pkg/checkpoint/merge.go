package checkpoint

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// merged is a matrix that does not lie in one piece: in several parts, each of some of its rows or of some of its columns, or with its rows in
// Meta's order.
type merged struct {
	rows    int
	width   int // bytes of a whole row
	parts   [][]byte
	columns bool // each part has some columns of every row; else some rows
	head    int  // rows of a head whose order is Meta's; 0: the rows are in order
}

// row is where row r lies among the rows of the files. Meta's rotation turns the neighbours 2i and 2i+1 of a head, transformers' i and
// i + head/2: what are even rows in the file are the first half of a head here, and odd ones the second (RoFormer, arXiv 2104.09864, has
// neighbours; the order of rows is free as long as queries and keys agree).
func (m *merged) row(r int) int {
	if m.head == 0 {
		return r
	}
	first, i := r/m.head*m.head, r%m.head
	if half := m.head / 2; i < half {
		return first + 2*i
	} else {
		return first + 2*(i-half) + 1
	}
}

// copyRows makes n rows from row `from` on.
func (m *merged) copyRows(to []byte, from, n int) {
	for r := range n {
		out, at := to[r*m.width:(r+1)*m.width], m.row(from+r)
		if m.columns {
			w := m.width / len(m.parts)
			for i, p := range m.parts {
				copy(out[i*w:(i+1)*w], p[at*w:])
			}
			continue
		}
		per := m.rows / len(m.parts)
		copy(out, m.parts[at/per][at%per*m.width:])
	}
}

// spans are the bytes of the files of which n rows from row `from` on are made, with the rest of the heads at both ends.
func (m *merged) spans(from, n int) (all [][]byte) {
	to := from + n
	if m.head > 0 {
		from, to = from/m.head*m.head, (to+m.head-1)/m.head*m.head
	}
	if m.columns {
		for _, p := range m.parts {
			w := m.width / len(m.parts)
			all = append(all, p[from*w:to*w])
		}
		return all
	}
	per := m.rows / len(m.parts)
	for i, p := range m.parts {
		if a, b := max(from-i*per, 0), min(to-i*per, per); a < b {
			all = append(all, p[a*m.width:b*m.width])
		}
	}
	return all
}

// View is a tensor that is read in rows. Its Data are nil where it does not lie in one piece.
type View struct {
	Tensor
	ck     *Checkpoint
	merged *merged
}

// View returns a tensor by its name in the architecture, and copies nothing.
func (c *Checkpoint) View(name string) (View, error) {
	t, ok := c.tensors[name]
	if !ok {
		return View{}, fmt.Errorf("no tensor %q", name)
	}
	return View{t, c, c.merged[name]}, nil
}

// Whole tells whether the tensor lies in one piece, so that Data are its bytes.
func (v View) Whole() bool { return v.merged == nil }

// Pieces are runs of the tensor's whole rows, in order, where they lie in the files; nil: there are none, and Rows copies.
func (v View) Pieces() [][]byte {
	switch {
	case v.merged == nil:
		return [][]byte{v.Data}
	case v.merged.columns || v.merged.head > 0:
		return nil
	}
	return v.merged.parts
}

// Bytes is the size of the tensor's values.
func (v View) Bytes() int64 { return v.ck.bytes(v.Tensor) }

func (c *Checkpoint) bytes(t Tensor) int64 {
	if m := c.merged[t.Name]; m != nil {
		return int64(m.rows) * int64(m.width)
	}
	return int64(len(t.Data))
}

// Rows gives n rows of a matrix from row `from` on: where they lie in the mapped file, or, of a tensor that does not lie in one piece, as a copy
// in buf, which is made larger where it has to be. The pages that were copied are given back, as by Release. Need comes first.
func (v View) Rows(buf []byte, from, n int) []byte {
	if v.merged == nil {
		width := len(v.Data) / max(1, v.Shape[0])
		return v.Data[from*width : (from+n)*width]
	}
	const eachAtLeast = 1 << 20 // bytes a thread copies
	m := v.merged
	size := n * m.width
	buf = slices.Grow(buf[:0], size)[:size]
	threads := max(1, min(runtime.GOMAXPROCS(0), 8, size/eachAtLeast))
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			a, b := i*n/threads, (i+1)*n/threads
			m.copyRows(buf[a*m.width:b*m.width], from+a, b-a)
		})
	}
	wg.Wait()
	for _, data := range m.spans(from, n) {
		v.ck.Release(data)
	}
	return buf
}

// Keep gives all of a tensor's bytes, valid until the checkpoint is closed: where they lie, or, where that is in no piece, as a copy that is made
// at the first call.
func (v View) Keep() ([]byte, error) {
	if err := v.Need(context.Background()); err != nil || v.merged == nil {
		return v.Data, err
	}
	c := v.ck
	c.keeping.Lock()
	defer c.keeping.Unlock()
	if kept := c.kept[v.Name]; kept != nil {
		return kept, nil
	}
	data, err := unix.Mmap(-1, 0, int(v.Bytes()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("tensor %q: memory for %d bytes: %w", v.Name, v.Bytes(), err)
	}
	v.Rows(data, 0, v.merged.rows)
	if c.kept == nil {
		c.kept = map[string][]byte{}
	}
	c.kept[v.Name] = data
	return data, nil
}

// Lies gives the view's bytes in the files, wherever that is, for Expect and its kin.
func (v View) Lies() [][]byte {
	if v.merged == nil {
		return [][]byte{v.Data}
	}
	return v.merged.parts
}

// Need is Checkpoint.Need of all of a view's bytes, wherever they lie.
func (v View) Need(ctx context.Context) error { return v.ck.Need(ctx, v.Lies()...) }

// NeedRows is Need of what n rows from row `from` on are made of.
func (v View) NeedRows(ctx context.Context, from, n int) error {
	if v.merged == nil {
		return v.ck.Need(ctx, v.Rows(nil, from, n))
	}
	return v.ck.Need(ctx, v.merged.spans(from, n)...)
}
