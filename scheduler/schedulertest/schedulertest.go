// Package schedulertest holds what every scheduler must do, as tests that each of them runs.
package schedulertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sextant/scheduler"
)

// Scheduler is what pkg/run asks of a scheduler.
type Scheduler interface {
	Submit(ctx context.Context, jobs []scheduler.Job) ([]scheduler.Ref, error)
	Poll(ctx context.Context, refs []scheduler.Ref) (map[string]scheduler.Status, error)
	Cancel(ctx context.Context, refs []scheduler.Ref) error
	Wait(ctx context.Context) error
}

// Harness makes the scheduler under test. Jobs are commands of /bin/sh that the scheduler's machines can run, with the test's directory
// visible to them.
type Harness struct {
	// New makes a scheduler that runs at most workers jobs at once; cleaning up is New's, with t.Cleanup.
	New func(t *testing.T, workers int) Scheduler
	// Slack is how long a state may take to be seen, default 5 s. A cluster takes seconds to begin a job and to note its end.
	Slack time.Duration
	// Parallel runs the tests at once: most of their time they wait for the scheduler.
	Parallel bool
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if h.Slack == 0 {
		h.Slack = 5 * time.Second
	}
	for name, test := range map[string]func(*testing.T, Harness){
		"Outcomes":      testOutcomes,
		"Environment":   testEnvironment,
		"AtMostWorkers": testAtMostWorkers,
		"OnceByName":    testOnceByName,
		"CancelRunning": testCancelRunning,
		"CancelPending": testCancelPending,
		"UnknownIsLost": testUnknownIsLost,
		"Unsatisfiable": testRefuses,
		"WaitEnds":      testWaitEnds,
	} {
		t.Run(name, func(t *testing.T) {
			if h.Parallel {
				t.Parallel()
			}
			test(t, h)
		})
	}
}

// bench is a scheduler with a directory for its jobs.
type bench struct {
	*testing.T
	Scheduler
	h   Harness
	dir string
	ctx context.Context
}

func newBench(t *testing.T, h Harness, workers int) *bench {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second+4*h.Slack)
	t.Cleanup(cancel)
	dir := t.TempDir() // before New: it goes after New's jobs
	return &bench{T: t, Scheduler: h.New(t, workers), h: h, dir: dir, ctx: ctx}
}

// job is a shell script as a job; its name is unique to this test.
func (b *bench) job(name, script string) scheduler.Job {
	unique := fmt.Sprintf("%s.%d.%s", filepath.Base(filepath.Dir(b.dir)), os.Getpid(), name)
	return scheduler.Job{Name: unique, Args: []string{"/bin/sh", "-c", script}, Dir: b.dir, Log: filepath.Join(b.dir, name+".log")}
}

func (b *bench) submit(jobs ...scheduler.Job) []scheduler.Ref {
	b.Helper()
	refs, err := b.Submit(b.ctx, jobs)
	if err != nil || len(refs) != len(jobs) {
		b.Fatalf("submitted %d of %d jobs: %v", len(refs), len(jobs), err)
	}
	return refs
}

// until polls until ok holds for every job, waiting between with Wait.
func (b *bench) until(refs []scheduler.Ref, ok func(scheduler.State) bool) map[string]scheduler.Status {
	b.Helper()
	deadline := time.Now().Add(b.h.Slack + 10*time.Second)
	for {
		status, err := b.Poll(b.ctx, refs)
		if err != nil {
			b.Fatal(err)
		}
		all := true
		for _, r := range refs {
			s, known := status[r.Name]
			all = all && known && ok(s.State)
		}
		if all {
			return status
		}
		if time.Now().After(deadline) {
			b.Fatalf("waited too long; last seen %+v", status)
		}
		ctx, cancel := context.WithTimeout(b.ctx, 50*time.Millisecond)
		_ = b.Wait(ctx)
		cancel()
	}
}

