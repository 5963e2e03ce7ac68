// Package slurmlab gives tests a real Slurm cluster on this machine, brought up by scripts/slurm-cluster and gone with the test binary,
// however that ends. It needs Debian's Slurm packages, which `make deps` installs, and no root.
package slurmlab

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Options say what the cluster is. A zero value is the script's default: 4 nodes of 8 GPUs, 64 CPUs and 512,000 MB, no accounting.
type Options struct {
	Nodes, CPUs, MemoryMB int
	GPUs                  int      // GPUs a node; -1: none
	Accounting            bool     // slurmdbd, sacct and the QOS auto, spot and reserved; it takes 6 s more
	Cgroup                bool     // jobs are held to their memory; root and cgroup v1 only
	MinJobAge             int      // seconds that Slurm remembers an ended job
	CredExpire            int      // a requeued job waits for so many seconds and two more
	Conf                  []string // "KEY=VALUE" lines of slurm.conf in the place of the script's
}

func (o Options) args() []string {
	var args []string
	for name, value := range map[string]int{"--nodes": o.Nodes, "--gpus": o.GPUs, "--cpus": o.CPUs, "--mem": o.MemoryMB,
		"--min-job-age": o.MinJobAge, "--cred-expire": o.CredExpire} {
		if value != 0 {
			args = append(args, name, strconv.Itoa(max(value, 0)))
		}
	}
	for name, on := range map[string]bool{"--accounting": o.Accounting, "--cgroup": o.Cgroup} {
		if on {
			args = append(args, name)
		}
	}
	for _, line := range o.Conf {
		args = append(args, "--conf", line)
	}
	return args
}

// Cluster is a running cluster.
type Cluster struct {
	Dir     string    // its state and logs
	parent  io.Closer // while it is open, the process that ends the cluster waits
	watcher *exec.Cmd // that process
}

// Up starts a cluster that is there until the test ends.
func Up(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := up(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.tail())
		}
		if err := c.down(); err != nil {
			t.Error(err)
		}
	})
	return c
}

var shared struct {
	sync.Mutex
	inMain   bool
	clusters []*Cluster
	options  []Options
}

// Main runs the tests of a package that calls Shared, and ends the shared clusters. It is what TestMain gives to os.Exit. Parallel tests are
// sixteen at once unless -parallel says otherwise: they wait for the cluster most of the time.
func Main(m *testing.M) int {
	shared.inMain = true
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	code := m.Run()
	for _, c := range shared.clusters {
		if err := c.down(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// Shared gives the test binary's cluster of these options, starting it when it is first asked for. TestMain must be Main's. Tests that kill
// daemons or fill the cluster take one of their own, with Up.
func Shared(t testing.TB, o Options) *Cluster {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.inMain {
		t.Fatal("slurmlab.Shared wants a TestMain that calls slurmlab.Main")
	}
	for i, c := range shared.clusters {
		if reflect.DeepEqual(shared.options[i], o) {
			return c
		}
	}
	c, err := up(o)
	if err != nil {
		t.Fatal(err)
	}
	shared.clusters, shared.options = append(shared.clusters, c), append(shared.options, o)
	return c
}

func script() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "scripts", "slurm-cluster")
}

func up(o Options) (*Cluster, error) {
	dir, err := os.MkdirTemp(fast(), "slurmlab")
	if err != nil {
		return nil, fmt.Errorf("making a cluster's directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // jobs may run as another user
		return nil, err
	}
	c := &Cluster{Dir: filepath.Join(dir, "c")}
	if err := c.watch(); err != nil {
		return nil, err
	}
	if _, err := c.script(append([]string{"up", c.Dir}, o.args()...)...); err != nil {
		text := c.tail()
		return nil, errors.Join(fmt.Errorf("starting a Slurm cluster (make deps installs its packages): %w%s", err, text), c.down())
	}
	return c, nil
}

// fast is where a cluster is quick: in memory, if programs may be run from there. A job's script lies in its node's spool directory.
func fast() string {
	const shm = "/dev/shm"
	var fs unix.Statfs_t
	err := errors.Join(unix.Statfs(shm, &fs), unix.Access(shm, unix.W_OK))
	if err != nil || fs.Flags&unix.ST_NOEXEC != 0 || fs.Bavail*uint64(fs.Bsize) < 512<<20 {
		return os.TempDir()
	}
	return shm
}

// watch starts a shell that ends the cluster when this process is gone without having done so: by a panic, a time limit or a kill.
func (c *Cluster) watch() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", `read -r never; "$0" down "$2" --kill; rm -rf "$1"`, script(), filepath.Dir(c.Dir), c.Dir)
	cmd.Dir, cmd.Stdin = "/", r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	c.parent, c.watcher = w, cmd
	return nil
}

// script runs scripts/slurm-cluster. Its output goes through a file: a pipe would have to wait for daemons.
func (c *Cluster) script(args ...string) (string, error) {
	f, err := os.CreateTemp("", "slurmlab")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd := exec.Command(script(), args...)
	cmd.Stdout, cmd.Stderr = f, f
	err = cmd.Run()
	out, _ := os.ReadFile(f.Name())
	if err != nil {
		return "", fmt.Errorf("slurm-cluster %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

func (c *Cluster) down() error {
	_, err := c.script("down", c.Dir, "--kill")
	return errors.Join(err, os.RemoveAll(filepath.Dir(c.Dir)), c.parent.Close(), c.watcher.Wait())
}

// tail is the end of the daemons' logs.
func (c *Cluster) tail() string {
	var b strings.Builder
	logs, _ := filepath.Glob(filepath.Join(c.Dir, "log", "*.log"))
	for _, name := range logs {
		text, _ := os.ReadFile(name)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(&b, "\n== %s\n%s", filepath.Base(name), strings.Join(lines[max(len(lines)-12, 0):], "\n"))
	}
	return b.String()
}
