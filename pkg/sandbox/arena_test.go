package sandbox

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var asNobody = flag.Bool("sandbox.nobody", false, "set where TestHostileAsNobody starts this binary again")

var allLayers = flag.Bool("sandbox.all", false, "run the battery with single layers switched off too")

// arena is what hostile programs must not reach.
type arena struct {
	dir, base  string // base: where working directories are made
	secret     string
	token      string
	env        []string
	interp     Interpreter
	heard      atomic.Int64
	victim     *exec.Cmd
	neighbours atomic.Int64
}

const secretText = "the secret of the arena"

// newArena makes one in a directory of its own, since the programs of another user than root's cannot use the test's.
func newArena(t *testing.T) *arena {
	t.Helper()
	dir, err := os.MkdirTemp("", "arena-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := &arena{dir: dir, base: filepath.Join(dir, "base"), secret: filepath.Join(dir, "home/.ssh/id"),
		token: fmt.Sprintf("arena%d-%d", os.Getpid(), time.Now().UnixNano())}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(dir, 0o755))
	for _, d := range []string{"base", "home/.ssh", "run"} {
		must(os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	must(os.WriteFile(a.secret, []byte(secretText), 0o644)) // readable to all: the layers must hold it, not its mode
	must(os.WriteFile(filepath.Join(dir, "run/records"), []byte(secretText), 0o644))
	t.Setenv("ARENA_KEY", secretText)
	a.interp, err = Python(context.Background(), systemPython())
	if err != nil {
		t.Skipf("no python3 to run the programs: %v", err)
	}
	id, err := os.ReadFile("/usr/bin/id")
	must(err)
	setuid := filepath.Join(dir, "bin/id")
	must(os.MkdirAll(filepath.Dir(setuid), 0o755))
	must(os.WriteFile(setuid, id, 0o755))
	must(os.Chmod(setuid, 0o755|os.ModeSetuid))
	a.interp.Read = append(a.interp.Read, filepath.Dir(setuid))
	a.victim = exec.Command("/bin/sleep", "1000")
	must(a.victim.Start())
	t.Cleanup(func() { _ = a.victim.Process.Kill(); _ = a.victim.Wait() })
	tcp, udp := a.listen(t)
	a.env = []string{"A_SECRET=" + a.secret, "A_HOME=" + filepath.Join(dir, "home"), "A_RUN=" + filepath.Join(dir, "run"),
		"A_VICTIM=" + strconv.Itoa(a.victim.Process.Pid), "A_TEST=" + strconv.Itoa(os.Getpid()), "A_TOKEN=" + a.token,
		"A_TCP=" + strconv.Itoa(tcp), "A_UDP=" + strconv.Itoa(udp), "A_UNIX=" + filepath.Join(dir, "home/socket"), "A_ABSTRACT=" + a.token,
		"A_SETUID=" + setuid}
	return a
}

// systemPython prefers the system's, which any user may run.
func systemPython() string {
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		return "/usr/bin/python3"
	}
	return "python3"
}

// listen counts whoever calls.
func (a *arena) listen(t *testing.T) (tcp, udp int) {
	t.Helper()
	for _, l := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", filepath.Join(a.dir, "home/socket")}, {"unix", "@" + a.token}} {
		ln, err := net.Listen(l[0], l[1])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		if at, ok := ln.Addr().(*net.TCPAddr); ok {
			tcp = at.Port
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				a.heard.Add(1)
				_ = c.Close()
			}
		}()
	}
	_ = os.Chmod(filepath.Join(a.dir, "home/socket"), 0o777)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		for buf := make([]byte, 100); ; a.heard.Add(1) {
			if _, _, err := pc.ReadFrom(buf); err != nil {
				return
			}
		}
	}()
	return tcp, pc.LocalAddr().(*net.UDPAddr).Port
}

