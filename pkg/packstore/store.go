package packstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Store is a directory in a tmpfs for packs of one user. A nil Store shares nothing.
type Store struct {
	Dir string // absolute. It is made when its parent is there
	// Guest takes what others have made and makes nothing for them: for a process that seems to be alone on its machine.
	Guest bool
	// Patience is how long a maker is waited for that brings nothing forward; default 3 s. One that does is waited for as long as it would
	// take to make the pack at 100 MB/s, and twice the patience more.
	Patience time.Duration

	Least int64 // bytes that are worth a file; default 16 MiB, whose packing takes milliseconds
}

// DirVariable names the directory in the environment; "off" is no sharing.
const DirVariable = "SEXTANT_PACK_DIR"

// smallest is the default of Store.Least.
const smallest = 16 << 20

// Default is the store that the environment names, /dev/shm/sextant-UID if none, nil if "off".
func Default(getenv func(string) string) *Store {
	dir := getenv(DirVariable)
	switch dir {
	case "off":
		return nil
	case "":
		dir = fmt.Sprintf("/dev/shm/sextant-%d", os.Geteuid())
	}
	return &Store{Dir: dir}
}

// Fill writes the bytes of a pack; w may be a *Memory. It may be called a second time, from the beginning, when the memory that was to be shared runs out.
type Fill func(w io.WriterAt) error

// Pack is memory that holds what a Fill wrote.
type Pack struct {
	Data   []byte // read-only; nil after Close
	Shared bool   // with other processes
	Made   bool   // by this call: else it was there
	Why    string // not shared, in words

	mapped []byte
	e      *entry // of a shared one: holds the lock
}

// unshared is a reason to do without sharing.
type unshared struct{ err error }

func (u unshared) Error() string { return u.err.Error() }

// Get gives the pack of k: what another process made, or else what fill writes. Where sharing is impossible or does not pay the memory is
// this process's own. An error is that of fill or of ctx, or says that there is no memory.
func (s *Store) Get(ctx context.Context, k Key, fill Fill) (*Pack, error) {
	if k.Size < 0 {
		return nil, fmt.Errorf("a pack of %d bytes", k.Size)
	}
	p, err := s.shared(ctx, k, fill)
	var u unshared
	if !errors.As(err, &u) {
		return p, err
	}
	p, err = private(k, fill)
	if err == nil {
		p.Why = u.Error()
	}
	return p, err
}

func (s *Store) shared(ctx context.Context, k Key, fill Fill) (*Pack, error) {
	if s == nil {
		return nil, unshared{errors.New("sharing is switched off")}
	}
	if k.Size < cmp.Or(s.Least, smallest) {
		return nil, unshared{fmt.Errorf("%d bytes are too few to share", k.Size)}
	}
	if err := s.check(); err != nil {
		return nil, unshared{err}
	}
	s.sweep(k.name())
	w := s.wait(k)
	for {
		p, done, err := s.try(k, fill)
		if p != nil || err != nil {
			return p, err
		}
		if err := w.pause(ctx, done); err != nil {
			return nil, err
		}
	}
}

// try looks once: at the file, for its lock. Without a pack and an error another process is at it, and has brought done bytes so far.
func (s *Store) try(k Key, fill Fill) (p *Pack, done int64, err error) {
	e, err := s.open(k.name())
	if err != nil {
		return nil, 0, unshared{err}
	}
	defer func() {
		if p == nil {
			e.f.Close()
		}
	}()
	if !e.lock(unix.LOCK_SH) || !e.current() {
		return nil, e.progress(), nil
	}
	if e.holds(k) {
		p, err = e.pack(k)
		return p, 0, err
	}
	// From here on the lock that was shared is lost, whatever comes: another may come first and make it.
	if !e.lock(unix.LOCK_EX) || !e.current() {
		return nil, 0, nil
	}
	made := !e.holds(k)
	if made {
		if err := s.make(e, k, fill); err != nil {
			return nil, 0, err
		}
	}
	// Another may get in between the two locks and remove the file, but nobody changes a whole one: it would then be ours alone.
	e.lock(unix.LOCK_SH)
	if p, err = e.pack(k); p != nil {
		p.Made = made
	}
	return p, 0, err
}

