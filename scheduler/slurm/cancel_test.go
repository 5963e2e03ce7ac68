package slurm

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sextant/internal/slurmlab/shim"
	"sextant/scheduler"
)

// Pending elements are cancelled before running ones, in Slurm's short form.
func TestCancel(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.submit(s, some(8, "a"))
	f.edit("101_1|"+s.arrays[0].Token+"|PENDING", "101_1|"+s.arrays[0].Token+"|RUNNING", "101_7|"+s.arrays[0].Token+"|PENDING", "101_7|"+s.arrays[0].Token+"|COMPLETED")
	f.poll(s, "a0")
	refs := s.refs()
	cancel := func(refs []scheduler.Ref, want ...string) {
		t.Helper()
		f.unset("calls")
		for i := range want {
			want[i] = strings.Replace(want[i], "NAME", "--name="+s.arrays[0].Token, 1)
		}
		if err := s.Cancel(t.Context(), refs); err != nil || !slices.Equal(f.calls("scancel"), want) {
			t.Errorf("scancel got %q, want %q; %v", f.calls("scancel"), want, err)
		}
	}
	cancel(refs[:6], "101_[0,2-5]", "NAME 101_[1]") // with a name Slurm would take 101_6 too
	cancel(refs, "NAME 101_[0,2-6]", "NAME 101")
	cancel(refs[7:])
	cancel([]scheduler.Ref{{Name: "nobody"}})
	f.set("down", "scancel: error: Unable to contact slurm controller (connect failure)\n")
	if err := s.Cancel(t.Context(), refs); !errors.Is(err, scheduler.ErrDown) {
		t.Errorf("a controller that is down gives %v", err)
	}
}

// What is in doubt is cancelled by its name, and again when it appears.
func TestCancelInDoubt(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.set("doubt", timedOut)
	refs := f.submit(s, some(2, "a"))
	if err := s.Cancel(t.Context(), refs); err != nil {
		t.Fatal(err)
	}
	f.poll(s, "a0")
	if calls := f.calls("scancel"); len(calls) != 2 || !strings.HasPrefix(calls[0], "--name="+s.arrays[0].Token+" -u ") || calls[1] != "--name="+s.arrays[0].Token+" 101" {
		t.Errorf("scancel got %q", calls)
	}
}

// Of some of an array, numbers alone may go to scancel: only those that a look has just shown under the array's name. What that does not show
// is cancelled when it appears, by a later process too.
func TestCancelSome(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	refs := f.submit(s, some(4, "a"))
	queue := f.get("queue")
	f.set("queue", strings.ReplaceAll(queue, s.arrays[0].Token, "another"))
	if err := s.Cancel(t.Context(), refs[1:3]); err != nil || len(f.calls("scancel")) > 0 || len(f.calls("squeue")) != 1 {
		t.Fatalf("%v; scancel got %q after %q", err, f.calls("scancel"), f.calls("squeue"))
	}
	f.set("queue", queue)
	f.poll(f.new(4), "a0")
	f.poll(f.new(4), "a0")
	if calls := f.calls("scancel"); !slices.Equal(calls, []string{"101_[1-2]"}) {
		t.Errorf("scancel got %q", calls)
	}
	f.set("down", "scancel: error: Unable to contact slurm controller (connect failure)\n")
	f.later(lookEvery)
	if err := s.Cancel(t.Context(), refs[3:]); !errors.Is(err, scheduler.ErrDown) {
		t.Errorf("without a look: %v", err)
	}
}

// A waiting element that is cancelled by itself is forgotten at once. One that ran may have ended well: sacct has time to tell.
func TestPollCancelledAlone(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	refs := f.submit(s, some(3, "a"))
	token := s.arrays[0].Token
	f.edit("101_1|"+token+"|PENDING", "101_1|"+token+"|RUNNING")
	f.poll(s, "a1")
	if err := s.Cancel(t.Context(), refs[:2]); err != nil {
		t.Fatal(err)
	}
	f.set("queue", "101_2|"+token+"|PENDING||N/A|x|N/A|None\n")
	f.poll(s, "a1")
	for _, want := range []scheduler.State{scheduler.Running, scheduler.Cancelled} {
		if a0, a1 := f.poll(s, "a0"), f.poll(s, "a1"); a0.State != scheduler.Cancelled || a1.State != want {
			t.Errorf("got %+v and %+v, want the second %s", a0, a1, want)
		}
		f.later(time.Minute)
	}
}

// A job that a node could not launch, and that Slurm then holds for good, is cancelled and has failed by its node. One that a person holds waits.
func TestPollHeldForGood(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.submit(s, some(2, "a"))
	token := s.arrays[0].Token
	f.set("queue", "101_0|"+token+"|PENDING||N/A|x|N/A|launch failed requeued held\n101_1|"+token+"|PENDING||N/A|x|N/A|JobHeldUser\n")
	f.poll(s, "a0")
	if calls := f.calls("scancel"); len(calls) != 1 || !strings.HasSuffix(calls[0], "101_[0]") {
		t.Errorf("cancelled by %q", calls)
	}
	f.set("queue", "101_1|"+token+"|PENDING||N/A|x|N/A|JobHeldUser\n")
	f.later(time.Minute)
	f.poll(s, "a0")
	f.later(time.Minute)
	if a0, a1 := f.poll(s, "a0"), f.poll(s, "a1"); a0.State != scheduler.Failed || a0.Cause != scheduler.Node || a1.State != scheduler.Pending {
		t.Errorf("got %+v and %+v", a0, a1)
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

// A number that is another's by now is not cancelled, though nobody looked.
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
