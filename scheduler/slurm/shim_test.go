package slurm

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sextant/internal/slurmlab/shim"
	"sextant/scheduler"
	"sextant/scheduler/schedulertest"
)

// faulty is a scheduler on an emulated cluster, whose clock runs so fast that its looks and waits fit into a test.
type faulty struct {
	*Scheduler
	t       *testing.T
	cluster *shim.Cluster
	dir     string
}

const hurry = 40

func newFaulty(t *testing.T, o shim.Options, change func(*Options)) *faulty {
	t.Helper()
	f := &faulty{t: t, cluster: shim.Install(t, o), dir: t.TempDir()}
	f.open(change)
	return f
}

// open makes a scheduler on the directory, as a first submitter and as one that takes over.
func (f *faulty) open(change func(*Options)) {
	f.t.Helper()
	o := Options{Dir: filepath.Join(f.dir, "slurm"), Scripts: filepath.Join(f.dir, "scripts"), Tag: "shim", Workers: 100, Ask: Ask{Partition: "llmeval"},
		PollMin: 10 * time.Millisecond, PollMax: 100 * time.Millisecond, Grace: 20 * time.Second}
	if change != nil {
		change(&o)
	}
	s, err := New(f.t.Context(), o)
	if err != nil {
		f.t.Fatal(err)
	}
	start := time.Now()
	s.now = func() time.Time { return start.Add(hurry * time.Since(start)) }
	f.Scheduler = s
}

// job is one whose script tells of each of its runs in a file of its name.
func (f *faulty) job(name, script string) scheduler.Job {
	return scheduler.Job{Name: name, Script: fmt.Sprintf("script-%x", crc32.ChecksumIEEE([]byte(script))), Args: []string{"/bin/sh", "-c", `echo "$SLURM_JOB_ID" >>"$SEXTANT_JOB.ran"; ` + script}, Dir: f.dir}
}

func (f *faulty) jobs(n int, script string) []scheduler.Job {
	jobs := make([]scheduler.Job, n)
	for i := range jobs {
		jobs[i] = f.job(fmt.Sprintf("job.%05d", i), script)
	}
	return jobs
}

func (f *faulty) submit(jobs ...scheduler.Job) []scheduler.Ref {
	f.t.Helper()
	refs, err := f.Submit(f.t.Context(), jobs)
	if err != nil || len(refs) != len(jobs) {
		f.t.Fatalf("submitted %d of %d jobs: %v", len(refs), len(jobs), err)
	}
	return refs
}

