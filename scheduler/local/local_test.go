package local

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"sextant/scheduler"
	"sextant/scheduler/schedulertest"
)

func newScheduler(t *testing.T, o Options) *Scheduler {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	schedulertest.Run(t, schedulertest.Harness{New: func(t *testing.T, workers int) schedulertest.Scheduler {
		return newScheduler(t, Options{Workers: workers, Grace: 300 * time.Millisecond})
	}})
}

func shell(t *testing.T, name, script string) scheduler.Job {
	return scheduler.Job{Name: fmt.Sprintf("%s.%d.%s", t.Name(), os.Getpid(), name), Args: []string{"/bin/sh", "-c", script}, Log: filepath.Join(t.TempDir(), "log")}
}

func wait(t *testing.T, s *Scheduler, refs []scheduler.Ref, ok func(scheduler.State) bool) map[string]scheduler.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		status, err := s.Poll(ctx, refs)
		if err != nil {
			t.Fatal(err)
		}
		all := true
		for _, st := range status {
			all = all && ok(st.State)
		}
		if all {
			return status
		}
		if err := s.Wait(ctx); err != nil {
			t.Fatalf("%v; last seen %+v", err, status)
		}
	}
}

// GPUs are given out first free first; jobs that want more than are free queue, and those that want none pass them.
func TestGPUs(t *testing.T) {
	s := newScheduler(t, Options{Workers: 8, GPUs: []string{"4", "5", "GPU-7"}})
	dir := t.TempDir()
	gpu := func(name string, n int) scheduler.Job {
		j := shell(t, name, fmt.Sprintf(`echo "$CUDA_VISIBLE_DEVICES" >%[1]s/%[2]s; while [ ! -e %[1]s/%[2]s.go ]; do sleep 0.02; done`, dir, name))
		j.GPUs = n
		return j
	}
	jobs := []scheduler.Job{gpu("a", 1), gpu("b", 1), gpu("big", 3), gpu("c", 1), gpu("none", 0)}
	refs, err := s.Submit(t.Context(), jobs)
	if err != nil {
		t.Fatal(err)
	}
	seen := func(name string) string {
		for range 200 {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && len(b) > 0 {
				return strings.TrimSpace(string(b))
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("%s did not start", name)
		return ""
	}
	open := func(names ...string) {
		for _, n := range names {
			if err := os.WriteFile(filepath.Join(dir, n+".go"), nil, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := []string{seen("a"), seen("b"), seen("none")}
	status, _ := s.Poll(t.Context(), refs)
	for _, i := range []int{2, 3} {
		if st := status[refs[i].Name].State; st != scheduler.Pending {
			t.Errorf("%s is %s, want pending", refs[i].Name, st)
		}
	}
	open("a", "b")
	got = append(got, seen("big"))
	open("big")
	got = append(got, seen("c"))
	open("c", "none")
	if want := []string{"4", "5", "", "4,5,GPU-7", "4"}; !reflect.DeepEqual(got, want) {
		t.Errorf("GPUs %q, want %q", got, want)
	}
	wait(t, s, refs, scheduler.State.Terminal)
}

func TestVisibleGPUs(t *testing.T) {
	for value, want := range map[string][]string{"": {}, "0": {"0"}, "2, 0": {"2", "0"}, "0,-1,1": {"0"}, "GPU-a,GPU-a,MIG-b": {"GPU-a", "MIG-b"}, ",1": {}} {
		t.Setenv("CUDA_VISIBLE_DEVICES", value)
		if got := VisibleGPUs(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func TestThreads(t *testing.T) {
	s := newScheduler(t, Options{Workers: 2, Threads: 3})
	j, k := shell(t, "default", "echo $SEXTANT_THREADS"), shell(t, "own", "echo $SEXTANT_THREADS")
	k.Threads = 7
	refs, err := s.Submit(t.Context(), []scheduler.Job{j, k})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, s, refs, scheduler.State.Terminal)
	for path, want := range map[string]string{j.Log: "3\n", k.Log: "7\n"} {
		if b, _ := os.ReadFile(path); string(b) != want {
			t.Errorf("threads %q, want %q", b, want)
		}
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	s, err := New(Options{Workers: 1, Grace: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	refs, err := s.Submit(t.Context(), []scheduler.Job{shell(t, "deaf", "trap '' TERM; while :; do sleep 0.05; done"), shell(t, "queued", "true")})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, s, refs[:1], func(st scheduler.State) bool { return st == scheduler.Running })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := alive(); len(left[refs[0].Name]) > 0 {
		t.Errorf("processes left: %v", left)
	}
	if _, err := s.Submit(t.Context(), []scheduler.Job{shell(t, "late", "true")}); err == nil {
		t.Error("a closed scheduler took a job")
	}
}

// helperEnv makes the test binary play a submitter that starts a job and is then killed.
const helperEnv = "SEXTANT_TEST_SUBMITTER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		os.Exit(submitter(name))
	}
	os.Exit(m.Run())
}

func submitter(name string) int {
	s, err := New(Options{Workers: 1})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	script := map[string]string{
		// reads its parent pipe, as a worker does
		"good": `trap '' TERM; echo up >&2; read x <&$SEXTANT_PARENT_FD; echo "parent gone" >&2`,
		"deaf": `trap '' TERM; echo up >&2; while :; do sleep 0.05; done`,
	}[name]
	job := scheduler.Job{Name: os.Getenv("TEST_JOB"), Args: []string{"/bin/sh", "-c", script}, Log: os.Getenv("TEST_LOG")}
	if _, err := s.Submit(context.Background(), []scheduler.Job{job}); err != nil {
		fmt.Println(err)
		return 1
	}
	for {
		if b, _ := os.ReadFile(job.Log); strings.Contains(string(b), "up") {
			fmt.Println("started")
			time.Sleep(time.Minute)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A submitter killed outright leaves no job for long: one that listens to its pipe leaves by itself, another is made to by the next
// submitter, which sees it running until then and lost afterwards, and does not start it anew in between.
func TestDeadSubmitter(t *testing.T) {
	for _, kind := range []string{"good", "deaf"} {
		t.Run(kind, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			ref := scheduler.Ref{Name: fmt.Sprintf("%s.%d", t.Name(), os.Getpid())}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), helperEnv+"="+kind, "TEST_JOB="+ref.Name, "TEST_LOG="+log)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "started\n" {
				t.Fatalf("the submitter said %q, %v", line, err)
			}
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			s := newScheduler(t, Options{Workers: 1, Grace: 300 * time.Millisecond})
			if kind == "deaf" {
				again := scheduler.Job{Name: ref.Name, Args: []string{"/bin/sh", "-c", "echo again"}, Log: log}
				if _, err := s.Submit(t.Context(), []scheduler.Job{again}); err != nil {
					t.Fatal(err)
				}
				if st, _ := s.Poll(t.Context(), []scheduler.Ref{ref}); st[ref.Name].State != scheduler.Running {
					t.Errorf("the orphan is %+v, want running", st)
				}
			}
			status := wait(t, s, []scheduler.Ref{ref}, scheduler.State.Terminal)
			if status[ref.Name].State != scheduler.Lost {
				t.Errorf("got %+v, want lost", status)
			}
			b, _ := os.ReadFile(log)
			if want := map[string]string{"good": "up\nparent gone\n", "deaf": "up\n"}[kind]; string(b) != want {
				t.Errorf("the job wrote %q, want %q", b, want)
			}
		})
	}
}
