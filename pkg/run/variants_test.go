package run

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sextant/pkg/result"
	"sextant/scheduler"
)

// What a quantization made may be removed when all is done that needs it. Before that it is made again.
func TestVariantRemoved(t *testing.T) {
	shape := simShape{models: 2, rows: 4, limit: 6, workers: 4, retry: 1, steps: true, drain: true}
	simulate(t, shape, simConfig{nodes: 2, slots: 2, window: 20}, func(t *testing.T, s *simRun) {
		s.done(t, Options{}, 7)
		runs, _ := runsIn(s.work)
		dir := result.Dir(runs[0])
		remove := func(path string) {
			t.Helper()
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
		again := func(what string, o Options, jobs ...string) {
			t.Helper()
			n := len(s.hands)
			s.submit(t.Context(), o, nil)
			var asked []string
			for _, h := range s.hands[n:] {
				asked = append(asked, h.job.Script)
			}
			if slices.Sort(asked); s.err != nil || !slices.Equal(asked, jobs) {
				t.Errorf("%s: %v, asked for %q, want %q", what, s.err, asked, jobs)
			}
		}
		remove(dir.Variant("m0"))
		again("nobody needs it", Options{})
		remove(dir.Result("m0--gen--0-2"))
		remove(dir.Attempt("m0--gen--0-2", 1))
		clear(s.wrote)
		again("one needs it", Options{}, "m0--gen--0-2", "m0-q")
		remove(dir.Variant("m0"))
		again("it was asked for itself", Options{Quantize: true}, "m0-q")
		if err := os.WriteFile(result.ManifestFile(dir.Variant("m0")), []byte(`{"fingerprint": "other"}`), 0o666); err != nil {
			t.Fatal(err)
		}
		again("it is another", Options{Quantize: true}, "m0-q")
		s.gathered(nil)
	})
}

// With Quantize nothing is done but that; the evaluation goes on from there.
func TestQuantizeAlone(t *testing.T) {
	shape := simShape{models: 3, rows: 4, limit: 6, workers: 4, retry: 1, steps: true}
	simulate(t, shape, simConfig{nodes: 2, slots: 2, window: 20}, func(t *testing.T, s *simRun) {
		var last Progress
		s.submit(t.Context(), Options{Quantize: true}, func(e Event) { last = e.Progress })
		if s.err != nil || len(s.hands) != 2 || len(last.Tasks) != 2 || last.Tasks[1].Done != 1 {
			t.Fatalf("%v, %d workers, %+v", s.err, len(s.hands), last)
		}
		runs, _ := runsIn(s.work)
		r, err := Resume(runs[0], Options{})
		if err != nil {
			t.Fatal(err)
		}
		made := r.Made()
		r.Close()
		if len(made) != 2 || made[1].Missing != nil || made[1].Dir != filepath.Join(string(r.Dir), "variants", "m2") || made[1].Manifest.Fingerprint != "f" {
			t.Errorf("made %+v", made)
		}
		s.done(t, Options{}, 11)
	})
}

// A lost directory of which the files cannot be read is a reason, not the end.
func TestMadeTellsWhy(t *testing.T) {
	s := newSimRun(simShape{models: 1, rows: 1, limit: 6, workers: 1, steps: true}, simConfig{}, 1)
	defer os.RemoveAll(s.work)
	r, err := Open(s.work, s.simCluster.plan, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if made := r.Made(); len(made) != 1 || made[0].Missing == nil || !strings.Contains(made[0].Missing.Error(), "manifest") {
		t.Errorf("made %+v", made)
	}
	if _, _, err := Cover(string(r.Dir), r.Plan); err != nil {
		t.Error(err)
	}
	if _, err := Look(context.Background(), string(r.Dir), r.Plan, nil); err != nil {
		t.Error(err)
	}
}

func TestWithin(t *testing.T) {
	for want, p := range map[string]result.Progress{
		"": {Phase: "run", Rows: 3}, "block 1 of 12 at 0%": {Block: 1, Blocks: 12}, "block 3 of 12 at 45%, calibrating o": {Block: 3, Blocks: 12, Part: 0.459, Phase: "calibrating o"},
		"block 3 of 12 at 99%, writing, 1m10s left": {Block: 3, Blocks: 12, Part: 0.999, Phase: "writing", Left: 69.8},
	} {
		if got := Within(p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A quantization that is ended by its time limit again and again, but comes on, is not given up.
func TestBlocksAreGain(t *testing.T) {
	s := newSimRun(simShape{models: 1, rows: 1, limit: 6, workers: 1, steps: true}, simConfig{}, 1)
	defer os.RemoveAll(s.work)
	r, err := Open(s.work, s.simCluster.plan, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := newController(r, nil, nil)
	for n, p := range []result.Progress{{Began: 1, Block: 3, Blocks: 9}, {Began: 3, Block: 3, Blocks: 9}} {
		a := &attempt{job: c.jobs["m0-q"], n: n + 1}
		if err := result.CommitJSON(r.Dir.Progress("m0-q", n+1), p); err != nil {
			t.Fatal(err)
		}
		v := c.judge(a, scheduler.Status{State: scheduler.Failed, Cause: scheduler.TimeLimit, Reason: "TIMEOUT"})
		if faults := c.blame.take(a, v); len(faults) != n || v.gained != 2-2*n {
			t.Errorf("%+v: %d faults count, %d gained", p, len(faults), v.gained)
		}
	}
}
