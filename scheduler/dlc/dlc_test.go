package dlc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sextant/internal/dlcshim"
	"sextant/internal/points"
	"sextant/scheduler"
	"sextant/scheduler/schedulertest"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dlc-shim")
	if err == nil {
		err = dlcshim.Build(dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// bench is a scheduler on a DLC of its own.
type bench struct {
	*testing.T
	*Scheduler
	lab *dlcshim.Lab
	o   Options
	dir string
}

func newBench(t *testing.T, change func(*Options)) *bench {
	t.Helper()
	b := &bench{T: t, dir: t.TempDir()} // removed when the jobs of the lab are gone
	b.lab = dlcshim.Install(t)
	b.o = options(b.lab, b.dir)
	if change != nil {
		change(&b.o)
	}
	b.again()
	return b
}

func options(lab *dlcshim.Lab, dir string) Options {
	return Options{Dir: filepath.Join(dir, "books"), Scripts: filepath.Join(dir, "scripts"), About: "a test", Workers: 4,
		PollMin: 30 * time.Millisecond, PollMax: 60 * time.Millisecond, Gap: time.Millisecond, Settle: 150 * time.Millisecond,
		Ask: Ask{Program: lab.Program, JobCmd: "create", Workspace: "ws1", Resource: "quota1", Image: "img:1", Sources: []string{"d-1", "d-2"},
			Priority: 1}}
}

// again is another process on the same directory.
func (b *bench) again() {
	b.Helper()
	s, err := New(b.o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	b.Scheduler = s
}

func (b *bench) job(name, script string) scheduler.Job {
	return scheduler.Job{Name: name, Args: []string{"/bin/sh", "-c", script, "sh"}, Dir: b.dir, Log: filepath.Join(b.dir, displayName(name)+".out")}
}

// until polls until the job is as wanted.
func (b *bench) until(name string, ok func(scheduler.Status) bool) scheduler.Status {
	b.Helper()
	var st scheduler.Status
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		all, err := b.Poll(b.Context(), []scheduler.Ref{{Name: name}})
		if errors.Is(err, scheduler.ErrDown) {
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
		if st = all[name]; ok(st) {
			return st
		}
	}
	b.Fatalf("job %s stays %+v", name, st)
	return st
}

func terminal(st scheduler.Status) bool { return st.State.Terminal() }

func TestContract(t *testing.T) {
	schedulertest.Run(t, schedulertest.Harness{Parallel: true, New: func(t *testing.T, workers int) schedulertest.Scheduler {
		dir := t.TempDir()
		o := options(dlcshim.Install(t), dir)
		o.Workers = workers
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}})
}

// TestStatuses holds what each documented status means, on a job that runs all the time, and what becomes of one that is not known.
func TestStatuses(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Workers = 100 })
	seen := 0
	for _, c := range []struct {
		status, code string
		state        scheduler.State
		cause        scheduler.Cause
	}{
		{"Creating", "", scheduler.Pending, ""}, {"Queuing", "", scheduler.Pending, ""}, {"Bidding", "", scheduler.Pending, ""},
		{"EnvPreparing", "", scheduler.Pending, ""}, {"SanityChecking", "", scheduler.Pending, ""},
		{"Running", "", scheduler.Running, ""}, {"Restarting", "", scheduler.Running, ""}, {"Stopping", "", scheduler.Running, ""},
		{"SucceededReserving", "", scheduler.Done, ""}, {"Succeeded", "JobSucceeded", scheduler.Done, ""},
		{"FailedReserving", "JobFailed", scheduler.Failed, ""}, {"Failed", "JobFailed", scheduler.Failed, ""},
		{"Failed", "OOMKilled", scheduler.Failed, scheduler.Memory}, {"Failed", "NodeNotReady", scheduler.Failed, scheduler.Node},
		{"Failed", "ImagePullFailed", scheduler.Failed, scheduler.Launch}, {"Failed", "JobPreempted", scheduler.Failed, scheduler.Preempted},
		{"Stopped", "JobStoppedByUser", scheduler.Cancelled, ""}, {"Stopped", "JobPreempted", scheduler.Failed, scheduler.Preempted},
		{"Stopped", "MaxRunningTimeExceeded", scheduler.Failed, scheduler.TimeLimit}, {"Closed", "", scheduler.Cancelled, ""},
		{"Frobnicating", "", scheduler.Running, ""},
	} {
		b.lab.Show(t, "", "", "")
		name := fmt.Sprint("job", seen)
		seen++
		if _, err := b.Submit(t.Context(), []scheduler.Job{b.job(name, "sleep 60")}); err != nil {
			t.Fatal(err)
		}
		b.until(name, func(st scheduler.Status) bool { return st.State == scheduler.Running && b.began(b.jobs[name]) })
		b.lab.Show(t, c.status, c.code, "what DLC says of it")
		st := b.until(name, func(st scheduler.Status) bool {
			return st.State == c.state && (st.Reason != "" || c.state != scheduler.Running || c.status == "Running")
		})
		if st.Cause != c.cause || (st.State == scheduler.Failed || st.State == scheduler.Cancelled) && !strings.Contains(st.Reason, "what DLC says of it") {
			t.Errorf("%s, %s: %+v", c.status, c.code, st)
		}
		if c.status == "Frobnicating" && !strings.Contains(st.Reason, `"Frobnicating"`) {
			t.Errorf("%s: %+v", c.status, st)
		}
		if err := b.Cancel(t.Context(), []scheduler.Ref{{Name: name}}); err != nil {
			t.Error(err)
		}
	}
}

// TestFaults has creations go wrong: no job is made twice, and what was not made is told.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		way  string
		made int
		want func(err error, st scheduler.Status) bool
	}{
		{"lost", 1, func(err error, st scheduler.Status) bool { return err == nil && st.State == scheduler.Done }},
		{"garbage", 1, func(err error, st scheduler.Status) bool { return err == nil && st.State == scheduler.Done }},
		{"busy", 1, func(err error, st scheduler.Status) bool { return err == nil && st.State == scheduler.Done }},
		{"down", 0, func(err error, st scheduler.Status) bool { return err == nil && st.State == scheduler.Lost }},
		{"refuse", 0, func(err error, st scheduler.Status) bool {
			return err != nil && strings.Contains(err.Error(), "ResourceId is not valid") && st.State == scheduler.Lost
		}},
		{"denied", 0, func(err error, st scheduler.Status) bool {
			return err != nil && strings.Contains(err.Error(), "ask the owner") && !strings.Contains(err.Error(), "LTAI") && st.State == scheduler.Lost
		}},
	} {
		t.Run(c.way, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			b.lab.Fault(t, "create", c.way, 1)
			_, err := b.Submit(t.Context(), []scheduler.Job{b.job("one", "echo ran >>"+b.dir+"/ran")})
			st := b.until("one", terminal)
			ran, _ := os.ReadFile(filepath.Join(b.dir, "ran"))
			if jobs := b.lab.Jobs(t); !c.want(err, st) || len(jobs) != c.made || strings.Count(string(ran), "ran") != c.made {
				t.Errorf("error %v, %+v, jobs %v, ran %q", err, st, jobs, ran)
			}
			for _, call := range b.lab.Calls(t, "") {
				if strings.Contains(fmt.Sprint(call.Args), "LTAI") {
					t.Errorf("a key in %q", call.Args)
				}
			}
		})
	}
}

