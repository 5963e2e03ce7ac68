package sandbox

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// No bit marks calls of another convention on arm64: those of 32-bit programs come with another architecture.
const foreignCalls = 0

// Calls of arm64 alone: none.
var (
	deniedHere     []uint32
	attributesHere []uint32
	forksHere      []uint32
	opensHere      []callArg
)