func (a *arena) program(h hostile) Program {
	token := a.token + "." + strings.ReplaceAll(h.name, " ", "-") + "."
	p := Program{Argv: []string{a.interp.Path, "-I", "main.py", token}, Read: a.interp.Read, Limits: h.Limits,
		Files: map[string][]byte{"main.py": []byte(prelude + h.source)}, Env: append(a.interp.Env, append(a.env, "A_MARK="+token)...)}
	if text, ok := strings.CutPrefix(h.source, "sh:"); ok {
		p.Argv, p.Files = []string{"/bin/sh", "main.sh", token}, map[string][]byte{"main.sh": []byte(text)}
	}
	if h.name == "does not read its input" {
		p.Stdin = bytes.Repeat([]byte("flood"), 10<<20)
	}
	return p
}

// unharmed checks, after a program, all that it must not have done.
func (a *arena) unharmed(t *testing.T) {
	t.Helper()
	if n := a.heard.Swap(0); n > 0 {
		t.Errorf("it was heard outside %d times", n)
	}
	for _, path := range []string{a.secret, filepath.Join(a.dir, "run/records")} {
		text, err := os.ReadFile(path)
		st, err2 := os.Stat(path)
		if err != nil || err2 != nil || string(text) != secretText || st.Mode() != 0o644 || time.Since(st.ModTime()) > time.Hour {
			t.Errorf("%s was changed: %q %v %v", path, text, err, st)
		}
	}
	for _, d := range []string{"/tmp", "/var/tmp", "/dev/shm", a.dir + "/home", a.dir + "/run", a.base, "/", "/usr", "/etc", "/run"} {
		if _, err := os.Lstat(filepath.Join(d, a.token)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it wrote to %s: %v", d, err)
		}
	}
	pid := a.victim.Process.Pid
	p, ok := readProcess(pid)
	nice, _ := unix.Getpriority(unix.PRIO_PROCESS, pid)
	var lim unix.Rlimit
	_ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &lim)
	var cpus unix.CPUSet
	_ = unix.SchedGetaffinity(pid, &cpus)
	var ours unix.CPUSet
	_ = unix.SchedGetaffinity(0, &ours)
	if !ok || p.state != 'S' || nice != 20 || lim.Cur == 7 || cpus != ours {
		t.Errorf("a process outside was harmed: %+v %v, priority %d, files %d, cpus %v", p, ok, nice, lim.Cur, cpus)
	}
}

// left lists processes that carry a mark.
func left(mark string) (pids []string) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		cmd, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		if bytes.Contains(cmd, []byte(mark)) || bytes.Contains(env, []byte(mark)) {
			pids = append(pids, e.Name())
		}
	}
	return pids
}

func (a *arena) battery(t *testing.T, b Box, which func(hostile) bool) {
	b.Dir = a.base
	stop, stopped := make(chan struct{}), make(chan struct{})
	go a.neighbour(t, b, stop, stopped)
	slots := make(chan struct{}, 8)
	var all sync.WaitGroup
	for _, h := range battery {
		if !which(h) {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			t.Run(h.name, func(t *testing.T) { a.one(t, b, h) })
		})
	}
	all.Wait()
	close(stop)
	<-stopped
	if n := a.neighbours.Load(); n == 0 {
		t.Error("no other program ran meanwhile")
	}
	a.unharmed(t)
	if names, _ := filepath.Glob(a.base + "/*"); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
	if pids := left(a.token); len(pids) > 0 {
		t.Errorf("processes left behind: %v", pids)
	}
}