// TestUnanswered has questions go wrong: nothing is known then, and the same question finds out later.
func TestUnanswered(t *testing.T) {
	for _, way := range []string{"down", "busy", "hide"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			b.lab.Fault(t, "list", way, 3)
			if _, err := b.Submit(t.Context(), []scheduler.Job{b.job("one", "true")}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			if _, err := b.Poll(t.Context(), []scheduler.Ref{{Name: "one"}}); errors.Is(err, scheduler.ErrDown) == (way == "hide") {
				t.Errorf("polled: %v", err)
			}
			if st := b.until("one", terminal); st.State != scheduler.Done {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestDeaths has the process die at each point of a creation, and another go on: the job runs once, and is found under its name.
func TestDeaths(t *testing.T) {
	for point, made := range map[string]int{"dlc:intent": 0, "dlc:answered": 1, "dlc:noted": 1} {
		t.Run(point, func(t *testing.T) {
			b := newBench(t, nil)
			points.Hook = func(name string) {
				if name == point {
					panic(point)
				}
			}
			func() {
				defer func() { _ = recover() }()
				_, _ = b.Submit(t.Context(), []scheduler.Job{b.job("one", "echo ran >>"+b.dir+"/ran"), b.job("held", "true")})
			}()
			points.Hook = func(string) {}
			b.again()
			if refs, err := b.Submit(t.Context(), []scheduler.Job{b.job("one", "echo again >>"+b.dir+"/ran")}); err != nil || len(refs) != 1 {
				t.Fatal(refs, err)
			}
			st := b.until("one", terminal)
			if want := map[int]scheduler.State{0: scheduler.Lost, 1: scheduler.Done}[made]; st.State != want {
				t.Errorf("%+v, want %s", st, want)
			}
			if st := b.until("held", terminal); st.State != scheduler.Lost {
				t.Errorf("the one that was never created is %+v", st)
			}
			if jobs := b.lab.Jobs(t); len(jobs) != made {
				t.Errorf("%d jobs were made: %v", len(jobs), jobs)
			}
			if ran, _ := os.ReadFile(filepath.Join(b.dir, "ran")); strings.Count(string(ran), "\n") != made {
				t.Errorf("it ran %q", ran)
			}
			b.again()
			if st := b.until("one", terminal); st.State == scheduler.Done && made == 0 {
				t.Errorf("the books forgot: %+v", st)
			}
		})
	}
}

// TestLimits holds what DLC takes: names of other characters or longer, and requests that are too long.
func TestLimits(t *testing.T) {
	b := newBench(t, nil)
	long := strings.Repeat("a+b ", 100)
	other := strings.Repeat("a+b ", 100) + "c"
	big := b.job("big", "true")
	big.Tail = []string{strings.Repeat("x", 62000)}
	refs, err := b.Submit(t.Context(), []scheduler.Job{b.job(long, `[ "$SEXTANT_JOB" = "`+long+`" ]`), b.job(other, "true"), big})
	if len(refs) != 2 || !errors.Is(err, scheduler.ErrUnsatisfiable) || !strings.Contains(err.Error(), "65536") {
		t.Fatalf("%v, %v", refs, err)
	}
	for _, name := range []string{long, other} {
		if st := b.until(name, terminal); st.State != scheduler.Done {
			t.Errorf("%+v", st)
		}
	}
	for _, name := range b.lab.Jobs(t) {
		if !nameForm.MatchString(name) {
			t.Errorf("display name %q", name)
		}
	}
	if displayName(long) == displayName(other) || displayName("run.1-a_B") != "run.1-a_B" {
		t.Error("display names")
	}
}

// TestRequest holds the command lines, as OpenCompass gives them.
func TestRequest(t *testing.T) {
	o := Options{Dir: "/r/dlc", Scripts: "/r/scripts", Ask: Ask{JobCmd: "create", Config: "/h/.dlc/config", Workspace: "ws1", Resource: "q1", Image: "img:1",
		Sources: []string{"d-1", "d-2"}, Priority: 1, CPU: 12, Memory: 192}}
	j := scheduler.Job{Name: "n.1", Script: "n", Args: []string{"/w"}, Tail: []string{"--attempt", "1"}, Log: "/r/a log"}
	for _, c := range []struct {
		change func()
		want   string
	}{
		{func() {}, `dlc create job --kind=PyTorchJob --name=n.1 --workspace_id=ws1 --resource_id=q1 --priority=1 --worker_count=1 --worker_cpu=12 --worker_gpu=0 ` +
			`--worker_memory=192Gi --worker_image=img:1 --data_sources=d-1,d-2 '--command=exec /bin/bash /r/scripts/n.dlc.sh n.1 '\''/r/a log'\'' --attempt 1' ` +
			`--config=/h/.dlc/config`},
		{func() {
			o.Ask.JobCmd, j.GPUs, o.Ask.Config, o.Ask.Preemptible, o.Ask.MaxMinutes = "submit", 4, "", true, 60
		},
			`dlc submit pytorchjob --name=n.1 --workspace_id=ws1 --resource_id=q1 --priority=1 --workers=1 --worker_cpu=32 --worker_gpu=4 ` +
				`--worker_memory=512Gi --worker_image=img:1 --data_sources=d-1,d-2 --enable_priority_preemption=true --job_max_running_time_minutes=60 ` +
				`'--command=exec /bin/bash /r/scripts/n.dlc.sh n.1 '\''/r/a log'\'' --attempt 1'`},
	} {
		c.change()
		if got, err := Line(o, j); got != c.want || err != nil {
			t.Errorf("%v\n got %s\nwant %s", err, got, c.want)
		}
	}
}

// TestLogs has a container fail before the job's own log: DLC's is fetched, without secrets.
func TestLogs(t *testing.T) {
	b := newBench(t, nil)
	j := b.job("one", "true")
	j.Log = filepath.Join(b.dir, "nowhere", "log")
	if _, err := b.Submit(t.Context(), []scheduler.Job{j}); err != nil {
		t.Fatal(err)
	}
	st := b.until("one", terminal)
	text, err := os.ReadFile(st.Log)
	if st.State != scheduler.Failed || err != nil || !strings.Contains(string(text), "nowhere") {
		t.Errorf("%+v, %v, %q", st, err, text)
	}
	got := redact(`access_key_id: "LTAIabcdefgh12" secret=abc AccessKeySecret=xyz token: t0k`)
	for _, secret := range []string{"abc", "xyz", "t0k"} {
		if strings.Contains(got, secret) {
			t.Error(got)
		}
	}
}

// TestAfter holds a job back until those before it have ended.
func TestAfter(t *testing.T) {
	b := newBench(t, nil)
	second := b.job("second", "cat "+b.dir+"/made")
	second.After = []scheduler.Ref{{Name: "first"}}
	if _, err := b.Submit(t.Context(), []scheduler.Job{b.job("first", "sleep 0.2; echo x >"+b.dir+"/made"), second}); err != nil {
		t.Fatal(err)
	}
	if st := b.until("second", terminal); st.State != scheduler.Done {
		t.Errorf("%+v", st)
	}
}

// TestCancelWhileDown cancels while DLC cannot be reached: what is held back is never created, and what is there is stopped later.
func TestCancelWhileDown(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Workers = 2 })
	var refs []scheduler.Ref
	var jobs []scheduler.Job
	for _, name := range []string{"one", "two", "three", "four"} {
		refs, jobs = append(refs, scheduler.Ref{Name: name}), append(jobs, b.job(name, "sleep 60"))
	}
	if _, err := b.Submit(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	b.lab.Fault(t, "stop", "down", 1)
	if err := b.Cancel(t.Context(), refs); !errors.Is(err, scheduler.ErrDown) {
		t.Errorf("cancelled: %v", err)
	}
	for _, ref := range refs {
		if st := b.until(ref.Name, terminal); st.State != scheduler.Cancelled {
			t.Errorf("%s: %+v", ref.Name, st)
		}
	}
	if n := len(b.lab.Jobs(t)); n != 2 {
		t.Errorf("%d jobs were made", n)
	}
}

// TestAsksSeldom holds that a run of many jobs costs one question a look, and that calls keep their distance.
func TestAsksSeldom(t *testing.T) {
	b := newBench(t, func(o *Options) {
		o.Workers, o.Gap, o.PollMin, o.PollMax = 8, 20*time.Millisecond, 200*time.Millisecond, time.Second
	})
	var jobs []scheduler.Job
	var refs []scheduler.Ref
	for i := range 8 {
		jobs = append(jobs, b.job(fmt.Sprint("run.", i), "sleep 60"))
		refs = append(refs, scheduler.Ref{Name: jobs[i].Name})
	}
	if _, err := b.Submit(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
	defer cancel()
	for b.Wait(ctx) == nil {
		if _, err := b.Poll(t.Context(), refs); err != nil {
			t.Fatal(err)
		}
	}
	if n, g := len(b.lab.Calls(t, "list")), len(b.lab.Calls(t, "get")); n == 0 || n > 7 || g > 0 {
		t.Errorf("%d lists and %d questions for one job", n, g)
	}
	calls := b.lab.Calls(t, "")
	for i := 1; i < len(calls); i++ {
		if d := calls[i].Time.Sub(calls[i-1].Time); d < 15*time.Millisecond {
			t.Errorf("call %d came %s after the one before", i, d)
		}
	}
}

func TestAbsent(t *testing.T) {
	_, err := New(Options{Dir: t.TempDir(), Scripts: t.TempDir(), Ask: Ask{Program: "no-such-dlc"}})
	if err == nil || !strings.Contains(err.Error(), `no command "no-such-dlc"`) {
		t.Error(err)
	}
}
