package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// systemPaths are what an interpreter may need of any node and nothing that is a user's. Of /etc only what the loader, the C library and
// Python read.
var systemPaths = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store",
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/localtime", "/etc/alternatives",
	"/etc/python3", "/etc/python3.11", "/etc/mime.types", "/etc/ssl/openssl.cnf"}

// devices may be read and written.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// newRoot replaces the file system by one that has the system's directories, read-only, and a quota of empty space.
func newRoot(c config) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	root := c.Dir
	if err := tmpfs(root, "size=1m,mode=0755"); err != nil {
		return err
	}
	// Shorter ones first, so that none is hidden by the directories made for one below it.
	read := slices.SortedFunc(slices.Values(c.Read), func(a, b string) int { return len(a) - len(b) })
	for _, p := range append(append([]string{}, systemPaths...), read...) {
		if err := bind(root, p, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV); err != nil {
			return err
		}
	}
	for _, p := range devices {
		if err := bind(root, p, unix.MOUNT_ATTR_NOSUID); err != nil {
			return err
		}
	}
	if err := space(root, c); err != nil {
		return err
	}
	for name, to := range map[string]string{"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		_ = os.Symlink("/proc/self/"+to, filepath.Join(root, "dev", name))
	}
	// A container may hide parts of its own /proc and then lets none be mounted: the program does without.
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o555); err == nil {
		_ = unix.Mount("proc", filepath.Join(root, "proc"), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	return enter(root)
}

// space mounts what the program may write: one quota for its working directory, /tmp and /dev/shm.
func space(root string, c config) error {
	tmp, shm := filepath.Join(root, "tmp"), filepath.Join(root, "dev/shm")
	for _, d := range []string{tmp, shm} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("making the program's space: %w", err)
		}
	}
	// The root, tmp/work and tmp/shm are three of its files.
	if err := tmpfs(tmp, fmt.Sprintf("size=%d,nr_inodes=%d,mode=1777", c.Limits.Disk, c.Limits.Files+3)); err != nil {
		return err
	}
	for _, name := range []string{"work", "shm"} {
		d := filepath.Join(tmp, name)
		if err := os.Mkdir(d, 0o700); err != nil {
			return fmt.Errorf("making the program's space: %w", err)
		}
		if c.UID >= 0 {
			if err := os.Chown(d, c.UID, c.UID); err != nil {
				return fmt.Errorf("giving the program its space: %w", err)
			}
		}
	}
	if err := unix.Mount(filepath.Join(tmp, "shm"), shm, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting /dev/shm: %w", err)
	}
	return nil
}

func tmpfs(at, options string) error {
	if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mounting a file system in memory: %w", err)
	}
	return nil
}

// bind shows a path of the node below root. Links into other directories that are shown too stay links; what is not there is left out.
func bind(root, path string, attr uint64) error {
	at := filepath.Join(root, path)
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOTDIR) {
			return nil // below a directory that is shown already
		}
		return fmt.Errorf("showing the program %q: %w", path, err)
	}
	if _, err := os.Lstat(at); err == nil && !strings.HasPrefix(path, "/dev/") {
		return nil // likewise
	}
	if to, err := os.Readlink(path); err == nil && !filepath.IsAbs(to) {
		return os.Symlink(to, at)
	}
	source, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil
	}
	st, err := os.Stat(source)
	if err != nil {
		return nil
	}
	if st.IsDir() {
		err = os.Mkdir(at, 0o755)
	} else {
		err = os.WriteFile(at, nil, 0o644)
	}
	if err != nil {
		return fmt.Errorf("showing the program %q: %w", path, err)
	}
	if err := unix.Mount(source, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("showing the program %q: %w", path, err)
	}
	return readOnly(at, attr)
}

// readOnly sets a mount's attributes, with all that is mounted below it where the kernel can (5.12).
func readOnly(at string, attr uint64) error {
	err := unix.MountSetattr(unix.AT_FDCWD, at, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attr})
	if err == nil {
		return nil
	}
	// The flags that the node's mount has must stay: they are locked.
	var fs unix.Statfs_t
	if err := unix.Statfs(at, &fs); err != nil {
		return fmt.Errorf("making %q read-only for the program: %w", at, err)
	}
	flags := uintptr(fs.Flags) & (unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC | unix.ST_NOATIME | unix.ST_NODIRATIME | unix.ST_RELATIME)
	if attr&unix.MOUNT_ATTR_RDONLY != 0 {
		flags |= unix.MS_RDONLY | unix.MS_NODEV
	}
	if err := unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|flags, ""); err != nil {
		return fmt.Errorf("making %q read-only for the program: %w", at, err)
	}
	return nil
}

// enter makes root the root, from which there is no way back.
func enter(root string) error {
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("entering the program's file system: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("entering the program's file system: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the node's file system: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("entering the program's file system: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("making the program's file system read-only: %w", err)
	}
	return nil
}
