package report

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sextant/pkg/result"
	"sextant/pkg/score"
)

// The page's parts. d3 and Observable Plot draw the charts; their licences lie beside them.
//
//go:embed page/page.html page/page.css page/page.js page/d3.min.js page/plot.umd.min.js
var pageFiles embed.FS

// PageFile is a run's page.
const PageFile = "report.html"

// Page is what report.html shows: one file that needs nothing from elsewhere, but for the rows beyond the first ones, which lie beside it.
// What is empty has no section: a page may be of scores alone, those of several runs joined.
type Page struct {
	File     string // its name, "x.html"; "": PageFile. Its rows are in "x-rows" beside it
	Run      string // its name
	Lead     string // one line about it
	Scores   score.Scores
	Board    *Board // the ranks of their models, shown before the scores
	Pairs    []Pair // models set against a baseline, beside those of the scores
	Steps    []Checkpoint
	Details  []Detail  // the tasks of which rows are shown
	Attempts []Attempt // in the order in which they were asked for
	Facts    []Fact    // what it takes to repeat the run
	Spec     string    // as it was resolved
}

// Pair is a model beside a baseline, as a table.
type Pair struct {
	Title   string
	Label   string // the model's, in the chart
	Heads   []string
	Lines   []PairLine
	Notes   []string
	Changes []score.Comparison
}

// PairLine is a line of it, and whether the model is surely worse there.
type PairLine struct {
	Cells []string
	Worse bool
}

// Fact is a name and its value.
type Fact struct{ Name, Value string }

// WriteHTML writes DIR/report.html and, where rows went wrong, DIR/report-rows. Each replaces the one before as a whole.
func WriteHTML(dir string, p Page) error {
	if p.File == "" {
		p.File = PageFile
	}
	if err := writeHTML(dir, p); err != nil {
		return fmt.Errorf("writing %s: %w", p.File, err)
	}
	return nil
}

// rowsDir is the directory beside the page with rows.
func (p Page) rowsDir() string { return strings.TrimSuffix(p.File, ".html") + "-rows" }

func writeHTML(dir string, p Page) (err error) {
	beside, err := os.MkdirTemp(dir, "."+p.rowsDir()+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(beside) // what was not put into its place
	tasks, data, files, err := writeRows(beside, p.Details)
	if err != nil {
		return err
	}
	page, err := render(p, tasks, data)
	if err != nil {
		return err
	}
	place := filepath.Join(dir, p.rowsDir())
	if err := clearRows(place); err != nil {
		return err
	}
	if files > 0 {
		if err := os.Chmod(beside, 0o755); err != nil { // a temporary directory is its owner's alone; a report is for the team
			return err
		}
		if err := os.Rename(beside, place); err != nil {
			return err
		}
	}
	return result.Commit(filepath.Join(dir, p.File), func(w io.Writer) error { _, err := w.Write(page); return err })
}

// rowsFile is what a file of rows is called.
var rowsFile = regexp.MustCompile(`^[0-9]+-[0-9]+\.js$`)

// clearRows removes the rows of the page before, and no directory that holds anything else: the page's name may be the user's.
func clearRows(place string) error {
	entries, err := os.ReadDir(place)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		if !rowsFile.MatchString(e.Name()) {
			return fmt.Errorf("%q, where the page's rows belong, holds %q, which is none: move it away, or give the page another name", place, e.Name())
		}
	}
	return os.RemoveAll(place)
}

// head is a column of a table, cell one of its cells.
type head struct {
	Name  string
	Right bool
}

type cell struct {
	Text, Class, Sort, Interval string
}

type tableLine struct {
	Group bool
	Cells []cell
}

