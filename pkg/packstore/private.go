package packstore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Memory is what a Fill writes to where nothing is shared: it can be reached without copying.
type Memory struct{ b []byte }

// Slice is n bytes from off on, to be written before Fill returns.
func (m *Memory) Slice(off, n int64) []byte { return m.b[off : off+n : off+n] }

// WriteAt copies p to byte off.
func (m *Memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(m.b)) || len(p) > len(m.b)-int(off) {
		return 0, fmt.Errorf("%d bytes at %d of a pack of %d", len(p), off, len(m.b))
	}
	return copy(m.b[off:], p), nil
}

// private makes a pack of this process's own. Its pages are as large as the system makes them unasked: asked for huge ones, it was seen to
// take four times as long to find them, and they were read no faster.
func private(k Key, fill Fill) (*Pack, error) {
	m := &Memory{}
	if k.Size > 0 {
		b, err := unix.Mmap(-1, 0, int(k.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return nil, fmt.Errorf("memory for %d bytes of packed weights: %w", k.Size, err)
		}
		m.b = b
	}
	p := &Pack{Data: m.b, Made: true, mapped: m.b}
	err := fill(m)
	if err == nil && k.Size > 0 {
		err = unix.Mprotect(m.b, unix.PROT_READ)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close gives the memory back, and the shared file, if no other process uses it, to the system. Data must not be touched any more.
func (p *Pack) Close() error {
	if p == nil {
		return nil
	}
	var err error
	if p.mapped != nil {
		err = unix.Munmap(p.mapped)
	}
	if p.e != nil {
		p.e.removeIfLast()
		err = errors.Join(err, p.e.f.Close())
	}
	p.Data, p.mapped, p.e = nil, nil, nil
	return err
}
