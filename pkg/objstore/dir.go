package objstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
)

// Dir is the objects whose keys begin alike, as a file system of one directory. Its files are opened in the cache when they are first asked for, and
// stay open until Close.
type Dir struct {
	s       *Store
	c       *client
	address Address
	files   map[string]stat

	mu     sync.Mutex
	opened map[string]*Object
}

// Open lists a directory: what lies there is not read.
func (s *Store) Open(ctx context.Context, address string) (*Dir, error) {
	ctx, stop := s.until(ctx)
	defer stop()
	a, c, err := s.begin(address)
	if err != nil {
		return nil, err
	}
	if a.Key != "" && !strings.HasSuffix(a.Key, "/") {
		a.Key += "/"
	}
	files, err := c.listed(ctx, a, false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	return &Dir{s: s, c: c, address: a, files: files, opened: map[string]*Object{}}, nil
}

// begin does what every use of an address begins with.
func (s *Store) begin(address string) (Address, *client, error) {
	a, err := Parse(address)
	if err != nil {
		return a, nil, err
	}
	c, err := s.client(a.Profile)
	if err == nil {
		err = s.prepare()
	}
	if err != nil {
		return a, nil, fmt.Errorf("%s: %w", a, err)
	}
	return a, c, nil
}

// listed gives the objects below a key that ends in "/", by their names from there on. That there are none is an error.
func (c *client) listed(ctx context.Context, a Address, all bool) (map[string]stat, error) {
	o := minio.ListObjectsOptions{Prefix: a.Key, Recursive: all}
	list, err := c.listAgain(ctx, a.Bucket, o, mostObjects+1)
	if err != nil {
		return nil, err
	}
	if len(list) > mostObjects {
		return nil, fmt.Errorf("more than %d objects: is this the model or the dataset?", mostObjects)
	}
	files := map[string]stat{}
	for _, s := range list {
		name := strings.TrimPrefix(s.key, a.Key)
		if !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
			return nil, fmt.Errorf("object %q has a name that no file can have", s.key)
		}
		files[name] = s
	}
	if len(files) == 0 {
		return nil, c.nothing(a)
	}
	return files, nil
}

// nothing says that there is nothing at an address.
func (c *client) nothing(a Address) error {
	return fmt.Errorf("bucket %q of %s (%s) has no objects there: %w", a.Bucket, c.account.endpoint, c.account.name, fs.ErrNotExist)
}

// Address is what was opened.
func (d *Dir) Address() string { return d.address.String() }

// Object opens a file. It is the directory's, which closes it.
func (d *Dir) Object(name string) (*Object, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.opened[name]; o != nil {
		return o, nil
	}
	s, ok := d.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: Join(d.address.String(), name), Err: fs.ErrNotExist}
	}
	o, err := d.s.object(d.c, d.address.Bucket, s)
	if err == nil {
		d.opened[name] = o
	}
	return o, err
}

// ReadFile reads a file as a whole.
func (d *Dir) ReadFile(name string) ([]byte, error) {
	o, err := d.Object(name)
	if err != nil {
		return nil, err
	}
	if err := o.Need(o.ctx, 0, o.Size()); err != nil {
		return nil, err
	}
	return bytes.Clone(o.Data()), nil
}

// Stat tells a file's size and time, without opening it.
func (d *Dir) Stat(name string) (fs.FileInfo, error) {
	if name == "." {
		return info{name: ".", dir: true}, nil
	}
	s, ok := d.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: Join(d.address.String(), name), Err: fs.ErrNotExist}
	}
	return info{name: name, stat: s}, nil
}

// ReadDir lists the directory.
func (d *Dir) ReadDir(name string) (list []fs.DirEntry, err error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		list = append(list, fs.FileInfoToDirEntry(info{name: name, stat: d.files[name]}))
	}
	return list, nil
}

// Open opens a file to be read from its beginning on.
func (d *Dir) Open(name string) (fs.File, error) {
	about, err := d.Stat(name)
	if err != nil {
		return nil, err
	}
	if about.IsDir() {
		return &file{info: about.(info)}, nil
	}
	o, err := d.Object(name)
	if err != nil {
		return nil, err
	}
	return &file{about.(info), io.NewSectionReader(o, 0, o.Size())}, nil
}

// Close closes what was opened of the directory. Nothing of it may be touched any more.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.opened {
		o.Close()
	}
	clear(d.opened)
	return nil
}

// file is an open file; a directory has no reader.
type file struct {
	info
	r *io.SectionReader
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }
func (f *file) Read(p []byte) (int, error) {
	if f.r == nil {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrInvalid}
	}
	return f.r.Read(p)
}

type info struct {
	name string
	stat stat
	dir  bool
}

func (i info) Name() string       { return path.Base(i.name) }
func (i info) Size() int64        { return i.stat.size }
func (i info) ModTime() time.Time { return i.stat.time }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o500
	}
	return 0o400
}