func (a *arena) one(t *testing.T, b Box, h hostile) {
	p := a.program(h)
	start := time.Now()
	o, err := b.Run(t.Context(), p)
	took := time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("wall %v (all %v), cpu %v, rss %d MB, exit %d, signal %d, %q", o.Wall.Round(time.Millisecond), took.Round(time.Millisecond),
		o.CPU.Round(time.Millisecond), o.MaxRSS>>20, o.ExitCode, o.Signal, o.Why)
	limits := p.Limits.withDefaults()
	if o.Wall > 2*limits.Wall {
		t.Errorf("it ran for %v; its limit is %v", o.Wall, limits.Wall)
	}
	if int64(len(o.Stdout)+len(o.Stderr)) > limits.Output {
		t.Errorf("%d bytes of output", len(o.Stdout)+len(o.Stderr))
	}
	if bytes.Contains(append(o.Stdout, o.Stderr...), []byte(secretText)) {
		t.Errorf("it read the secret:\n%s", o.Stdout)
	}
	if o.MaxRSS > 2*limits.Memory {
		t.Errorf("it had %d bytes of memory; its limit is %d", o.MaxRSS, limits.Memory)
	}
	h.check(t, o)
	if pids := left(p.Argv[len(p.Argv)-1]); len(pids) > 0 {
		t.Errorf("processes left behind: %v", pids)
	}
	if t.Failed() {
		t.Logf("stdout %.500s\nstderr %.500s", o.Stdout, o.Stderr)
	}
	a.unharmed(t)
}

// neighbour runs a harmless program over and over, which must not notice.
func (a *arena) neighbour(t *testing.T, b Box, stop, stopped chan struct{}) {
	defer close(stopped)
	for {
		select {
		case <-stop:
			return
		default:
		}
		o, err := b.Run(t.Context(), Program{Argv: []string{a.interp.Path, "-I", "-c", "print(sum(range(1000)))"}, Read: a.interp.Read,
			Env: a.interp.Env, Limits: Limits{Wall: 10 * time.Second}})
		if err != nil || string(o.Stdout) != "499500\n" || o.ExitCode != 0 {
			t.Errorf("a harmless program beside them: %+v %v", o, err)
			return
		}
		a.neighbours.Add(1)
	}
}

func everyOne(hostile) bool { return true }
func freely(h hostile) bool { return h.freely }

// TestHostile runs the battery under this user, with all layers and with each missing.
func TestHostile(t *testing.T) {
	have, why := Probe()
	t.Logf("layers here: %s (%v)", have, why)
	if !have.Confined() {
		t.Skip("nothing confines programs here")
	}
	for _, v := range []struct {
		name    string
		without Layers
		always  bool
	}{
		{"all layers", noLayers, true},
		{"no namespaces", Namespaces, false},
		{"no namespaces, no scope", Namespaces | LandlockScope, false},
		{"no Landlock", Landlock, false},
		{"no seccomp", Seccomp, false},
		{"namespaces alone", Landlock | Seccomp, false},
		{"no cgroup", Cgroup, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			if !v.always && !*allLayers && !*asNobody {
				t.Skip("runs with -sandbox.all")
			}
			if !(have &^ v.without).Confined() {
				t.Skip("the other layers are not here")
			}
			newArena(t).battery(t, Box{without: v.without}, everyOne)
		})
	}
	t.Run("unconfined", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("runs as another user than root, whose processes nothing bounds")
		}
		if !*allLayers {
			t.Skip("runs with -sandbox.all")
		}
		newArena(t).battery(t, Box{Unconfined: true, without: ^noLayers}, freely)
	})
}

// TestHostileAsNobody runs TestHostile again as a user without any right, as on a node of a cluster.
func TestHostileAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("already not root")
	}
	if testing.Short() {
		t.Skip("takes as long as TestHostile")
	}
	dir, err := os.MkdirTemp("", "nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	only := "TestHostile$/^no_namespaces$"
	if *allLayers {
		only = "TestHostile$"
	}
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run="+only, fmt.Sprintf("-sandbox.all=%v", *allLayers), "-sandbox.nobody")
	cmd.Dir, cmd.Env = dir, []string{"TMPDIR=" + dir, "PATH=/usr/bin:/bin", "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	if err != nil {
		t.Errorf("as nobody: %v", err)
	}
}