// make writes the file of e, which is locked exclusively. A file that fails is removed.
func (s *Store) make(e *entry, k Key, fill Fill) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(e.path), e.f.Truncate(0)) // the memory is given back at once
		}
	}()
	if s.Guest {
		return unshared{errors.New("nobody shares it")}
	}
	if err := s.room(k.fileSize()); err != nil {
		return unshared{err}
	}
	if err := errors.Join(e.f.Truncate(0), e.f.Truncate(k.fileSize())); err != nil {
		return unshared{err}
	}
	w := &writer{f: e.f, size: k.Size}
	if err := fill(w); w.failed() != nil {
		return unshared{w.failed()}
	} else if err != nil {
		return err
	}
	if _, err := e.f.WriteAt(k.header(true, k.Size), 0); err != nil {
		return unshared{err}
	}
	if !e.holds(k) {
		return fmt.Errorf("packing weights: not all of %d bytes were written", k.Size)
	}
	return nil
}

// room says whether the tmpfs has so many bytes, and a tenth more for others.
func (s *Store) room(size int64) error {
	var v unix.Statfs_t
	if err := unix.Statfs(s.Dir, &v); err != nil {
		return fmt.Errorf("asking %q for its size: %w", s.Dir, err)
	}
	if free := int64(v.Bavail) * v.Bsize; v.Blocks > 0 && free < size+size/10 {
		return fmt.Errorf("%q has %d bytes free: want %d and a tenth more", s.Dir, free, size)
	}
	return nil
}

// check makes the directory if need be, and refuses one that others may have had their hands in.
func (s *Store) check() error {
	if err := os.Mkdir(s.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making a directory for shared weights: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(s.Dir, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: s.Dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%q is not a directory", s.Dir)
	}
	if err := ours(&st); err != nil {
		return fmt.Errorf("%q %w", s.Dir, err)
	}
	var v unix.Statfs_t
	if err := unix.Statfs(s.Dir, &v); err != nil || v.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("%q is not in a tmpfs", s.Dir)
	}
	return nil
}

// ours refuses what another user owns or may write.
func ours(st *unix.Stat_t) error {
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d, not to %d", st.Uid, os.Geteuid())
	}
	if st.Mode&0o077 != 0 {
		return fmt.Errorf("has permissions %04o: want none for others", st.Mode&0o7777)
	}
	return nil
}

// sweep removes the files that nobody holds: those of processes that were killed. It does what it can.
func (s *Store) sweep(wanted string) {
	list, _ := os.ReadDir(s.Dir)
	for _, f := range list {
		if f.Name() == wanted || !strings.HasSuffix(f.Name(), suffix) {
			continue
		}
		if e, err := openEntry(filepath.Join(s.Dir, f.Name()), 0); err == nil {
			e.removeIfLast()
			e.f.Close()
		}
	}
}

// open opens, and makes unless it is a guest, the file of a name.
func (s *Store) open(name string) (*entry, error) {
	flags := unix.O_CREAT
	if s.Guest {
		flags = 0
	}
	return openEntry(filepath.Join(s.Dir, name), flags)
}

// waiting is the wait for a maker.
type waiting struct {
	patience   time.Duration
	end, stall time.Time
	done       int64
}

func (s *Store) wait(k Key) *waiting {
	w := &waiting{patience: cmp.Or(s.Patience, 3*time.Second)}
	w.end = time.Now().Add(2*w.patience + time.Duration(k.Size)*10) // 100 MB/s are 10 ns a byte
	w.stall = time.Now().Add(w.patience)
	return w
}

// pause waits a little, or says that the wait is over.
func (w *waiting) pause(ctx context.Context, done int64) error {
	now := time.Now()
	if done != w.done {
		w.done, w.stall = done, now.Add(w.patience)
	}
	if now.After(w.stall) || now.After(w.end) {
		return unshared{errors.New("another process is making it, and takes too long")}
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(5 * time.Millisecond):
		return nil
	}
}
