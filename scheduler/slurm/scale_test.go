package slurm

import (
	"context"
	"errors"
	"testing"
	"time"

	"sextant/internal/slurmlab/shim"
	"sextant/scheduler"
)

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
	start, before := time.Now(), cpu(t)
	f.feed(ctx, f.jobs(10000, "true"))
	used := cpu(t) - before
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
		return shim.Outcome{After: 900 * time.Millisecond}
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
