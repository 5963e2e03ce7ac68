package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sextant/pkg/dataset"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"worker": main, "makeplan": makePlan})
}

func TestScripts(t *testing.T) {
	pocket, err := filepath.Abs("../../examples/pocket")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: func(e *testscript.Env) error {
		e.Setenv("POCKET", pocket)
		return nil
	}, Cmds: map[string]func(*testscript.TestScript, bool, []string){"expandfile": func(ts *testscript.TestScript, _ bool, args []string) {
		text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o666))
	}, "printtext": func(ts *testscript.TestScript, _ bool, args []string) { // a file without a last newline
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]), 0o666))
	}}})
}

// makePlan stands in for submit: `makeplan SPEC RUN` plans a spec into a run directory.
func makePlan() {
	if err := planInto(os.Args[1], result.Dir(os.Args[2])); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

func planInto(path string, dir result.Dir) error {
	catalog, err := dataset.NewCatalog()
	if err != nil {
		return err
	}
	s, err := spec.Load(path, spec.Options{Catalog: catalog})
	if err != nil {
		return err
	}
	in, err := plan.Survey(*s)
	if err != nil {
		return err
	}
	p, err := plan.Make(*s, in)
	if err != nil {
		return err
	}
	return p.Save(dir.Plan())
}

// oneJob packs everything.
const oneJob = "max_partition_size = 40000"

// sizable is a run that takes a few seconds, so that it can be stopped while it runs. infer is what it says of [infer].
func sizable(t *testing.T, infer string) (dir result.Dir, job plan.Job) {
	t.Helper()
	root, err := filepath.Abs("../../examples/pocket")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "eval.toml")
	text := "models = [{ abbr = \"pocket\", path = \"" + root + "/model\", batch_size = 1 }]\ndata_dir = \"" + root + "/data\"\n" +
		"datasets = [\"pocket_cloze\", \"pocket_piqa\", \"pocket_siqa_ppl\"]\ninfer = { " + infer + " }\n"
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	dir = result.Dir(t.TempDir())
	if err := planInto(path, dir); err != nil {
		t.Fatal(err)
	}
	p, err := plan.Load(dir.Plan())
	if err != nil {
		t.Fatal(err)
	}
	return dir, p.Jobs[0]
}

// start runs the worker as a process and returns when it has computed some rows.
func start(t *testing.T, dir result.Dir, job plan.Job, prepare func(*exec.Cmd)) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "run", "--run", string(dir), "--job", job.ID, "--attempt", "1", "--threads", "1")
	cmd.Args[0] = "worker"
	cmd.Path = filepath.Join(t.TempDir(), "worker")
	if err := os.Symlink(self, cmd.Path); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	prepare(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for range 400 {
		if _, rows, err := result.ReadCheckpoint(dir.Rows(job.Shards[0], 1)); err == nil && len(rows) > 3 {
			return cmd, &log
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	t.Fatalf("no rows after 8 s:\n%s", log.String())
	return nil, nil
}

// TestScriptStopped sends Slurm's warning to a batch script that has handed over to the worker.
func TestScriptStopped(t *testing.T) {
	dir, job := sizable(t, oneJob+", limit = 80")
	cmd, log := start(t, dir, job, func(cmd *exec.Cmd) {
		script := filepath.Join(t.TempDir(), "job.sbatch")
		text := "#!/bin/sh\nexport SEXTANT_JOB=w\nexec " + cmd.Path + " " + strings.Join(cmd.Args[1:], " ") + " --drain\n"
		if err := os.WriteFile(script, []byte(text), 0o777); err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", script}
	})
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); exitCode(err) != 75 {
		t.Errorf("exit %v\n%s", err, log)
	}
	whole(t, dir, job)
	end, err := result.ReadEnd(dir.End(job.ID, 1))
	if err != nil || end.Code != 75 || end.Rows < 4 || end.Tokens == 0 {
		t.Errorf("the ticket ended with %+v (%v)", end, err)
	}
	// The scheduler starts the job anew: the rest is computed under a new number, and no row twice.
	first, err := os.ReadFile(dir.Rows(job.Shards[0], 1))
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	t.Setenv("SEXTANT_JOB", "w")
	t.Setenv("SLURM_RESTART_COUNT", "1")
	if code := run(context.Background(), strings.Fields("worker run --run "+string(dir)+" --job "+job.ID+" --attempt 1 --drain"), &out, &errs); code != 0 {
		t.Fatalf("exit %d\n%s", code, errs.String())
	}
	_, before, _ := result.ReadCheckpoint(dir.Rows(job.Shards[0], 1))
	h, after, err := result.ReadCheckpoint(dir.Rows(job.Shards[0], 2))
	if now, e := os.ReadFile(dir.Rows(job.Shards[0], 1)); e != nil || !bytes.Equal(now, first) {
		t.Errorf("the first attempt's rows were changed (%v)", e)
	}
	if again, e := result.ReadEnd(dir.End(job.ID, 2)); err != nil || e != nil || again.Code != 0 || len(before)+len(after) != h.To-h.From {
		t.Errorf("%d rows and then %d of %+v (%v), %+v (%v)", len(before), len(after), h, err, again, e)
	}
}

// whole checks that what an ended worker left can be read: whole rows, and no failure.
func whole(t *testing.T, dir result.Dir, job plan.Job) {
	t.Helper()
	if _, rows, err := result.ReadCheckpoint(dir.Rows(job.Shards[0], 1)); err != nil || len(rows) < 4 {
		t.Errorf("%d rows were kept (%v)", len(rows), err)
	}
	if _, err := result.ReadFailure(dir.Failure(job.ID, 1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failure was left (%v)", err)
	}
}

func exitCode(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1} {
		dir, job := sizable(t, oneJob)
		cmd, log := start(t, dir, job, func(*exec.Cmd) {})
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); exitCode(err) != 75 || !strings.Contains(log.String(), "stopped by the signal") {
			t.Errorf("%v: exit %v\n%s", sig, err, log)
		}
		whole(t, dir, job)
	}
}

