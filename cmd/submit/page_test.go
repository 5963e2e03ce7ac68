package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sextant/internal/browser"
)

var updatePictures = flag.Bool("update", false, "make the pictures of docs/img anew")

// checkPage opens the report of a session's run in a browser, and does what people do with it. dataset is a part of datasets' names; the
// models are as many columns of the table, and picture names the file under docs/img that -update makes.
func checkPage(t *testing.T, s session, dataset string, models int, picture string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.work, "*", "report.html"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d reports: %v", len(found), err)
	}
	p := browser.New(t)
	p.Open(found[0])
	if n := browser.Eval[int](p, `document.querySelectorAll("#table thead th").length`); n != 6+models {
		t.Errorf("the table has %d columns, want 6 and those of %d models", n, models)
	}
	checkTable(t, p, dataset)
	checkRow(t, p)
	if n := browser.Eval[string](p, `String([...document.querySelectorAll("svg")].filter((s) => s.getAttribute("role") !== "img" && !s.ariaLabel && s.closest("figure") === null).length)`); n != "0" {
		t.Errorf("%s charts have no label", n)
	}
	if n := browser.Eval[string](p, `String(document.querySelectorAll("#plots figure").length)`); n == "0" {
		t.Error("there is no chart")
	}
	if pdf := p.PDF(); !bytes.HasPrefix(pdf, []byte("%PDF")) || len(pdf) < 10_000 {
		t.Errorf("printed it has %d bytes", len(pdf))
	}
	checkLooks(t, p)
	if *updatePictures {
		savePicture(t, p, found[0], picture)
	}
	if said := p.Errors(); len(said) > 0 {
		t.Errorf("the page complains:\n%s", strings.Join(said, "\n"))
	}
	p.NoScripts()
	p.Open(found[0])
	if text := browser.Eval[string](p, `document.querySelector("#table").innerText`); !strings.Contains(text, dataset) || !strings.Contains(text, "±") {
		t.Errorf("without scripts the table is %q", text)
	}
}

// checkTable sorts and filters the scores.
func checkTable(t *testing.T, p *browser.Page, dataset string) {
	t.Helper()
	column := `[...document.querySelectorAll("#table tbody tr:not(.group)")].map((r) => r.cells[0].innerText).join(" ")`
	before := browser.Eval[string](p, column)
	p.Click("#table thead th:first-child button")
	up := browser.Eval[string](p, column)
	p.Click("#table thead th:first-child button")
	down := browser.Eval[string](p, column)
	if want := strings.Fields(before); len(want) > 1 && (up == down || len(strings.Fields(up)) != len(want)) {
		t.Errorf("sorted by name it is %q, and then %q", up, down)
	}
	if words := strings.Fields(up); len(words) > 1 && words[0] > words[len(words)-1] {
		t.Errorf("sorted by name it begins with %q and ends with %q", words[0], words[len(words)-1])
	}
	p.Type("#filter", dataset)
	shown := browser.Eval[string](p, `[...document.querySelectorAll("#table tbody tr")].filter((r) => !r.hidden).map((r) => r.cells[0].innerText).join(" ")`)
	for _, name := range strings.Fields(shown) {
		if !strings.Contains(name, dataset) {
			t.Errorf("filtered by %q it shows %q", dataset, shown)
		}
	}
	if shown == "" {
		t.Errorf("filtered by %q it shows nothing", dataset)
	}
	browser.Eval[string](p, `(() => { const f = document.getElementById("filter"); f.value = ""; f.dispatchEvent(new Event("input")); return ""; })()`)
}

// checkRow opens a task and a row of it that went wrong.
func checkRow(t *testing.T, p *browser.Page) {
	t.Helper()
	if none := browser.Eval[string](p, `(() => {
		const tasks = JSON.parse(document.getElementById("data").textContent).tasks;
		const box = [...document.querySelectorAll("details.task")].find((d) => tasks[d.dataset.task].count > 0);
		if (!box) return "no task has a row that went wrong";
		box.id = "chosen";
		return "";
	})()`); none != "" {
		t.Fatal(none)
	}
	p.Click("#chosen > summary")
	p.Click("#chosen details.row > summary")
	p.Wait("#chosen details.row pre")
	prompt := browser.Eval[string](p, `document.querySelector("#chosen details.row pre").innerText`)
	if len(prompt) < 20 {
		t.Errorf("the prompt of a wrong row is %q", prompt)
	}
	p.Type(`#chosen input[type="search"]`, "no row has this text")
	if n := browser.Eval[string](p, `String(document.querySelectorAll("#chosen details.row").length)`); n != "0" {
		t.Errorf("a search for what is nowhere finds %s rows", n)
	}
}

// checkLooks narrows the window to a phone's and makes it dark.
func checkLooks(t *testing.T, p *browser.Page) {
	t.Helper()
	p.Width(390)
	if wide := browser.Eval[string](p, `String(document.documentElement.scrollWidth)`); wide != "390" {
		t.Errorf("on a phone of 390 pixels the page has %s", wide)
	}
	p.Width(1200)
	colour := `getComputedStyle(document.body).backgroundColor`
	p.Dark(true)
	dark := browser.Eval[string](p, colour)
	if ratio, text := p.Contrast(); ratio < 4.5 {
		t.Errorf("in the dark %q has a contrast of %.2f", text, ratio)
	}
	p.Dark(false)
	if ratio, text := p.Contrast(); ratio < 4.5 {
		t.Errorf("%q has a contrast of %.2f", text, ratio)
	}
	if light := browser.Eval[string](p, colour); light == dark {
		t.Errorf("dark and light are both %s", light)
	}
}

// savePicture puts the top of the report into docs/img.
func savePicture(t *testing.T, p *browser.Page, path, name string) {
	t.Helper()
	p.Open(path)
	if err := os.MkdirAll(filepath.Join("..", "..", "docs", "img"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("..", "..", "docs", "img", name), p.Top(1200, 1500), 0o644); err != nil {
		t.Fatal(err)
	}
}
