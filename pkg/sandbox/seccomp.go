package sandbox

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callArg is an argument of a system call.
type callArg struct{ call, arg uint32 }

// denied are refused with EPERM whatever their arguments.
var denied = []uint32{
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN,
	unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE,
	unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER,
	unix.SYS_IO_URING_REGISTER, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_SETTIMEOFDAY,
	unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_SYSLOG,
	unix.SYS_VHANGUP, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK,
	unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL, unix.SYS_IOPRIO_SET,
	// Memory that no process's size shows.
	unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_MSGGET, unix.SYS_SEMGET, unix.SYS_MQ_OPEN,
	unix.SYS_SOCKET, unix.SYS_BIND, unix.SYS_CONNECT, unix.SYS_LISTEN,
}

// missing are answered as by a kernel that has not got them, so that libraries do without. Clone3 has its flags in memory, where no
// filter sees them; without it clone is used. What a file in memory holds shows in no process's size.
var missing = []uint32{unix.SYS_CLONE3, unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET}

// attributes change a file by its path or by a descriptor open for reading, which Landlock does not guard.
var attributes = []uint32{unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_SETXATTR,
	unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_UTIMENSAT}

// lastCall is the newest system call that was judged (mseal); later ones are answered as missing.
const lastCall = unix.SYS_MSEAL

const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// filter builds the program, https://docs.kernel.org/userspace-api/seccomp_filter.html. Every rule is a comparison of the call's number and
// a body that always returns, so that no jump is longer than a rule.
type filter struct{ code []unix.SockFilter }

func (f *filter) add(code uint16, k uint32, jt, jf uint8) {
	f.code = append(f.code, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (f *filter) load(offset uint32)  { f.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }
func (f *filter) loadArg(arg uint32)  { f.load(16 + 8*arg) } // the low half: both machines are little-endian
func (f *filter) ret(k uint32)        { f.add(unix.BPF_RET|unix.BPF_K, k, 0, 0) }
func (f *filter) refuse(e unix.Errno) { f.ret(unix.SECCOMP_RET_ERRNO | uint32(e)) }
func (f *filter) allow()              { f.ret(unix.SECCOMP_RET_ALLOW) }
func (f *filter) unless(k uint32, skip uint8) {
	f.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, k, 0, skip)
}

// on adds a rule for one call. The body must return on all its ways.
func (f *filter) on(call uint32, body func(*filter)) {
	var b filter
	body(&b)
	f.unless(call, uint8(len(b.code)))
	f.code = append(f.code, b.code...)
}

func (f *filter) deny(e unix.Errno, calls ...uint32) {
	for _, c := range calls {
		f.on(c, func(b *filter) { b.refuse(e) })
	}
}

// only allows a call whose argument is one of values.
func (f *filter) only(c callArg, values ...uint32) {
	f.on(c.call, func(b *filter) {
		b.loadArg(c.arg)
		for _, v := range values {
			b.unless(v, 1)
			b.allow()
		}
		b.refuse(unix.EPERM)
	})
}

// never refuses a call whose argument, of which only the bits of mask count, is one of values.
func (f *filter) never(c callArg, mask uint32, values ...uint32) {
	f.on(c.call, func(b *filter) {
		b.loadArg(c.arg)
		b.add(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask, 0, 0)
		for _, v := range values {
			b.unless(v, 1)
			b.refuse(unix.EPERM)
		}
		b.allow()
	})
}

// alone is what a filter must make up for, because no other layer does.
type alone struct {
	sessions   bool // no pid namespace ends all processes: they must stay in the program's process group, to be killed at once
	signals    bool // neither Landlock's scope nor a pid namespace keeps signals inside
	attributes bool // nothing but Landlock keeps the user's files
	tasks      bool // nothing bounds processes and threads: the kernel does not limit root's
}

// filterFor is the program for the process self, by number, whose children have other numbers but the same filter.
func filterFor(self uint32, a alone) []unix.SockFilter {
	var f filter
	f.load(4)
	f.unless(auditArch, 1)
	f.add(unix.BPF_JMP|unix.BPF_JA, 1, 0, 0)
	f.ret(unix.SECCOMP_RET_KILL_PROCESS)
	f.load(0)
	if foreignCalls != 0 {
		f.add(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, foreignCalls, 0, 1)
		f.ret(unix.SECCOMP_RET_KILL_PROCESS)
	}
	f.add(unix.BPF_JMP|unix.BPF_JGT|unix.BPF_K, lastCall, 0, 1)
	f.refuse(unix.ENOSYS)
	if a.sessions {
		f.deny(unix.EPERM, unix.SYS_SETSID, unix.SYS_SETPGID)
	}
	if a.tasks {
		f.deny(unix.EAGAIN, unix.SYS_CLONE)
		f.deny(unix.EAGAIN, forksHere...)
	}
	f.on(unix.SYS_CLONE, func(b *filter) {
		b.loadArg(0)
		b.add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, newNamespaces, 0, 1)
		b.refuse(unix.EPERM)
		b.allow()
	})
	f.deny(unix.EPERM, denied...)
	f.deny(unix.EPERM, deniedHere...)
	f.deny(unix.ENOSYS, missing...)
	f.only(callArg{unix.SYS_SOCKETPAIR, 0}, unix.AF_UNIX)
	f.only(callArg{unix.SYS_PERSONALITY, 0}, 0xffffffff)
	f.processes(self)
	// What types into a terminal, sets signals' owners, and marks files immutable.
	f.never(callArg{unix.SYS_IOCTL, 1}, 0xffffffff, unix.TIOCSTI, unix.TIOCLINUX, unix.TIOCSCTTY, 0x8901, 0x8902, unix.FS_IOC_SETFLAGS)
	f.never(callArg{unix.SYS_FCNTL, 1}, 0xffffffff, unix.F_SETOWN, unix.F_SETSIG, unix.F_SETOWN_EX)
	if a.signals {
		f.signals(self)
	}
	if a.attributes {
		f.attributes()
	}
	f.allow()
	return f.code
}

