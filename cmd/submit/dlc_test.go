package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sextant/internal/dlcshim"
)

// secretKey stands in the file of keys of DLC's client, and must stand nowhere else.
const secretKey = "LTAI5tNobodyMayReadThis"

// dlcSession is a session on a DLC of its own.
type dlcSession struct {
	session
	lab *dlcshim.Lab
	dir string
}

// onDLC makes a session that gives its settings as OpenCompass's users have them.
func onDLC(t *testing.T, args ...string) *dlcSession {
	t.Helper()
	x := &dlcSession{lab: dlcshim.Install(t), dir: t.TempDir()}
	x.session = session{t, filepath.Join(x.dir, "runs"), nil}
	x.write("keys", "access_id="+secretKey+"\naccess_key="+secretKey+"\n")
	x.write("aliyun.py", fmt.Sprintf("dlc_config_path = %q\nworkspace_id = 'ws1'\nresource_id = 'q1'\nworker_image = 'img:1'\ndata_sources = ['d-1']\n"+
		"worker_cpu = 1\nworker_memory = 4\ndlc_job_cmd = 'create'\ndlc_sleep_time = 1\nextra_envs = ['COLOUR=blue']\n", filepath.Join(x.dir, "keys")))
	x.write("eval.toml", fmt.Sprintf("include = [%q]\n[dlc]\npoll_max = 1\n", filepath.Join(pocket(), "eval.toml")))
	x.args = append([]string{filepath.Join(x.dir, "eval.toml"), "-w", x.work, "--dlc", "--aliyun-cfg", filepath.Join(x.dir, "aliyun.py"),
		"--max-num-workers", "2", "--limit", "10", "--max-partition-size", "60"}, args...)
	return x
}

func (x *dlcSession) write(name, text string) {
	x.t.Helper()
	if err := os.WriteFile(filepath.Join(x.dir, name), []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

// submit starts submit where `dlc` is the shim.
func (x *dlcSession) submit(args ...string) *process {
	x.t.Helper()
	p := &process{Cmd: exec.Command(filepath.Join(bin, "submit"), args...), t: x.t, done: make(chan struct{})}
	p.Env = append(os.Environ(), "PATH="+filepath.Dir(x.lab.Program)+":"+os.Getenv("PATH"))
	return p.begin(x.dir)
}

func (x *dlcSession) run() string {
	x.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(x.work, "*_*"))
	if err != nil || len(dirs) != 1 {
		x.t.Fatalf("want one run, got %q (%v)", dirs, err)
	}
	return dirs[0]
}

// same wants the scores to be those of a calm run on this machine, every job to have been made once, and none to be left.
func (x *dlcSession) same(want []byte) {
	x.t.Helper()
	got, err := os.ReadFile(filepath.Join(x.run(), "scores.json"))
	if err != nil || !bytes.Equal(got, want) {
		x.t.Errorf("scores differ (%v)\n%s\nwant\n%s", err, got, want)
	}
	names := map[string]string{}
	for id, name := range x.lab.Jobs(x.t) {
		if names[name] != "" {
			x.t.Errorf("jobs %s and %s are both %q", id, names[name], name)
		}
		names[name] = id
	}
	x.idle()
}

func (x *dlcSession) idle() {
	x.t.Helper()
	tr := trial{session: x.session}
	for end := time.Now().Add(time.Minute); len(tr.workers()) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			x.t.Fatal("workers are left")
		}
	}
}

// untilRows waits until so many rows are saved.
func (x *dlcSession) untilRows(n int) {
	x.t.Helper()
	for end := time.Now().Add(patient); len(x.computed()) < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			x.t.Fatal("no rows")
		}
	}
}

