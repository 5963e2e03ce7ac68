package track

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

var update = flag.Bool("update", false, "write the golden file anew")

func underWay() Run {
	r := example(Incomplete, true)
	r.Dir = "/runs/a \"b\"\\c\nd"
	r.Scores = append(r.Scores, Score{Variant: "m-step4000", Dataset: "text", Metric: "perplexity", Value: value(2.04), StdErr: value(0.01), N: 217})
	r.Progress = Progress{Tasks: []Task{{"m-step4000", "a+b", 300, 280}, {"m-step4000-awq", "a+b", 300, 0}, {"m-step4000-awq", "quantize", 1, 1}},
		Shards: map[string]int{"done": 3, "running": 1}, Attempts: 5, Failures: map[string]int{"memory": 1}, Tokens: 1 << 40}
	return r
}

// parsed reads a file as node_exporter does.
func parsed(t *testing.T, path string) map[string]*dto.MetricFamily {
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
	return families
}

// TestTextfile holds the file to its golden and to Prometheus' rules of names (prometheus.io/docs/practices/naming), as its own parser reads it.
func TestTextfile(t *testing.T) {
	dir := t.TempDir()
	f := NewTextfile(filepath.Join(dir, "sextant-{run}.prom"), "r1")
	if f.Path != filepath.Join(dir, "sextant-r1.prom") {
		t.Fatal(f.Path)
	}
	if err := f.Write(underWay(), time.UnixMilli(1700000100500)); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "run.prom")
	if *update {
		if err := os.WriteFile(golden, raw, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != string(raw) {
		t.Errorf("%v: the file is not as in %s:\n%s", err, golden, raw)
	}
	for name, m := range parsed(t, f.Path) {
		if m.GetHelp() == "" || !strings.HasPrefix(name, "sextant_") || strings.HasSuffix(name, "_total") != (m.GetType() == dto.MetricType_COUNTER) {
			t.Errorf("%s: %v", name, m)
		}
		seen := map[string]bool{}
		for _, x := range m.GetMetric() {
			key := ""
			for _, l := range x.GetLabel() {
				key += l.GetName() + "=" + l.GetValue() + ";"
			}
			if seen[key] || !strings.Contains(key, "run=20260714_101500-3f2a9c1b;") || x.TimestampMs != nil {
				t.Errorf("%s{%s} is there twice, of no run, or has a time", name, key)
			}
			seen[key] = true
		}
	}
	if info := parsed(t, f.Path)["sextant_run_info"].GetMetric()[0]; !strings.Contains(info.String(), `a \"b\"\\c\nd`) {
		t.Errorf("%v", info)
	}
	stat, err := os.Stat(f.Path)
	if err != nil || stat.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v: node_exporter has to read it", stat.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestTextfileShared wants a file to be one run's at a time, and taken over when that run has ended.
func TestTextfileShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sextant.prom")
	a, b := NewTextfile(path, "a"), NewTextfile(path, "b")
	r := underWay()
	for range 2 {
		if err := a.Write(r, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	r.Name = "other"
	if err := b.Write(r, time.Now()); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), RunMark) {
		t.Errorf("%v", err)
	}
	if info := parsed(t, path)["sextant_run_info"].String(); strings.Contains(info, "other") {
		t.Error(info)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Write(r, time.Now()); err != nil {
		t.Error(err)
	}
	if info := parsed(t, path)["sextant_run_info"].String(); !strings.Contains(info, "other") {
		t.Error(info)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"x.prom", "x-{run}.prom"} {
		if err := NewTextfile(filepath.Join(t.TempDir(), "none", name), "").Write(r, time.Now()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a directory that is not there is made: %v", err)
		}
	}
}
