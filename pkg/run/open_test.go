package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/spec"
	"sextant/scheduler"
)

// otherWorld is smallWorld with another model under the same name: nothing of it is the same.
func otherWorld() *plan.Plan {
	p := smallWorld(100, 2)
	in := plan.Inputs{Variants: []plan.Variant{{ID: "m", Model: "m", Fingerprint: "other"}}}
	for _, t := range p.Tasks {
		in.Tasks = append(in.Tasks, plan.TaskInput{Variant: "m", Dataset: t.Dataset, Rows: t.Rows, Labels: 1, Data: "d"})
	}
	p, err := plan.Make(p.Spec, in)
	if err != nil {
		panic(err)
	}
	return p
}

func TestLocked(t *testing.T) {
	s := newSession(t, "")
	r := s.open(smallWorld(100, 1), Options{})
	_, err := Open(s.work, smallWorld(20, 2), Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d on ", os.Getpid())) {
		t.Errorf("error %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s.open(smallWorld(20, 2), Options{})
}

func TestWhichRun(t *testing.T) {
	s := newSession(t, "")
	p, other := smallWorld(100, 1), otherWorld()
	place := func(p *plan.Plan, o Options) string {
		t.Helper()
		r := s.open(p, o)
		defer r.Close()
		return filepath.Base(string(r.Dir))
	}
	old := "20200101_000000-" + p.Identity[:8]
	if err := os.MkdirAll(filepath.Join(s.work, old), 0o777); err != nil {
		t.Fatal(err)
	}
	if got := place(p, Options{}); got != old {
		t.Errorf("the run made before is %q, opened %q", old, got)
	}
	fresh := place(other, Options{})
	if !strings.HasSuffix(fresh, other.Identity[:8]) || fresh < time.Now().Format("2006") {
		t.Errorf("another question opened %q", fresh)
	}
	if got := place(p, Options{Reuse: "latest"}); got != fresh {
		t.Errorf("latest is %q, want %q", got, fresh)
	}
	// The latest run is about p now, and so the newest of p.
	if got := place(p, Options{}); got != fresh {
		t.Errorf("opened %q, want %q", got, fresh)
	}
	if got := place(other, Options{Reuse: old}); got != old {
		t.Errorf("by name: %q, want %q", got, old)
	}
	if got := place(other, Options{Reuse: filepath.Join(s.work, old)}); got != old {
		t.Errorf("by path: %q, want %q", got, old)
	}
	for _, reuse := range []string{"no-such-run", s.work} {
		if _, err := Open(s.work, p, Options{Reuse: reuse}); !errors.Is(err, ErrNoRun) || !strings.Contains(err.Error(), reuse) {
			t.Errorf("reusing %q: %v", reuse, err)
		}
	}
	if _, err := Open(filepath.Join(s.work, "none"), p, Options{Reuse: "latest"}); !errors.Is(err, ErrNoRun) {
		t.Errorf("the latest of none: %v", err)
	}
	if got := place(p, Options{Existing: true}); got != fresh {
		t.Errorf("the existing run is %q, want %q", got, fresh)
	}
	none := filepath.Join(s.work, "none")
	if _, err := Open(none, p, Options{Existing: true}); !errors.Is(err, ErrNoRun) || exists(none) {
		t.Errorf("an existing run of none: %v", err)
	}
}

// Another model under the same name: its rows are computed anew, the old ones reported as stale, the old plan kept.
func TestStaleRows(t *testing.T) {
	s := newSession(t, "")
	p, other := smallWorld(100, 1), otherWorld()
	s.run(p)
	r := s.open(other, Options{Reuse: "latest"})
	g, err := r.Gather()
	if err != nil || g.Missing["m/gen"].Rows != 40 || g.Missing["m/gen"].Stale != 40 {
		t.Errorf("missing %+v, %v", g.Missing, err)
	}
	out, err := s.execute(t.Context(), r, nil)
	if err != nil || out.Stale != 70 || out.Reused != 0 {
		t.Fatalf("outcome %+v, %v", out, err)
	}
	if g, err = r.Gather(); err != nil || len(g.Missing) > 0 || g.Records["m/gen"][0].Digest != fakeRecord(other.Tasks[1], 0).Digest {
		t.Errorf("after it: missing %+v, %v", g.Missing, err)
	}
	if kept, err := plan.Load(r.Dir.OldPlan(1)); err != nil || kept.Digest != p.Digest {
		t.Errorf("the plan before: %v", err)
	}
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.jsonl")
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	entries := []entry{{Event: evOpen, Identity: "i", Fresh: true}, {Event: evSubmit, Job: "a", Attempt: 1, Shards: []string{"s"}, Ref: scheduler.Ref{Name: "n"}},
		{Event: evGiveUp, Shards: []string{"s"}, Reason: "why"}, {Event: evSubmit, Job: "a", Attempt: 2, Shards: []string{"t"}}, {Event: evEnd, Job: "a", Attempt: 2, Faults: []Fault{{Shard: "t", Kind: "error"}}},
		{Event: evGone, Job: "a", Attempt: 2}}
	for _, e := range entries {
		if err := j.add(e); err != nil {
			t.Fatal(err)
		}
	}
	j.f.Close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "garbage\n{\"event\":\"end\",\"job\":\"a\",\"att")
	f.Close()
	if j, err = openJournal(path); err != nil {
		t.Fatal(err)
	}
	if err := j.add(entry{Event: evAccept, Job: "a", Attempt: 1, Ref: scheduler.Ref{Name: "n", ID: "7"}}); err != nil {
		t.Fatal(err)
	}
	j.f.Close()
	again, _, err := readJournal(path)
	if err != nil || len(again) != 7 {
		t.Fatalf("%d entries, %v", len(again), err)
	}
	j.entries = again
	left := j.past("i")
	if len(left.tickets) != 1 || left.tickets[0].Attempt != 1 || len(left.hands) != 1 || left.hands[0].Ref.ID != "7" || !left.hands[0].ours || len(left.faults) != 1 {
		t.Errorf("left: %+v", left)
	}
	if other := j.past("j"); other.tickets[0].ours {
		t.Error("a ticket of another question is taken for one of this")
	}
	if got := j.givenUp(); len(got) != 1 || got["s"] != "why" {
		t.Errorf("given up: %v", got)
	}
}

func TestFindWorker(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "worker")
	t.Setenv("PATH", dir)
	if _, err := FindWorker(&spec.Spec{}); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("no worker: %v", err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	if got, err := FindWorker(&spec.Spec{}); got != path || err != nil {
		t.Errorf("on PATH: %q, %v", got, err)
	}
	if got, err := FindWorker(&spec.Spec{Local: spec.Local{Worker: os.Args[0]}}); got != os.Args[0] || err != nil {
		t.Errorf("by name: %q, %v", got, err)
	}
	if _, err := FindWorker(&spec.Spec{Local: spec.Local{Worker: filepath.Join(dir, "none")}}); err == nil || !strings.Contains(err.Error(), "[local] worker") {
		t.Errorf("a wrong name: %v", err)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte("{\"event\":\"submit\",\"job\":\"a\",\"attempt\":1}\nx\n{\"event\":"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "j")
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		defer j.f.Close()
		n := len(j.entries)
		if err := j.add(entry{Event: evOpen}); err != nil {
			t.Fatal(err)
		}
		if again, _, err := readJournal(path); err != nil || len(again) != n+1 {
			t.Fatalf("%d entries after adding to %d, %v", len(again), n, err)
		}
		j.past("")
		j.givenUp()
	})
}
