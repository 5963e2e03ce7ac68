package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sextant/internal/browser"
	"sextant/pkg/result"
	"sextant/pkg/score"
	"sextant/pkg/spec"
)

// slowest is how long a page may take to open on a machine that has other things to do. On a quiet one it takes a tenth.
const slowest = 10 * time.Second

// opened writes a page and opens it.
func opened(t *testing.T, b *browser.Page, p Page) string {
	t.Helper()
	dir := t.TempDir()
	if err := WriteHTML(dir, p); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, p.File)
	if p.File == "" {
		path = filepath.Join(dir, PageFile)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	took := b.Open(path)
	t.Logf("%s: %d KiB, open after %v", filepath.Base(path), info.Size()>>10, took)
	if took > slowest {
		t.Errorf("%s took %v to open", filepath.Base(path), took)
	}
	return path
}

// looks checks a page's contrast, dark and light, and that a phone's window holds it.
func looks(t *testing.T, b *browser.Page) {
	t.Helper()
	for _, dark := range []bool{true, false} {
		b.Dark(dark)
		if ratio, text := b.Contrast(); ratio < 4.5 {
			t.Errorf("dark %v: %q has a contrast of %.2f", dark, text, ratio)
		}
	}
	b.Width(390)
	if wide := browser.Eval[int](b, `document.documentElement.scrollWidth`); wide != 390 {
		t.Errorf("on a phone of 390 pixels the page has %d", wide)
	}
	b.Width(1200)
}

// TestPagesInBrowser opens pages as people do: one of 50,000 rows, one of checkpoints, one of a comparison.
func TestPagesInBrowser(t *testing.T) {
	b := browser.New(t)
	opened(t, b, pageOf(t, 50_000, strings.Repeat("An example that is long enough to cost something.\n", 40)))
	b.Click("#table thead th:last-child button")
	if sorted := browser.Eval[string](b, `document.querySelector("#table thead th:last-child").getAttribute("aria-sort")`); sorted != "ascending" {
		t.Errorf("sorted it is %q", sorted)
	}
	began := time.Now()
	b.Click("details.task > summary")
	b.Wait("details.task details.row")
	b.Click("details.task .tools button:last-of-type") // all rows, from the files beside the page
	b.Type(`details.task input[type="search"]`, "question 49999:")
	want := "1–1 of 1"
	for at := ""; at != want; at = browser.Eval[string](b, `document.querySelector("details.task [role=status]").textContent`) {
		if time.Since(began) > 3*slowest {
			t.Fatalf("the last of 50,000 rows is not found: %q", at)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("33,333 rows loaded and searched after %v", time.Since(began))
	looks(t, b)

	opened(t, b, checkpointPage(t, "board.html"))
	if n := browser.Eval[int](b, `document.querySelectorAll("#curves figure svg").length`); n == 0 {
		t.Error("there are no curves")
	}
	if text := browser.Eval[string](b, `document.querySelector("#board tbody tr").innerText`); !strings.HasPrefix(text, "large-step5000\t1\t") {
		t.Errorf("the first of the leaderboard is %q", text)
	}
	looks(t, b)

	path := opened(t, b, pairPage("pairs.html"))
	if text := browser.Eval[string](b, `document.querySelector("#pairs").innerText`); !strings.Contains(text, "tuned against base") || !strings.Contains(text, "-10.00") {
		t.Errorf("the pair is %q", text)
	}
	b.Click("details.task > summary")
	b.Click("details.task details.row > summary")
	b.Wait("details.task details.row pre")
	if text := browser.Eval[string](b, `document.querySelector("details.task details.row").innerText`); !strings.Contains(text, "was: A") || !strings.Contains(text, "Question 0") {
		t.Errorf("a row that flipped is %q", text)
	}
	looks(t, b)
	if said := b.Errors(); len(said) > 0 {
		t.Errorf("the pages complain:\n%s", strings.Join(said, "\n"))
	}
	b.NoScripts()
	b.Open(path)
	if text := browser.Eval[string](b, `document.body.innerText`); !strings.Contains(text, "1 row worse than of the baseline") {
		t.Errorf("without scripts it is %q", text)
	}
}

// checkpointPage is of two trainings with five steps each.
func checkpointPage(t *testing.T, file string) Page {
	p := Page{File: file, Run: "Leaderboard", Lead: "two trainings"}
	var models []string
	quiz, exam := bench{d: spec.Dataset{Abbr: "quiz", Mode: spec.PPL}, rows: 100}, bench{d: spec.Dataset{Abbr: "exam", Mode: spec.PPL}, rows: 400}
	for k, series := range []string{"small", "large"} {
		for i := range 5 {
			name := fmt.Sprintf("%s-step%d", series, 1000*(i+1))
			models = append(models, name)
			p.Steps = append(p.Steps, Checkpoint{name, "/ckpt/" + series, int64(1000 * (i + 1))})
			quiz.results = append(quiz.results, [2]int{100, 30 + 8*i + 12*k})
			exam.results = append(exam.results, [2]int{400, 110 + 35*i + 30*k})
		}
	}
	p.Scores = run(t, models, nil, []bench{quiz, exam}, nil)
	ranks := board(t, p.Scores, "")
	p.Board = &ranks
	return p
}

// pairPage is of one model beside another, with a row that flipped.
func pairPage(file string) Page {
	v := func(x float64) *float64 { return &x }
	now := score.Row{Answer: "B", Gold: []string{"A"}, Losses: []float64{2, 1}, Record: &result.Record{Labels: []string{"A", "B"}}}
	was := score.Row{Answer: "A", Gold: []string{"A"}, Value: 1, Losses: []float64{1, 2}, Record: &result.Record{Labels: []string{"A", "B"}}}
	return Page{File: file, Run: "Comparison", Facts: []Fact{{"program", "x"}},
		Pairs: []Pair{{Title: "tuned against base", Label: "tuned", Heads: []string{"dataset", "metric", "rows", "baseline", "model", "change"},
			Lines:   []PairLine{{Cells: []string{"quiz", "accuracy", "10", "50.00", "40.00", "-10.00"}, Worse: true}},
			Changes: []score.Comparison{{Dataset: "quiz", Unit: score.Percent, Change: v(-10), Low: v(-15), High: v(-5)}}}},
		Details: []Detail{{Score: score.Score{Dataset: "quiz", Model: "tuned"}, Title: "worse than of the baseline", Before: map[int]score.Row{0: was},
			Rows:  func() ([]score.Row, error) { return []score.Row{now}, nil },
			Shown: func(score.Row) (Shown, bool) { return Shown{Prompt: "Question 0:"}, true }}}}
}
