package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sextant/pkg/spec"
)

// watched is a directory that checkpoints appear in, and a session that watches it.
type watched struct {
	session
	dir string
}

func newWatched(t *testing.T, args ...string) watched {
	t.Helper()
	root := t.TempDir()
	w := watched{session{t, filepath.Join(root, "runs"), nil}, filepath.Join(root, "checkpoints")}
	path := w.spec(root)
	w.args = append([]string{"sweep", path, "--watch", w.dir, "-w", w.work, "--settle", "300ms", "--poll", "100ms"}, args...)
	return w
}

// spec writes the spec of the checkpoints, and makes their directory.
func (w watched) spec(root string) string {
	t := w.t
	t.Helper()
	text := fmt.Sprintf("data_dir = %q\ndatasets = [\"pocket_winograd\"]\n[infer]\nlimit = 6\n[[models]]\nabbr = \"tiny\"\nmax_seq_len = 256\n"+
		"[slurm]\npoll_min = 1\npoll_max = 2\n", filepath.Join(pocket(), "data"))
	path := filepath.Join(root, "watch.toml")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return path
}

// appear copies the pocket model's files, those with the suffixes or all, to a checkpoint.
func (w watched) appear(name string, suffixes ...string) {
	w.t.Helper()
	dir := filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		w.t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Join(pocket(), "model"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range files {
		wanted := len(suffixes) == 0
		for _, s := range suffixes {
			wanted = wanted || strings.HasSuffix(f.Name(), s)
		}
		if !wanted {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(pocket(), "model", f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f.Name()), raw, 0o666)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// until waits for something of the world.
func (w watched) until(what string, log *bytes.Buffer, there func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !there(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("after a minute there is no %s\n%s", what, log)
		}
	}
}

// journaled counts the lines of the watch's journal with all of these texts.
func (w watched) journaled(texts ...string) int {
	raw, _ := os.ReadFile(filepath.Join(w.work, sweepJournal))
	n := 0
	for line := range strings.Lines(string(raw)) {
		has := true
		for _, t := range texts {
			has = has && strings.Contains(line, t)
		}
		if has {
			n++
		}
	}
	return n
}

// TestWatchKilled lets five checkpoints appear, one of them in two steps, while the watch is killed and started again, twice. Each row of each is
// computed once, each checkpoint is in one run, and all are in the leaderboard.
func TestWatchKilled(t *testing.T) {
	w := newWatched(t)
	w.appear("step100")
	cmd, log := w.start()
	w.until("batch", log, func() bool { return w.journaled(`"begin"`) > 0 })
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()

	w.appear("step200")
	w.appear("step300", ".json", ".model") // and no weights
	cmd, log = w.start()
	w.until("word of step300", log, func() bool { return w.journaled(`"refused"`, "step300") > 0 })
	if w.journaled(`"begin"`, "step300") > 0 {
		t.Error("step300 was begun without its weights")
	}
	w.appear("step300", ".safetensors")
	w.appear("step400")
	w.until("row of step300", log, func() bool {
		for row := range w.computed() {
			if strings.Contains(row, "step300") {
				return true
			}
		}
		return false
	})
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()

	w.appear("step500")
	cmd, log = w.start()
	w.until("five that are done", log, func() bool { return w.journaled(`"done"`) >= 5 })
	w.until("leaderboard of them", log, func() bool {
		board, _ := os.ReadFile(filepath.Join(w.work, "leaderboard.csv"))
		return bytes.Count(board, []byte("tiny-step")) == 5
	})
	second, said := w.start()
	if _ = second.Wait(); second.ProcessState.ExitCode() != exitFailed || !strings.Contains(said.String(), "another submit works on it: pid") {
		t.Errorf("a second watch beside the first: exit code %d\n%s", second.ProcessState.ExitCode(), said)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(log.String(), "rank  model") {
		t.Errorf("exit code %d, want %d and the leaderboard\n%s", code, exitInterrupted, log)
	}
	w.wantOnce(5 * 6)
	w.wantInOneRun("step100", "step200", "step300", "step400", "step500")
	for _, name := range []string{"leaderboard.txt", "leaderboard.md", "leaderboard.json", "leaderboard.html"} {
		if raw, err := os.ReadFile(filepath.Join(w.work, name)); err != nil || !strings.Contains(string(raw), "tiny-step300") {
			t.Errorf("%s lacks a model: %v", name, err)
		}
	}
}

// wantInOneRun looks for checkpoints in the plans of all runs.
func (w watched) wantInOneRun(names ...string) {
	w.t.Helper()
	plans, err := filepath.Glob(filepath.Join(w.work, "*", "plan.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		in := 0
		for _, path := range plans {
			raw, err := os.ReadFile(path)
			if err != nil {
				w.t.Fatal(err)
			}
			if bytes.Contains(raw, []byte(`"tiny-`+name+`/pocket_winograd"`)) {
				in++
			}
		}
		if in != 1 {
			w.t.Errorf("%s is in %d runs of %d", name, in, len(plans))
		}
	}
}

// TestQuestion wants who is told to be no part of what is asked, and a limit to be one.
func TestQuestion(t *testing.T) {
	ask := func(change func(*spec.Spec)) string {
		t.Helper()
		s := &spec.Spec{Models: []spec.Model{{Abbr: "m", Path: "/x"}}}
		change(s)
		q, err := questionOf(s)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	plain := ask(func(*spec.Spec) {})
	if q := ask(func(s *spec.Spec) {
		s.Notify.Kind, s.Track, s.Infer.MaxNumWorkers = "json", spec.Track{Prometheus: "x.prom", MLflow: &spec.MLflow{}}, 4
	}); q != plain {
		t.Error("whom to tell, and how many workers, is asked")
	}
	if ask(func(s *spec.Spec) { s.Infer.Limit = 3 }) == plain {
		t.Error("the limit is not asked")
	}
}
