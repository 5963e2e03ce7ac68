package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// divided is sizable with a model over so many processes, each with so many devices.
func divided(t *testing.T, infer, runCfg string) (result.Dir, plan.Job) {
	t.Helper()
	root, err := filepath.Abs("../../examples/pocket")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "eval.toml")
	models := fmt.Sprintf("models = [{ abbr = \"pocket\", path = %q, batch_size = 1, run_cfg = { %s } }]\n", root+"/model", runCfg)
	text := models + fmt.Sprintf("data_dir = %q\n", root+"/data") +
		"datasets = [\"pocket_cloze\", \"pocket_gsm\", \"pocket_text\"]\ninfer = { " + infer + " }\n"
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	dir := result.Dir(t.TempDir())
	if err := planInto(path, dir); err != nil {
		t.Fatal(err)
	}
	p, err := plan.Load(dir.Plan())
	if err != nil {
		t.Fatal(err)
	}
	return dir, p.Jobs[0]
}

// command is the worker as a program of its own.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "worker")
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, args...)
}

// TestRanks holds the records of a worker of several processes to be those of one.
func TestRanks(t *testing.T) {
	var want [][]result.Record
	for _, runCfg := range []string{"num_procs = 1", "num_procs = 2", "num_procs = 3, num_gpus = 5"} {
		dir, job := divided(t, oneJob+", limit = 3", runCfg)
		cmd := command(t, "run", "--run", string(dir), "--job", job.ID, "--backend", "cpu", "--threads", "3")
		log, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", runCfg, err, log)
		}
		var got [][]result.Record
		for _, shard := range job.Shards {
			_, records, err := result.Read(dir.Result(shard))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, records)
		}
		if want == nil {
			want = got
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: other records than in one process:\n%+v\n%+v", runCfg, got, want)
		}
		if n, procs := strings.Count(string(log), "part of the model loaded"), strings.Count(runCfg, "= 2")+2*strings.Count(runCfg, "= 3"); n != procs {
			t.Errorf("%s: %d further processes, want %d:\n%s", runCfg, n, procs, log)
		}
		if left, err := os.ReadDir(filepath.Join(string(dir), "ranks")); procsOf(runCfg) > 1 && (err != nil || len(left) > 0) {
			t.Errorf("%s: %d secrets are left (%v)", runCfg, len(left), err)
		}
	}
}

func procsOf(runCfg string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(runCfg, "num_procs = ")[:1])
	return n
}

// children are the processes that a process has started.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // of a thread that has gone meanwhile
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestRankKilled: the death of a process ends the attempt at once, with its name, and the next attempt does the rest.
func TestRankKilled(t *testing.T) {
	dir, job := divided(t, oneJob+", limit = 40", "num_procs = 3")
	cmd, log := start(t, dir, job, func(*exec.Cmd) {})
	others := children(t, cmd.Process.Pid)
	if len(others) != 2 {
		t.Fatalf("%d further processes", len(others))
	}
	begun := time.Now()
	if err := syscall.Kill(others[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); exitCode(err) != 75 || time.Since(begun) > 5*time.Second {
		t.Errorf("exit %v after %v\n%s", err, time.Since(begun), log)
	}
	f, err := result.ReadFailure(dir.Failure(job.Shards[0], 1))
	named := strings.Contains(f.Reason, fmt.Sprintf("process %d on ", others[0])) || strings.Contains(f.Reason, "signal: killed")
	if err != nil || f.Kind != result.FailRetry || !named || !strings.Contains(f.Reason, "rank ") {
		t.Errorf("the attempt failed with %+v (%v)", f, err)
	}
	for _, pid := range others {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is left (%v)", pid, err)
		}
	}
	again := command(t, "run", "--run", string(dir), "--job", job.ID, "--backend", "cpu", "--threads", "3")
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("the next attempt: %v\n%s", err, out)
	}
}
