package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stage confines itself and becomes the program. It returns only with an error.
func stage() error {
	runtime.LockOSThread() // the layers are this thread's, and the program is what this thread starts
	report := os.NewFile(uintptr(fdStageReport), "report")
	unix.CloseOnExec(fdStageConfig)
	unix.CloseOnExec(fdStageReport)
	c, err := readConfig(os.NewFile(uintptr(fdStageConfig), "configuration"))
	if err != nil {
		return err
	}
	cmd, err := newCommand(c)
	if err != nil {
		return err
	}
	if err := confine(c); err != nil {
		return err
	}
	if c.Probe {
		if err := tryLayers(c); err != nil {
			return err
		}
		fmt.Fprintln(report, "ready 0", int64(monotonic()))
		os.Exit(0)
	}
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	ready := fmt.Appendf(nil, "ready %d %d\n", u.Utime.Nano()+u.Stime.Nano(), int64(monotonic()))
	if _, err := unix.Write(fdStageReport, ready); err != nil {
		return fmt.Errorf("reporting that a program starts: %w", err)
	}
	// Last, because this process's own address space is larger, and it may need another thread when the user's others leave no room for one.
	if err := errors.Join(limit(unix.RLIMIT_NPROC, uint64(c.Tasks)), limit(unix.RLIMIT_AS, uint64(c.Limits.Memory)+addressSlack)); err != nil {
		return err
	}
	return cmd.exec()
}

// confine sets every layer, in the order in which the ones that follow are still allowed.
func confine(c config) error {
	if err := errors.Join(limits(c), closeRest(), harmless()); err != nil {
		return err
	}
	if c.Layers.Has(Namespaces) {
		if err := newRoot(c); err != nil {
			return err
		}
	}
	if err := dropRights(c.UID); err != nil {
		return err
	}
	if err := fill(c); err != nil {
		return err
	}
	if c.Layers.Has(Landlock) {
		read := append([]string{}, systemPaths...)
		write := []string{c.inside()}
		if c.Layers.Has(Namespaces) {
			read, write = append(read, "/proc"), []string{"/tmp", "/dev/shm"}
		}
		if err := landlock(c.Layers.Has(LandlockScope), append(read, c.Read...), devices, write); err != nil {
			return err
		}
	}
	if c.Layers.Has(Seccomp) {
		return seccomp(filterFor(uint32(os.Getpid()), alone{
			sessions:   !c.Layers.Has(Namespaces),
			signals:    c.Layers&(Namespaces|LandlockScope) == 0 && c.UID < 0,
			attributes: !c.Layers.Has(Namespaces) && c.UID < 0,
			tasks:      c.Rooted && c.UID < 0 && !c.Layers.Has(CgroupTasks),
		}))
	}
	return nil
}

// tryLayers tries to do what the layers must refuse.
func tryLayers(c config) error {
	var errs []error
	if c.Layers.Has(Landlock) {
		errs = append(errs, landlockHolds())
	}
	if c.Layers.Has(Seccomp) {
		errs = append(errs, seccompHolds())
	}
	if c.Layers.Has(Namespaces) {
		if _, err := os.Stat("/home"); err == nil {
			errs = append(errs, errors.New("making a file system of the program's own: the old one is still there"))
		}
	}
	if c.UID >= 0 && unix.Getuid() != c.UID {
		errs = append(errs, errors.New("taking a user of the program's own: it is still the old one"))
	}
	return errors.Join(errs...)
}

// addressSlack is what a process may map without touching it: an interpreter's code and its threads' stacks.
const addressSlack = 512 << 20

func limit(what int, value uint64) error {
	var old unix.Rlimit
	if err := unix.Getrlimit(what, &old); err != nil {
		return fmt.Errorf("reading resource limit %d: %w", what, err)
	}
	value = min(value, old.Max)
	if err := unix.Setrlimit(what, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("setting resource limit %d to %d: %w", what, value, err)
	}
	return nil
}

// limits sets all resource limits but those of the address space and of processes.
func limits(c config) error {
	cpu := uint64((c.Limits.CPU.Milliseconds()+999)/1000) + 1
	return errors.Join(limit(unix.RLIMIT_CORE, 0), limit(unix.RLIMIT_CPU, cpu), limit(unix.RLIMIT_FSIZE, uint64(c.Limits.Disk)),
		limit(unix.RLIMIT_NOFILE, 256), limit(unix.RLIMIT_MEMLOCK, 64<<10), limit(unix.RLIMIT_MSGQUEUE, 0),
		limit(unix.RLIMIT_RTPRIO, 0), limit(unix.RLIMIT_NICE, 0), limit(unix.RLIMIT_SIGPENDING, 256))
}

// closeRest has every descriptor but 0, 1 and 2 closed when the program starts.
func closeRest() error {
	if err := unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err == nil {
		return nil
	}
	for fd := 3; fd < 4096; fd++ { // before Linux 5.11
		unix.CloseOnExec(fd)
	}
	return nil
}

// harmless has the program be what the kernel kills first when the node is out of memory, and gives it the usual file mode.
func harmless() error {
	unix.Umask(0o022)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	return nil
}

// dropRights makes the program a user without any privilege, now and after it started others.
func dropRights(uid int) error {
	for c := uintptr(0); c < 64; c++ {
		if unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) == unix.EINVAL {
			break
		}
	}
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if uid >= 0 {
		id := uintptr(uid)
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
			return fmt.Errorf("leaving all groups: %w", e)
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, id, id, id); e != 0 {
			return fmt.Errorf("taking a group of the program's own: %w", e)
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, id, id, id); e != 0 {
			return fmt.Errorf("taking a user of the program's own: %w", e)
		}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	// A change of user clears it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("asking to end with the warden: %w", err)
	}
	return nil
}

// fill writes the program's files and goes to its working directory.
func fill(c config) error {
	if err := os.Chdir(c.inside()); err != nil {
		return fmt.Errorf("going to the working directory: %w", err)
	}
	for name, text := range c.Files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("making a directory of the program's: %w", err)
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return fmt.Errorf("writing a file of the program's: %w", err)
		}
	}
	return nil
}

// command is a program ready for execve, so that nothing needs to be allocated once it is confined.
type command struct {
	path      *byte
	argv, env []*byte
}

func newCommand(c config) (command, error) {
	if c.Probe {
		return command{}, nil
	}
	path, err := unix.BytePtrFromString(c.Argv[0])
	if err != nil {
		return command{}, fmt.Errorf("starting the program %q: %w", c.Argv[0], err)
	}
	argv, err1 := pointers(c.Argv)
	env, err2 := pointers(c.Env)
	return command{path: path, argv: argv, env: env}, errors.Join(err1, err2)
}

func pointers(strings []string) ([]*byte, error) {
	list := make([]*byte, len(strings)+1) // ends with nil
	for i, s := range strings {
		p, err := unix.BytePtrFromString(s)
		if err != nil {
			return nil, fmt.Errorf("starting the program: its argument %q: %w", s, err)
		}
		list[i] = p
	}
	return list, nil
}

func (c command) exec() error {
	_, _, e := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(c.path)), uintptr(unsafe.Pointer(&c.argv[0])),
		uintptr(unsafe.Pointer(&c.env[0])))
	return fmt.Errorf("starting the program: %w", e)
}