// render makes the page.
func render(p Page, tasks []taskView, rows []taskData) ([]byte, error) {
	v := newView(p.Scores)
	spans, bars := timeline(p.Attempts)
	checkpoints := training(p.Steps, v.models)
	trained := curves(p.Scores, checkpoints)
	models, changes := p.charted(v.models)
	data, err := json.Marshal(struct {
		Models  []string            `json:"models"`
		Scores  []plotted           `json:"scores"`
		Charts  []chart             `json:"charts"`
		Curves  []curve             `json:"curves"`
		Changes []plotted           `json:"changes"`
		Spans   []bar               `json:"spans"`
		Tasks   map[string]taskData `json:"tasks"`
		Beside  string              `json:"beside"`
	}{some(models), plotScores(p.Scores), some(charts(p.Scores)), some(trained), changes, some(bars), byID(rows), p.rowsDir()})
	if err != nil {
		return nil, err
	}
	text := func(name string) string {
		b, err := pageFiles.ReadFile("page/" + name)
		if err != nil {
			panic(err) // it is built in
		}
		return string(b)
	}
	t := template.Must(template.New(PageFile).Parse(text("page.html")))
	variantHead, variants := variantTable(p.Scores)
	curveHead, curveLines := curveTable(checkpoints, trained)
	var board Board
	if p.Board != nil {
		board = *p.Board
	}
	boardHead, boardLines := board.html()
	beside := ""
	if slices.ContainsFunc(rows, func(d taskData) bool { return d.Files > 0 }) {
		beside = "The first ones are in this file, all of them in " + p.rowsDir() + " beside it."
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Run": p.Run, "Lead": p.Lead, "CSS": template.CSS(text("page.css")), "JS": template.JS(text("page.js")),
		"D3": template.JS(text("d3.min.js")), "Plot": template.JS(text("plot.umd.min.js")), "Data": template.JS(data),
		"Caption": caption(v), "Head": v.htmlHead(), "Lines": v.htmlLines(), "Models": len(v.models), "Notes": v.notes, "Pairs": p.Pairs,
		"BoardHead": boardHead, "Board": boardLines, "BoardNotes": board.Notes,
		"CurveHead": curveHead, "Curves": curveLines, "VariantHead": variantHead, "Variants": variants,
		"Tasks": tasks, "Beside": beside, "Spans": spans, "Cost": cost(p.Attempts), "Facts": p.Facts, "Spec": p.Spec,
	})
	return b.Bytes(), err
}

// charted are the models that charts show, those of the scores and of the pairs, and their changes.
func (p Page) charted(scored []string) (models []string, changes []plotted) {
	models, changes = slices.Clone(scored), plotChanges(p.Scores.Comparisons)
	for _, pair := range p.Pairs {
		if !slices.Contains(models, pair.Label) {
			models = append(models, pair.Label)
		}
		for _, c := range plotChanges(pair.Changes) {
			c.Model = pair.Label
			changes = append(changes, c)
		}
	}
	return models, changes
}

// some is the list, and never null in JSON.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func caption(v *view) string {
	text := "In brackets the 95 % interval."
	if len(v.models) > 1 {
		text += " ★ marks the best of a line."
	}
	return text
}

func (v *view) htmlHead() []head {
	var out []head
	for _, c := range allColumns {
		out = append(out, head{c.name, c.right})
	}
	for _, m := range v.models {
		out = append(out, head{clean(m), true})
	}
	return out
}

func (v *view) htmlLines() []tableLine {
	var out []tableLine
	for _, l := range v.lines {
		t := tableLine{Group: l.group}
		for _, c := range allColumns {
			x := cell{Text: c.cell(l)}
			if c.right {
				x.Class = "n"
			}
			t.Cells = append(t.Cells, x)
		}
		best := l.best()
		for i, s := range l.scores {
			t.Cells = append(t.Cells, scoreCell(s, best[i]))
		}
		out = append(out, t)
	}
	return out
}

