package slurm

import (
	"testing"

	"sextant/scheduler"
)

// How jobs ended, and that they were cancelled, is known when Slurm has forgotten it and the process that saw it is gone. A torn note is none.
func TestEndsOutliveTheProcess(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	refs := f.submit(s, some(4, "a"))
	token := s.arrays[0].Token
	f.edit("101_0|"+token+"|PENDING|", "101_0|"+token+"|COMPLETED|node1", "101_1|"+token+"|PENDING|", "101_1|"+token+"|FAILED|node1")
	f.set("accounts", "101_1|102|"+token+"|FAILED|3:0|node1|2026-11-21T10:00:00|2026-11-21T10:00:05\n")
	f.poll(s, "a0")
	want := []scheduler.Status{f.poll(s, "a0"), f.poll(s, "a1")}
	if err := s.Cancel(t.Context(), refs[2:3]); err != nil {
		t.Fatal(err)
	}
	path := "arrays/" + token + endsSuffix
	f.set(path, f.get(path)+`{"i":3,"status":{"state":"do`)
	f.set("accounts", "")
	f.set("queue", "101_3|"+token+"|RUNNING|node1|N/A|x|N/A|None\n")
	s = f.new(4)
	for i, name := range []string{"a0", "a1"} {
		got := f.poll(s, name)
		if !got.Started.Equal(want[i].Started) || !got.Ended.Equal(want[i].Ended) {
			t.Errorf("%s: from %s to %s, want %+v", name, got.Started, got.Ended, want[i])
		}
		if got.Started, got.Ended = want[i].Started, want[i].Ended; got != want[i] {
			t.Errorf("%s: %+v, want %+v", name, got, want[i])
		}
	}
	if n := len(f.calls("squeue")); n != 2 {
		t.Errorf("%d looks for what was known", n-2)
	}
	if a2, a3 := f.poll(s, "a2"), f.poll(s, "a3"); a2.State != scheduler.Cancelled || a3.State != scheduler.Running {
		t.Errorf("%+v, %+v", a2, a3)
	}
	f.edit("RUNNING", "COMPLETED")
	f.poll(s, "a3")
	if a3 := f.poll(f.new(4), "a3"); a3.State != scheduler.Done {
		t.Errorf("after a torn note: %+v", a3)
	}
}
