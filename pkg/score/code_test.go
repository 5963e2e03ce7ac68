package score

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// fake runs programs by what their source holds.
type fake struct {
	mu  sync.Mutex
	ran []Program
	do  func(ctx context.Context, p Program) (Verdict, error)
}

func (f *fake) Run(ctx context.Context, p Program) (Verdict, error) {
	f.mu.Lock()
	f.ran = append(f.ran, p)
	f.mu.Unlock()
	if f.do != nil {
		return f.do(ctx, p)
	}
	switch {
	case strings.Contains(p.Source, "good"):
		return Verdict{Passed: true, Layers: []string{"seccomp", "landlock"}}, nil
	case strings.Contains(p.Source, "broken"):
		return Verdict{}, errors.New("no python3 here")
	case strings.Contains(p.Source, "slow"):
		return Verdict{Why: "time", Layers: []string{"seccomp"}}, nil
	}
	return Verdict{Why: "failed", Layers: []string{"landlock", "seccomp"}}, nil
}

// code scores texts as programs, with one test a row.
func code(t testing.TB, d spec.Dataset, o Options, texts ...string) []Score {
	t.Helper()
	d.Mode = spec.Gen
	if d.Metric == "" {
		d.Metric = "pass@1"
	}
	var recs []result.Record
	for i, text := range texts {
		recs = append(recs, result.Record{Row: i, Text: text, Gold: []string{"assert f"}})
	}
	s, err := o.Compute(t.Context(), one(d, len(texts)), func(string) ([]result.Record, error) { return recs, nil })
	if err != nil {
		t.Fatal(err)
	}
	return s.Scores
}

// TestCodeIsNotRunUnasked holds that without a runner nothing is scored, and nothing is 0.
func TestCodeIsNotRunUnasked(t *testing.T) {
	s := code(t, spec.Dataset{}, Options{}, "good", "bad")[0]
	if s.Value != nil || s.N != 0 || s.Missing != 2 || !strings.Contains(s.Reason, "--allow-code-execution") || s.Layers != nil {
		t.Errorf("%+v", s)
	}
}

func TestRunsCode(t *testing.T) {
	for metric, want := range map[string]bool{"pass@1": true, "pass@10:python/3s": true, "pass@1:exact_match": false, "bleu": false, "pass@": false, "": false} {
		d := spec.Dataset{Mode: spec.Gen, Metric: metric}
		if d.Gen.Samples = 10; metric == "bleu" {
			d.Gen.Samples = 1
		}
		if got := RunsCode(d); got != want {
			t.Errorf("metric %q: %v", metric, got)
		}
		if d.Metric, d.Metrics = "contains", []string{metric}; RunsCode(d) != want {
			t.Errorf("further metric %q: %v", metric, !want)
		}
	}
}

// TestPrograms holds verdicts, layers and how programs ended; a program that cannot be run is missing with why, and one that is there twice
// is run once.
func TestPrograms(t *testing.T) {
	f := &fake{}
	s := code(t, spec.Dataset{}, Options{Runner: f, Programs: 3}, "good", "bad", "slow", "broken", "good", "good 2")[0]
	if s.N != 5 || s.Missing != 1 || s.Correct != 3 || *s.Value != 60 || !slices.Equal(s.Layers, []string{"seccomp"}) {
		t.Errorf("%+v", s)
	}
	if s.Detail["programs_time"] != 1 || s.Detail["programs_failed"] != 1 || s.Reason != "1 row: its program could not be run: no python3 here (row 3)" {
		t.Errorf("%v, %s", s.Detail, s.Reason)
	}
	if len(f.ran) != 5 {
		t.Errorf("%d programs were run", len(f.ran))
	}
	for _, p := range f.ran {
		if p.Limit != 10*time.Second || p.Language != "python" || !strings.Contains(p.Source, "\nassert f\n") || !strings.Contains(p.Source, p.Proof) {
			t.Errorf("%+v", p)
		}
	}
}

// TestPassAtK has 2 of 4 samples right: 1 - C(2,2)/C(4,2) = 5/6.
func TestPassAtK(t *testing.T) {
	d := spec.Dataset{Gen: spec.GenOptions{Samples: 4, Temperature: 1}, Metric: "pass@1:python/3s", Metrics: []string{"pass@2:python/3s"}}
	f := &fake{}
	s := code(t, d, Options{Runner: f}, "good", "bad", "good", "slow")
	nearPtr(t, "pass@1", s[0].Value, 50)
	nearPtr(t, "pass@2", s[1].Value, 500/6.0)
	if f.ran[0].Limit != 3*time.Second || len(f.ran) != 3 || s[0].N != 1 {
		t.Errorf("%d programs, limit %v, %+v", len(f.ran), f.ran[0].Limit, s[0])
	}
}

