package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/score"
	"sextant/pkg/spec"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

// bench is one dataset of a made-up run: rows planned, and for each model how many have a record and how many of those are right.
type bench struct {
	d       spec.Dataset
	rows    int
	results [][2]int
}

// run scores a made-up run the way a real one is scored.
func run(t testing.TB, models []string, groups []spec.Group, benches []bench, reasons map[string]string) score.Scores {
	t.Helper()
	p := &plan.Plan{Spec: spec.Spec{Groups: groups}}
	counts := map[string][2]int{}
	for m, name := range models {
		p.Variants = append(p.Variants, plan.Variant{ID: name})
		for i, b := range benches {
			if m == 0 {
				p.Spec.Datasets = append(p.Spec.Datasets, b.d)
			}
			id := name + "/" + b.d.Abbr
			p.Tasks = append(p.Tasks, plan.Task{ID: id, Variant: name, Dataset: b.d.Abbr, Rows: b.rows, Prompt: fmt.Sprintf("%06x", 0xa1b2c3+i*4369)})
			counts[id] = b.results[m]
		}
	}
	s, err := score.Compute(p, func(id string) ([]result.Record, error) {
		var recs []result.Record
		for row := range counts[id][0] {
			// One record serves every mode: label and text are right or wrong, the window's loss differs from row to row.
			r := result.Record{Row: row, Labels: []string{"a", "b"}, NLL: []float64{1, 2}, Tokens: []int{4, 4}, Text: "a", Gold: []string{"b"}}
			if row < counts[id][1] {
				r.Gold[0] = "a"
			}
			if strings.Contains(id, "text") {
				r.NLL, r.Tokens = []float64{2 + float64(row%5)/4}, []int{3}
			}
			if strings.Contains(id, "long") {
				r.Cut = row % 2
			}
			recs = append(recs, r)
		}
		return recs, nil
	}, reasons)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ppl(abbr string) spec.Dataset {
	return spec.Dataset{Abbr: abbr, Mode: spec.PPL, PPL: spec.PPLOptions{Denominator: "n-1"}}
}

func gen(abbr string) spec.Dataset { return spec.Dataset{Abbr: abbr, Mode: spec.Gen} }

var textPPL = spec.Dataset{Abbr: "text", Mode: spec.Rolling, Rolling: spec.RollingOptions{SeqLen: 256}}

// scenes are the runs whose renderings are golden.
func scenes(t testing.TB) map[string]score.Scores {
	ranking := spec.Group{Name: "ranking", Members: []string{"*_ppl"}}
	weighted := spec.Group{Name: "all gen", Members: []string{"gsm", "lambada"}, Mean: "weighted"}
	return map[string]score.Scores{
		"one": run(t, []string{"pocket"}, []spec.Group{ranking}, []bench{
			{ppl("winograd_ppl"), 300, [][2]int{{300, 298}}}, {ppl("piqa_ppl"), 300, [][2]int{{300, 270}}},
			{gen("gsm"), 200, [][2]int{{200, 200}}}, {textPPL, 217, [][2]int{{217}}}}, nil),
		"three": run(t, []string{"llama-7b", "llama-13b", "mistral-7b-v0.1"}, []spec.Group{ranking, weighted}, []bench{
			{ppl("winograd_ppl"), 285, [][2]int{{285, 240}, {285, 251}, {285, 285}}},
			{ppl("piqa_ppl"), 1838, [][2]int{{1838, 1400}, {1838, 1451}, {1838, 1502}}},
			{gen("gsm"), 1319, [][2]int{{1319, 150}, {1319, 220}, {1319, 480}}},
			{gen("lambada"), 5153, [][2]int{{5153, 3700}, {5153, 3811}, {5153, 3902}}},
			{textPPL, 163, [][2]int{{163}, {163}, {163}}}}, nil),
		"missing": run(t, []string{"base", "chat"}, []spec.Group{ranking, {Name: "broken", Members: []string{"gsm", "elsewhere_*"}}}, []bench{
			{ppl("winograd_ppl"), 285, [][2]int{{285, 240}, {280, 251}}},
			{ppl("long_ppl"), 100, [][2]int{{99, 40}, {100, 50}}},
			{gen("gsm"), 1319, [][2]int{{0, 0}, {1319, 220}}},
			{textPPL, 163, [][2]int{{0}, {100}}}},
			map[string]string{"base/gsm": "worker: weight \"lm_head\" is\n\x1b[31mtruncated | cut", "chat/winograd_ppl": "the job was killed 3 times, last by signal 9",
				"base/text": "prompt of 300 tokens is longer than the model's context of 256"}),
		"long": run(t, []string{"PJLM-v0.2.0-Exam-v0.1.5-with-a-very-long-suffix-of-a-recipe-w4a16-g128-step-00010000-ema", "PJLM-v0.2.0-Exam-v0.1.5"}, []spec.Group{ranking}, []bench{
			{ppl("winograd_with_a_long_name_of_its_own_and_still_more_of_it_and_more_yet_and_then_some_more_ppl"), 285, [][2]int{{285, 240}, {284, 251}}},
			{textPPL, 163, [][2]int{{163}, {163}}}}, nil),
		"cjk": run(t, []string{"书生·浦语", "model-b"}, []spec.Group{{Name: "中文", Members: []string{"*"}}}, []bench{
			{ppl("ceval-高等数学"), 19, [][2]int{{19, 10}, {18, 12}}}, {gen("c3"), 1825, [][2]int{{1825, 900}, {1825, 1000}}}},
			map[string]string{"model-b/ceval-高等数学": "第十九行的记录损坏"}),
		"empty":      {Version: 1, Scores: []score.Score{}},
		"metrics":    metricsScene(t),
		"quant":      quantScene(t),
		"quant_part": quantPartScene(t),
	}
}

func TestRenderings(t *testing.T) {
	for name, s := range scenes(t) {
		golden(t, name+".txt", []byte(Text(s)))
		golden(t, name+".md", []byte(Markdown(s)))
		golden(t, name+".term80.txt", []byte(terminal(s, 80, true)))
		csv, err := CSV(s)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".csv", csv)
		json, err := JSON(s)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", json)
	}
}

