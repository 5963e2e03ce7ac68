package slurm

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
