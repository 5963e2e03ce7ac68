package slurmlab

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Env is what points Slurm's commands at the cluster, as "KEY=value".
func (c *Cluster) Env() []string { return []string{"SLURM_CONF=" + c.conf()} }

func (c *Cluster) conf() string { return filepath.Join(c.Dir, "etc", "slurm.conf") }

// Setenv points this process at the cluster until the test ends. Subtests may be parallel, the test itself may not.
func (c *Cluster) Setenv(t testing.TB) {
	t.Helper()
	t.Setenv("SLURM_CONF", c.conf())
}

// Command is a command that is pointed at the cluster.
func (c *Cluster) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), c.Env()...)
	return cmd
}

// Run runs a command that must end well, and gives its standard output without the space around.
func (c *Cluster) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out, text bytes.Buffer
	cmd := c.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &text
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v: %s%s", name, strings.Join(args, " "), err, &text, &out)
	}
	return strings.TrimSpace(out.String())
}

// Sbatch submits a job, args after --parsable, and gives its id.
func (c *Cluster) Sbatch(t testing.TB, args ...string) string {
	t.Helper()
	id, _, _ := strings.Cut(c.Run(t, "sbatch", append([]string{"--parsable"}, args...)...), ";")
	return id
}

// Row is a job, or an element of a job array, as squeue has it.
type Row struct {
	ID     string // "12" or "12_3"
	Name   string
	State  string // PENDING, RUNNING, COMPLETED, ...
	Reason string // of a pending one why it waits
	Node   string // "" before it ran
	User   string
	QOS    string
}

// Queue lists the jobs that squeue shows, those that have ended and are remembered too. Further arguments are squeue's.
func (c *Cluster) Queue(t testing.TB, args ...string) []Row {
	t.Helper()
	const format = "%i\x1f%j\x1f%T\x1f%r\x1f%N\x1f%u\x1f%q"
	out := c.Run(t, "squeue", append([]string{"-h", "-r", "-t", "all", "-o", format}, args...)...)
	var rows []Row
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\x1f")
		if len(f) != 7 {
			t.Fatalf("squeue says %q", line)
		}
		rows = append(rows, Row{f[0], f[1], f[2], f[3], f[4], f[5], f[6]})
	}
	return rows
}

// Await looks at the queue until ok holds for it, for limit at most, and gives what it saw last.
func (c *Cluster) Await(t testing.TB, limit time.Duration, ok func([]Row) bool) []Row {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		rows := c.Queue(t)
		if ok(rows) {
			return rows
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s; the queue is %+v", limit, rows)
		}
	}
}

// Saved returns when the controller has written down the jobs that it had when Saved was called: one that is killed earlier forgets them.
func (c *Cluster) Saved(t testing.TB) {
	t.Helper()
	begin := time.Now()
	for time.Since(begin) < 20*time.Second {
		if fi, err := os.Stat(filepath.Join(c.Dir, "state", "job_state")); err == nil && fi.ModTime().After(begin) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the controller does not save its jobs")
}

// Pid is the process id of a daemon: "munged", "slurmctld", "slurmd:node1", "slurmdbd", "mariadbd".
func (c *Cluster) Pid(t testing.TB, daemon string) int {
	t.Helper()
	out, err := c.script("pid", c.Dir, daemon)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(out)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// Signal sends a signal to a daemon, SIGSTOP to freeze it, say.
func (c *Cluster) Signal(t testing.TB, daemon string, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(c.Pid(t, daemon), sig); err != nil {
		t.Fatalf("sending %s to %s: %v", sig, daemon, err)
	}
}

// Kill ends a daemon by SIGKILL and returns when it is gone.
func (c *Cluster) Kill(t testing.TB, daemon string) {
	t.Helper()
	pid := c.Pid(t, daemon)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("killing %s: %v", daemon, err)
	}
	for range 200 {
		if !alive(pid) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s lives on", daemon)
}

// Start starts a daemon that does not run and returns when it answers.
func (c *Cluster) Start(t testing.TB, daemon string) {
	t.Helper()
	if _, err := c.script("start", c.Dir, daemon); err != nil {
		t.Fatal(err)
	}
}

// alive says that there is such a process and that it is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	rest := string(stat[bytes.LastIndexByte(stat, ')')+1:])
	return !strings.HasPrefix(strings.TrimSpace(rest), "Z")
}