// TestTerminalFits holds every line of every scene to the width, down to narrow terminals.
func TestTerminalFits(t *testing.T) {
	for name, s := range scenes(t) {
		for _, columns := range []int{40, 60, 80, 132, 300} {
			out := terminal(s, columns, true)
			if w := widest(out); w > columns {
				t.Errorf("%s on %d columns is %d wide:\n%s", name, columns, w, out)
			}
			if !utf8.ValidString(out) || strings.Contains(out, "\x1b") {
				t.Errorf("%s on %d columns is not plain text:\n%q", name, columns, out)
			}
		}
	}
	var b bytes.Buffer
	s := scenes(t)["missing"]
	if err := Terminal(&b, s); err != nil || !strings.HasSuffix(b.String(), "\n"+joinNotes(newView(s).notes, 0)) || widest(newView(s).show(80)) > 80 {
		t.Errorf("%v: off a terminal the table fits 80 columns and each note is a line:\n%s", err, b.String())
	}
}

func TestManyNotesAreCutOnTheTerminal(t *testing.T) {
	var benches []bench
	for i := range 30 {
		benches = append(benches, bench{gen("d" + strconv.Itoa(i)), 10, [][2]int{{0, 0}}})
	}
	s := run(t, []string{"m"}, nil, benches, nil)
	out := terminal(s, 80, true)
	if !strings.Contains(out, "... and 10 notes more: see summary.txt") || strings.Contains(out, "m/d25:") {
		t.Errorf("%s", out)
	}
	if !strings.Contains(Text(s), "- m/d29: 10 rows without a result") {
		t.Errorf("summary.txt lacks a note:\n%s", Text(s))
	}
}

// TestDashMeansNothingScored holds that each "-" and each "*" of the table has its note.
func TestDashMeansNothingScored(t *testing.T) {
	for name, s := range scenes(t) {
		notes := "\n" + strings.Join(newView(s).notes, "\n")
		for _, x := range append(s.Scores, s.Groups...) {
			id := clean(x.Model + "/" + x.Dataset)
			if dash := value(x) == "-"; dash != (x.Value == nil) || dash != strings.Contains(notes, "\n- "+id+": ") {
				t.Errorf("%s: %s shows %q, notes:%s", name, id, value(x), notes)
			}
			if star := strings.HasSuffix(value(x), "*"); star != x.Partial() || star != (strings.Contains(notes, "\n* "+id+": ") || strings.Contains(notes, "\n* "+id+", ")) {
				t.Errorf("%s: %s shows %q, notes:%s", name, id, value(x), notes)
			}
		}
	}
}

