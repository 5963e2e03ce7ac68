package result

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Commit writes a file so that under its name there is either what was there before or the whole of what write produced, on a local disk
// and on NFS: a temporary file in the same directory, fsync, close, rename, fsync of the directory. Missing directories are made. A full
// disk is an error for which errors.Is(err, syscall.ENOSPC) holds; the old file is then untouched.
func Commit(path string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("making the directory of %q: %w", path, err)
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithPermissions(0o666))
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	defer f.Cleanup() // does nothing after the rename
	w := bufio.NewWriterSize(f, 1<<16)
	if err := write(w); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return SyncDir(dir)
}

// CommitJSON commits v as indented JSON.
func CommitJSON(path string, v any) error {
	return Commit(path, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		return e.Encode(v)
	})
}

// SyncDir makes what was renamed in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing directory %q: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing directory %q: %w", dir, err)
	}
	return nil
}
