package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// session is a work directory with the pocket spec run in it again and again.
type session struct {
	t    *testing.T
	work string
	args []string
}

func newSession(t *testing.T, args ...string) session {
	t.Helper()
	work := filepath.Join(t.TempDir(), "runs")
	return session{t, work, append([]string{filepath.Join(pocket(), "eval.toml"), "-w", work}, args...)}
}

// start starts submit; the caller waits for it.
func (s session) start() (*exec.Cmd, *bytes.Buffer) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(bin, "submit"), s.args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return cmd, &log
}

// finish runs submit to its end and gives scores.json.
func (s session) finish() []byte {
	s.t.Helper()
	cmd, log := s.start()
	if err := cmd.Wait(); err != nil {
		s.t.Fatalf("submit: %v\n%s", err, log)
	}
	files, err := filepath.Glob(filepath.Join(s.work, "*", "scores.json"))
	if err != nil || len(files) != 1 {
		s.t.Fatalf("want one run with scores, got %q (%v)\n%s", files, err, log)
	}
	scores, err := os.ReadFile(files[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return scores
}

// computed counts how often each row was checkpointed, over all attempts.
func (s session) computed() map[string]int {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.work, "*", "attempts", "*", "*", "rows.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	times := map[string]int{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			s.t.Fatal(err)
		}
		defer f.Close()
		task := ""
		for lines := bufio.NewReader(f); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break // a torn last line was never checkpointed
			}
			var either struct {
				Task string // of the first line, the header
				Row  *int   // of a record
			}
			if err := json.Unmarshal(line, &either); err != nil {
				s.t.Fatalf("%s: %v", name, err)
			}
			if either.Row == nil {
				task = either.Task
			} else {
				times[task+" "+strconv.Itoa(*either.Row)]++
			}
		}
	}
	return times
}

func (s session) wantOnce(rows int) {
	s.t.Helper()
	times := s.computed()
	if len(times) != rows {
		s.t.Errorf("%d rows were checkpointed, want %d", len(times), rows)
	}
	for row, n := range times {
		if n > 1 {
			s.t.Errorf("row %s was computed %d times", row, n)
		}
	}
}

const (
	limit     = "40"
	limitRows = 7 * 40 // of each of the spec's datasets
)

// TestScoresDoNotDependOnTheShape wants the same bytes whatever the partition size and the number of workers.
func TestScoresDoNotDependOnTheShape(t *testing.T) {
	var want []byte
	for _, size := range []string{"200", "2000", "40000"} {
		for _, workers := range []string{"1", "2", "4"} {
			s := newSession(t, "--limit", limit, "--max-partition-size", size, "--max-num-workers", workers)
			got := s.finish()
			s.wantOnce(limitRows)
			if want == nil {
				want = got
			} else if !bytes.Equal(got, want) {
				t.Errorf("size %s, %s workers: scores differ\n%s\nwant\n%s", size, workers, got, want)
			}
		}
	}
}

// TestKilledAtAnyMoment kills submit or a worker with signal 9 at random moments and runs the same command again.
func TestKilledAtAnyMoment(t *testing.T) {
	calm := newSession(t, "--limit", limit, "--max-num-workers", "2", "--max-partition-size", "400")
	began := time.Now()
	want := calm.finish()
	whole := time.Since(began)
	rng := rand.New(rand.NewPCG(1, uint64(whole)))
	for _, victim := range []string{"submit", "worker", "both"} {
		times := 2
		if *chaosAll {
			times = 10
		}
		for i := range times {
			t.Run(fmt.Sprintf("%s-%d", victim, i), func(t *testing.T) {
				s := newSession(t, "--limit", limit, "--max-num-workers", "2", "--max-partition-size", "400")
				for range 1 + rng.IntN(3) {
					cmd, _ := s.start()
					time.Sleep(time.Duration(rng.Int64N(int64(whole))))
					kill(cmd.Process.Pid, victim)
					_ = cmd.Wait() // killed, or finished despite a worker's death
				}
				if got := s.finish(); !bytes.Equal(got, want) {
					t.Errorf("scores differ\n%s\nwant\n%s", got, want)
				}
				s.wantOnce(limitRows)
			})
		}
	}
}

// TestInterrupted wants Ctrl-C to stop the workers, keep the rows and exit with 130, and the same command to go on.
func TestInterrupted(t *testing.T) {
	s := newSession(t, "--limit", limit)
	cmd, log := s.start()
	for deadline := time.Now().Add(time.Minute); len(s.computed()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no row after a minute")
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d\n%s", code, exitInterrupted, log)
	}
	if done := len(s.computed()); done == limitRows {
		t.Error("submit finished before it was interrupted: the test shows nothing")
	}
	s.finish()
	s.wantOnce(limitRows)
}

// kill sends signal 9 to submit, to one of its workers, or to both.
func kill(submit int, victim string) {
	if victim != "submit" {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", submit, submit))
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", submit))
		for _, name := range threads {
			more, _ := os.ReadFile(name)
			children = append(children, more...)
		}
		if pids := strings.Fields(string(children)); len(pids) > 0 {
			if pid, err := strconv.Atoi(pids[0]); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	if victim != "worker" {
		_ = syscall.Kill(submit, syscall.SIGKILL)
	}
}