// log is what the job wrote: to the file its status tells, else to the one it asked for.
func (b *bench) log(j scheduler.Job, s scheduler.Status) string {
	b.Helper()
	path := j.Log
	if s.Log != "" {
		path = s.Log
	}
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

func running(s scheduler.State) bool { return s == scheduler.Running }

func testOutcomes(t *testing.T, h Harness) {
	b := newBench(t, h, 5)
	jobs := []scheduler.Job{b.job("good", "echo out; echo err >&2"), b.job("bad", "exit 64"), b.job("killed", "kill -9 $$"), b.job("absent", ""),
		b.job("elsewhere", "exit 0")}
	jobs[3].Args = []string{filepath.Join(b.dir, "no-such-program")}
	jobs[4].Dir = filepath.Join(b.dir, "no-such-directory")
	refs := b.submit(jobs...)
	status := b.until(refs, scheduler.State.Terminal)
	for i, want := range []scheduler.Status{{State: scheduler.Done}, {State: scheduler.Failed, ExitCode: 64}, {State: scheduler.Failed, Signal: 9},
		{State: scheduler.Failed}, {State: scheduler.Failed}} {
		got := status[refs[i].Name]
		if got.State != want.State || i < 3 && (got.ExitCode != want.ExitCode || got.Signal != want.Signal) || (got.Reason == "") != (i == 0) {
			t.Errorf("%s: %+v, want %+v", jobs[i].Name, got, want)
		}
		if began := i < 3; began == neverBegan(got) {
			t.Errorf("%s: %+v; that its command began is %v", jobs[i].Name, got, began)
		}
		if got.Ended.IsZero() || got.Ended.Before(got.Started) {
			t.Errorf("%s: from %v to %v", jobs[i].Name, got.Started, got.Ended)
		}
	}
	if got := b.log(jobs[0], status[refs[0].Name]); !strings.Contains(got, "out") || !strings.Contains(got, "err") {
		t.Errorf("the log is %q", got)
	}
	if again := b.until(refs, scheduler.State.Terminal); again[refs[1].Name].ExitCode != 64 {
		t.Errorf("polled again: %+v", again)
	}
}

// neverBegan says that a status tells of a command that did not begin: by its cause, or by a shell's codes for that.
func neverBegan(s scheduler.Status) bool {
	return s.Cause == scheduler.Launch || s.ExitCode == 126 || s.ExitCode == 127
}

// The command gets its words, its environment and its directory as they are, whatever a shell would make of them.
func testEnvironment(t *testing.T, h Harness) {
	b := newBench(t, h, 1)
	j := b.job("env", `printf '<%s>' "$COLOUR" "$SEXTANT_JOB" "$(pwd)" "$@"`)
	colour, odd := `dark 'blue' "$HOME" \ $(true)`, "two  words;\n'x' *"
	j.Env = []string{"COLOUR=" + colour}
	j.Args = append(j.Args, "sh", odd, "")
	j.Tail = []string{"--shard=3"}
	status := b.until(b.submit(j), scheduler.State.Terminal)
	want := fmt.Sprintf("<%s><%s><%s><%s><><--shard=3>", colour, j.Name, b.dir, odd)
	if got := b.log(j, status[j.Name]); got != want {
		t.Errorf("the job saw %q, want %q", got, want)
	}
}

func testAtMostWorkers(t *testing.T, h Harness) {
	b := newBench(t, h, 2)
	var jobs []scheduler.Job
	for i := range 7 {
		// A job marks itself and counts the marks. All are of one script: they differ in their last word.
		j := b.job(fmt.Sprint("n", i), `mkdir on.$1; set -- $1 on.*; echo $(($# - 1)) of $1; sleep 0.1; rmdir on.$1`)
		j.Args, j.Tail, j.Script = append(j.Args, "sh"), []string{fmt.Sprint(i)}, "counting"
		jobs = append(jobs, j)
	}
	refs := b.submit(jobs...)
	status := b.until(refs, scheduler.State.Terminal)
	for i, r := range refs {
		got := strings.TrimSpace(b.log(jobs[i], status[r.Name]))
		if status[r.Name].State != scheduler.Done || got != fmt.Sprint("1 of ", i) && got != fmt.Sprint("2 of ", i) {
			t.Errorf("%+v saw %q, want at most 2 of %d", status[r.Name], got, i)
		}
	}
}

func testOnceByName(t *testing.T, h Harness) {
	b := newBench(t, h, 2)
	j := b.job("once", "echo ran; echo ran >>count; sleep 0.2")
	refs := append(b.submit(j), b.submit(j)...)
	b.until(refs, scheduler.State.Terminal)
	refs = append(refs, b.submit(j)...)
	status := b.until(refs, scheduler.State.Terminal)
	count, _ := os.ReadFile(filepath.Join(b.dir, "count"))
	if got := b.log(j, status[j.Name]); got != "ran\n" || string(count) != "ran\n" {
		t.Errorf("the job ran more than once: its log is %q, its file %q", got, count)
	}
}

func testCancelRunning(t *testing.T, h Harness) {
	b := newBench(t, h, 2)
	polite := b.job("polite", "trap 'echo bye; exit 3' TERM; touch polite.up; while :; do sleep 0.05; done")
	family := b.job("family", "(trap '' TERM; while :; do date +%N >beat; sleep 0.05; done) & touch family.up; wait")
	refs := b.submit(polite, family)
	b.until(refs, running)
	for _, name := range []string{"polite.up", "family.up", "beat"} {
		b.appears(name)
	}
	if err := b.Cancel(b.ctx, refs); err != nil {
		t.Fatal(err)
	}
	status := b.until(refs, scheduler.State.Terminal)
	for name, s := range status {
		if s.State != scheduler.Cancelled {
			t.Errorf("%s: %+v, want cancelled", name, s)
		}
	}
	// A batch system adds lines of its own.
	if got := b.log(polite, status[polite.Name]); !strings.Contains("\n"+got, "\nbye\n") {
		t.Errorf("the job was not asked before it was killed: %q", got)
	}
	before, _ := os.ReadFile(filepath.Join(b.dir, "beat"))
	time.Sleep(200 * time.Millisecond)
	if after, _ := os.ReadFile(filepath.Join(b.dir, "beat")); string(before) != string(after) {
		t.Error("a child of the cancelled job lives on")
	}
	if err := b.Cancel(b.ctx, refs); err != nil {
		t.Errorf("cancelling what has ended: %v", err)
	}
}

func (b *bench) appears(name string) {
	b.Helper()
	for range 200 {
		if _, err := os.Stat(filepath.Join(b.dir, name)); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Fatalf("%s never appeared", name)
}

func testCancelPending(t *testing.T, h Harness) {
	b := newBench(t, h, 1)
	first := b.submit(b.job("first", "while [ ! -e go ]; do sleep 0.02; done"))
	b.until(first, running)
	second := b.submit(b.job("second", "touch ran"))
	if s := b.until(second, func(scheduler.State) bool { return true }); s[second[0].Name].State != scheduler.Pending {
		t.Errorf("the second job is %+v, want pending", s)
	}
	if err := b.Cancel(b.ctx, second); err != nil {
		t.Fatal(err)
	}
	if s := b.until(second, scheduler.State.Terminal); s[second[0].Name].State != scheduler.Cancelled {
		t.Errorf("the second job is %+v, want cancelled", s)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "go"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if s := b.until(first, scheduler.State.Terminal); s[first[0].Name].State != scheduler.Done {
		t.Errorf("the first job is %+v, want done", s)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "ran")); err == nil {
		t.Error("the cancelled job ran")
	}
}

func testUnknownIsLost(t *testing.T, h Harness) {
	b := newBench(t, h, 1)
	ref := scheduler.Ref{Name: "nobody-ever-submitted-this"}
	if s := b.until([]scheduler.Ref{ref}, scheduler.State.Terminal); s[ref.Name].State != scheduler.Lost {
		t.Errorf("got %+v, want lost", s)
	}
	if err := b.Cancel(b.ctx, []scheduler.Ref{ref}); err != nil {
		t.Errorf("cancelling it: %v", err)
	}
}

// What can never run is refused when it is submitted; what was accepted before it is told.
func testRefuses(t *testing.T, h Harness) {
	b := newBench(t, h, 1)
	huge := b.job("huge", "true")
	huge.GPUs = 1 << 20
	refs, err := b.Submit(b.ctx, []scheduler.Job{b.job("small", "true"), huge, b.job("after", "true")})
	if len(refs) != 1 || !errors.Is(err, scheduler.ErrUnsatisfiable) || !strings.Contains(err.Error(), huge.Name) {
		t.Fatalf("accepted %v, error %v", refs, err)
	}
	b.until(refs, scheduler.State.Terminal)
}

func testWaitEnds(t *testing.T, h Harness) {
	b := newBench(t, h, 1)
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Millisecond)
	defer cancel()
	if err := b.Wait(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting: %v", err)
	}
	refs := b.submit(b.job("short", "sleep 0.1"))
	start := time.Now()
	if err := b.Wait(b.ctx); err != nil {
		t.Errorf("waiting for news: %v", err)
	}
	if d := time.Since(start); d > b.h.Slack {
		t.Errorf("the news took %s", d)
	}
	b.until(refs, scheduler.State.Terminal) // it writes into the test's directory
}
