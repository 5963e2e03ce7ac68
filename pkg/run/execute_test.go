package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"sextant/internal/smalldisk"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler/local"
)

// session is a work directory in which a plan is run again and again.
type session struct {
	*testing.T
	work string
}

func newSession(t *testing.T, behaviour string) *session {
	t.Helper()
	t.Setenv(fakeEnv, behaviour)
	return &session{t, filepath.Join(t.TempDir(), "runs")}
}

func (s *session) open(p *plan.Plan, o Options) *Run {
	s.Helper()
	r, err := Open(s.work, p, o)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { r.Close() })
	return r
}

// execute runs a plan to its end.
func (s *session) execute(ctx context.Context, r *Run, observe func(Event)) (*Outcome, error) {
	s.Helper()
	sched, err := local.New(local.Options{Workers: r.Plan.Spec.Infer.MaxNumWorkers, GPUs: []string{}, Grace: time.Second})
	if err != nil {
		s.Fatal(err)
	}
	defer sched.Close()
	return Execute(ctx, r, sched, observe)
}

// run opens a plan's run and executes it.
func (s *session) run(p *plan.Plan) *Outcome {
	s.Helper()
	r := s.open(p, Options{})
	defer r.Close()
	out, err := s.execute(s.Context(), r, nil)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// whole checks that the run has every row right, and none in two checkpoints.
func (s *session) whole(p *plan.Plan) {
	s.Helper()
	r := s.open(p, Options{})
	defer r.Close()
	g, err := r.Gather()
	if err != nil || len(g.Missing) > 0 {
		s.Fatalf("missing %v, %v", g.Missing, err)
	}
	if !reflect.DeepEqual(g.Records, want(p)) {
		s.Error("the records are not those wanted")
	}
	for row, n := range rowsIn(s.T, s.work) {
		if n > 1 {
			s.Errorf("row %s was computed %d times after it had been checkpointed", row, n)
		}
	}
}

func TestTheSameWhateverTheShape(t *testing.T) {
	for _, shape := range [][2]int{{35, 3}, {100, 2}, {1000, 1}} {
		s := newSession(t, "")
		p := smallWorld(shape[0], shape[1])
		if out := s.run(p); out.Attempts != len(p.Jobs) || out.Reused+out.Stale+len(out.Failures)+len(out.Bad) > 0 {
			t.Errorf("limit %d: %d jobs, outcome %+v", shape[0], len(p.Jobs), out)
		}
		s.whole(p)
		if out := s.run(p); out.Attempts != 0 || out.Reused != 70 {
			t.Errorf("limit %d, again: %+v", shape[0], out)
		}
		other := smallWorld(shape[0]*3+1, 2)
		if out := s.run(other); out.Attempts != 0 || out.Reused != 70 {
			t.Errorf("limit %d, then another: %+v", shape[0], out)
		}
		s.whole(other)
		runs, err := runsIn(s.work)
		if err != nil || len(runs) != 1 || !exists(result.Dir(runs[0]).OldPlan(1)) {
			t.Errorf("runs %q, %v; the replaced plan must be in plan.1.json", runs, err)
		}
	}
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		act      string
		failures int    // shards given up
		missing  int    // rows of m/gen
		reason   string // of the first
		attempts int    // beyond one a job
	}{
		"killed once":        {"m/gen:13:kill:1", 0, 0, "", 1},
		"killed always":      {"m/gen:13:kill:9", 1, 7, "killed by signal 9", 2},
		"panics":             {"m/gen:13:panic:9", 1, 7, "panic: something broke", 2},
		"try again":          {"m/gen:13:retry:2", 0, 0, "", 2},
		"try again too much": {"m/gen:13:retry:9", 1, 7, "row 13 is retry", 2},
		"bad rows":           {"m/gen:13:input:9", 1, 7, "row 13 is input", 0},
		"bad rows alone":     {"m/gen:30:input:9", 1, 10, "row 30 is input", 0},
		"bad rows at once":   {"m/gen:0:input:9", 1, 10, "row 0 is input", 0},
		"bad, unexplained":   {"m/gen:13:exit64:9", 4, 0, "exit code 64: the model is bad", 0},
		"leaves early":       {"m/gen:13:exit0:1", 0, 0, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(t, "at="+c.act)
			p := smallWorld(100, 1)
			r := s.open(p, Options{Window: 1})
			var told []string
			out, err := s.execute(t.Context(), r, func(e Event) {
				if e.Kind == GaveUp {
					told = append(told, e.Reason)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Failures) > c.failures || (len(out.Failures) == 0) != (c.failures == 0) || len(told) != len(out.Failures) {
				t.Errorf("failures %+v, want at most %d", out.Failures, c.failures)
			}
			if extra := out.Attempts - len(p.Jobs); c.missing > 0 && extra != c.attempts || c.failures == 0 && extra != c.attempts {
				t.Errorf("%d attempts for %d jobs, want %d more", out.Attempts, len(p.Jobs), c.attempts)
			}
			out.counts(t, p, strings.Contains(c.act, "input") || strings.Contains(c.act, "exit64"))
			g, err := r.Gather()
			if err != nil {
				t.Fatal(err)
			}
			if len(g.Records["m/ppl"]) != 30 {
				t.Errorf("the other task has %d rows, want 30", len(g.Records["m/ppl"]))
			}
			m := g.Missing["m/gen"]
			if c.failures > 0 && (!strings.Contains(m.Reason, c.reason) || !strings.Contains(told[0], c.reason)) || c.missing > 0 && m.Rows != c.missing {
				t.Errorf("missing %+v, told %q, want %d rows, reason %q", m, told, c.missing, c.reason)
			}
			r.Close()
			if c.failures == 0 {
				s.whole(p)
				return
			}
			t.Setenv(fakeEnv, "")
			s.run(p)
			s.whole(p)
		})
	}
}

// counts checks how the progress at the end counts shards and attempts, of which some failed.
func (out *Outcome) counts(t *testing.T, p *plan.Plan, input bool) {
	t.Helper()
	at, failed := out.Progress, 0
	for _, n := range at.Failures {
		failed += n
	}
	want := map[ShardState]int{ShardDone: len(p.Shards) - len(out.Failures), ShardFailed: len(out.Failures)}
	if at.Shards[ShardFailed] == 0 {
		delete(want, ShardFailed)
	}
	if !reflect.DeepEqual(at.Shards, want) || at.Attempts != out.Attempts || failed == 0 || failed > at.Attempts || (at.Failures["input"] > 0) != input {
		t.Errorf("counted %+v, want shards %v and %d attempts", at, want, out.Attempts)
	}
}

// A job of several shards of which one breaks the worker: only that one is given up.
func TestOneBadShardInAPack(t *testing.T) {
	for _, action := range []string{"kill", "input", "panic"} {
		s := newSession(t, "at=m/gen:3:"+action+":99")
		p := smallWorld(1000, 1)
		out := s.run(p)
		if len(p.Jobs) != 1 || len(out.Failures) != 1 || out.Failures[0].Task != "m/gen" {
			t.Errorf("%s: failures %+v", action, out.Failures)
		}
		r := s.open(p, Options{})
		g, err := r.Gather()
		if err != nil || len(g.Records["m/ppl"]) != 30 || len(g.Records["m/gen"]) != 3 {
			t.Errorf("%s: %d and %d rows, %v", action, len(g.Records["m/ppl"]), len(g.Records["m/gen"]), err)
		}
		r.Close()
	}
}

func TestInterrupted(t *testing.T) {
	s := newSession(t, "delay=5ms")
	p := smallWorld(100, 2)
	r := s.open(p, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for len(rowsOf(r)) < 5 {
			time.Sleep(2 * time.Millisecond)
		}
		cancel()
	}()
	stopping := false
	_, err := s.execute(ctx, r, func(e Event) { stopping = stopping || e.Kind == Stopping })
	if !errors.Is(err, ErrInterrupted) || !stopping {
		t.Fatalf("error %v, stopping %v", err, stopping)
	}
	if left := r.journal.past(p.Identity); len(left.tickets)+len(left.hands) > 0 {
		t.Errorf("attempts without an end: %+v", left)
	}
	g, err := r.Gather()
	if err != nil || len(g.Records["m/ppl"])+len(g.Records["m/gen"]) < 5 || len(g.Missing) == 0 {
		t.Errorf("rows kept: %d and %d, missing %v, %v", len(g.Records["m/ppl"]), len(g.Records["m/gen"]), g.Missing, err)
	}
	r.Close()
	if out := s.run(p); out.Reused < 5 {
		t.Errorf("reused %d rows, want the 5 that were there", out.Reused)
	}
	s.whole(p)
}

// rowsOf counts the checkpointed rows of a run as files, whoever wrote them.
func rowsOf(r *Run) []result.Record {
	var all []result.Record
	files, _ := filepath.Glob(filepath.Join(string(r.Dir), "attempts", "*", "*", "rows.jsonl"))
	for _, f := range files {
		_, records, _ := result.ReadCheckpoint(f)
		all = append(all, records...)
	}
	return all
}

func TestDamagedFiles(t *testing.T) {
	s := newSession(t, "")
	p := smallWorld(100, 2)
	s.run(p)
	r := s.open(p, Options{})
	for i, sh := range p.Shards[:4] {
		path := r.Dir.Result(sh.ID)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b = [][]byte{nil, b[:len(b)/2], []byte(strings.Replace(string(b), `"text":"m/`, `"text":"n/`, 1)), append(b, b...)}[i]
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	// Of the first two the checkpoints are gone too: those rows are computed again. The others are only committed anew.
	for _, sh := range p.Shards[:2] {
		if err := os.RemoveAll(filepath.Join(r.Dir.Attempts(), sh.ID)); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	out := s.run(p)
	if out.Attempts != 2 || len(out.Bad) != 4 {
		t.Errorf("%d attempts, bad %v", out.Attempts, out.Bad)
	}
	s.whole(p)
	if out := s.run(p); out.Attempts != 0 || len(out.Bad) != 0 {
		t.Errorf("again: %+v", out)
	}
}

func TestDiskFull(t *testing.T) {
	t.Run("worker says so", func(t *testing.T) {
		s := newSession(t, "at=m/gen:13:disk:1")
		p := smallWorld(100, 1)
		r := s.open(p, Options{})
		if _, err := s.execute(t.Context(), r, nil); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "row 13 is disk") {
			t.Fatalf("error %v", err)
		}
		r.Close()
		s.run(p)
		s.whole(p)
	})
	for _, room := range []int{0, 3, 9} {
		t.Run(fmt.Sprintf("%d pages left", room), func(t *testing.T) {
			s := newSession(t, "")
			smalldisk.Mount(t, s.work, "2m")
			p := smallWorld(100, 2)
			r := s.open(p, Options{})
			filler := fill(t, s.work, room)
			if _, err := s.execute(t.Context(), r, nil); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("error %v, want ENOSPC", err)
			}
			r.Close()
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			s.run(p)
			s.whole(p)
		})
	}
}

// fill fills a file system but for some pages.
func fill(t *testing.T, dir string, pages int) string {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(0)
	for err == nil {
		var n int
		n, err = f.Write(make([]byte, 4096))
		size += int64(n)
	}
	if err := f.Truncate(size - int64(pages)*4096); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMoreGPUsThanThereAre(t *testing.T) {
	s := newSession(t, "")
	p := smallWorld(1000, 1)
	for i := range p.Jobs {
		p.Jobs[i].NumGPUs = 2
	}
	out := s.run(p)
	if out.Attempts != 0 || len(out.Failures) != 2 || !strings.HasPrefix(out.Failures[0].Reason, "the job needs more than there is: it wants 2 GPUs, this machine offers 0") {
		t.Errorf("outcome %+v", out)
	}
}

func TestProgress(t *testing.T) {
	s := newSession(t, "delay=3ms")
	p := smallWorld(1000, 1)
	r := s.open(p, Options{})
	last, kinds := 0, map[EventKind]int{}
	if _, err := s.execute(t.Context(), r, func(e Event) {
		done := 0
		for i, task := range e.Progress.Tasks {
			if task.Task != p.Tasks[i].ID || task.Rows != p.Tasks[i].Rows || task.Done > task.Rows {
				t.Errorf("task %+v", task)
			}
			done += task.Done
		}
		if done < last {
			t.Errorf("done went from %d to %d", last, done)
		}
		last = done
		kinds[e.Kind]++
	}); err != nil {
		t.Fatal(err)
	}
	if last != 70 || kinds[Began] != 1 || kinds[Started] != 1 || kinds[Ended] != 1 {
		t.Errorf("%d rows at the end, events %v", last, kinds)
	}
}

// A job's name is for all time, also when its files were deleted.
func TestNamesAreNew(t *testing.T) {
	s := newSession(t, "")
	p := smallWorld(100, 2)
	s.run(p)
	r := s.open(p, Options{})
	if err := errors.Join(os.RemoveAll(r.Dir.Attempts()), os.RemoveAll(r.Dir.Results()), r.Close()); err != nil {
		t.Fatal(err)
	}
	s.run(p)
	entries, _, err := readJournal(r.Dir.Journal())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, e := range entries {
		if e.Event == evSubmit {
			seen[e.Ref.Name]++
		}
	}
	if len(seen) != 2*len(p.Jobs) {
		t.Errorf("%d names for two runs of %d jobs: %v", len(seen), len(p.Jobs), seen)
	}
}