// TestMachineReadable reads the csv and json back to the very numbers.
func TestMachineReadable(t *testing.T) {
	for name, s := range scenes(t) {
		all := append(append([]score.Score{}, s.Scores...), s.Groups...)
		b, _ := CSV(s)
		records, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
		if err != nil || len(records) != 1+len(all)+len(variantRecords(s)) {
			t.Fatalf("%s: %d records, %v", name, len(records), err)
		}
		var doc struct{ Scores, Groups []map[string]any }
		b, _ = JSON(s)
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		docs := append(doc.Scores, doc.Groups...)
		for i, x := range all {
			r := records[i+1]
			if r[7] != x.Model || r[1] != x.Dataset || docs[i]["model"] != x.Model {
				t.Errorf("%s: row %d is of %q, %q", name, i, r[7], r[1])
			}
			if x.Value == nil {
				if r[8] != "" || docs[i]["value"] != nil {
					t.Errorf("%s: row %d has value %q", name, i, r[8])
				}
				continue
			}
			if v, err := strconv.ParseFloat(r[8], 64); err != nil || v != *x.Value || docs[i]["value"] != *x.Value {
				t.Errorf("%s: row %d has value %q, want %v", name, i, r[8], *x.Value)
			}
			if lo, hi, ok := x.Interval(); ok && (docs[i]["low"] != lo || docs[i]["high"] != hi) {
				t.Errorf("%s: row %d has interval %v", name, i, docs[i])
			}
		}
	}
}

func TestVersionsThatDiffer(t *testing.T) {
	s := scenes(t)["three"]
	s.Scores[5].Prompt = "ffffff" // the second model's first dataset
	if l := newView(s).lines[0]; l.version != "a1b2c3+1" {
		t.Errorf("version %q", l.version)
	}
}

func TestWrite(t *testing.T) {
	dir, s := t.TempDir(), scenes(t)["missing"]
	for range 2 { // a second time over the first
		if err := Write(dir, s); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := os.ReadDir(dir)
	if len(files) != 4 {
		t.Errorf("%v", files)
	}
	for _, ext := range []string{"txt", "csv", "md", "json"} {
		got, err := os.ReadFile(filepath.Join(dir, "summary."+ext))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "missing."+ext, got)
	}
	if err := Write(filepath.Join(dir, "summary.txt"), s); err == nil || !strings.Contains(err.Error(), "writing the summary") {
		t.Errorf("wrote into a file: %v", err)
	}
}

// TestAnyText holds that no name or reason breaks a rendering: lines fit, and a table has its columns.
func TestAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64Range(0, 100).Draw(t, "value")
		x := score.Score{Model: rapid.String().Draw(t, "model"), Dataset: rapid.String().Draw(t, "dataset"), Metric: "accuracy", Mode: "ppl",
			Unit: score.Percent, N: 3, Missing: 1, Reason: rapid.String().Draw(t, "reason"), Prompt: "abcdef"}
		if rapid.Bool().Draw(t, "scored") {
			x.Value, x.StdErr = &v, &v
		}
		s := score.Scores{Version: 1, Scores: []score.Score{x}}
		columns := rapid.IntRange(40, 100).Draw(t, "columns")
		if out := terminal(s, columns, true); widest(out) > columns {
			t.Fatalf("%d wide on %d columns:\n%s", widest(out), columns, out)
		}
		if lines := strings.Count(Text(s), "\n"); lines > 6 {
			t.Fatalf("%d lines:\n%s", lines, Text(s))
		}
		md := strings.Split(Markdown(s), "\n")
		for _, l := range md[:3] {
			if n := strings.Count(l, "|") - strings.Count(l, `\|`); n != 8 {
				t.Fatalf("%d bars in %q", n, l)
			}
		}
		if _, err := CSV(s); err != nil {
			t.Fatal(err)
		}
	})
}
