package sandbox

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// How this binary is called by itself. Nobody types these, so that no command line of the binary's own collides.
const (
	callWarden = "sandbox: warden"
	callStage  = "sandbox: stage"
	// Where the warden gave its program namespaces, its end ends all in it.
	argNamespaces = "namespaces"
)

// The warden's descriptors after the program's 0, 1, 2; the stage has the configuration and the reports.
const (
	fdControl, fdReport, fdConfig     = 3, 4, 5
	fdStageConfig, fdStageReport  int = 3, 4
)

var hooked atomic.Bool

// Main must be the first call of a binary's main function (and of TestMain). In a process that a Box started, it does what the process is
// for and never returns; in any other it returns at once.
func Main() {
	hooked.Store(true)
	switch {
	case len(os.Args) == 2 && os.Args[0] == callWarden:
		os.Exit(warden(os.Args[1] == argNamespaces))
	case len(os.Args) == 1 && os.Args[0] == callStage:
		err := stage()
		fmt.Fprintf(os.NewFile(uintptr(fdStageReport), "report"), "error %v\n", err)
		os.Exit(1)
	}
}

// warden starts one program's stage, which becomes the program, and waits for it and all that it leaves behind. It is the first process of
// the program's pid namespace or else adopts the program's orphans. It ends when the program does or when the control pipe is closed,
// which the end of the caller does too, however it ends.
func warden(namespaces bool) int {
	runtime.LockOSThread() // the stage is told of the end of this thread
	report := os.NewFile(fdReport, "report")
	// Whatever the program sends: a handler without a reader, because an ignored signal would stay ignored in the program.
	signal.Notify(make(chan os.Signal, 1))
	// Other processes of the user, which the program is, must not open this one's descriptors and memory.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	if !namespaces {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			fmt.Fprintf(report, "error adopting a program's orphans: %v\n", err)
			return 1
		}
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{callStage}, &syscall.ProcAttr{Env: os.Environ(),
		Files: []uintptr{0, 1, 2, fdConfig, fdReport}, Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		fmt.Fprintf(report, "error starting a program's stage: %v\n", err)
		return 1
	}
	for _, fd := range []int{0, 1, 2, fdConfig} {
		_ = unix.Close(fd)
	}
	go func() {
		var b [1]byte
		for {
			if n, err := unix.Read(fdControl, b[:]); err != unix.EINTR && n <= 0 {
				break
			}
		}
		if namespaces {
			os.Exit(0)
		}
		killTree(os.Getpid(), pid)
	}()
	status := reap(pid, namespaces)
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_CHILDREN, &u)
	fmt.Fprintf(report, "exit %d %d %d\n", uint32(status), u.Utime.Nano()+u.Stime.Nano(), u.Maxrss<<10)
	return 0
}

// reap waits for the program and then, where the end of this process does not end them, for all its descendants, having killed them.
func reap(program int, namespaces bool) (status unix.WaitStatus) {
	done := false
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.ECHILD:
			return status
		case err == nil && pid == program:
			status, done = ws, true
			if !namespaces {
				go killTree(os.Getpid(), program)
			}
		}
		if done && namespaces {
			return status
		}
	}
}