// TestDLC runs the pocket suite on DLC, as calm as can be and with deaths, and wants the bytes of a run on this machine.
func TestDLC(t *testing.T) {
	calm := newSession(t, "--limit", "10", "--max-num-workers", "2")
	want := calm.finish()
	for name, test := range map[string]func(t *testing.T){
		"calm":        func(t *testing.T) { dlcCalm(t, want) },
		"killed":      func(t *testing.T) { dlcKilled(t, want) },
		"interrupted": func(t *testing.T) { dlcInterrupted(t, want) },
		"detached":    func(t *testing.T) { dlcDetached(t, want) },
		"faults":      func(t *testing.T) { dlcFaults(t, want) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

func dlcCalm(t *testing.T, want []byte) {
	x := onDLC(t)
	x.submit(append(x.args, "--dry-run")...).want(exitDone, "2 at once on DLC", "dlc create job --kind=PyTorchJob --name=",
		"--config="+filepath.Join(x.dir, "keys"))
	if jobs := x.lab.Jobs(t); len(jobs) > 0 {
		t.Errorf("a dry run made %v", jobs)
	}
	x.submit(x.args...).want(exitDone)
	x.same(want)
	x.wantOnce(7 * 10)
	if n := len(x.lab.Jobs(t)); n > 6 {
		t.Errorf("%d jobs were made for two workers that drain", n)
	}
	x.submit("status", x.run()).want(exitDone, "70 of 70 rows done")
	logs := x.submit("logs", x.run())
	logs.want(exitDone)
	for line := range strings.Lines(logs.log.String()) {
		fields := strings.Fields(line)
		if _, err := os.Stat(filepath.Join(x.dir, fields[2])); err != nil && !filepath.IsAbs(fields[2]) {
			t.Errorf("%s: %v", line, err)
		}
	}
	x.noSecret()
}

// noSecret looks for the key in all that the run left, and in all that dlc was told.
func (x *dlcSession) noSecret() {
	x.t.Helper()
	for _, c := range x.lab.Calls(x.t, "") {
		if strings.Contains(strings.Join(c.Args, " "), secretKey) {
			x.t.Errorf("dlc was told %q", c.Args)
		}
	}
	err := filepath.WalkDir(x.work, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(secretKey)) {
			x.t.Errorf("%s has the key", path)
		}
		return err
	})
	if err != nil {
		x.t.Error(err)
	}
}

// dlcKilled kills submit with signal 9, once before it knows of a job: the same command finds the jobs under their names.
func dlcKilled(t *testing.T, want []byte) {
	x := onDLC(t)
	p := x.submit(x.args...)
	for end := time.Now().Add(patient); len(x.lab.Calls(t, "create")) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is created")
		}
	}
	_ = p.Process.Signal(syscall.SIGKILL)
	p.end()
	p = x.submit(x.args...)
	x.untilRows(5)
	_ = p.Process.Signal(syscall.SIGKILL)
	p.end()
	x.submit(x.args...).want(exitDone, "an earlier submit has left jobs")
	x.same(want)
	x.wantOnce(7 * 10)
}

func dlcInterrupted(t *testing.T, want []byte) {
	x := onDLC(t, "--max-partition-size", "20")
	p := x.submit(x.args...)
	x.untilRows(3)
	_ = p.Process.Signal(os.Interrupt)
	p.want(exitInterrupted)
	x.idle()
	if n := len(x.lab.Calls(t, "stop")); n == 0 {
		t.Error("no job was stopped")
	}
	x.submit("resume", x.run()).want(exitDone)
	x.same(want)
	// And from elsewhere.
	y := onDLC(t, "--max-partition-size", "20")
	p = y.submit(y.args...)
	y.untilRows(3)
	y.submit("cancel", y.run()).want(exitDone, "none is left")
	p.want(exitFailed, "submit resume")
	y.idle()
}