// TestProgramText holds where the code goes.
func TestProgramText(t *testing.T) {
	whole := newProgram("    return 1", []string{"def f():\n{completion}\nassert f() == 1 # {completion}"}, time.Second)
	if !strings.HasPrefix(whole.Source, "def f():\n    return 1\nassert f() == 1 # {completion}\n") {
		t.Errorf("%q", whole.Source)
	}
	tests := newProgram("x = 1", []string{"assert x", "assert x == 1"}, time.Second)
	if !strings.HasPrefix(tests.Source, "x = 1\nassert x\nassert x == 1\n") || tests.Proof == whole.Proof {
		t.Errorf("%q", tests.Source)
	}
	if same := newProgram("x = 1", []string{"assert x", "assert x == 1"}, time.Second); same.Digest() != tests.Digest() || len(same.Digest()) != 32 {
		t.Error("the same program has another digest")
	}
	if other := newProgram("x = 1", []string{"assert x", "assert x == 1"}, 2*time.Second); other.Digest() == tests.Digest() {
		t.Error("another limit has the same digest")
	}
}

// TestProofNeedsTheEnd runs programs of ours with the interpreter that is there: only one that comes to its end writes the proof.
func TestProofNeedsTheEnd(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	for source, want := range map[string]bool{
		"def f():\n    return 1":             true,
		"def f():\n    return 2":             false,
		"import sys\nsys.exit(0)":            false,
		"import os\nos._exit(0)":             false,
		"def print(*a): pass\nf = lambda: 1": true,
		"def f():\n    return 1\nsys = None": true,
	} {
		p := newProgram(source, []string{"assert f() == 1"}, time.Second)
		out, err := exec.Command(python, "-I", "-c", p.Source).Output()
		if got := err == nil && strings.HasSuffix(string(out), "\n"+p.Proof+"\n"); got != want {
			t.Errorf("%q: %v (%q, %v)", source, got, out, err)
		}
	}
}

// TestVerdictsAreKept holds that scoring again runs nothing, with a runner or without; that a torn line is run again; and that the scores are
// the same bytes.
func TestVerdictsAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "scoring")
	texts := []string{"good", "bad", "slow", "broken"}
	again := func(r Runner) (Score, []byte) {
		v, err := OpenVerdicts(dir)
		if err != nil {
			t.Fatal(err)
		}
		s := code(t, spec.Dataset{}, Options{Runner: r, Verdicts: v}, texts...)
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := encode(&b, Scores{Scores: s}); err != nil {
			t.Fatal(err)
		}
		return s[0], b.Bytes()
	}
	_, first := again(&fake{})
	f := &fake{}
	if _, second := again(f); len(f.ran) != 1 || !bytes.Equal(first, second) { // the broken one may run now
		t.Errorf("%d programs were run again: %s\n%s", len(f.ran), first, second)
	}
	if s, _ := again(nil); s.N != 3 || s.Correct != 1 || !strings.Contains(s.Reason, "--allow-code-execution") {
		t.Errorf("%+v", s)
	}
	path := filepath.Join(dir, "programs.jsonl")
	raw, err := os.ReadFile(path)
	if err != nil || bytes.Count(raw, []byte("\n")) != 3 {
		t.Fatalf("%s, %v", raw, err)
	}
	if err := os.WriteFile(path, raw[:len(raw)-9], 0o644); err != nil {
		t.Fatal(err)
	}
	f = &fake{}
	if _, torn := again(f); len(f.ran) != 2 || !bytes.Equal(first, torn) {
		t.Errorf("%d programs after a torn line:\n%s\n%s", len(f.ran), first, torn)
	}
	if v, err := OpenVerdicts(dir); err != nil || v.Len() != 3 {
		t.Errorf("%v, %v", v.Len(), err)
	}
	if _, err := OpenVerdicts(filepath.Join(path, "below")); err == nil {
		t.Error("a directory below a file")
	}
}

// TestScoringIsEnded holds that the end of the context ends the running of programs, and keeps no verdict of it.
func TestScoringIsEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{do: func(context.Context, Program) (Verdict, error) {
		cancel()
		return Verdict{Why: "failed"}, nil
	}}
	v := &Verdicts{}
	recs := []result.Record{{Text: "x", Gold: []string{"y"}}, {Row: 1, Text: "z", Gold: []string{"y"}}}
	_, err := Options{Runner: f, Verdicts: v, Programs: 1}.Compute(ctx, one(spec.Dataset{Mode: spec.Gen, Metric: "pass@1"}, 2),
		func(string) ([]result.Record, error) { return recs, nil })
	if !errors.Is(err, context.Canceled) || v.Len() != 0 {
		t.Errorf("%v, %d verdicts", err, v.Len())
	}
}
