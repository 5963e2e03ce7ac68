package batch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a script that a submission writes.
type File struct {
	Name string      // without a directory
	Mode fs.FileMode // permission bits
	Data []byte
}

// Replace puts a file in place whole or not at all; with sync, so that its bytes are there whatever happens next.
func Replace(path string, data []byte, mode os.FileMode, sync bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil && sync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
