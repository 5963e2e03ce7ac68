package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// usage counts the files below dir and the bytes that they take, and stops soon after most files. It never needs a long path.
func usage(dir string, most int) (count int, bytes int64) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0
	}
	open := []*os.File{os.NewFile(uintptr(fd), dir)}
	for len(open) > 0 {
		d := open[len(open)-1]
		open = open[:len(open)-1]
		names, _ := d.Readdirnames(most + 1)
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			count, bytes = count+1, bytes+st.Blocks*512
			if st.Mode&unix.S_IFMT != unix.S_IFDIR || len(open) > 200 || count > most {
				continue
			}
			fd, err := unix.Openat(int(d.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err == unix.EACCES && unix.Fchmodat(int(d.Fd()), name, 0o700, unix.AT_SYMLINK_NOFOLLOW) == nil {
				fd, err = unix.Openat(int(d.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			}
			if err == nil {
				open = append(open, os.NewFile(uintptr(fd), name))
			}
		}
		_ = d.Close()
	}
	return count, bytes
}

// removeAll removes dir whatever is in it: directories of any depth, of any mode, with any names. Directories that are not empty are moved
// to the top and emptied there, so that neither descriptors nor paths grow with the depth. Nothing may change it meanwhile.
func removeAll(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil && unix.Chmod(dir, 0o700) == nil {
		fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return fmt.Errorf("removing a program's directory %q: %w", dir, err)
	}
	top := os.NewFile(uintptr(fd), dir)
	defer top.Close()
	_ = unix.Fchmod(fd, 0o700)
	r := remover{top: fd}
	for err = r.empty(top); err == nil && len(r.moved) > 0; {
		name := r.moved[len(r.moved)-1]
		r.moved = r.moved[:len(r.moved)-1]
		err = r.emptyMoved(name)
	}
	if err != nil {
		return fmt.Errorf("removing a program's directory %q: %w", dir, err)
	}
	if err := unix.Rmdir(dir); err != nil {
		return fmt.Errorf("removing a program's directory %q: %w", dir, err)
	}
	return nil
}

type remover struct {
	top   int
	moved []string // directories of the top that are yet to be emptied
	count int
}

func (r *remover) emptyMoved(name string) error {
	fd, err := unix.Openat(r.top, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil // moved again, under another name
	}
	if err != nil {
		return err
	}
	d := os.NewFile(uintptr(fd), name)
	defer d.Close()
	if err := r.empty(d); err != nil {
		return err
	}
	return unix.Unlinkat(r.top, name, unix.AT_REMOVEDIR)
}

// empty removes or moves away all that is in d.
func (r *remover) empty(d *os.File) error {
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		if err := r.remove(int(d.Fd()), name); err != nil {
			return err
		}
	}
	return err
}

func (r *remover) remove(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	if unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) == nil {
		return nil
	}
	// It must be writable to be moved, and readable to be emptied.
	if err := unix.Fchmodat(dir, name, 0o700, 0); err != nil {
		return err
	}
	for {
		to := ".removed-" + strconv.Itoa(r.count)
		r.count++
		switch err := unix.Renameat(dir, name, r.top, to); err {
		case nil:
			r.moved = append(r.moved, to)
			return nil
		case unix.EEXIST, unix.ENOTEMPTY, unix.ENOTDIR: // a name that the program chose
		default:
			return err
		}
	}
}
