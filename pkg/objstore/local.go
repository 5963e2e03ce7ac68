package objstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sys/unix"
)

// Path gives a path at which a file lies: that of an address is fetched, by the process's store; any other is given back.
func Path(path string) (string, error) {
	if !IsAddress(path) {
		return path, nil
	}
	return Default().Local(context.Background(), path, nil)
}

// Stat tells whether there is something at a path, by the process's store where it is an address: an object, or objects below it. None is fetched.
// The error is fs.ErrNotExist where there is nothing.
func Stat(path string) error {
	if !IsAddress(path) {
		_, err := os.Stat(path)
		return err
	}
	s := Default()
	ctx, stop := s.until(context.Background())
	defer stop()
	a, c, err := s.begin(path)
	if err != nil {
		return err
	}
	if err := s.there(ctx, c, a); err != nil {
		return fmt.Errorf("%s: %w", a, err)
	}
	return nil
}

// there tells whether an address leads to an object, or to some below it.
func (s *Store) there(ctx context.Context, c *client, a Address) error {
	if a.Key != "" && !strings.HasSuffix(a.Key, "/") {
		if o, err := s.one(ctx, c, a); err != nil || o.key != "" {
			return err
		}
		a.Key += "/"
	}
	list, err := c.listAgain(ctx, a.Bucket, minio.ListObjectsOptions{Prefix: a.Key, Recursive: true}, 1)
	if err == nil && len(list) == 0 {
		err = c.nothing(a)
	}
	return err
}

// Local gives a path at which the object, or the directory, of an address lies as a file or a directory: fetched whole, and checked. The path's last
// element is the object's own. It is good as long as the store is open, and not to be written to. Of a directory it has the files, directly there, that
// want says yes to; nil: all, with what lies below.
func (s *Store) Local(ctx context.Context, address string, want func(name string) bool) (string, error) {
	ctx, stop := s.until(ctx)
	defer stop()
	a, c, err := s.begin(address)
	if err != nil {
		return "", err
	}
	files, single, err := s.find(ctx, c, &a, want)
	if err != nil {
		return "", fmt.Errorf("%s: %w", a, err)
	}
	entries, err := s.bring(ctx, c, a.Bucket, files)
	if err != nil {
		return "", err
	}
	view, err := s.view(a, entries)
	if err != nil {
		return "", fmt.Errorf("%s: %w", a, err)
	}
	return filepath.Join(view, single), nil
}

// find lists what an address leads to. single is the name of one object; a is made the directory's.
func (s *Store) find(ctx context.Context, c *client, a *Address, want func(string) bool) (files map[string]stat, single string, err error) {
	if a.Key != "" && !strings.HasSuffix(a.Key, "/") {
		o, err := s.one(ctx, c, *a)
		if err != nil {
			return nil, "", err
		}
		if o.key != "" {
			return map[string]stat{path.Base(a.Key): o}, path.Base(a.Key), nil
		}
		a.Key += "/"
	}
	files, err = c.listed(ctx, *a, want == nil)
	if err == nil && want != nil {
		maps.DeleteFunc(files, func(name string, _ stat) bool { return !want(name) })
	}
	return files, "", err
}

// fewObjects is the size of a directory that is listed for one of its objects, since the others may be wanted next: as many as a server gives at once.
const fewObjects = 1000

// one finds an object; nothing: there is none of that key. The objects beside it are remembered: for this process they stay as they are.
func (s *Store) one(ctx context.Context, c *client, a Address) (o stat, err error) {
	dir, _ := Split(a.String())
	s.mu.Lock()
	beside := s.beside[dir]
	s.mu.Unlock()
	if beside != nil {
		return beside[a.Key], nil
	}
	parent := a.Key[:strings.LastIndexByte(a.Key, '/')+1]
	list, err := c.listAgain(ctx, a.Bucket, minio.ListObjectsOptions{Prefix: parent}, fewObjects)
	if err == nil && len(list) == fewObjects { // it is large
		list, err = c.listAgain(ctx, a.Bucket, minio.ListObjectsOptions{Prefix: a.Key}, fewObjects)
	} else if err == nil {
		beside = map[string]stat{}
		for _, o := range list {
			beside[o.key] = o
		}
		s.mu.Lock()
		s.beside[dir] = beside
		s.mu.Unlock()
	}
	if i := slices.IndexFunc(list, func(o stat) bool { return o.key == a.Key }); i >= 0 && err == nil {
		return list[i], nil
	}
	return stat{}, err
}

// bring fetches objects whole. Their entries stay locked until the store is closed.
func (s *Store) bring(ctx context.Context, c *client, bucket string, files map[string]stat) (map[string]*entry, error) {
	var objects []*Object
	defer func() {
		for _, o := range objects {
			s.forget(o)
			s.lend(o.e)
		}
	}()
	entries := map[string]*entry{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		o, err := s.object(c, bucket, files[name])
		if err != nil {
			return nil, err
		}
		objects, entries[name] = append(objects, o), o.e
		if err := o.Whole(); err != nil {
			return nil, fmt.Errorf("%s: %w", o.address(), err)
		}
		o.Fetch(0, o.Size())
	}
	for _, o := range objects {
		if err := o.Need(ctx, 0, o.Size()); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// lend keeps the lock of an entry, and nothing else of it, until the store is closed.
func (s *Store) lend(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.unmap()
	if s.held[e.dir] != nil {
		e.close()
		return
	}
	s.held[e.dir] = e
}

// view makes a directory of links to whole entries.
func (s *Store) view(a Address, entries map[string]*entry) (dir string, err error) {
	names := slices.Sorted(maps.Keys(entries))
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", a)
	for _, name := range names {
		fmt.Fprintf(h, "%q %q\n", name, filepath.Base(entries[name].dir))
	}
	dir = filepath.Join(s.cache.dir, "views", fmt.Sprintf("%x", h.Sum(nil)[:16]), cleanBase(a))
	return dir, s.cache.locked(s.ctx, func() error {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		for _, name := range names {
			link := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
				return err
			}
			if err := os.Symlink(dataOf(entries[name].dir), link); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		return nil
	})
}

// cleanBase is what a view's directory is called: as the directory of the address.
func cleanBase(a Address) string {
	key := a.Key
	if !strings.HasSuffix(key, "/") {
		key = path.Dir(key)
	}
	if base := path.Base(key); base != "." && base != "/" {
		return base
	}
	return a.Bucket
}

// sweepViews removes views that lead to entries that are gone. The cache's lock is held.
func (c cache) sweepViews() error {
	views := filepath.Join(c.dir, "views")
	list, err := os.ReadDir(views)
	if err != nil {
		return fmt.Errorf("looking into the cache of objects: %w", err)
	}
	for _, v := range list {
		stale := false
		_ = filepath.WalkDir(filepath.Join(views, v.Name()), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type() == fs.ModeSymlink && unix.Access(p, unix.F_OK) != nil {
				stale = true
				return fs.SkipAll
			}
			return nil
		})
		if stale {
			_ = os.RemoveAll(filepath.Join(views, v.Name())) // what stays is swept the next time
		}
	}
	return nil
}
