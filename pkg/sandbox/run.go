package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long setting up may take on a busy node, how long a stopped warden may take to end its program, and how long output is waited for
// when all processes have ended.
const (
	setupLimit = 30 * time.Second
	stopLimit  = 2 * time.Second
	drainLimit = time.Second
)

// Run runs one program and returns when it and all that it started have ended and its files are removed. Whatever the program does is
// in the outcome; an error means that it could not be run (ErrUnconfined: the node cannot confine it) or that ctx was done.
func (b Box) Run(ctx context.Context, p Program) (Outcome, error) {
	p.Limits = p.Limits.withDefaults()
	if err := p.check(); err != nil {
		return Outcome{}, err
	}
	if ctx.Err() != nil {
		return Outcome{}, fmt.Errorf("running a program: %w", context.Cause(ctx))
	}
	layers, why := Probe()
	layers &^= b.without
	if !layers.Has(Landlock) {
		layers &^= LandlockScope
	}
	if !hooked.Load() {
		return Outcome{}, ErrNoHook
	}
	if !layers.Confined() && !b.Unconfined {
		return Outcome{}, fmt.Errorf("%w: it needs user namespaces, or Landlock and seccomp; of these it has %q (%s)", ErrUnconfined, layers,
			strings.ReplaceAll(fmt.Sprint(why), "\n", "; "))
	}
	return b.run(ctx, p, layers, false)
}

func (b Box) run(ctx context.Context, p Program, layers Layers, probe bool) (out Outcome, err error) {
	dir, err := os.MkdirTemp(b.Dir, "sandbox-")
	if err != nil {
		return Outcome{}, fmt.Errorf("making a program's working directory: %w", err)
	}
	defer func() { err = errors.Join(err, removeAll(dir)) }()
	r := &running{Box: b, program: p, layers: layers, probe: probe, dir: dir}
	defer r.close()
	if err := r.start(); err != nil {
		return Outcome{}, err
	}
	return r.follow(ctx)
}

// running is one program from its start to its end.
type running struct {
	Box
	program Program
	layers  Layers
	probe   bool
	dir     string
	cmd     *exec.Cmd
	group   *group
	control *os.File // closing it stops the warden
	report  *os.File
	stdin   *os.File
	ours    []*os.File // to be closed at the end
	out     *output
	user    int // its own, outside; 0: the caller's
	leader  int // the program, once it runs: its process and its process group
	ended   sync.WaitGroup
}

func (r *running) close() {
	for _, f := range r.ours {
		_ = f.Close()
	}
	if r.group != nil {
		r.group.remove()
	}
	if r.user != 0 {
		freeUsers() <- r.user
	}
}

// pipe keeps one end, to be closed at the end.
func (r *running) pipe(keepWriter bool) (keep, give *os.File, err error) {
	rd, wr, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("making a pipe to a program: %w", err)
	}
	r.ours = append(r.ours, rd, wr)
	if keepWriter {
		return wr, rd, nil
	}
	return rd, wr, nil
}

// start starts the warden.
func (r *running) start() error {
	c, attr, err := r.config()
	if err != nil {
		return err
	}
	file, err := c.file()
	if err != nil {
		return err
	}
	defer file.Close()
	var given [5]*os.File
	var stdout, stderr *os.File
	var errs [5]error
	r.stdin, given[0], errs[0] = r.pipe(true)
	stdout, given[1], errs[1] = r.pipe(false)
	stderr, given[2], errs[2] = r.pipe(false)
	r.control, given[3], errs[3] = r.pipe(true)
	r.report, given[4], errs[4] = r.pipe(false)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	mode := "tree"
	if c.Layers.Has(Namespaces) {
		mode = argNamespaces
	}
	r.cmd = &exec.Cmd{Path: "/proc/self/exe", Args: []string{callWarden, mode}, Env: []string{"GOMAXPROCS=2", "GOGC=off"}, Dir: "/",
		Stdin: given[0], Stdout: given[1], Stderr: given[2], ExtraFiles: []*os.File{given[3], given[4], file}, SysProcAttr: attr}
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("starting a program's warden: %w", err)
	}
	for _, f := range given {
		_ = f.Close()
	}
	r.out = &output{left: r.program.Output, over: make(chan struct{})}
	r.ended.Go(func() { r.out.read(stdout, &r.out.stdout) })
	r.ended.Go(func() { r.out.read(stderr, &r.out.stderr) })
	r.ended.Go(func() {
		_, _ = r.stdin.Write(r.program.Stdin) // a program need not read it
		_ = r.stdin.Close()
	})
	return nil
}