// processes keeps limits and priorities of other processes.
func (f *filter) processes(self uint32) {
	for _, c := range []uint32{unix.SYS_PRLIMIT64, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM,
		unix.SYS_SCHED_SETATTR} {
		f.only(callArg{c, 0}, 0, self)
	}
	f.on(unix.SYS_SETPRIORITY, func(b *filter) {
		b.loadArg(0)
		b.unless(unix.PRIO_PROCESS, 5)
		b.loadArg(1)
		for _, v := range []uint32{0, self} {
			b.unless(v, 1)
			b.allow()
		}
		b.refuse(unix.EPERM)
	})
}

// signals lets a process signal itself and its process group, which is the program's, alone.
func (f *filter) signals(self uint32) {
	f.only(callArg{unix.SYS_KILL, 0}, 0, self, -self)
	f.only(callArg{unix.SYS_TKILL, 0}, self)
	for _, c := range []uint32{unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO} {
		f.only(callArg{c, 0}, self)
	}
}

// attributes refuses what Landlock does not guard. Opening for reading may empty a file, before Landlock's third version.
func (f *filter) attributes() {
	f.deny(unix.EPERM, attributes...)
	f.deny(unix.EPERM, attributesHere...)
	f.deny(unix.EPERM, unix.SYS_TRUNCATE)
	f.deny(unix.ENOSYS, unix.SYS_OPENAT2)
	for _, o := range append([]callArg{{unix.SYS_OPENAT, 2}}, opensHere...) {
		f.never(o, unix.O_ACCMODE|unix.O_TRUNC, unix.O_TRUNC)
	}
}

// seccomp sets the filter for the calling thread and what it starts.
func seccomp(code []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return fmt.Errorf("setting a seccomp filter: %w", e)
	}
	return nil
}

// seccompHolds tries a socket.
func seccompHolds() error {
	fd, err := syscall.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		_ = syscall.Close(fd)
		return errors.New("setting a seccomp filter: a socket could still be made")
	}
	return nil
}