// best marks the models that have the best value; none where all that have one have the same.
func (l line) best() []bool {
	marked := make([]bool, len(l.scores))
	var values []float64
	for _, s := range l.scores {
		if s != nil && s.Value != nil {
			values = append(values, *s.Value)
		}
	}
	if len(values) == 0 || slices.Min(values) == slices.Max(values) {
		return marked
	}
	best := slices.Max(values)
	if first(l.scores).Unit == score.Perplexity {
		best = slices.Min(values)
	}
	for i, s := range l.scores {
		marked[i] = s != nil && s.Value != nil && *s.Value == best
	}
	return marked
}

func scoreCell(s *score.Score, best bool) cell {
	if s == nil {
		return cell{Class: "n"}
	}
	c := cell{Text: value(*s), Class: "n"}
	if s.Value != nil {
		c.Sort = strconv.FormatFloat(*s.Value, 'g', -1, 64)
	}
	if low, high, ok := s.Interval(); ok {
		c.Interval = interval(s.Unit, low, high)
	}
	if best {
		c.Class += " best"
	}
	if s.Partial() {
		c.Class += " partial"
	}
	return c
}

// variantTable is the before/after table with all its blocks side by side; none of a run that does not quantize.
func variantTable(s score.Scores) (heads []head, lines [][]cell) {
	c := newChanges(s)
	if c == nil {
		return nil, nil
	}
	heads = []head{{"variant", false}}
	for _, name := range c.names {
		lines = append(lines, []cell{{Text: name}})
	}
	for _, b := range c.blocks {
		for i, name := range b.heads {
			heads = append(heads, head{name, !b.left[i]})
			for k := range lines {
				x := cell{Text: b.cells[i][k]}
				if at := strings.Index(x.Text, " ["); at >= 0 {
					interval, rest, _ := strings.Cut(x.Text[at+1:], "]")
					x.Text, x.Interval = x.Text[:at]+rest, interval+"]"
				}
				if !b.left[i] {
					x.Class = "n"
				}
				lines[k] = append(lines[k], x)
			}
		}
	}
	return heads, lines
}

// plotted is a point of a chart with its interval.
type plotted struct {
	Model   string   `json:"model"`
	Dataset string   `json:"dataset"`
	Group   bool     `json:"group,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Value   float64  `json:"value"`
	Low     *float64 `json:"low"`
	High    *float64 `json:"high"`
}

// rounded has the digits that a reader of a chart wants.
func rounded(v float64) float64 { return math.Round(v*1e4) / 1e4 }

func roundedPtr(v *float64) *float64 {
	if v == nil {
		return nil
	}
	r := rounded(*v)
	return &r
}

// plotScores are the main metrics in percent; perplexities, which have no common scale, are in the charts of their own.
func plotScores(s score.Scores) []plotted {
	out := []plotted{}
	for _, e := range entries(s) {
		if e.Unit != score.Percent || e.Value == nil || e.Further {
			continue
		}
		out = append(out, plotted{Model: e.Model, Dataset: e.Dataset, Group: len(e.Members) > 0, Value: rounded(*e.Value),
			Low: roundedPtr(e.Low), High: roundedPtr(e.High)})
	}
	return out
}

func plotChanges(list []score.Comparison) []plotted {
	out := []plotted{}
	for _, c := range list {
		if c.Change == nil || c.Further {
			continue
		}
		unit := "points"
		if c.Unit == score.Perplexity {
			unit = "ratio"
		}
		out = append(out, plotted{Model: c.Model, Dataset: c.Dataset, Group: len(c.Members) > 0, Unit: unit, Value: rounded(*c.Change),
			Low: roundedPtr(c.Low), High: roundedPtr(c.High)})
	}
	return out
}

// byID has the tasks' rows by the number that the page knows them by.
func byID(rows []taskData) map[string]taskData {
	out := map[string]taskData{}
	for i, d := range rows {
		out[strconv.Itoa(i)] = d
	}
	return out
}

// Plural writes "1 row", "2 rows".
func Plural(n int, what string) string {
	what = strings.TrimSuffix(what, "s")
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}
