package objstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cache is a directory on the node, of one user: objects/ID holds an object's data and its table, views/ID directories whose names lead to whole
// objects. Who makes, opens or removes entries holds the lock of the whole cache, for a moment; who uses an entry shares the lock of its table.
type cache struct {
	dir   string
	limit int64 // bytes on disk; 0: what the file system has, but a tenth of what is brought
}

// open makes the directory if need be, and refuses one that others may have had their hands in.
func (c cache) open() error {
	if err := os.MkdirAll(filepath.Dir(c.dir), 0o755); err != nil {
		return fmt.Errorf("making the cache of objects: %w", err)
	}
	if err := os.Mkdir(c.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the cache of objects: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(c.dir, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: c.dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("the cache %q is not a directory that is yours alone (mode 0700): name another one (SEXTANT_CACHE_DIR)", c.dir)
	}
	for _, sub := range []string{"objects", "views"} {
		if err := os.Mkdir(filepath.Join(c.dir, sub), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making the cache of objects: %w", err)
		}
	}
	return nil
}

// lockPatience is how long the lock of the cache may be another process's. Who has it makes or removes some files.
const lockPatience = 2 * time.Minute

// locked does f while no other process makes or removes entries.
func (c cache) locked(ctx context.Context, f func() error) error {
	l, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("locking the cache of objects: %w", err)
	}
	defer l.Close()
	for begun, pause := time.Now(), time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if err = flock(l, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return f()
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("locking the cache of objects: %w", err)
		}
		if time.Since(begun) > lockPatience {
			return diskError{fmt.Errorf("%q has been locked by another process for %v: end that one, or name another cache (s3.cache_dir, SEXTANT_CACHE_DIR)",
				l.Name(), lockPatience)}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}

// kept is an entry on disk, as the eviction sees it.
type kept struct {
	dir   string
	bytes int64 // that it takes, or will: of one that is wanted whole its size
	there int64 // that it takes
	used  time.Time
}

// survey lists the entries. The lock is held.
func (c cache) survey() (all []kept, err error) {
	list, err := os.ReadDir(filepath.Join(c.dir, "objects"))
	if err != nil {
		return nil, fmt.Errorf("looking into the cache of objects: %w", err)
	}
	for _, d := range list {
		k := kept{dir: filepath.Join(c.dir, "objects", d.Name())}
		if st, err := os.Stat(tableOf(k.dir)); err == nil {
			k.used = st.ModTime()
		}
		var st unix.Stat_t
		if unix.Stat(dataOf(k.dir), &st) == nil {
			k.there = st.Blocks * 512
			if k.bytes = k.there; wantedWhole(tableOf(k.dir)) {
				k.bytes = max(k.bytes, st.Size)
			}
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(a.used.Compare(b.used), strings.Compare(a.dir, b.dir)) })
	return all, nil
}

// reserve makes room for an entry that will be whole: it removes others, those used longest ago first, and none that a process uses. The lock is
// held.
func (c cache) reserve(dir string, size int64) error {
	all, err := c.survey()
	if err != nil {
		return err
	}
	var total, there int64
	for _, k := range all {
		if k.dir == dir {
			there = k.there
			continue
		}
		total += k.bytes
	}
	enough := func() error {
		if c.limit > 0 && total+size > c.limit {
			return fmt.Errorf("%s are to be kept in %q, which may hold %s and has %s in use by running jobs: raise the limit (s3.cache_limit, SEXTANT_CACHE_LIMIT)",
				bytesOf(size), c.dir, bytesOf(c.limit), bytesOf(total))
		}
		var v unix.Statfs_t
		if err := unix.Statfs(c.dir, &v); err != nil {
			return fmt.Errorf("asking %q for its size: %w", c.dir, err)
		}
		free, missing := int64(v.Bavail)*v.Bsize, max(0, size-there)
		if free < missing+missing/10 {
			return fmt.Errorf("%s are to be kept in %q, whose file system has %s free: name a larger one (s3.cache_dir, SEXTANT_CACHE_DIR)",
				bytesOf(missing), c.dir, bytesOf(free))
		}
		return nil
	}
	for _, k := range all {
		if enough() == nil {
			return nil
		}
		if k.dir != dir && remove(k.dir) {
			total -= k.bytes
		}
	}
	if err := enough(); err != nil {
		return diskError{err}
	}
	return nil
}

// remove takes an entry away unless a process uses it.
func remove(dir string) bool {
	f, err := os.OpenFile(tableOf(dir), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err == nil {
		defer f.Close()
		if flock(f, unix.LOCK_EX|unix.LOCK_NB) != nil {
			return false
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return os.RemoveAll(dir) == nil
}

// bytesOf writes a number of bytes for people.
func bytesOf(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	if n < 10<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}
