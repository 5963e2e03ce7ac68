package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sextant/pkg/result"
	"sextant/pkg/score"
	"sextant/pkg/spec"
	"sextant/scheduler"
)

// nasty is what a model may well write.
const nasty = "</script><script>alert('x')</script><!-- ]]> \u2028 \x00 {{.}}"

// rowsOf makes n rows of two options, of which every third is right; examples come before each prompt.
func rowsOf(n int, examples string) (func() ([]score.Row, error), func(score.Row) (Shown, bool)) {
	rows := func() ([]score.Row, error) {
		out := make([]score.Row, n)
		for i := range out {
			r := score.Row{Row: i, Answer: "B", Gold: []string{"A"}, Losses: []float64{2, 1},
				Record: &result.Record{Row: i, Labels: []string{"A", "B"}, PromptTokens: 10 + i, Text: nasty}}
			if i%3 == 0 {
				r.Value, r.Answer, r.Losses = 1, "A", []float64{1, 2}
			}
			out[i] = r
		}
		return out, nil
	}
	shown := func(r score.Row) (Shown, bool) {
		return Shown{Prompt: fmt.Sprintf("%sQuestion %d: %s\nAnswer:", examples, r.Row, nasty), Options: []string{" yes", " no"}}, true
	}
	return rows, shown
}

// pageOf is a page of one task of so many rows.
func pageOf(t testing.TB, n int, examples string) Page {
	t.Helper()
	s := run(t, []string{"base", "tuned"}, nil, []bench{{d: spec.Dataset{Abbr: "quiz", Mode: spec.PPL}, rows: 10, results: [][2]int{{10, 4}, {9, 8}}}}, nil)
	rows, shown := rowsOf(n, examples)
	p := Page{Run: "a run " + nasty, Lead: "2 models", Scores: s, Facts: []Fact{{"plan", "abc"}}, Spec: nasty}
	p.Details = []Detail{{Score: s.Scores[0], Rows: rows, Shown: shown}}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 3 {
		p.Attempts = append(p.Attempts, Attempt{Job: fmt.Sprint("job", i), Attempt: 1, GPUs: 2, Node: "n1", Asked: at, Began: at.Add(time.Duration(i) * time.Second),
			Ended: at.Add(time.Duration(i+2) * time.Second), State: scheduler.Done, Rows: 5, Tokens: 1000, Load: 0.5, Work: 2})
	}
	return p
}

var dataElement = regexp.MustCompile(`(?s)<script type="application/json" id="data">(.*?)</script>`)

// written gives the page as text, and its data.
func written(t testing.TB, p Page) (dir, page string, data struct {
	Models []string
	Scores []plotted
	Spans  []bar
	Tasks  map[string]taskData
}) {
	t.Helper()
	dir = t.TempDir()
	if err := WriteHTML(dir, p); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, PageFile))
	if err != nil {
		t.Fatal(err)
	}
	found := dataElement.FindSubmatch(raw)
	if found == nil {
		t.Fatal("the page has no data")
	}
	if err := json.Unmarshal(found[1], &data); err != nil {
		t.Fatal(err)
	}
	return dir, string(raw), data
}

func TestPageHasItAll(t *testing.T) {
	dir, page, data := written(t, pageOf(t, 9, "Two examples.\n"))
	if strings.Contains(page, "<script>alert") {
		t.Error("what a model wrote is a script of the page")
	}
	for _, want := range []string{"40.00", "88.89", "[16.82, 68.73]", "GPU-hours", "0.003", "* tuned/quiz, 9 of 10 rows", "best"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page without a script lacks %q", want)
		}
	}
	task := data.Tasks["0"]
	if task.Count != 6 || len(task.Rows) != 6 || task.Files != 0 {
		t.Errorf("%d rows went wrong, %d are in the page, %d files beside it; want 6, 6, 0", task.Count, len(task.Rows), task.Files)
	}
	row := task.Rows[0]
	if got, want := task.Prefix+row.Prompt, "Two examples.\nQuestion 1: "+nasty+"\nAnswer:"; got != want || task.Prefix != "Two examples.\n" {
		t.Errorf("the prompt is %q after %q, want %q", row.Prompt, task.Prefix, want)
	}
	if len(row.Options) != 2 || row.Options[1].Text != " no" || row.Options[1].Loss != 1 || row.Text != nasty {
		t.Errorf("the row is %+v", row)
	}
	lanes := map[string]bool{}
	for _, b := range data.Spans {
		lanes[b.Lane] = true
	}
	if len(lanes) != 2 || len(data.Spans) != 6 {
		t.Errorf("%d bars in %d lanes; three attempts of which two run at once are 6 in 2", len(data.Spans), len(lanes))
	}
	if _, err := os.Stat(filepath.Join(dir, "report-rows")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("rows beside a page that has them all: %v", err)
	}
}

// Every row that went wrong is in the files beside the page, once, in the page's order.
func TestPageOfManyRows(t *testing.T) {
	const n = 50_000
	began := time.Now()
	dir, page, data := written(t, pageOf(t, n, strings.Repeat("An example that is long enough to cost something.\n", 40)))
	t.Logf("%d rows in %v", n, time.Since(began))
	if len(page) >= 3<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	task := data.Tasks["0"]
	var got []pageRow
	for i := range task.Files {
		raw, err := os.ReadFile(filepath.Join(dir, "report-rows", fmt.Sprintf("0-%d.js", i)))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSuffix(strings.TrimPrefix(string(raw), fmt.Sprintf("sextantRows(\"0\",%d,", i)), ");\n")
		var rows []pageRow
		if err := json.Unmarshal([]byte(text), &rows); err != nil {
			t.Fatal(err)
		}
		got = append(got, rows...)
	}
	if want := n - (n+2)/3; len(got) != want || task.Count != want {
		t.Fatalf("%d rows beside the page, %d are told, want %d", len(got), task.Count, want)
	}
	for i := range task.Rows {
		if got[i].Row != task.Rows[i].Row {
			t.Fatalf("row %d of the page is %d, beside it %d", i, task.Rows[i].Row, got[i].Row)
		}
	}
}