// until polls until all jobs are as wanted. Polls that say that the controller is down are tried again.
func (f *faulty) until(refs []scheduler.Ref, want func(scheduler.Status) bool) map[string]scheduler.Status {
	f.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; {
		status, err := f.Poll(f.t.Context(), refs)
		if err != nil && !errors.Is(err, scheduler.ErrDown) {
			f.t.Fatal(err)
		}
		if err == nil && !slices.ContainsFunc(refs, func(r scheduler.Ref) bool { return !want(status[r.Name]) }) {
			return status
		}
		if time.Now().After(end) {
			f.t.Fatalf("waited too long; last seen %+v, %v; the cluster has %+v", status, err, f.cluster.Elements())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func is(state scheduler.State) func(scheduler.Status) bool {
	return func(s scheduler.Status) bool { return s.State == state }
}

func over(s scheduler.Status) bool { return s.State.Terminal() }

// runs is how often a job began.
func (f *faulty) runs(name string) int {
	text, err := os.ReadFile(filepath.Join(f.dir, name+".ran"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// began waits until a job's process is there.
func (f *faulty) began(name string, times int) {
	f.t.Helper()
	for end := time.Now().Add(10 * time.Second); f.runs(name) < times; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("%s never began: %+v", name, f.cluster.Elements())
		}
	}
}

// element is what the cluster has under the jobs' only array.
func (f *faulty) element(i int) shim.Element {
	f.t.Helper()
	all := f.cluster.Elements()
	if i >= len(all) {
		f.t.Fatalf("there are %d elements", len(all))
	}
	return all[i]
}

func TestContractEmulated(t *testing.T) {
	for name, o := range map[string]shim.Options{
		"terse": {MaxArraySize: 3, Faults: shim.Faults{SacctOff: true}},
		"talkative": {Quotatype: true, Version: "24.05.1", MinJobAge: -1, Faults: shim.Faults{SacctLag: 300 * time.Millisecond,
			BannerOut: "Welcome to the lab | all is well", BannerErr: "srun: error: not me"}},
	} {
		t.Run(name, func(t *testing.T) {
			shim.Install(t, o)
			schedulertest.Run(t, schedulertest.Harness{Slack: 10 * time.Second, Parallel: true, New: func(t *testing.T, workers int) schedulertest.Scheduler {
				return onCluster(t, t.TempDir(), workers)
			}})
		})
	}
}

// An sbatch that timed out may have created the job or not, at once or later: the job runs once all the same.
func TestTimeOutsOfSubmission(t *testing.T) {
	for name, fault := range map[string]shim.Faults{
		"answer lost":  {LoseAnswers: 1},
		"request lost": {LoseRequests: 1},
		"ghost":        {LoseAnswers: 1, GhostDelay: 300 * time.Millisecond},
		"frozen":       {Frozen: true},
		"down":         {Down: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t, shim.Options{}, nil)
			f.cluster.Set(func(o *shim.Options) { o.Faults = fault })
			jobs := f.jobs(5, "true")
			refs, err := f.Submit(t.Context(), jobs)
			if len(refs) < len(jobs) && !errors.Is(err, scheduler.ErrDown) {
				t.Fatalf("%d accepted, %v", len(refs), err)
			}
			f.open(nil) // the submitter dies, another takes over
			f.cluster.Set(func(o *shim.Options) { o.Frozen, o.Down = false, false })
			for i := 0; len(refs) < len(jobs) && i < 200; i++ {
				if refs, err = f.Submit(t.Context(), jobs); err != nil && !errors.Is(err, scheduler.ErrDown) {
					t.Fatal(err)
				}
			}
			status := f.until(refs, over)
			for _, j := range jobs {
				lost := status[j.Name].State == scheduler.Lost && name == "request lost"
				if n := f.runs(j.Name); !lost && (n != 1 || status[j.Name].State != scheduler.Done) || lost && n != 0 {
					t.Errorf("%s ran %d times and is %+v", j.Name, n, status[j.Name])
				}
			}
		})
	}
}

// A ghost that comes after its jobs were given up is ended: they may have been submitted again.
func TestGhostAfterItWasGivenUp(t *testing.T) {
	f := newFaulty(t, shim.Options{}, func(o *Options) { o.Grace = 4 * time.Second })
	f.cluster.Set(func(o *shim.Options) { o.LoseAnswers, o.GhostDelay = 1, 1500*time.Millisecond })
	refs, err := f.Submit(t.Context(), f.jobs(2, "sleep 60"))
	if err != nil && !errors.Is(err, scheduler.ErrDown) {
		t.Fatal(err)
	}
	f.until(refs, is(scheduler.Lost))
	again := f.submit(f.job("again", "sleep 60"))
	gone := func() bool {
		all := f.cluster.Elements()
		return len(all) == 3 && !slices.ContainsFunc(all[1:], func(e shim.Element) bool { return e.State != "CANCELLED" })
	}
	for end := time.Now().Add(10 * time.Second); !gone(); time.Sleep(10 * time.Millisecond) {
		if _, err := f.Poll(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("the ghost lives: %+v", f.cluster.Elements())
		}
	}
	if f.until(again, is(scheduler.Running)); f.runs("again") != 1 {
		t.Errorf("the other job began %d times", f.runs("again"))
	}
}

// A controller that was killed forgets the last array and gives its number again: neither the wrong job is watched nor cancelled.
func TestNumberGivenTwice(t *testing.T) {
	f := newFaulty(t, shim.Options{StartDelay: 200 * time.Millisecond}, func(o *Options) { o.Grace = 4 * time.Second })
	refs := f.submit(f.jobs(2, "true")...)
	f.cluster.LoseLast()
	path := filepath.Join(f.dir, "other.sh")
	if err := os.WriteFile(path, []byte("#!/bin/bash\nsleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sbatch", "--parsable", "--array=0-1", "-o", "/dev/null", path).Output()
	if err != nil || strings.TrimSpace(string(out)) != strings.Split(refs[0].ID, "_")[0] {
		t.Fatalf("the other job is %q, %v; ours was %q", out, err, refs[0].ID)
	}
	f.until(refs, over)
	if err := f.Cancel(t.Context(), refs); err != nil {
		t.Fatal(err)
	}
	for _, e := range f.cluster.Elements() {
		if e.State != "RUNNING" && e.State != "PENDING" {
			t.Errorf("the other job was cancelled: %+v", e)
		}
	}
	if status := f.until(refs, over); status["job.00001"].State != scheduler.Lost {
		t.Errorf("%+v, want lost", status["job.00001"])
	}
}

// Nor is it when jobs are cancelled before anybody looked.
func TestCancelOfANumberGivenTwice(t *testing.T) {
	for name, n := range map[string]int{"all": 4, "some": 2} {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t, shim.Options{StartDelay: time.Hour}, nil)
			refs := f.submit(f.jobs(4, "true")...)
			f.cluster.LoseLast()
			path := filepath.Join(f.dir, "other.sh")
			if err := os.WriteFile(path, []byte("#!/bin/bash\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("sbatch", "--parsable", "--array=0-3", "-o", "/dev/null", path).Output()
			if err != nil || strings.TrimSpace(string(out)) != arrayOf(refs[0].ID) {
				t.Fatalf("the other array is %q, %v; ours was %q", out, err, refs[0].ID)
			}
			if err := f.Cancel(t.Context(), refs[:n]); err != nil {
				t.Fatal(err)
			}
			for _, e := range f.cluster.Elements() {
				if e.State != "PENDING" {
					t.Errorf("the other array was cancelled: %+v", e)
				}
			}
		})
	}
}

func TestQuotatypeWhereThereIsOne(t *testing.T) {
	for name, want := range map[string]string{"stock": "#SBATCH --qos=auto\n", "quotatype": "#SBATCH --quotatype=auto\n"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SBATCH_QOS", "spot")
			t.Setenv("SBATCH_TIMELIMIT", "1")
			f := newFaulty(t, shim.Options{Quotatype: name == "quotatype"}, func(o *Options) {
				o.Ask.Quotatype, o.Ask.Env = "auto", map[string]string{"HOME_OF": "${HOME}"}
			})
			j := f.job("one", "true")
			j.Env = []string{"KEY=not a secret"}
			f.until(f.submit(j), is(scheduler.Done))
			calls := f.cluster.Calls("sbatch")
			if last := calls[len(calls)-1]; !strings.Contains(last.Stdin, want) || strings.Count(last.Stdin, "=auto\n") != 1 {
				t.Errorf("sbatch got %s, want %s", last.Stdin, want)
			}
			if leaks := f.cluster.Leaked(); len(leaks) > 0 {
				t.Errorf("sbatch was given %q", leaks)
			}
		})
	}
}

