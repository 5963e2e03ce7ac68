package pickle

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// budget reads at most so many bytes, so that the tables of a hostile archive cannot fill the memory.
type budget struct {
	r    io.ReaderAt
	left int64
}

func (b *budget) ReadAt(p []byte, at int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, fmt.Errorf("its tables are larger than %d bytes", maxZip)
	}
	return b.r.ReadAt(p, at)
}

// readZip reads the format of torch 1.6 and later: an archive with NAME/data.pkl and the storages NAME/data/KEY.
func readZip(r io.ReaderAt, size int64) ([]Tensor, error) {
	archive, err := zip.NewReader(&budget{r, maxZip}, size)
	if err != nil {
		return nil, fmt.Errorf("begins as a zip archive and is none: %w; the file is truncated, or its download was not finished", err)
	}
	entries, err := look(archive, size)
	if err != nil {
		return nil, err
	}
	root, err := rootOf(entries)
	if err != nil {
		return nil, err
	}
	if at, ok := entries[root+"byteorder"]; ok {
		order, err := load(r, at)
		if err != nil {
			return nil, fmt.Errorf("%sbyteorder: %w", root, err)
		}
		if string(order) != "little" {
			return nil, fmt.Errorf("%sbyteorder is %q: want little; save the file again on a little-endian machine", root, cut(string(order)))
		}
	}
	data, err := load(r, entries[root+"data.pkl"])
	if err != nil {
		return nil, fmt.Errorf("%sdata.pkl: %w", root, err)
	}
	top, _, err := run(data)
	if err != nil {
		return nil, fmt.Errorf("%sdata.pkl: %w", root, err)
	}
	return tensors(top, func(key string) (place, bool) {
		p, ok := entries[root+"data/"+key]
		return p, ok
	})
}

// rootOf finds the directory of data.pkl, with the slash.
func rootOf(entries map[string]place) (string, error) {
	root, found := "", 0
	for name := range entries {
		if dir, ok := strings.CutSuffix(name, "data.pkl"); ok && strings.Count(dir, "/") <= 1 && (dir == "" || strings.HasSuffix(dir, "/")) {
			root, found = dir, found+1
		}
	}
	if found != 1 {
		return "", fmt.Errorf("is a zip archive with %d files data.pkl, want one: not a file of torch.save", found)
	}
	return root, nil
}

// load reads all of a small entry.
func load(r io.ReaderAt, at place) ([]byte, error) {
	if at.size > maxPickle {
		return nil, fmt.Errorf("has %d bytes, more than the %d that any dictionary of tensors needs", at.size, maxPickle)
	}
	data := make([]byte, at.size)
	_, err := io.ReadFull(io.NewSectionReader(r, at.begin, at.size), data)
	return data, err
}

// look checks every entry of an archive and finds its bytes in the file: names that are plain, data that are stored as they are, lie within the
// file, and are no other entry's.
func look(archive *zip.Reader, size int64) (map[string]place, error) {
	entries := make(map[string]place, len(archive.File))
	type named struct {
		place
		name string
	}
	var order []named
	for _, f := range archive.File {
		if err := plain(f); err != nil {
			return nil, fmt.Errorf("zip entry %q: %w", cut(f.Name), err)
		}
		begin, err := f.DataOffset()
		if err != nil {
			return nil, fmt.Errorf("zip entry %q: %w", cut(f.Name), err)
		}
		if _, twice := entries[f.Name]; twice {
			return nil, fmt.Errorf("zip entry %q is there twice", cut(f.Name))
		}
		n := f.UncompressedSize64
		if begin < 0 || begin > size || n > uint64(size-begin) {
			return nil, fmt.Errorf("zip entry %q: %d bytes at byte %d reach beyond the file's %d: it is truncated or was changed", cut(f.Name), n, begin, size)
		}
		p := place{begin, int64(n)}
		entries[f.Name] = p
		if n > 0 {
			order = append(order, named{p, f.Name})
		}
	}
	slices.SortFunc(order, func(a, b named) int { return int(min(max(a.begin-b.begin, -1), 1)) })
	for i := 1; i < len(order); i++ {
		if a, b := order[i-1], order[i]; a.begin+a.size > b.begin {
			return nil, fmt.Errorf("zip entries %q and %q overlap: the file was changed", cut(a.name), cut(b.name))
		}
	}
	return entries, nil
}

// plain checks an entry by itself.
func plain(f *zip.File) error {
	const encrypted = 1
	switch {
	case !fs.ValidPath(f.Name) || strings.ContainsAny(f.Name, "\\\x00"):
		return errors.New("not a name that torch.save gives: the file was changed")
	case f.Flags&encrypted != 0:
		return errors.New("is encrypted")
	case f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64:
		return errors.New("is compressed, so that it cannot be mapped: torch.save stores; " + saveAgain)
	}
	return nil
}
