package run

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

// ErrLocked says that another submit works on the run.
var ErrLocked = errors.New("another submit works on it")

// Lock takes a lock of its own for what is not a run, as Open takes a run's: for as long as the file is open.
func Lock(path string) (io.Closer, error) { return lock(path) }

// lock takes the run's lock for as long as the file is open. The kernel lets go of it when its owner dies, in whatever way.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	for range 3 { // a look at who has it takes it for a moment
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		owner, _ := io.ReadAll(io.LimitReader(f, 1024))
		f.Close()
		return nil, fmt.Errorf("%w: %s; wait for it or stop it", ErrLocked, strings.TrimSpace(string(owner)))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %q: %w", path, err)
	}
	host, _ := os.Hostname()
	// The owner's name is a courtesy: on a full disk the lock holds without it.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "pid %d on %s since %s\n", os.Getpid(), host, time.Now().Format(time.DateTime)), 0)
	}
	return f, nil
}