// config decides what of the layers this very program can have.
func (r *running) config() (config, *syscall.SysProcAttr, error) {
	c := config{Argv: r.program.Argv, Read: r.program.Read, Files: r.program.Files, Limits: r.program.Limits, Dir: r.dir, UID: -1,
		Probe: r.probe, Rooted: os.Geteuid() == 0}
	attr := &syscall.SysProcAttr{Setpgid: true}
	if r.layers.Has(OwnUser) && (r.layers.Has(Namespaces) || r.reachable()) {
		r.user = <-freeUsers()
		c.UID = r.user
	} else {
		r.layers &^= OwnUser
	}
	if r.layers.Has(Namespaces) {
		attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		if r.user != 0 {
			c.UID = 1
			attr.UidMappings = append(attr.UidMappings, syscall.SysProcIDMap{ContainerID: 1, HostID: r.user, Size: 1})
			attr.GidMappings = append(attr.GidMappings, syscall.SysProcIDMap{ContainerID: 1, HostID: r.user, Size: 1})
			attr.GidMappingsEnableSetgroups = true
		}
		if r.layers.Has(NoNetwork) {
			attr.Cloneflags |= unix.CLONE_NEWNET
		}
	} else {
		r.layers &^= NoNetwork
		if r.user != 0 {
			if err := os.Chown(r.dir, r.user, r.user); err != nil {
				return c, nil, fmt.Errorf("giving a program its working directory: %w", err)
			}
		}
	}
	if r.layers.Has(Cgroup) {
		r.group = newGroup(r.program.Limits)
		r.layers = r.layers&^(Cgroup|CgroupMemory|CgroupTasks) | r.group.layers()
		if r.group != nil {
			attr.UseCgroupFD, attr.CgroupFD = true, int(r.group.dir.Fd())
		}
	}
	c.Layers = r.layers
	c.Tasks = r.tasks()
	c.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + c.inside(), "TMPDIR=" + c.inside(), "LANG=C.UTF-8",
		"PYTHONDONTWRITEBYTECODE=1", "PYTHONHASHSEED=0", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"}, r.program.Env...)
	return c, attr, nil
}

// othersTasks is room for what the user's other programs and their wardens start meanwhile, a program or two a processor. A bomb takes all of
// it until it is seen, and the larger it is the later that comes.
func othersTasks() int { return 64 + 24*runtime.GOMAXPROCS(0) }

// tasks is the limit of processes and threads for the kernel, which counts those of a user, not of a program. It is as tight as it can
// be without counting others': the watch has the exact one.
func (r *running) tasks() int {
	switch {
	case r.user != 0:
		return r.program.Processes
	case r.layers.Has(Namespaces) && countsByNamespace():
		return r.program.Processes + 12 // the warden's
	default:
		return r.program.Processes + userTasks() + othersTasks()
	}
}

// follow waits for the program's end, or brings it about.
func (r *running) follow(ctx context.Context) (Outcome, error) {
	messages := make(chan message, 4)
	go readReport(r.report, messages)
	out := Outcome{ExitCode: -1, Layers: r.layers}
	first, err := r.setUp(ctx, messages)
	if err != nil {
		return Outcome{}, errors.Join(err, r.finish(&out, false))
	}
	files := r.dir
	if r.layers.Has(Namespaces) {
		files = ""
	}
	w := newWatch(r.program.Limits, r.cmd.Process.Pid, first.started, files)
	r.leader = w.program
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var last message
	for ended := false; !ended && out.Why == "" && err == nil; {
		select {
		case m, ok := <-messages:
			last, ended = m, true
			if ok && m.kind == "error" {
				err = errors.New(m.text)
			}
		case <-ticker.C:
			out.Why, out.TimedOut = w.look()
		case <-r.out.over:
			out.Why = fmt.Sprintf("output over %d bytes", r.program.Output)
		case <-ctx.Done():
			err = fmt.Errorf("running a program: %w", context.Cause(ctx))
		}
	}
	out.Wall, out.CPU, out.MaxRSS = time.Since(w.started), w.cpu, w.peak
	if last.kind == "exit" {
		out.ended(last, first.cpu)
	} else if out.Why == "" && err == nil && !r.probe {
		out.Why = "its warden was killed"
	}
	err = errors.Join(err, r.finish(&out, last.kind == "exit"))
	return out, err
}

