package model

import (
	"fmt"
	"sync"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/qformat"
)

// aheadBytes is how many codes, of a byte each, may be unpacked before they are asked for, at most.
const aheadBytes = 512 << 20

// unpacker unpacks quantized matrices, those that are wanted next on other threads meanwhile. A matrix is kept until another is asked for: its
// rows are wanted one after another.
type unpacker struct {
	ck      *checkpoint.Checkpoint
	threads int
	room    int64    // bytes of codes that may be unpacked before they are asked for
	order   []string // in which they will be asked for, from the next one that nobody unpacks yet

	ahead []*unpacking // in that order
	now   *unpacking   // that was asked for last
	busy  sync.WaitGroup
}

// unpacking is a matrix that somebody unpacks.
type unpacking struct {
	name string
	done chan struct{} // closed when there is m or err
	m    *qformat.Matrix
	err  error
}

// order lists the quantized matrices of a part as load asks for them.
func (l *loader) order(p Part) (names []string) {
	c := l.ck.Config()
	var all []string
	if p.To == c.Layers {
		all = append(all, c.HeadName())
	}
	for i := p.From; i < p.To; i++ {
		all = append(all, matrixNames(c.LayerNames(i))...)
	}
	for _, name := range all {
		if l.ck.Stored(name) != nil {
			names = append(names, name)
		}
	}
	return names
}

// start unpacks a matrix on a thread of its own.
func (u *unpacker) start(name string) *unpacking {
	j := &unpacking{name: name, done: make(chan struct{})}
	u.busy.Go(func() {
		defer close(j.done)
		j.m, j.err = u.ck.Matrix(name)
		u.ck.Release(stored(u.ck, name))
	})
	return j
}

// get waits for a matrix.
func (u *unpacker) get(name string) (*qformat.Matrix, error) {
	if u.now == nil || u.now.name != name {
		u.now = nil // before there is another
		if len(u.ahead) > 0 && u.ahead[0].name == name {
			u.now, u.ahead = u.ahead[0], u.ahead[1:]
		} else {
			u.now = u.start(name)
			if len(u.order) > 0 && u.order[0] == name {
				u.order = u.order[1:]
			}
		}
		u.more()
	}
	<-u.now.done
	return u.now.m, u.now.err
}

// more starts what is wanted next, as far as there are threads and room.
func (u *unpacker) more() {
	bytes := int64(0)
	for _, j := range u.ahead {
		bytes += size(u.ck.Stored(j.name))
	}
	for len(u.order) > 0 && len(u.ahead) < u.threads && bytes+size(u.ck.Stored(u.order[0])) <= u.room {
		bytes += size(u.ck.Stored(u.order[0]))
		u.ahead, u.order = append(u.ahead, u.start(u.order[0])), u.order[1:]
	}
}

func size(m *qformat.Matrix) int64 { return int64(m.Rows) * int64(m.Cols) }

// close waits for what is being unpacked: the checkpoint's memory may be gone after it.
func (u *unpacker) close() {
	u.order, u.ahead, u.now = nil, nil, nil
	u.busy.Wait()
}

// unpacked is a quantized matrix with its codes, for a form.
func (l *loader) unpacked(name string, f form) (*qformat.Matrix, error) {
	m, err := l.codes.get(name)
	if err != nil {
		return nil, err
	}
	if f.dtype == kernels.I4 && m.GroupOf != nil || f.dtype == kernels.I8 && m.Zeros != nil {
		return nil, fmt.Errorf("it is not quantized as its sizes say: it cannot run as %v", f.dtype)
	}
	return m, nil
}
