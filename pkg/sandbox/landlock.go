package sandbox

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What Landlock lets done with files, https://docs.kernel.org/userspace-api/landlock.html.
const (
	llRead      = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_EXECUTE
	llNoDevices = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK
	llOfFiles   = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	llNet   = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	llScope = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
)

// landlockABI is the kernel's version of Landlock; 0: it has none, or it is switched off.
func landlockABI() int {
	v, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0
	}
	return int(v)
}

// landlockAttr is all that this version of Landlock can refuse. Later kernels take the long form of older ones, and older ones the zeros.
func landlockAttr(abi int) unix.LandlockRulesetAttr {
	fs := uint64(1)<<13 - 1
	for i, bit := range []uint64{unix.LANDLOCK_ACCESS_FS_REFER, unix.LANDLOCK_ACCESS_FS_TRUNCATE, 0, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV} {
		if abi >= i+2 {
			fs |= bit
		}
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: fs}
	if abi >= 4 {
		attr.Handled_access_net = llNet
	}
	if abi >= 6 {
		attr.Scoped = llScope
	}
	return attr
}

// landlock confines the calling thread and what it starts. A path that is not there needs no rule.
func landlock(scope bool, read, devices, write []string) error {
	abi := landlockABI()
	if abi == 0 {
		return fmt.Errorf("confining by Landlock: this kernel has none, or it is switched off")
	}
	attr := landlockAttr(abi)
	if !scope {
		attr.Scoped = 0
	}
	fd, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if e != 0 {
		return fmt.Errorf("making a Landlock rule set: %w", e)
	}
	rules := []struct {
		paths  []string
		access uint64
	}{
		{read, llRead},
		{devices, unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE},
		{write, attr.Handled_access_fs &^ llNoDevices},
	}
	for _, r := range rules {
		for _, p := range r.paths {
			if err := landlockAllow(int(fd), p, r.access&attr.Handled_access_fs); err != nil {
				return err
			}
		}
	}
	if _, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); e != 0 {
		return fmt.Errorf("confining by Landlock: %w", e)
	}
	return unix.Close(int(fd))
}

func landlockAllow(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // not there, or not the user's to see: then it stays closed
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("letting the program read %q: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= llOfFiles
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, e := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("letting the program read %q: %w", path, e)
	}
	return nil
}

// landlockHolds tries to list the root, which no rule allows.
func landlockHolds() error {
	if _, err := os.ReadDir("/"); err == nil {
		return fmt.Errorf("confining by Landlock: the root could still be listed")
	}
	return nil
}
