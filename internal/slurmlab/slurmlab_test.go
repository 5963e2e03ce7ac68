package slurmlab

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dying makes the test binary start a cluster and wait to be killed.
const dying = "SEXTANT_TEST_DYING"

func TestMain(m *testing.M) {
	if os.Getenv(dying) != "" {
		c, err := up(Options{Nodes: 1})
		fmt.Println(c.Dir, err)
		time.Sleep(time.Minute)
		os.Exit(1)
	}
	os.Exit(Main(m))
}

// mentions lists the processes that have a word in their environment or command line.
func mentions(t *testing.T, word string) []string {
	t.Helper()
	var found []string
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		pid, _ := strconv.Atoi(filepath.Base(p))
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		cmd, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if pid != os.Getpid() && alive(pid) && (bytes.Contains(env, []byte(word)) || bytes.Contains(cmd, []byte(word))) {
			found = append(found, strings.ReplaceAll(string(cmd), "\x00", " "))
		}
	}
	return found
}

// A cluster is up in seconds and runs jobs, with GPUs; its end ends the jobs, those that nobody watches any more included.
func TestUpRunDown(t *testing.T) {
	t.Parallel()
	var c *Cluster
	marks := t.TempDir()
	t.Run("up", func(t *testing.T) {
		start := time.Now()
		c = Up(t, Options{Nodes: 2, GPUs: 4, Conf: []string{"MaxArraySize=11", "KillWait=2"}})
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("the cluster took %s", d)
		}
		if conf := c.Run(t, "scontrol", "show", "config"); !strings.Contains(conf, "MaxArraySize            = 11\n") {
			t.Errorf("the extra line of slurm.conf does not hold: %s", conf)
		}
		id := c.Sbatch(t, "-o", filepath.Join(marks, "log"), "--gres=gpu:2", "--wrap", "echo $CUDA_VISIBLE_DEVICES")
		c.Await(t, 20*time.Second, func(rows []Row) bool { return len(rows) == 1 && rows[0].ID == id && rows[0].State == "COMPLETED" })
		if b, _ := os.ReadFile(filepath.Join(marks, "log")); string(b) != "0,1\n" {
			t.Errorf("the job saw GPUs %q", b)
		}
		script := `trap "" TERM; setsid sleep 7654321 & sleep 7654321 & env -i sleep 7654321 & wait`
		c.Sbatch(t, "-o", "/dev/null", "--gres=gpu:4", "--wrap", script)
		const want = 3
		got := 0
		for range 400 {
			if got = len(mentions(t, "7654321")); got >= want {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if got < want {
			t.Errorf("%d processes of the job, want %d", got, want)
		}
	})
	if left := append(mentions(t, c.Dir), mentions(t, "7654321")...); len(left) > 0 {
		t.Errorf("the cluster left %q", left)
	}
	if _, err := os.Stat(filepath.Dir(c.Dir)); err == nil {
		t.Errorf("the cluster left its directory %s", c.Dir)
	}
}

// A test binary that is killed outright leaves no cluster either.
func TestKilledTest(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), dying+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	dir, ok := strings.CutSuffix(line, " <nil>\n")
	if !ok || len(mentions(t, dir)) < 3 {
		t.Fatalf("no cluster: %q", line)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for range 500 {
		if _, err := os.Stat(filepath.Dir(dir)); err != nil && len(mentions(t, dir)) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the cluster left %q", mentions(t, dir))
}

// Daemons can be killed, frozen and started again, and an array goes on.
func TestDaemons(t *testing.T) {
	t.Parallel()
	c := Shared(t, Options{Nodes: 2})
	if c != Shared(t, Options{Nodes: 2}) {
		t.Error("a second cluster of the same options")
	}
	id := c.Sbatch(t, "-o", "/dev/null", "--array=0-3", "--wrap", "sleep 0.1")
	c.Saved(t)
	c.Kill(t, "slurmctld")
	if out, err := c.Command("scontrol", "ping").CombinedOutput(); !strings.Contains(string(out), "DOWN") {
		t.Errorf("scontrol ping says %q, %v", out, err)
	}
	c.Kill(t, "slurmd:node2")
	c.Start(t, "slurmctld")
	c.Start(t, "slurmd:node2")
	first := c.Pid(t, "slurmctld")
	c.Signal(t, "slurmctld", syscall.SIGSTOP)
	c.Signal(t, "slurmctld", syscall.SIGCONT)
	if again := c.Pid(t, "slurmctld"); again != first {
		t.Errorf("pids %d and %d", first, again)
	}
	rows := c.Await(t, 20*time.Second, func(rows []Row) bool {
		return len(rows) == 4 && !slices.ContainsFunc(rows, func(r Row) bool { return r.State != "COMPLETED" })
	})
	for _, r := range rows {
		if !strings.HasPrefix(r.ID, id+"_") || r.Name != "wrap" || !strings.HasPrefix(r.Node, "node") {
			t.Errorf("row %+v", r)
		}
	}
}

// A cluster that was ended and is brought up again is the same one: its ports, its queue.
func TestDownUp(t *testing.T) {
	t.Parallel()
	c := Up(t, Options{Nodes: 1})
	id := c.Sbatch(t, "--hold", "-J", "kept", "-o", "/dev/null", "--wrap", "true")
	conf, err := os.ReadFile(c.conf())
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"down", c.Dir}, {"down", c.Dir}, {"up", c.Dir}, {"up", c.Dir, "--nodes", "1"}} {
		if _, err := c.script(args...); err != nil {
			t.Fatal(err)
		}
		if left := mentions(t, c.Dir); args[0] == "down" && len(left) > 1 { // the one that waits for this process
			t.Errorf("processes are left: %q", left)
		}
	}
	if again, _ := os.ReadFile(c.conf()); string(again) != string(conf) {
		t.Errorf("the configuration was\n%s\nand is\n%s", conf, again)
	}
	if rows := c.Queue(t); len(rows) != 1 || rows[0].ID != id || rows[0].Name != "kept" || rows[0].Reason != "JobHeldUser" {
		t.Errorf("the queue is %+v", rows)
	}
	if _, err := c.script("up", c.Dir, "--nodes", "2"); err == nil || !strings.Contains(err.Error(), "other options (nodes 1)") {
		t.Errorf("another number of nodes: %v", err)
	}
}