// setUp waits until the program starts.
func (r *running) setUp(ctx context.Context, messages <-chan message) (message, error) {
	late := time.NewTimer(setupLimit)
	defer late.Stop()
	select {
	case m, ok := <-messages:
		if !ok {
			return m, errors.New("setting up a program: its warden ended without a word")
		}
		if m.kind != "ready" {
			return m, errors.New(m.text)
		}
		return m, nil
	case <-late.C:
		return message{}, fmt.Errorf("setting up a program: not done in %v", setupLimit)
	case <-ctx.Done():
		return message{}, fmt.Errorf("setting up a program: %w", context.Cause(ctx))
	}
}

// finish ends all that is left and collects the output. Reported: the warden has seen the program's end.
func (r *running) finish(out *Outcome, reported bool) error {
	_ = r.control.Close()
	if r.group != nil {
		r.group.kill()
	}
	switch {
	case !reported && r.layers.Has(Namespaces):
		_ = r.cmd.Process.Kill() // and with it all of its namespace
	case !reported && r.leader > 1:
		_ = unix.Kill(-r.leader, unix.SIGKILL) // not left to the warden, which a busy program may keep from running
	}
	stubborn := time.AfterFunc(stopLimit, func() {
		if !r.layers.Has(Namespaces) {
			killTree(r.cmd.Process.Pid, 0)
		}
		_ = r.cmd.Process.Kill()
	})
	_ = r.cmd.Wait() // its status says nothing of the program
	stubborn.Stop()
	until := time.Now().Add(drainLimit)
	for _, f := range r.ours {
		_ = f.SetDeadline(until) // those that are closed do not mind
	}
	r.ended.Wait()
	out.Stdout, out.Stderr, out.Truncated = r.out.stdout, r.out.stderr, r.out.truncated
	if out.Truncated && out.Why == "" {
		out.Why = fmt.Sprintf("output over %d bytes", r.program.Output)
	}
	return nil
}

// message is a line of the report: "ready CPU STARTED", "exit STATUS CPU MAXRSS" (nanoseconds, bytes) or "error TEXT".
type message struct {
	kind, text string
	status     uint32
	cpu, rss   int64
	started    time.Duration // of the monotonic clock
}

func readReport(f *os.File, messages chan<- message) {
	defer close(messages)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		m := message{kind: kind, text: rest}
		switch kind {
		case "ready":
			_, _ = fmt.Sscan(rest, &m.cpu, (*int64)(&m.started))
		case "exit":
			_, _ = fmt.Sscan(rest, &m.status, &m.cpu, &m.rss)
		}
		messages <- m
	}
}

// ended takes over what the warden says. Before is the processor time that was used before the program started.
func (o *Outcome) ended(m message, before int64) {
	ws := unix.WaitStatus(m.status)
	switch {
	case ws.Exited():
		o.ExitCode = ws.ExitStatus()
	case ws.Signaled():
		o.Signal = int(ws.Signal())
	}
	o.CPU, o.MaxRSS = max(o.CPU, time.Duration(m.cpu-before)), max(o.MaxRSS, m.rss)
}

// output keeps the first bytes of two streams together. It reads on when it has enough, so that nothing waits for it.
type output struct {
	sync.Mutex
	left           int64
	stdout, stderr []byte
	truncated      bool
	over           chan struct{}
}

func (o *output) read(f *os.File, into *[]byte) {
	buf := make([]byte, 16<<10)
	for {
		n, err := f.Read(buf)
		o.Lock()
		keep := min(int64(n), o.left)
		*into, o.left = append(*into, buf[:keep]...), o.left-keep
		if keep < int64(n) && !o.truncated {
			o.truncated = true
			close(o.over)
		}
		o.Unlock()
		if err != nil {
			return
		}
	}
}