// A page that is written again leaves nothing of the one before.
func TestPageAgain(t *testing.T) {
	dir := t.TempDir()
	if err := WriteHTML(dir, pageOf(t, 3000, "")); err != nil {
		t.Fatal(err)
	}
	if err := WriteHTML(dir, pageOf(t, 6, "")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != PageFile {
		t.Errorf("beside the page there is %v", entries)
	}
}

// A directory that happens to have the name of the rows' is not removed.
func TestPageSparesOthers(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine-rows", "notes.txt")
	if err := errors.Join(os.Mkdir(filepath.Dir(mine), 0o777), os.WriteFile(mine, nil, 0o666)); err != nil {
		t.Fatal(err)
	}
	p := pageOf(t, 6, "")
	p.File = "mine.html"
	if err := WriteHTML(dir, p); err == nil || !strings.Contains(err.Error(), "notes.txt") {
		t.Errorf("its error is %v", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestPageOfNothing(t *testing.T) {
	_, page, data := written(t, Page{Run: "empty"})
	if len(data.Tasks) != 0 || data.Spans == nil || data.Scores == nil || !strings.Contains(page, "<h1>empty</h1>") {
		t.Errorf("an empty run's data are %+v", data)
	}
}

// The checkpoints of two trainings, of which one has a single step, and a model of none: the one training has a table and curves.
func TestPageOfCheckpoints(t *testing.T) {
	s := run(t, []string{"a2", "a1", "b1", "free"}, nil, []bench{
		{d: spec.Dataset{Abbr: "quiz", Mode: spec.PPL}, rows: 10, results: [][2]int{{10, 6}, {10, 4}, {10, 5}, {10, 1}}},
		{d: spec.Dataset{Abbr: "exam", Mode: spec.PPL}, rows: 10, results: [][2]int{{10, 7}, {10, 3}, {10, 5}, {10, 1}}}}, nil)
	p := Page{File: "board.html", Run: "board", Scores: s, Steps: []Checkpoint{{"a2", "/ckpt/a", 2000}, {"a1", "/ckpt/a", 1000}, {"b1", "/ckpt/b", 7}, {"gone", "/ckpt/b", 8}}}
	dir := t.TempDir()
	if err := WriteHTML(dir, p); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "board.html" {
		t.Fatalf("there is %v, %v", left, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "board.html"))
	if err != nil {
		t.Fatal(err)
	}
	var data struct{ Curves []curve }
	if err := json.Unmarshal(dataElement.FindSubmatch(raw)[1], &data); err != nil {
		t.Fatal(err)
	}
	if len(data.Curves) != 2 {
		t.Fatalf("%d curves: %+v", len(data.Curves), data.Curves)
	}
	quiz := data.Curves[0].Points
	if len(quiz) != 2 || quiz[0].Step != 1000 || quiz[0].Value != 40 || quiz[1].Step != 2000 || quiz[1].Value != 60 || quiz[0].Series != "a" || quiz[0].Low == nil {
		t.Errorf("quiz by step is %+v", quiz)
	}
	page := string(raw)
	if !strings.Contains(page, `<section id="training"`) || strings.Contains(page, "step 7") {
		t.Error("the page has no training, or one of a single step")
	}
	for _, none := range []string{`<section id="rows"`, `<section id="timeline"`, `<section id="repeat"`, `<section id="variants"`, `href="#repeat"`} {
		if strings.Contains(page, none) {
			t.Errorf("a page of scores alone has %s", none)
		}
	}
}

func TestSeriesNames(t *testing.T) {
	got := seriesNames([]string{"/x/a", "/y/a", "/y/b", ""})
	for path, want := range map[string]string{"/x/a": "/x/a", "/y/a": "/y/a", "/y/b": "b", "": "checkpoints"} {
		if got[path] != want {
			t.Errorf("%q is shown as %q, want %q", path, got[path], want)
		}
	}
}

// All that share the best value are marked, and none where all are the same.
func TestBestOfALine(t *testing.T) {
	s := run(t, []string{"a", "b", "c"}, nil, []bench{
		{d: spec.Dataset{Abbr: "quiz", Mode: spec.PPL}, rows: 10, results: [][2]int{{10, 6}, {10, 4}, {10, 6}}},
		{d: spec.Dataset{Abbr: "exam", Mode: spec.PPL}, rows: 10, results: [][2]int{{10, 3}, {10, 3}, {10, 3}}}}, nil)
	got := ""
	for _, l := range newView(s).htmlLines() {
		for _, c := range l.Cells[len(l.Cells)-3:] {
			got += map[bool]string{true: "*", false: "."}[strings.Contains(c.Class, "best")]
		}
	}
	if got != "*.*..." {
		t.Errorf("marked are %q", got)
	}
	if n := strings.Count(LaTeX(s), `\textbf{`); n != 2 {
		t.Errorf("in LaTeX %d are bold", n)
	}
}
