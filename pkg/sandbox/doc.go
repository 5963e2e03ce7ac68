// Package sandbox runs programs that a language model wrote, confined and bounded in time, memory, processes, output and files. It is pure
// Go, works in a static binary, needs no privilege, no helper program and no daemon, and uses whatever the node's kernel offers.
//
//	func main() {
//		sandbox.Main() // first of all: the binary starts itself to confine a program
//		...
//	}
//
//	python, err := sandbox.Python(ctx, "python3")
//	out, err := sandbox.Box{}.Run(ctx, sandbox.Program{
//		Argv: []string{python.Path, "-I", "main.py"}, Read: python.Read, Env: python.Env,
//		Files: map[string][]byte{"main.py": source}, Limits: sandbox.Limits{Wall: 3 * time.Second}})
//
// # How a program is run
//
// Run makes an empty directory and starts the binary itself again, as a warden: the first process of new namespaces, or else one that
// adopts the program's orphans. The warden starts the binary once more, as a stage, which sets every layer on itself and becomes the
// program. The caller watches the program's tree of processes through /proc, 100 times a second, reads its output, and ends it. A program
// ends when its first process does: whatever else it started is killed then. When the caller dies, however it dies, the warden sees its
// pipe closed and ends the program; an empty directory named sandbox-* may be left (without namespaces: with the program's files).
//
// # Always
//
// These need nothing of the node: no_new_privs, so that setuid programs give nothing; no capability; a session of its own without a
// terminal; descriptors 0, 1 and 2 only, which are pipes; a clean environment; resource limits on address space (Memory and 512 MiB),
// processor time, file size, open files (256), core dumps (none), queued signals and locked memory; the limits of Limits over all
// processes together:
//   - Wall counts from the program's start and does not count what its first process waited for a processor, as far as half of Wall: on a
//     busy node a correct program is not failed for its neighbours. A program of more than 4 processes and threads has no such extension,
//     and has to give way (nice 10).
//   - CPU, Memory and Processes are seen 100 times a second: a program may pass them for that long. Memory is resident memory, where shared
//     pages count once. A file system in memory (see Namespaces) comes on top, at most Disk.
//   - Output beyond its limit ends the program; what came before is kept.
//   - Files and Disk are a quota of the file system under Namespaces. Elsewhere the directory is looked at 20 times a second, and a program
//     that has written 4 times Disk, removed or not, is ended too.
//
// # What each layer promises
//
// Probe tries each in a child and counts it only if it refused what it should. Outcome.Layers says which held for a program.
//
// Namespaces (user, pid, mount, ipc, uts): the program sees /usr and its like, the loader's files of /etc, the interpreter's, all read-only,
// /dev/null and its like, its own processes, and writes only /tmp and /dev/shm, which are its own and vanish. It does not see homes, the run
// directory, other processes or the caller. All its processes end with the first: the kernel sees to that. It does see the node's name,
// load, kernel and, in /proc/self/mountinfo, where the interpreter lies. Where a container lets no /proc be mounted there is none.
//
// NoNetwork: a network namespace without even a loopback that is up.
//
// Landlock: no file but those just named is opened, created, renamed or removed. By itself it does not hide that a file exists, nor guard
// modes, owners, times and attributes; the seccomp filter refuses to change those where only Landlock keeps the user's files, which makes
// chmod and utime fail for honest programs there, too. LandlockScope: no signals and no abstract sockets to the outside.
//
// Seccomp (x86-64 and arm64): EPERM for sockets (but AF_UNIX socketpair), mounts, chroot, new namespaces, ptrace and its kin, bpf, io_uring,
// perf, userfaultfd, keys, kexec, modules, clocks, System V memory and queues, signals by pidfd or by a descriptor's owner, limits and
// priorities of other processes, TIOCSTI; calls newer than Linux 6.10, clone3, memfd_create are answered as missing; calls of another
// architecture or of x32 end the program. Without Namespaces also setsid and setpgid, so that one signal ends all; and, where no other
// layer keeps signals inside, signals to any process but the sender and its group.
//
// OwnUser: only for a caller that is root: a user number of its own for each of 64 programs at a time, so that limits count it alone and
// modes of files guard against it. A root that cannot give one (the interpreter lies in a directory closed to others, without Namespaces)
// lets the program start no process or thread, because the kernel does not limit root's.
//
// Cgroup, CgroupMemory, CgroupTasks: where a control group of version 2 is delegated to the caller, all processes are counted and killed by
// the kernel, whatever they do.
//
// # What is refused
//
// Run refuses (ErrUnconfined) where neither Namespaces, with NoNetwork or Seccomp, nor Landlock with Seccomp holds, unless Box.Unconfined
// is set. Seccomp alone does not tell the user's files from others.
//
// # What is not promised
//
// No protection against errors of the kernel. No defence against what a processor leaks. Without Namespaces, OwnUser or CgroupTasks, the
// kernel's limit of processes is one for all that a user has: while a bomb goes off, which takes less than a second, a neighbour of the same
// user may find that it cannot fork. Unconfined, with no layer at all, nothing but the limits hold, and a program that starts processes
// faster than they are killed, or that kills or changes what its user may, is not held. A program can use the node's processors until its
// CPU limit and so slow its neighbours.
package sandbox