func TestAccounting(t *testing.T) {
	t.Parallel()
	c := Up(t, Options{Nodes: 1, Accounting: true})
	for name, preempts := range map[string]string{"auto": "", "spot": "", "reserved": "auto,spot"} {
		if got := c.Run(t, "sacctmgr", "-nP", "show", "qos", name, "format=name,preempt"); got != name+"|"+preempts {
			t.Errorf("qos %q, want %s|%s", got, name, preempts)
		}
	}
	if out, err := c.Command("sbatch", "-q", "nosuch", "--wrap", "true").CombinedOutput(); err == nil || !strings.Contains(string(out), "Invalid qos") {
		t.Errorf("sbatch says %q, %v", out, err)
	}
	id := c.Sbatch(t, "-q", "auto", "-o", "/dev/null", "--wrap", "true")
	for range 200 {
		if c.Run(t, "sacct", "-X", "-n", "-P", "-j", id, "-o", "State,QOS") == "COMPLETED|auto" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("sacct says %q", c.Run(t, "sacct", "-X", "-j", id))
}

// What is missing is named, with what installs it.
func TestPackagesMissing(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(script())
	if err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(t.TempDir(), "slurm-cluster")
	lame := strings.Replace(string(text), "slurmctld:slurmctld", "no-such-program:slurmctld", 1)
	if err := os.WriteFile(bare, []byte(lame), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := (&Cluster{}).Command(bare, "up", filepath.Join(t.TempDir(), "c"))
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), "make deps installs them: slurmctld") {
		t.Errorf("code %d, %q", cmd.ProcessState.ExitCode(), out)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range []string{"", "up", "up --nodes 3", "up " + dir + " --nodes", "up " + dir + " --nodes x", "up " + dir + " --nodes 0",
		"up " + dir + " --what", "up " + dir + " --port 80", "up " + dir + strings.Repeat("/long", 20), "down", "pid " + dir, "fly " + dir} {
		cmd := (&Cluster{}).Command(script(), strings.Fields(args)...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || len(out) == 0 {
			t.Errorf("%q: code %d, %q", args, cmd.ProcessState.ExitCode(), out)
		}
	}
}
