package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sextant/internal/mlflowlab"
	"sextant/pkg/plan"
	"sextant/pkg/run"
	"sextant/pkg/spec"
	"sextant/pkg/track"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// tracker is an MLflow server that asks for a password.
type tracker struct{ *mlflowlab.Lab }

const (
	trackerWord   = "hidden-mlflow-word"
	pocketMetrics = 8 * 4 // value, standard error, n and missing of seven datasets and a group
	pocketAlone   = 8 * 3 // the same of one row each, which has no standard error
)

func newTracker(t *testing.T) tracker {
	l := mlflowlab.New()
	t.Cleanup(l.Close)
	l.LogIn("ann:"+trackerWord, "")
	t.Setenv(track.EnvURI, strings.Replace(l.URL, "http://", "http://ann:"+trackerWord+"@", 1))
	return tracker{l}
}

// one wants one run, in a status, with as many metrics; -1: some.
func (l tracker) one(t *testing.T, status string, metrics int) mlflowlab.Run {
	t.Helper()
	runs := l.Runs()
	if len(runs) != 1 || runs[0].Status != status || runs[0].Name != "pocket" || metrics >= 0 && len(runs[0].Metrics) != metrics ||
		metrics < 0 && len(runs[0].Metrics) == 0 {
		t.Fatalf("MLflow has %+v", runs)
	}
	return runs[0]
}

// samples reads a file for Prometheus: by name, the values by their labels but the run's.
func samples(t *testing.T, path string) map[string]map[string]float64 {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	out := map[string]map[string]float64{}
	for name, f := range families {
		out[name] = map[string]float64{}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				if l.GetName() != "run" {
					labels = append(labels, l.GetValue())
				}
			}
			v := m.GetGauge().GetValue()
			if f.GetType() == dto.MetricType_COUNTER {
				v = m.GetCounter().GetValue()
			}
			out[name][strings.Join(labels, " ")] = v
		}
	}
	return out
}

