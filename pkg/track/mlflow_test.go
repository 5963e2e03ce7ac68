package track

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"sextant/internal/mlflowlab"
)

func newLab(t *testing.T) *mlflowlab.Lab {
	l := mlflowlab.New()
	t.Cleanup(l.Close)
	return l
}

// serverOf is a client of a lab with short times.
func serverOf(t *testing.T, l *mlflowlab.Lab, env map[string]string) *Server {
	t.Helper()
	s, err := NewServer(l.URL, func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	s.Experiment, s.timeout, s.pauses = "exp", 200*time.Millisecond, []time.Duration{time.Millisecond, 2 * time.Millisecond}
	return s
}

func value(v float64) *float64 { return &v }

// example is a run of two variants; scored says whether its scores are there.
func example(state State, scored bool) Run {
	r := Run{ID: "0123456789abcdef", Name: "20260714_101500-3f2a9c1b", Dir: "/runs/20260714_101500-3f2a9c1b", Spec: "eval", Program: "sextant v1",
		Scheduler: "slurm", User: "ann", Began: time.UnixMilli(1700000000000), State: state, Variants: []Variant{
			{Name: "m-step4000", Step: 4000, Params: map[string]string{"model_path": "/ck/step4000", "data/a+b": "d1", "empty": ""}},
			{Name: "m-step4000-awq", Step: 4000, Params: map[string]string{"quant/bits": "4"}}}}
	if scored {
		r.Variants[1].Metrics = map[string]float64{"weights/bits": 4.25}
		r.Scores = []Score{{Variant: "m-step4000", Dataset: "a+b", Metric: "pass@1", Percent: true, Value: value(62.5), StdErr: value(1.25), N: 300},
			{Variant: "m-step4000-awq", Dataset: "a+b", Metric: "pass@1", Percent: true, N: 0, Missing: 300},
			{Variant: "m-step4000", Dataset: "常识", Group: true, Metric: "mean", Percent: true, Value: value(50), N: 2}}
	}
	return r
}

// only wants as many runs on the server, and gives them by name.
func only(t *testing.T, l *mlflowlab.Lab, n int) map[string]mlflowlab.Run {
	t.Helper()
	runs := map[string]mlflowlab.Run{}
	for _, r := range l.Runs() {
		runs[r.Name] = r
	}
	if len(runs) != n || len(l.Runs()) != n {
		t.Fatalf("%d runs, want %d: %+v", len(l.Runs()), n, runs)
	}
	return runs
}

// TestReport goes through the life of a run: begun, done, reported again, scored otherwise.
func TestReport(t *testing.T) {
	l := newLab(t)
	s := serverOf(t, l, nil)
	s.Tags = map[string]string{"team": "pretraining"}
	report := func(r Run) *Receipt {
		t.Helper()
		receipt, err := s.Report(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return receipt
	}
	receipt := report(example(Running, false))
	runs := only(t, l, 3)
	parent, plain, awq := runs["20260714_101500-3f2a9c1b"], runs["m-step4000"], runs["m-step4000-awq"]
	for _, r := range runs {
		if r.Status != "RUNNING" || len(r.Metrics) > 0 || r.Tags["team"] != "pretraining" || r.Tags["sextant.run"] != "0123456789abcdef" ||
			r.Tags["mlflow.user"] != "ann" || r.Start != 1700000000000 {
			t.Errorf("%+v", r)
		}
	}
	if plain.Tags["mlflow.parentRunId"] != parent.ID || plain.Tags["sextant.variant"] != "m-step4000" || parent.Tags["sextant.variant"] != "" {
		t.Errorf("%+v below %+v", plain, parent)
	}
	if plain.Params["data/a_b"] != "d1" || plain.Params["model_path"] != "/ck/step4000" || len(plain.Params) != 2 || awq.Params["quant/bits"] != "4" {
		t.Errorf("%q, %q", plain.Params, awq.Params)
	}
	if !receipt.Runs[0].Made || receipt.Runs[0].Variant != "" || receipt.ExperimentID != "1" || len(receipt.Runs) != 3 {
		t.Errorf("%+v", receipt)
	}

	report(example(Incomplete, true))
	runs = only(t, l, 3)
	if a, b, c := runs["20260714_101500-3f2a9c1b"].Status, runs["m-step4000"].Status, runs["m-step4000-awq"].Status; a+b+c != "FAILEDFINISHEDFAILED" {
		t.Errorf("%s, %s, %s", a, b, c)
	}
	want := map[string]float64{"a_b/pass_1": 62.5, "a_b/pass_1_stderr": 1.25, "a_b/pass_1_n": 300, "a_b/pass_1_missing": 0, "groups/常识/mean": 50,
		"groups/常识/mean_n": 2, "groups/常识/mean_missing": 0}
	plain = runs["m-step4000"]
	for key, v := range want {
		if p, ok := plain.Last(key); !ok || p.Value != v || p.Step != 4000 {
			t.Errorf("%s is %+v", key, p)
		}
	}
	if len(plain.Metrics) != len(want) || plain.End == 0 {
		t.Errorf("%+v", plain)
	}
	awq = runs["m-step4000-awq"]
	if p, ok := awq.Last("weights/bits"); !ok || p.Value != 4.25 || len(awq.Metrics) != 3 {
		t.Errorf("%+v", awq.Metrics)
	}

	l.Calls()
	for _, done := range report(example(Incomplete, true)).Runs {
		if done.Made || done.Metrics+done.Params+done.Tags > 0 {
			t.Errorf("sent again: %+v", done)
		}
	}
	if calls := strings.Join(l.Calls(), " "); calls != "experiments/get-by-name runs/search" {
		t.Errorf("a report of what is there asks %s", calls)
	}

	better := example(Finished, true)
	better.Scores[0].Value, better.Scores[1] = value(63), Score{Variant: "m-step4000-awq", Dataset: "a+b", Metric: "pass@1", Percent: true, Value: value(60), N: 300}
	better.Variants[0].Params["model_path"] = "/elsewhere/step4000"
	report(better)
	runs = only(t, l, 3)
	plain = runs["m-step4000"]
	if p, _ := plain.Last("a_b/pass_1"); p.Value != 63 || len(plain.Metrics) != len(want)+1 {
		t.Errorf("%+v", plain.Metrics)
	}
	if plain.Params["model_path"] != "/ck/step4000" || plain.Tags["sextant.now.model_path"] != "/elsewhere/step4000" {
		t.Errorf("%q, %q", plain.Params, plain.Tags)
	}
	if runs["m-step4000-awq"].Status != "FINISHED" || runs["20260714_101500-3f2a9c1b"].Status != "FINISHED" {
		t.Errorf("%+v", runs)
	}
	report(example(Running, false))
	if runs = only(t, l, 3); runs["m-step4000"].Status != "RUNNING" {
		t.Errorf("begun again: %+v", runs["m-step4000"])
	}
}

// TestOneVariant wants one run and no parent, and a parent once there are two.
func TestOneVariant(t *testing.T) {
	l := newLab(t)
	s := serverOf(t, l, nil)
	r := example(Interrupted, false)
	all := r.Variants
	r.Variants = all[:1]
	for range 2 {
		if _, err := s.Report(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if one := only(t, l, 1)["m-step4000"]; one.Status != "KILLED" || one.Tags["mlflow.parentRunId"] != "" {
		t.Errorf("%+v", one)
	}
	r.Variants = all
	if _, err := s.Report(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if runs := only(t, l, 3); runs["m-step4000"].Tags["mlflow.parentRunId"] != runs[r.Name].ID {
		t.Errorf("%+v", runs)
	}
}

// TestFaults wants whatever passes to be waited for, what does not to be told at once, and never two runs of one variant.
func TestFaults(t *testing.T) {
	const busy, down, broken, hang, after, cut, page = mlflowlab.Busy, mlflowlab.Down, mlflowlab.Broken, mlflowlab.Hang, mlflowlab.HangAfter,
		mlflowlab.Cut, mlflowlab.Page
	for name, c := range map[string]struct {
		path   string
		faults []mlflowlab.Fault
		want   string // part of the error; "": it comes through
	}{
		"busy":                        {"runs/search", []mlflowlab.Fault{busy, busy}, ""},
		"down":                        {"experiments/get-by-name", []mlflowlab.Fault{down, down}, ""},
		"down always":                 {"experiments/get-by-name", []mlflowlab.Fault{down, down, down}, `experiment "exp": it answers 503 Service Unavailable (<html>no backend</html>)`},
		"hangs":                       {"runs/search", []mlflowlab.Fault{hang}, ""},
		"hangs always":                {"runs/search", []mlflowlab.Fault{hang, hang, hang}, "looking for the runs of 20260714_101500-3f2a9c1b: it does not answer"},
		"locked":                      {"runs/log-batch", []mlflowlab.Fault{broken}, ""},
		"locked always":               {"runs/log-batch", []mlflowlab.Fault{broken, broken, broken}, "it answers INTERNAL_ERROR ((sqlite3.OperationalError) database is locked)"},
		"batch cut":                   {"runs/log-batch", []mlflowlab.Fault{cut, after}, ""},
		"search cut":                  {"runs/search", []mlflowlab.Fault{cut, cut}, ""},
		"update lost":                 {"runs/update", []mlflowlab.Fault{after, cut}, ""},
		"experiment made, not told":   {"experiments/create", []mlflowlab.Fault{cut}, ""},
		"run made, not told":          {"runs/create", []mlflowlab.Fault{cut}, ""},
		"run made, no answer":         {"runs/create", []mlflowlab.Fault{after, cut, busy}, ""},
		"run never made":              {"runs/create", []mlflowlab.Fault{hang, down, busy}, "run 20260714_101500-3f2a9c1b: it answers REQUEST_LIMIT_EXCEEDED (too many requests)"},
		"some page":                   {"runs/create", []mlflowlab.Fault{page, page, page}, "its answer is not that of MLflow (<html>log in</html>): is the address right?"},
		"another's page, then itself": {"experiments/get-by-name", []mlflowlab.Fault{page}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			s := serverOf(t, l, nil)
			l.Do(c.path, c.faults...)
			_, err := s.Report(t.Context(), example(Incomplete, true))
			switch {
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("error %v, want %q", err, c.want)
			case err != nil && !strings.HasPrefix(err.Error(), "MLflow at "+l.URL+": "):
				t.Error(err)
			}
			if _, err := s.Report(t.Context(), example(Incomplete, true)); err != nil {
				t.Fatal(err)
			}
			runs := only(t, l, 3)
			if p, _ := new(runs["m-step4000"]).Last("a_b/pass_1"); p.Value != 62.5 {
				t.Errorf("%+v", runs["m-step4000"])
			}
			seen := map[string]int{}
			for _, m := range runs["m-step4000"].Metrics {
				if seen[m.Key]++; seen[m.Key] > 1 {
					t.Errorf("%s came more than once", m.Key)
				}
			}
		})
	}
}

// TestGhost wants a run that a lost request made late to be taken for what it is.
func TestGhost(t *testing.T) {
	l := newLab(t)
	s := serverOf(t, l, nil)
	if _, err := s.Report(t.Context(), example(Incomplete, true)); err != nil {
		t.Fatal(err)
	}
	body := map[string]any{"experiment_id": "1", "run_name": "m-step4000", "start_time": 0, "tags": []pair{{tagRun, "0123456789abcdef"}, {tagVariant, "m-step4000"}}}
	if err := s.call(t.Context(), "POST", "runs/create", body, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Report(t.Context(), example(Incomplete, true)); err != nil {
		t.Fatal(err)
	}
	if r := only(t, l, 3)["m-step4000"]; len(r.Metrics) != 7 {
		t.Errorf("%+v", r)
	}
}

// TestRefused wants what only a person can mend told once, with what to do, and nothing that logs in shown.
func TestRefused(t *testing.T) {
	l := newLab(t)
	l.Experiment("gone", true)
	s := serverOf(t, l, nil)
	s.Experiment = "gone"
	if _, err := s.Report(t.Context(), example(Running, false)); err == nil || !strings.Contains(err.Error(), `experiment "gone": it was deleted there; restore it`) {
		t.Error(err)
	}
	l.LogIn("", "hidden-token")
	if _, err := s.Report(t.Context(), example(Running, false)); err == nil || !strings.Contains(err.Error(), "UNAUTHENTICATED (who are you?): log in with MLFLOW_TRACKING_TOKEN") {
		t.Error(err)
	}
	if calls := l.Calls(); len(calls) != 2 {
		t.Errorf("asked %q", calls)
	}
	s = serverOf(t, l, map[string]string{EnvToken: "hidden-token"})
	if _, err := s.Report(t.Context(), example(Running, false)); err != nil {
		t.Error(err)
	}
	l.LogIn("ann:hidden-word", "")
	s = serverOf(t, l, map[string]string{EnvUser: "ann", EnvPassword: "hidden-word", EnvToken: "other"})
	if _, err := s.Report(t.Context(), example(Running, false)); err != nil {
		t.Error(err)
	}
	env := func(string) string {
		return strings.Replace(l.URL, "http://", "http://ann:hidden-word@", 1) + "/?x=hidden"
	}
	if s, err := NewServer("", env); err != nil || strings.Contains(fmt.Sprintf("%v %+v %#v", s, s, s), "hidden") || s.Address() != l.URL+"/" {
		t.Errorf("%+v, %v", s, err)
	} else if _, err := s.Report(t.Context(), example(Running, false)); err != nil {
		t.Error(err)
	}
	for _, address := range []string{"", "mlruns", "ftp://u:hidden@h/", "http://%zz/hidden"} {
		if _, err := NewServer(address, func(string) string { return "" }); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestNobody wants a server that is not there told plainly, and the end of a context to end all.
func TestNobody(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	listener.Close()
	s, err := NewServer(address, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	s.pauses = []time.Duration{time.Millisecond}
	if _, err := s.Report(t.Context(), example(Running, false)); err == nil || !strings.Contains(err.Error(), "connection refused") ||
		strings.Contains(err.Error(), "/api/") {
		t.Error(err)
	}
	l := newLab(t)
	l.Always(mlflowlab.Down)
	s = serverOf(t, l, nil)
	s.pauses = nil
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := s.Report(ctx, example(Running, false)); err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// TestLarge wants what does not go into one request sent in several that the server takes.
func TestLarge(t *testing.T) {
	l := newLab(t)
	s := serverOf(t, l, nil)
	s.timeout = 5 * time.Second
	r := example(Finished, true)
	r.Variants = r.Variants[:1]
	r.Scores = nil
	for i := range 700 {
		name := fmt.Sprintf("set %d %s", i, strings.Repeat("é", 250*(i%2)))
		r.Scores = append(r.Scores, Score{Variant: "m-step4000", Dataset: name, Metric: "accuracy", Percent: true, Value: value(float64(i)), StdErr: value(1), N: 10})
		r.Variants[0].Params["data/"+name] = strings.Repeat("é", 7000)
	}
	r.Scores = append(r.Scores, Score{Variant: "m-step4000", Dataset: "bad", Metric: "perplexity", Value: value(math.Inf(1)), N: 1})
	if _, err := s.Report(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	run := only(t, l, 1)["m-step4000"]
	if len(run.Metrics) != 700*4+2 || len(run.Params) != 702 || len([]rune(run.Params["data/set 0"])) != 6000 {
		t.Errorf("%d metrics, %d params", len(run.Metrics), len(run.Params))
	}
	if n := len(slices.DeleteFunc(l.Calls(), func(c string) bool { return c != "runs/log-batch" })); n < 11 || n > 20 {
		t.Errorf("%d requests", n)
	}
}

func TestNames(t *testing.T) {
	used := names{}
	for _, c := range [][2]string{{"a/accuracy", "a/accuracy"}, {"a+b/pass@1", "a_b/pass_1"}, {"a b/../c", "a b/__/c"}, {"/x//y/", "x/y"}, {" ", "_"},
		{"评测/é.1", "评测/é.1"}, {"a\x00b\n", "a_b"}} {
		if got := used.legal(c[0]); got != c[1] {
			t.Errorf("%q is %q, want %q", c[0], got, c[1])
		}
	}
	if got := used.legal("a b/pass@1"); got != "a b/pass_1" {
		t.Error(got)
	}
	twin := used.legal("a@b/pass@1")
	if len(twin) != len("a_b/pass_1-")+8 || !strings.HasPrefix(twin, "a_b/pass_1-") {
		t.Error(twin)
	}
	long := strings.Repeat("x", 300)
	if a, b := used.legal(long+"1"), used.legal(long+"2"); a == b || len(a) != 250 || len(b) != 250 {
		t.Error(a, b)
	}
}

// TestNumbers wants what servers write as text, too.
func TestNumbers(t *testing.T) {
	var m remote
	raw := `{"info": {"start_time": "1700000000000"}, "data": {"metrics": [{"key": "a", "value": "NaN", "timestamp": "1", "step": "4000"},
		{"key": "b", "value": 1.5, "timestamp": 1, "step": null}]}}`
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		t.Fatal(err)
	}
	if a, b := m.Data.Metrics[0], m.Data.Metrics[1]; a.Step != 4000 || a.Value.finite() || b.Value != 1.5 || m.Info.Start != 1700000000000 {
		t.Errorf("%+v", m)
	}
}

func TestPlain(t *testing.T) {
	for from, want := range map[string]string{"/a/b@c?d": "/a/b@c?d", "s3://key:hidden@host/b/k": "s3://host/b/k", "https://h/x?sig=hidden#y": "https://h/x",
		"team:s3://b/k/": "team:s3://b/k/", "http://u:hidden@h": "http://h", "http://u:hid/den@h": "http://u:hid/den@h"} {
		if got := Plain(from); got != want {
			t.Errorf("%q is %q, want %q", from, got, want)
		}
	}
}
