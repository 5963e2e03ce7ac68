package sandbox

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// x32 calls have this bit; they are refused whole.
const foreignCalls = 0x40000000

// Calls of x86-64 alone.
var (
	deniedHere = []uint32{unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS__SYSCTL,
		unix.SYS_CREATE_MODULE}
	attributesHere = []uint32{unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT}
	forksHere      = []uint32{unix.SYS_FORK, unix.SYS_VFORK}
	opensHere      = []callArg{{unix.SYS_OPEN, 1}}
)