func dlcDetached(t *testing.T, want []byte) {
	x := onDLC(t, "--detach")
	x.write("eval.toml", fmt.Sprintf("include = [%q]\n[dlc]\npoll_max = 1\nenv.SEXTANT_LOAD_DELAY = \"8s\"\n", filepath.Join(pocket(), "eval.toml")))
	x.submit(x.args...).want(exitDone, "detached: 2 jobs with DLC", "submit resume")
	x.submit("status", x.run()).want(exitDone, "of 70 rows done")
	x.untilRows(7 * 10) // nobody watches
	made := len(x.lab.Jobs(t))
	x.submit("resume", x.run()).want(exitDone)
	x.same(want)
	if now := len(x.lab.Jobs(t)); now != made {
		t.Errorf("%d jobs were made to gather", now-made)
	}
}

// dlcFaults has answers lost, and DLC away for a while.
func dlcFaults(t *testing.T, want []byte) {
	x := onDLC(t)
	x.lab.Fault(t, "create", "lost", 2)
	x.lab.Fault(t, "list", "down", 2)
	x.submit(x.args...).want(exitDone, "waiting: ", "DLC cannot be reached")
	x.same(want)
	x.wantOnce(7 * 10)
}

// TestDLCRefusals holds what is said when jobs cannot be on DLC.
func TestDLCRefusals(t *testing.T) {
	x := onDLC(t, "--limit", "1")
	x.lab.Fault(t, "create", "denied", 1)
	p := x.submit(x.args...)
	p.want(exitFailed, "dlc: the access key's user may not do this")
	if strings.Contains(p.log.String(), "LTAI") {
		t.Errorf("a key is shown\n%s", &p.log)
	}
	x.write("bad.py", "import os\nworkspace_id = os.environ['W']\n")
	bad := append(append([]string{}, x.args...), "--aliyun-cfg", filepath.Join(x.dir, "bad.py"))
	x.submit(bad...).want(exitUsage, "bad.py:1: ", "TOML under [dlc]")
	absent := exec.Command(filepath.Join(bin, "submit"), x.args...)
	absent.Env = append(os.Environ(), "PATH="+filepath.Join(x.dir, "none"))
	out, _ := absent.CombinedOutput()
	if code := absent.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(string(out), `no command "dlc" here: install`) {
		t.Errorf("code %d: %s", code, out)
	}
}

// TestExampleDLC runs examples/cluster/dlc.toml, with a model of two processes beside the one that it has.
func TestExampleDLC(t *testing.T) {
	x := onDLC(t)
	example := filepath.Join(filepath.Dir(pocket()), "cluster", "dlc.toml")
	x.write("eval.toml", fmt.Sprintf("include = [%q]\n[[models]]\nabbr = \"two\"\npath = %q\nrun_cfg.num_procs = 2\n"+
		"[dlc]\npoll_min = 1\npoll_max = 1\n", example, filepath.Join(pocket(), "model")))
	spec := filepath.Join(x.dir, "eval.toml")
	p := x.submit(spec, "-w", x.work, "--limit", "3", "--dry-run", "--json")
	p.want(exitDone)
	var v preview
	text := p.log.Bytes()
	if err := json.Unmarshal(text[bytes.IndexByte(text, '{'):], &v); err != nil || len(v.Creates) != len(v.Jobs) || v.Scheduler != "dlc" {
		t.Fatalf("%v: %d commands for %d jobs", err, len(v.Creates), len(v.Jobs))
	}
	want := regexp.MustCompile(`^dlc create job .*--workspace_id=ws1abcdef .*--worker_cpu=2 --worker_gpu=0 --worker_memory=4Gi .*--data_sources=d-abc123 `)
	if !want.MatchString(v.Creates[0]) {
		t.Errorf("%s", v.Creates[0])
	}
	x.submit(spec, "-w", x.work, "--limit", "3").want(exitDone, "pocket_winograd")
	logs, err := filepath.Glob(filepath.Join(x.run(), "attempts", "two--*", "*", "log"))
	ranks := false
	for _, path := range logs {
		ranks = ranks || strings.Contains(readFile(t, path), "part of the model loaded\" rank=1 ")
	}
	if err != nil || !ranks {
		t.Errorf("no second process in %q (%v)", logs, err)
	}
	x.idle()
}