// What squeue no longer shows and sacct does not know yet is neither lost nor done.
func TestVanishedBeforeSacctKnows(t *testing.T) {
	f := newFaulty(t, shim.Options{MinJobAge: -1, Faults: shim.Faults{SacctLag: time.Hour}}, func(o *Options) { o.Grace = time.Hour })
	f.cluster.Set(func(o *shim.Options) { o.MinJobAge = 0 })
	jobs := []scheduler.Job{f.job("good", "true"), f.job("bad", "exit 3")}
	refs := f.submit(jobs...)
	f.began("good", 1)
	f.began("bad", 1)
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		status, err := f.Poll(t.Context(), refs)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range status {
			if over(s) {
				t.Fatalf("%+v, and nobody can know", s)
			}
		}
	}
	f.cluster.Set(func(o *shim.Options) { o.SacctDown = true })
	if _, err := f.Poll(t.Context(), refs); err != nil {
		t.Fatal(err)
	}
	f.cluster.Set(func(o *shim.Options) { o.SacctDown, o.SacctLag = false, 0 })
	status := f.until(refs, over)
	if status["good"].State != scheduler.Done || status["bad"].State != scheduler.Failed || status["bad"].ExitCode != 3 {
		t.Errorf("%+v", status)
	}
}

// Without accounts, what vanished is lost after the grace: it is never taken for done.
func TestVanishedWithoutAccounts(t *testing.T) {
	f := newFaulty(t, shim.Options{Faults: shim.Faults{SacctOff: true}}, nil)
	f.cluster.Set(func(o *shim.Options) { o.MinJobAge = 0 })
	refs := f.submit(f.jobs(3, "true")...)
	f.until(refs, is(scheduler.Lost))
}

