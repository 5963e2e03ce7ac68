package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Object is one version of an object, open: its bytes are mapped, and can be read where Need has been. All methods may be called by several
// goroutines at once; Close by one, last.
type Object struct {
	s      *Store
	c      *client
	bucket string
	stat   stat
	e      *entry
	ctx    context.Context // ends with the store, or when the object is closed
	cancel context.CancelFunc

	// Guarded by the store's lock.
	busy    []bool // blocks that this process fetches
	err     error  // why nothing more comes
	closed  bool
	damaged map[int]int // how often a block was not what was put

	checked []atomic.Bool // blocks that are what was put, and readable
}

// Size is the number of bytes.
func (o *Object) Size() int64 { return o.stat.size }

// Data are the object's bytes, mapped: reading what no Need has waited for ends the process.
func (o *Object) Data() []byte { return o.e.bytes }

func (o *Object) address() string { return Address{Bucket: o.bucket, Key: o.stat.key}.String() }

// blocksOf are the blocks that bytes [from, to) lie in.
func (o *Object) blocksOf(from, to int64) (int, int, error) {
	if from < 0 || to < from || to > o.stat.size {
		return 0, 0, fmt.Errorf("%s: bytes [%d,%d) of %d", o.address(), from, to, o.stat.size)
	}
	if from == to {
		return 0, 0, nil
	}
	return int(from / blockSize), int((to-1)/blockSize) + 1, nil
}

// Fetch has bytes [from, to) fetched in the background, after what was asked for before.
func (o *Object) Fetch(from, to int64) {
	if a, b, err := o.blocksOf(from, to); err == nil && a < b {
		o.s.enqueue(span{o, a, b}, false)
	}
}

// Whole says that all of the object will be read: its place in the cache is reserved. Nothing is fetched yet.
func (o *Object) Whole() error {
	return o.s.cache.locked(o.ctx, func() error {
		if err := o.s.cache.reserve(o.e.dir, o.stat.size); err != nil {
			return err
		}
		o.e.want()
		return nil
	})
}

// lookAgain is how often is looked for what other processes fetch.
const lookAgain = 20 * time.Millisecond

// Need waits until bytes [from, to) are there, before what was only asked to be fetched. The error is that of fetching them, or of ctx.
func (o *Object) Need(ctx context.Context, from, to int64) error {
	a, b, err := o.blocksOf(from, to)
	if err != nil {
		return err
	}
	missing, err := o.missing(a, b)
	if err != nil || len(missing) == 0 {
		return err
	}
	if _, err := o.s.ask(o, missing); err != nil { // for all of them at once
		return err
	}
	for ; a < b; a += partBlocks {
		if err := o.wait(ctx, a, min(a+partBlocks, b)); err != nil {
			return err
		}
	}
	return nil
}

// wait is Need for a few blocks.
func (o *Object) wait(ctx context.Context, a, b int) error {
	for {
		missing, err := o.missing(a, b)
		if err != nil || len(missing) == 0 {
			return err
		}
		changed, err := o.s.ask(o, missing)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-time.After(lookAgain):
		}
	}
}

// missing gives the runs of blocks of [a, b) that are not there, and makes those readable that are.
func (o *Object) missing(a, b int) (runs []span, err error) {
	for i := a; i < b; {
		if o.checked[i].Load() {
			i++
			continue
		}
		end := i
		for end < b && !o.checked[end].Load() && o.e.has(end) == o.e.has(i) {
			end++
		}
		if !o.e.has(i) {
			runs = append(runs, span{o, i, end})
			i = end
			continue
		}
		if err := o.e.open(i, end); err != nil {
			return nil, fmt.Errorf("%s: %w", o.address(), err)
		}
		for ; i < end; i++ {
			if o.e.check(i) {
				o.checked[i].Store(true)
				continue
			}
			if err := o.again(i); err != nil {
				return nil, err
			}
			runs = append(runs, span{o, i, i + 1})
		}
	}
	return runs, nil
}

// mostDamaged is how often a block is fetched again because the cache does not give back what was put there.
const mostDamaged = 3

// again says that block i has to be fetched once more, or why that is of no use.
func (o *Object) again(i int) error {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.damaged[i]++; o.damaged[i] <= mostDamaged {
		return nil
	}
	return fmt.Errorf("%s: %w", o.address(), diskError{fmt.Errorf("%q does not give back what is written there: the disk is at fault, or the file system is not "+
		"a local one; name another cache (s3.cache_dir, SEXTANT_CACHE_DIR)", o.e.dir)})
}

// ReadAt reads as io.ReaderAt does, waiting for what is not there.
func (o *Object) ReadAt(p []byte, off int64) (int, error) {
	to := min(off+int64(len(p)), o.stat.size)
	if off >= o.stat.size || off < 0 {
		return 0, io.EOF
	}
	if err := o.Need(o.ctx, off, to); err != nil {
		return 0, err
	}
	if n := copy(p, o.e.bytes[off:to]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

// Close ends what is fetched of the object, and unmaps it.
func (o *Object) Close() error {
	o.s.forget(o)
	_ = o.e.touch() // the time of the last use
	o.e.close()
	return nil
}

// step is how many bytes are read before they are kept, at most.
const step = 512 << 10

// fetch brings blocks [from, to), which this process has claimed.
func (o *Object) fetch(ctx context.Context, from, to int, buf []byte) error {
	err := o.c.retry(ctx, func() (bool, error) {
		before := from
		err := o.once(ctx, &from, to, buf)
		return from > before, err
	})
	var full diskError
	if err != nil && ctx.Err() == nil && !errors.As(err, &full) {
		err = o.c.explain(err, o.bucket, o.stat.key)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.address(), err)
	}
	return nil
}

// once asks for blocks [*from, to) and keeps those that come.
func (o *Object) once(ctx context.Context, from *int, to int, buf []byte) error {
	a, _ := o.e.place(*from)
	_, b := o.e.place(to - 1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(o.c.limits.idle, func() { cancel(errHangs{o.c.limits.idle}) })
	defer idle.Stop()
	body, err := o.c.get(ctx, o.bucket, o.stat, a, b)
	if err != nil {
		return hung(ctx, err)
	}
	defer body.Close()
	for *from < to {
		idle.Reset(o.c.limits.idle)
		at, _ := o.e.place(*from)
		part := buf[:min(int64(len(buf)), b-at)]
		n, err := readFull(body, part, func() { idle.Reset(o.c.limits.idle) })
		if n < len(part) {
			n = n / blockSize * blockSize
		}
		if n > 0 {
			if err := o.e.put(*from, part[:n]); err != nil {
				return err
			}
			*from += (n + blockSize - 1) / blockSize
			o.s.came(int64(n))
		}
		if err != nil {
			return hung(ctx, fmt.Errorf("the answer ended at byte %d of [%d,%d): %w", at+int64(n), a, b, err))
		}
	}
	return nil
}

// readFull is io.ReadFull that tells of every read that brought something.
func readFull(r io.Reader, p []byte, alive func()) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		if m, err = r.Read(p[n:]); m > 0 {
			n += m
			alive()
		}
	}
	if n == len(p) {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// errHangs ends a request that brings nothing.
type errHangs struct{ d time.Duration }

func (e errHangs) Error() string { return fmt.Sprintf("nothing came for %v", e.d) }

// hung gives the reason why ctx ended a request, if it did.
func hung(ctx context.Context, err error) error {
	var h errHangs
	if errors.As(context.Cause(ctx), &h) {
		return h
	}
	return err
}
