package packstore

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// writer is what a Fill writes a file with, behind its header. It may be used by several goroutines.
type writer struct {
	f    *os.File
	size int64
	done atomic.Int64 // bytes; the header tells those who wait

	mu  sync.Mutex
	err error // the first, of the file itself
}

// WriteAt writes b at byte off of the pack.
func (w *writer) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off > w.size || int64(len(b)) > w.size-off {
		return 0, fmt.Errorf("%d bytes at %d of a pack of %d", len(b), off, w.size)
	}
	n, err := w.f.WriteAt(b, headerSize+off)
	if err == nil {
		err = w.tell(w.done.Add(int64(n)))
	}
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err == nil {
			w.err = err
		}
	}
	return n, err
}

func (w *writer) tell(done int64) error {
	_, err := w.f.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(done)), progressAt)
	return err
}

// failed is the first error of the file.
func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