// An error of squeue, or an answer without rows, is no empty queue.
func TestSilentQueue(t *testing.T) {
	f := newFaulty(t, shim.Options{}, nil)
	refs := f.submit(f.jobs(3, "sleep 60")...)
	f.until(refs, is(scheduler.Running))
	f.cluster.Set(func(o *shim.Options) { o.Errors = map[string]int{"squeue": 1} })
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := f.Poll(t.Context(), refs); errors.Is(err, scheduler.ErrDown) {
			break
		} else if err != nil || time.Now().After(end) {
			t.Fatalf("the error of squeue was told as %v", err)
		}
	}
	f.until(refs, is(scheduler.Running))
	f.cluster.Set(func(o *shim.Options) { o.Hidden = true })
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if status, err := f.Poll(t.Context(), refs); err != nil || slices.ContainsFunc(refs, func(r scheduler.Ref) bool { return over(status[r.Name]) }) {
			t.Fatalf("%+v, %v", status, err)
		}
	}
	f.cluster.Set(func(o *shim.Options) { o.Hidden = false })
	f.until(refs, is(scheduler.Running))
	f.cluster.Set(func(o *shim.Options) { o.Down = true })
	time.Sleep(2 * lookEvery / hurry)
	if _, err := f.Poll(t.Context(), refs); !errors.Is(err, scheduler.ErrDown) {
		t.Errorf("a controller that is down was told as %v", err)
	}
	f.cluster.Set(func(o *shim.Options) { o.Down = false })
	f.until(refs, is(scheduler.Running))
}

func TestCausesOfTheEnd(t *testing.T) {
	f := newFaulty(t, shim.Options{}, func(o *Options) { o.Ask.NoRequeue = true })
	refs := f.submit(f.jobs(5, "sleep 60")...)
	f.until(refs, is(scheduler.Running))
	for i, end := range []func(id string) error{
		func(id string) error { return f.cluster.End(id, "TIMEOUT", "0:0") },
		func(id string) error { return f.cluster.End(id, "OUT_OF_MEMORY", "0:125") },
		f.cluster.Preempt,
		func(id string) error { return f.cluster.End(id, "BOOT_FAIL", "0:0") },
	} {
		if err := end(f.element(i).ID); err != nil {
			t.Fatal(err)
		}
	}
	f.until(refs[:4], over)
	if err := f.cluster.FailNode(f.element(4).Node); err != nil {
		t.Fatal(err)
	}
	status := f.until(refs, over)
	for i, want := range []scheduler.Cause{scheduler.TimeLimit, scheduler.Memory, scheduler.Preempted, scheduler.Node, scheduler.Node} {
		if got := status[refs[i].Name]; got.State != scheduler.Failed || got.Cause != want || got.Reason == "" || got.Node == "" {
			t.Errorf("%+v, want cause %s", got, want)
		}
	}
}

// A job that gives way, or whose node is lost, waits and runs again under its own number; the old process may live on.
func TestRequeuedJobs(t *testing.T) {
	f := newFaulty(t, shim.Options{RequeueDelay: 40}, nil)
	refs := f.submit(f.jobs(2, `[ -n "$SLURM_RESTART_COUNT" ] || sleep 60; [ "$SLURM_RESTART_COUNT" -ge 1 ]`)...)
	f.until(refs, is(scheduler.Running))
	f.began("job.00000", 1)
	f.began("job.00001", 1)
	if err := errors.Join(f.cluster.Preempt(f.element(0).ID), f.cluster.SplitBrain(f.element(1).ID)); err != nil {
		t.Fatal(err)
	}
	f.until(refs[1:], is(scheduler.Pending))
	f.until(refs, is(scheduler.Done))
	if a, b := f.runs("job.00000"), f.runs("job.00001"); a != 2 || b != 2 {
		t.Errorf("began %d and %d times", a, b)
	}
}