// A worker whose parent is gone, however it went, ends by itself.
func TestParentGone(t *testing.T) {
	dir, job := sizable(t, oneJob)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd, log := start(t, dir, job, func(cmd *exec.Cmd) {
		cmd.ExtraFiles = []*os.File{r}
		cmd.Env = append(os.Environ(), "SEXTANT_PARENT_FD=3")
	})
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); exitCode(err) != 75 || !strings.Contains(log.String(), "the process that started this one is gone") {
		t.Errorf("exit %v\n%s", err, log)
	}
	whole(t, dir, job)
}

// Run's exit codes and streams: errors go to stderr, usage errors are 2, nothing calls os.Exit.
func TestRunInProcess(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		text string
	}{
		{"", 2, "needs a command: run, logits, tokenize, info"},
		{"walk", 2, `unknown command "walk"`},
		{"run --bogus", 2, "not defined: -bogus"},
		{"run --run x", 2, "run needs --job"},
		{"run --run x --job y z", 2, `unexpected argument "z"`},
		{"run --run x --job y --attempt -1", 2, "--attempt is 0 or more"},
		{"run --run x --job y --deadline-margin -1s", 2, "--deadline-margin is 0 or more"},
		{"run --run x --job y --time-limit 2-00:00", 2, "time-limit"},
		{"run --run " + t.TempDir() + " --job y", 64, "plan.json"},
		{"logits --ids 1", 2, "missing argument MODEL"},
		{"logits m --ids 1,x", 2, `"x" is no token id`},
		{"logits /nowhere --ids 1", 64, "/nowhere"},
		{"logits ../../examples/pocket/model --ids 1024", 64, "vocabulary is 1024"},
		{"logits ../../examples/pocket/model --ids 1 --backend tpu", 2, `no backend "tpu"; there are cpu, cuda, ref`},
		{"logits ../../examples/pocket/model --ids 1 --threads -1", 2, "--threads is -1"},
		{"logits ../../examples/pocket/model --ids 1 --raw /nowhere/x", 2, "--raw: open /nowhere/x"},
		{"run --run x --job y --backend tpu", 2, `no backend "tpu"`},
		{"tokenize ../../examples/pocket/model --file /nowhere", 2, "--file: open /nowhere"},
		{"tokenize ../../examples/pocket/model", 2, "one of --text and --file"},
	} {
		var out, errs bytes.Buffer
		code := run(context.Background(), append([]string{"worker"}, strings.Fields(c.args)...), &out, &errs)
		if code != c.code || !strings.Contains(errs.String(), c.text) || out.Len() > 0 {
			t.Errorf("worker %s: exit %d\nstdout: %s\nstderr: %s\nwant exit %d and %q", c.args, code, out.String(), errs.String(), c.code, c.text)
		}
	}
}

// The logits are those of the goldens.
func TestLogits(t *testing.T) {
	var golden []struct{ IDs []int32 }
	data, err := os.ReadFile("../../examples/pocket/golden/logits.json")
	if err == nil {
		err = json.Unmarshal(data, &golden)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range golden {
		checkLogits(t, i, g.IDs)
	}
}