// TestTracked wants a server that refuses to change nothing but one line on stderr, submit track to make up for it, and the file for Prometheus to
// say what the run directory does.
func TestTracked(t *testing.T) {
	lab := newTracker(t)
	t.Setenv(track.EnvURI, lab.URL)
	t.Setenv("POCKET", pocket())
	dir := t.TempDir()
	s := session{t, filepath.Join(dir, "runs"), []string{filepath.Join(dir, "tracked.toml"), "-w", filepath.Join(dir, "runs"), "--limit", "1"}}
	text := "include = [\"${POCKET}/eval.toml\"]\n[track]\nprometheus = \"x-{run}.prom\"\nmlflow = { tags = { team = \"t\" } }\n"
	if err := os.WriteFile(s.args[0], []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	log := s.ends(exitDone)
	if strings.Count(log, "warning: MLflow at "+lab.URL+": experiment \"tracked\": it answers UNAUTHENTICATED") != 1 || strings.Count(log, "warning:") != 1 ||
		!strings.Contains(log, "submit track ") || len(lab.Runs()) > 0 {
		t.Fatal(log)
	}
	dirs, err := filepath.Glob(filepath.Join(s.work, "2*"))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	runDir := dirs[0]
	inFile(t, runDir, samples(t, filepath.Join(dir, "x-"+filepath.Base(runDir)+".prom")))

	t.Setenv(track.EnvUser, "ann")
	t.Setenv(track.EnvPassword, trackerWord)
	var out, errs bytes.Buffer
	ask := func(args ...string) (v trackView) {
		t.Helper()
		out.Reset()
		if code := (env{args: append([]string{"submit", "track", runDir, "--json"}, args...), stdout: &out, stderr: &errs}).run(t.Context()); code != exitDone {
			t.Fatal(code, errs.String())
		}
		if err := json.Unmarshal(out.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := ask(); len(v.Runs) != 1 || !v.Runs[0].Made || v.Runs[0].Metrics != pocketAlone || v.Experiment != "tracked" || v.URI != lab.URL {
		t.Errorf("%+v", v)
	}
	got := lab.one(t, "FINISHED", pocketAlone)
	if p, ok := got.Last("pocket_gsm/exact_match"); !ok || p.Value != 100 || got.Params["limit"] != "1" || len(got.Params["data/pocket_gsm"]) != 16 ||
		got.Params["fingerprint"] == "" || got.Tags["team"] != "t" || got.Tags["sextant.dir"] != runDir {
		t.Errorf("%+v", got)
	}
	if v := ask(); v.Runs[0].Made || v.Runs[0].Metrics+v.Runs[0].Params+v.Runs[0].Tags > 0 {
		t.Errorf("sent again: %+v", v)
	}
	if v := ask("--experiment", "other"); !v.Runs[0].Made || v.ExperimentID != "2" {
		t.Errorf("%+v", v)
	}
	hasNot(t, dir, trackerWord)
}

// inFile holds the file to what the run's own files tell.
func inFile(t *testing.T, dir string, got map[string]map[string]float64) {
	t.Helper()
	spans, err := run.Timeline(dir)
	if err != nil {
		t.Fatal(err)
	}
	tokens := 0.0
	for _, s := range spans {
		tokens += float64(s.Tokens)
	}
	for _, c := range []struct {
		name, labels string
		want         float64
	}{{"sextant_run_state", "finished", 1}, {"sextant_run_state", "running", 0}, {"sextant_rows_done", "pocket pocket_gsm", 1},
		{"sextant_rows_planned", "pocket pocket_gsm", 1}, {"sextant_attempts_total", "", float64(len(spans))}, {"sextant_tokens_total", "", tokens},
		{"sextant_score_ratio", "pocket pocket_gsm dataset exact_match", 1}, {"sextant_score_rows", "pocket ranking group mean", 4}} {
		if v, ok := got[c.name][c.labels]; !ok || v != c.want {
			t.Errorf("%s{%s} is %v, want %v", c.name, c.labels, v, c.want)
		}
	}
	if shards := got["sextant_shards"]; len(shards) != 1 || shards["done"] < 7 || tokens == 0 {
		t.Errorf("shards %v, %v tokens", shards, tokens)
	}
}

// TestTrackedVariant wants of a quantized checkpoint in an object store its step, its recipe key by key, and nothing that logs in.
func TestTrackedVariant(t *testing.T) {
	symmetric := true
	p := &plan.Plan{Tasks: []plan.Task{{ID: "m-r/a", Variant: "m-r", Dataset: "a", Data: "d1", Prompt: "p1"}, {ID: "m-r/quantize", Variant: "m-r", Kind: plan.Quantize}}}
	p.Spec.Name = "eval"
	p.Spec.Models = []spec.Model{{Abbr: "m", Path: "s3://key:hidden@host/ck/step4000?sig=hidden", ChatTemplate: "auto", MaxSeqLen: 2048}}
	p.Spec.Quant = []spec.Quant{{Name: "r", Method: "awq", Bits: 4, Symmetric: &symmetric, Ignore: []string{"a", "b"},
		Calib: &spec.Calib{Name: "c4", Samples: 128, File: spec.Files{Path: "https://u:hidden@h/x.txt"}}}}
	v := trackedVariant(p, plan.Variant{ID: "m-r", Model: "m", Recipe: "r", Position: spec.Packed, Fingerprint: "f1"})
	want := map[string]string{"spec": "eval", "model": "m", "model_path": "s3://host/ck/step4000", "fingerprint": "f1", "recipe": "r", "position": "packed",
		"series": "s3://host/ck", "step": "4000", "chat_template": "auto", "max_seq_len": "2048", "data/a": "d1", "prompt/a": "p1", "quant/bits": "4",
		"quant/ignore": "a, b", "quant/symmetric": "true", "quant/calib/samples": "128", "quant/calib/file/path": "https://h/x.txt"}
	for key, x := range want {
		if v.Params[key] != x {
			t.Errorf("%s is %q, want %q", key, v.Params[key], x)
		}
	}
	if v.Step != 4000 || strings.Contains(fmt.Sprint(v), "hidden") || v.Params["data/"] != "" {
		t.Errorf("%+v", v)
	}
}

// TestFileHangs wants a disk that takes nothing to hold the end up for a while only, and not for ever.
func TestFileHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fileWriter{next: make(chan track.Run, 1), done: make(chan struct{})} // nobody takes anything out
		w.put(track.Run{})
		began := time.Now()
		if w.close(track.Run{}); time.Since(began) != lastWait {
			t.Errorf("it waited %s, want %s", time.Since(began), lastWait)
		}
	})
}