// Slurm forgets tasks that are cancelled while they wait; they are cancelled, not lost.
func TestCancelledOneByOne(t *testing.T) {
	f := newFaulty(t, shim.Options{}, func(o *Options) { o.Workers, o.Grace = 1, time.Hour })
	refs := f.submit(f.jobs(4, "sleep 60")...)
	f.until(refs[:1], is(scheduler.Running))
	if err := f.Cancel(t.Context(), refs[2:3]); err != nil {
		t.Fatal(err)
	}
	if s := f.until(refs[2:3], over); s[refs[2].Name].State != scheduler.Cancelled {
		t.Errorf("%+v", s)
	}
	if err := f.Cancel(t.Context(), []scheduler.Ref{refs[1], refs[3]}); err != nil {
		t.Fatal(err)
	}
	for name, s := range f.until(refs[1:], over) {
		if s.State != scheduler.Cancelled {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if live, err := f.Live(t.Context()); err != nil || len(live) != 1 || live[0].Name != refs[0].Name {
		t.Errorf("alive are %v, %v", live, err)
	}
}

// Some of an array's waiting jobs are cancelled, and the others wait on.
func TestCancelledSome(t *testing.T) {
	f := newFaulty(t, shim.Options{}, func(o *Options) { o.Workers = 1 })
	refs := f.submit(f.jobs(7, "sleep 60")...)
	f.until(refs[:1], is(scheduler.Running))
	if err := f.Cancel(t.Context(), []scheduler.Ref{refs[0], refs[2], refs[4], refs[5]}); err != nil {
		t.Fatal(err)
	}
	f.until([]scheduler.Ref{refs[0], refs[2], refs[4], refs[5]}, is(scheduler.Cancelled))
	live, err := f.Live(t.Context())
	var left []string
	for _, r := range live {
		left = append(left, r.ID)
	}
	slices.Sort(left)
	if want := []string{refs[1].ID, refs[3].ID, refs[6].ID}; err != nil || !slices.Equal(left, want) {
		t.Errorf("alive are %q, %v; want %q", left, err, want)
	}
}

// TestThousandShards is the promise of the plan: queued within two seconds by at most five sbatch.
func TestThousandShards(t *testing.T) {
	f := newFaulty(t, shim.Options{Pretend: func(shim.Element) shim.Outcome { return shim.Outcome{} }}, nil)
	jobs := f.jobs(1000, "true")
	start, before := time.Now(), len(f.cluster.Calls("sbatch"))
	refs := f.submit(jobs...)
	if took, calls := time.Since(start), len(f.cluster.Calls("sbatch"))-before; took > 2*time.Second || calls > 5 {
		t.Errorf("queued in %s with %d sbatch", took, calls)
	}
	looks := len(f.cluster.Calls("squeue"))
	if _, err := f.Poll(t.Context(), refs); err != nil {
		t.Fatal(err)
	}
	if n := len(f.cluster.Calls("squeue")) - looks; n > 1 {
		t.Errorf("one poll took %d squeue", n)
	}
	f.until(refs, is(scheduler.Done))
}

// Where jobs may not be changed the workers are used all the same, never more of them than there are.
func TestNoChanges(t *testing.T) {
	f := newFaulty(t, shim.Options{MaxArraySize: 10, Faults: shim.Faults{NoChanges: true}, Pretend: func(e shim.Element) shim.Outcome {
		return shim.Outcome{Never: e.Array == 1 && e.Index == 0, After: 10 * time.Millisecond}
	}}, func(o *Options) { o.Workers = 10 })
	jobs := f.jobs(60, "true")
	var refs []scheduler.Ref
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if refs, err = f.Submit(t.Context(), jobs); err != nil && !errors.Is(err, scheduler.ErrBusy) {
			t.Fatal(err)
		}
		status, err := f.Poll(t.Context(), refs)
		if err != nil {
			t.Fatal(err)
		}
		done, running := 0, 0
		for _, e := range f.cluster.Elements() {
			if e.State == "RUNNING" {
				running++
			}
		}
		for _, s := range status {
			if s.State == scheduler.Done {
				done++
			}
		}
		if running > 10 {
			t.Fatalf("%d run at once", running)
		}
		if done == len(jobs)-1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d jobs are done behind one that does not end; %d submitted", done, len(refs))
		}
	}
	if n := len(f.cluster.Calls("scontrol")); n > 20 {
		t.Errorf("%d calls of scontrol", n)
	}
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// feed submits jobs as the cluster takes them and polls until all have ended.
func (f *faulty) feed(ctx context.Context, jobs []scheduler.Job) (refs []scheduler.Ref, waits int) {
	f.t.Helper()
	for ended := 0; ended < len(jobs); {
		if ctx.Err() != nil {
			f.t.Fatalf("%d of %d jobs submitted, %d ended", len(refs), len(jobs), ended)
		}
		if len(refs) < len(jobs) {
			more, err := f.Submit(ctx, jobs[len(refs):])
			if err != nil && !errors.Is(err, scheduler.ErrBusy) {
				f.t.Fatal(err)
			}
			if err != nil {
				waits++
				time.Sleep(200 * time.Millisecond)
			}
			refs = append(refs, more...)
		}
		status, err := f.Poll(ctx, refs)
		if err != nil {
			f.t.Fatal(err)
		}
		ended = 0
		for _, s := range status {
			if s.State == scheduler.Done {
				ended++
			} else if over(s) {
				f.t.Fatalf("%+v", s)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return refs, waits
}

// TestTenThousandShards submits them in windows below MaxArraySize and follows them to the end. The time is that of scheduler and emulator.
func TestTenThousandShards(t *testing.T) {
	f := newFaulty(t, shim.Options{MaxJobCount: 20000, CPUs: 1000, Pretend: func(shim.Element) shim.Outcome {
		return shim.Outcome{After: 20 * time.Millisecond}
	}}, func(o *Options) { o.Workers = 500 })
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	start, before := time.Now(), cpuTime(t)
	f.feed(ctx, f.jobs(10000, "true"))
	used := cpuTime(t) - before
	t.Logf("%s of CPU, %s; %d sbatch, %d squeue, %d sacct, %d scontrol", used.Round(time.Millisecond), time.Since(start).Round(time.Millisecond),
		len(f.cluster.Calls("sbatch")), len(f.cluster.Calls("squeue")), len(f.cluster.Calls("sacct")), len(f.cluster.Calls("scontrol")))
	if used > 10*time.Second {
		t.Errorf("10,000 jobs took %s of CPU", used)
	}
	for _, e := range f.cluster.Elements() {
		if e.Starts != 1 {
			t.Fatalf("%+v began %d times", e, e.Starts)
		}
	}
}

// A limit of submitted jobs gives windows.
func TestSubmitLimit(t *testing.T) {
	f := newFaulty(t, shim.Options{SubmitLimit: 100, Pretend: func(shim.Element) shim.Outcome {
		return shim.Outcome{After: 1500 * time.Millisecond}
	}}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, waits := f.feed(ctx, f.jobs(250, "true"))
	starts := 0
	for _, e := range f.cluster.Elements() {
		starts += e.Starts
	}
	if n := len(f.cluster.Calls("sbatch")); starts != 250 || waits == 0 || n > 25 {
		t.Errorf("%d starts in %d windows; sbatch was called %d times", starts, waits, n)
	}
}

// The scheduler never asks the controller more than twice a second for long, on its own clock.
func TestCallsAreFew(t *testing.T) {
	f := newFaulty(t, shim.Options{Pretend: func(e shim.Element) shim.Outcome {
		return shim.Outcome{After: time.Duration(e.Index) * 20 * time.Millisecond}
	}}, func(o *Options) { o.Workers = 20 })
	f.now = time.Now
	refs := f.submit(f.jobs(60, "true")...)
	start, before := time.Now(), len(f.cluster.Calls(""))
	f.until(refs, is(scheduler.Done))
	took := time.Since(start)
	if n := len(f.cluster.Calls("")) - before; float64(n) > 2*took.Seconds()+2 {
		t.Errorf("%d calls in %s", n, took)
	}
}
