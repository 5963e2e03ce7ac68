package export

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/score"
	"sextant/pkg/spec"

	"github.com/parquet-go/parquet-go"
)

var update = flag.Bool("update", false, "write the golden files anew")

// toy is a run of two models on a ranking, a generation and a text; the second model lacks a row of the generation.
func toy(t *testing.T) Run {
	t.Helper()
	datasets := []spec.Dataset{
		{Abbr: "quiz_100%", Mode: spec.PPL, FewShot: spec.FewShot{IDs: []int{0, 1}}}, {Abbr: "sums", Mode: spec.Gen, Post: []string{"first_line"}},
		{Abbr: "text", Mode: spec.Rolling, Rolling: spec.RollingOptions{SeqLen: 4}}}
	p := &plan.Plan{Spec: spec.Spec{Datasets: datasets, Models: []spec.Model{{Abbr: "base", Path: "/m/base"}, {Abbr: "tuned_v2", Path: "/m/tuned"}},
		Groups: []spec.Group{{Name: "all", Members: []string{"quiz*", "sums"}}}}}
	records := map[string][]result.Record{}
	for m, model := range p.Spec.Models {
		p.Variants = append(p.Variants, plan.Variant{ID: model.Abbr, Model: model.Abbr, Recipe: "pretrain"})
		for _, d := range datasets {
			task := plan.Task{ID: model.Abbr + "/" + d.Abbr, Variant: model.Abbr, Dataset: d.Abbr, Rows: 4, Prompt: "a1b2c3"}
			p.Tasks = append(p.Tasks, task)
			for row := range 4 {
				r := result.Record{Row: row, Digest: "d" + string(rune('0'+row)), PromptTokens: 9 + row, NLL: []float64{2 - float64(m)}, Tokens: []int{4}}
				switch d.Mode {
				case spec.PPL:
					r.Labels, r.NLL, r.Tokens, r.Gold = []string{"A", "B"}, []float64{3, 2 + float64(m*(row%2)*2)}, []int{3, 3}, []string{"A"}
				case spec.Gen:
					r = result.Record{Row: row, Digest: r.Digest, Text: "4\nthat is it", Gold: []string{[]string{"4", "5"}[row%2]}, PromptTokens: 5}
				}
				if m == 0 || d.Mode != spec.Gen || row > 0 {
					records[task.ID] = append(records[task.ID], r)
				}
			}
		}
	}
	scores, err := score.Compute(p, func(id string) ([]result.Record, error) { return records[id], nil }, map[string]string{"tuned_v2/sums": "the node died"})
	if err != nil {
		t.Fatal(err)
	}
	return Run{Name: "toy", Plan: p, Scores: scores, Rows: func(task plan.Task) ([]score.Row, error) {
		d, _ := p.Dataset(task.Dataset)
		return score.Options{}.Rows(task, d, records[task.ID])
	}}
}

func TestFormats(t *testing.T) {
	r := toy(t)
	for _, format := range Formats {
		if format == "rows-parquet" {
			continue // its bytes are the library's; TestParquet reads it
		}
		var b bytes.Buffer
		if err := Write(&b, format, r); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", format)
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s differs; got:\n%s", format, &b)
		}
	}
	if err := Write(&bytes.Buffer{}, "xls", r); err == nil || !strings.Contains(err.Error(), "rows-parquet") {
		t.Errorf("an unknown format: %v", err)
	}
}

// The parquet file has the rows of rows-jsonl.
func TestParquet(t *testing.T) {
	r := toy(t)
	var lines, columns bytes.Buffer
	if err := Write(&lines, "rows-jsonl", r); err != nil {
		t.Fatal(err)
	}
	if err := Write(&columns, "rows-parquet", r); err != nil {
		t.Fatal(err)
	}
	got, err := parquet.Read[Row](bytes.NewReader(columns.Bytes()), int64(columns.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range slices.Collect(strings.Lines(lines.String())) {
		var want Row
		if err := json.Unmarshal([]byte(line), &want); err != nil {
			t.Fatal(err)
		}
		for _, row := range []*Row{&got[i], &want} { // an empty list is one, absent or not
			row.Gold, row.Labels, row.Losses = slices.Clip(append([]string{}, row.Gold...)), append([]string{}, row.Labels...), append([]float64{}, row.Losses...)
		}
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("row %d is %+v, want %+v", i, got[i], want)
		}
	}
	if n := strings.Count(lines.String(), "\n"); len(got) != n || n != 23 {
		t.Errorf("%d rows as columns, %d as lines, want 23", len(got), n)
	}
}

func read(t *testing.T, v any, elem ...string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}

var at = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

func TestLMEval(t *testing.T) {
	dir := t.TempDir()
	if err := WriteLayout(dir, "lm-eval", toy(t), at); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Results map[string]map[string]any
		Samples map[string]map[string]int  `json:"n-samples"`
		Shots   map[string]int             `json:"n-shot"`
		Group   map[string][]string        `json:"group_subtasks"`
		Name    string                     `json:"model_name"`
		Better  map[string]map[string]bool `json:"higher_is_better"`
	}
	read(t, &got, dir, "tuned__v2", "results_2026-01-02T03-04-05.000006.json")
	if v := got.Results["quiz_100%"]["acc,none"]; v != 0.5 {
		t.Errorf("acc is %v, want 0.5", v)
	}
	if v, ok := got.Results["text"]["perplexity,none"].(float64); !ok || v < 1 || got.Better["text"]["perplexity"] || !got.Better["sums"]["exact_match"] {
		t.Errorf("the perplexity is %v; better are %v", got.Results["text"], got.Better)
	}
	if s := got.Samples["sums"]; s["original"] != 4 || s["effective"] != 3 || got.Shots["quiz_100%"] != 2 || got.Name != "tuned_v2" {
		t.Errorf("samples %v, shots %v, name %q", s, got.Shots, got.Name)
	}
	if !slices.Equal(got.Group["all"], []string{"quiz_100%", "sums"}) {
		t.Errorf("the group has %v", got.Group["all"])
	}
	raw, err := os.ReadFile(filepath.Join(dir, "tuned__v2", "samples_quiz_100%_2026-01-02T03-04-05.000006.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var sample struct {
		DocID  int `json:"doc_id"`
		Target string
		Resps  [][]any
		Acc    float64
	}
	lines := slices.Collect(strings.Lines(string(raw)))
	if err := json.Unmarshal([]byte(lines[1]), &sample); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 4 || sample.DocID != 1 || sample.Target != "A" || sample.Acc != 1 || len(sample.Resps) != 2 {
		t.Errorf("the second of %d samples is %+v", len(lines), sample)
	}
}

func TestOpenCompass(t *testing.T) {
	dir := t.TempDir()
	if err := WriteLayout(dir, "opencompass", toy(t), at); err != nil {
		t.Fatal(err)
	}
	var predictions map[string]struct {
		Prediction, Gold string
		A                struct{ PPL float64 } `json:"label: A"`
	}
	read(t, &predictions, dir, "predictions", "base", "quiz_100%.json")
	if p := predictions["3"]; len(predictions) != 4 || p.Prediction != "B" || p.Gold != "A" || p.A.PPL == 0 {
		t.Errorf("of %d predictions the last is %+v", len(predictions), p)
	}
	var values map[string]float64
	read(t, &values, dir, "results", "tuned_v2", "sums.json")
	if v := values["exact_match"]; v < 33 || v > 34 {
		t.Errorf("the result is %v, want a third", values)
	}
	for _, name := range []string{"summary_20260102_030405.csv", "summary_20260102_030405.txt"} {
		if info, err := os.Stat(filepath.Join(dir, "summary", name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
