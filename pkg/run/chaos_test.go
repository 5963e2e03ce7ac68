package run

import (
	"bytes"
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

	"sextant/pkg/result"
)

// usual is the world that most submits here run: smallWorld(100, 2).
const usual = "100 2"

// submit starts a submit of its own process on the session's directory.
func (s *session) submit(world, death string) (*exec.Cmd, *bytes.Buffer) {
	s.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), submitEnv+"="+s.work, worldEnv+"="+world, deathEnv+"="+death)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	return cmd, &out
}

// finish runs a last submit and checks that nothing is wrong after all.
func (s *session) finish() {
	s.Helper()
	cmd, out := s.submit(usual, "")
	if err := cmd.Wait(); err != nil {
		s.Fatalf("the submit after: %v\n%s", err, out)
	}
	s.whole(smallWorld(100, 2))
	if runs, err := runsIn(s.work); err != nil || len(runs) != 1 {
		s.Errorf("runs %q, %v, want one", runs, err)
	}
}

// A submit that dies at the worst points is taken up by the same command: nothing lost, nothing asked, no checkpointed row computed twice.
func TestSubmitDies(t *testing.T) {
	for _, death := range []string{"locked:1", "planned:1", "prepared:1", "intent:1", "intent:2", "submitted:1", "submitted:2", "ended:1", "ended:4"} {
		t.Run(death, func(t *testing.T) {
			s := newSession(t, "delay=2ms")
			cmd, out := s.submit(usual, death)
			if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the submit did not die at %s: %v\n%s", death, err, out)
			}
			s.finish()
		})
	}
	t.Run("commit and kept", func(t *testing.T) {
		s := newSession(t, "")
		s.run(smallWorld(100, 2))
		results, err := filepath.Glob(filepath.Join(s.work, "*", "results", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range results {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		for _, death := range []string{"commit:1", "commit:2"} {
			cmd, out := s.submit(usual, death)
			if err := cmd.Wait(); err == nil {
				t.Fatalf("the submit did not die at %s\n%s", death, out)
			}
		}
		if cmd, out := s.submit("40 1", "kept:1"); cmd.Wait() == nil {
			t.Fatalf("the submit did not die at kept\n%s", out)
		}
		s.finish()
	})
}

// Whoever is killed whenever, submit or worker, the same command again ends with the same records.
func TestKilledAtRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(1, seed))
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			s := newSession(t, "delay=4ms")
			for range 3 {
				cmd, _ := s.submit(usual, "")
				for range 1 + rng.IntN(3) {
					time.Sleep(time.Duration(20+rng.IntN(80)) * time.Millisecond)
					if workers := workersOf(s.work); len(workers) > 0 {
						_ = syscall.Kill(workers[rng.IntN(len(workers))], syscall.SIGKILL)
					}
				}
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
			s.finish()
		})
	}
}

// workersOf finds the worker processes of the runs below a directory.
func workersOf(workDir string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var pids []int
	for _, path := range files {
		b, _ := os.ReadFile(path)
		if args := strings.Split(string(b), "\x00"); len(args) > 3 && args[1] == "run" && strings.HasPrefix(args[3], workDir) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// A worker whose submit was killed leaves at once; the next submit meanwhile does not start its shards anew.
func TestOrphansLeave(t *testing.T) {
	s := newSession(t, "delay=20ms")
	cmd, _ := s.submit(usual, "")
	for len(workersOf(s.work)) == 0 || len(checkpoints(s.work)) == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for start := time.Now(); len(workersOf(s.work)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatal("workers live on without their submit")
		}
	}
	t.Setenv(fakeEnv, "")
	s.finish()
}

func checkpoints(workDir string) []string {
	runs, _ := runsIn(workDir)
	var files []string
	for _, dir := range runs {
		more, _ := filepath.Glob(filepath.Join(result.Dir(dir).Attempts(), "*", "*", "rows.jsonl"))
		files = append(files, more...)
	}
	return files
}
