package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sextant/pkg/dataset"
	"sextant/pkg/score"
)

// Detail is a task row by row.
type Detail struct {
	Score score.Score // of its main metric
	// Rows tells how the rows came out. It is called once, when the task's turn comes, so that one task's rows are in memory at a time.
	Rows func() ([]score.Row, error)
	// Shown renders what the model was given for a row. false: it is not known, as when the data are gone.
	Shown func(score.Row) (Shown, bool)
	// Before, where it is set, has each row as it came out of the baseline: all rows are shown, as those that differ. Title says what they are.
	Before map[int]score.Row
	Title  string
}

// Shown is a row as the model saw it.
type Shown struct {
	Prompt  string   // what all options have in common, or the prompt
	Options []string // the rest of each option's text, in the order of the labels
}

// The sizes of what is written, in bytes.
const (
	embedAll  = 1 << 20 // rows in the page, of all tasks
	embedTask = 64 << 10
	fileSize  = 512 << 10 // of a file beside it, about
	textSize  = 16 << 10  // of one text of a row; of longer ones the end is shown
)

// taskView is what the page has of a task without a script.
type taskView struct {
	ID                      int
	Dataset, Model, Summary string
	Breaks                  []breakdown
}

// taskData is what its script has.
type taskData struct {
	Count  int       `json:"count"` // rows that went wrong
	Files  int       `json:"files"` // beside the page; 0: all rows are here
	Prefix string    `json:"prefix,omitempty"`
	Rows   []pageRow `json:"rows"`
}

// pageRow is a row of the page. Where Whole is not set the task's prefix comes before the prompt.
type pageRow struct {
	Row     int          `json:"row"`
	Value   float64      `json:"value"`
	Whole   bool         `json:"whole,omitempty"`
	Prompt  string       `json:"prompt,omitempty"`
	Answer  string       `json:"answer"`
	Gold    []string     `json:"gold,omitempty"`
	Text    string       `json:"text,omitempty"`
	Options []pageOption `json:"options,omitempty"`
	Before  *pageBefore  `json:"before,omitempty"`
}

// pageBefore is what the baseline made of the row.
type pageBefore struct {
	Answer string `json:"answer"`
	Text   string `json:"text,omitempty"`
}

type pageOption struct {
	Label string  `json:"label"`
	Loss  float64 `json:"loss"`
	Text  string  `json:"text,omitempty"`
}

// writeRows puts the rows that went wrong into files of dir, and says how many files that are.
func writeRows(dir string, details []Detail) (views []taskView, data []taskData, files int, err error) {
	budget := embedTask
	if len(details) > 0 {
		budget = min(budget, embedAll/len(details))
	}
	for _, d := range details {
		rows, err := d.Rows()
		if err != nil {
			return nil, nil, 0, err
		}
		v := taskView{ID: len(views), Dataset: clean(d.Score.Dataset), Model: clean(d.Score.Model), Summary: fmt.Sprintf("%s %s", Plural(len(rows), "rows"), d.Title)}
		wrong := slices.Clone(rows)
		if d.Before == nil {
			wrong = slices.DeleteFunc(wrong, func(r score.Row) bool { return r.Value >= 1 })
			v.Breaks = breakdowns(rows)
			v.Summary = fmt.Sprintf("%s %s, %d of %s not right", d.Score.Metric, value(d.Score), len(wrong), Plural(len(rows), "rows"))
		}
		slices.SortStableFunc(wrong, func(a, b score.Row) int {
			return cmp.Compare(a.Value-d.Before[a.Row].Value, b.Value-d.Before[b.Row].Value)
		})
		w := rowWriter{dir: dir, id: len(views), budget: budget, data: taskData{Count: len(wrong), Rows: []pageRow{}}}
		if err := w.write(d, wrong); err != nil {
			return nil, nil, 0, err
		}
		views, data, files = append(views, v), append(data, w.data), files+w.data.Files
	}
	return views, data, files, nil
}

// rowWriter writes one task's rows.
type rowWriter struct {
	dir    string
	id     int
	budget int // bytes of rows that the page may still take
	data   taskData
	file   []byte // of the file in hand: its rows
}

func (w *rowWriter) write(d Detail, wrong []score.Row) error {
	w.data.Prefix = w.prefix(d, wrong)
	for _, r := range wrong {
		row := w.row(d, r)
		raw, err := json.Marshal(row)
		if err != nil {
			return err
		}
		if w.budget -= len(raw); w.budget >= 0 {
			w.data.Rows = append(w.data.Rows, row)
		}
		if len(w.file) > 0 {
			w.file = append(w.file, ',', '\n')
		}
		if w.file = append(w.file, raw...); len(w.file) >= fileSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	if len(w.data.Rows) == len(wrong) { // the page has them all
		w.data.Files = 0
		return nil
	}
	return w.flush()
}

// flush writes the rows in hand into the next file. It is a script, which a page may load from beside it even without a server.
func (w *rowWriter) flush() error {
	if len(w.file) == 0 {
		return nil
	}
	path := filepath.Join(w.dir, fmt.Sprintf("%d-%d.js", w.id, w.data.Files))
	text := fmt.Appendf(nil, "sextantRows(%q,%d,[\n%s\n]);\n", strconv.Itoa(w.id), w.data.Files, w.file)
	w.data.Files, w.file = w.data.Files+1, w.file[:0]
	return os.WriteFile(path, text, 0o666)
}

// prefix is what the first prompts begin with, their examples above all: it is written once.
func (w *rowWriter) prefix(d Detail, rows []score.Row) string {
	prefix := ""
	for i, r := range rows[:min(len(rows), 16)] {
		s, ok := d.Shown(r)
		if !ok {
			return ""
		}
		if i == 0 {
			prefix = s.Prompt
		}
		prefix = prefix[:dataset.Common(prefix, s.Prompt)]
	}
	if len(rows) < 2 {
		return ""
	}
	return prefix[:strings.LastIndexByte(prefix, '\n')+1]
}

func (w *rowWriter) row(d Detail, r score.Row) pageRow {
	out := pageRow{Row: r.Row, Value: r.Value, Answer: end(r.Answer), Text: end(r.Record.Text)}
	if b, ok := d.Before[r.Row]; ok {
		out.Before = &pageBefore{Answer: end(b.Answer), Text: end(b.Record.Text)}
	}
	for _, g := range r.Gold {
		out.Gold = append(out.Gold, end(g))
	}
	s, shown := d.Shown(r)
	if shown {
		rest, cut := strings.CutPrefix(s.Prompt, w.data.Prefix)
		out.Prompt, out.Whole = end(rest), !cut
	} else {
		out.Whole = true
	}
	for i, loss := range r.Losses {
		o := pageOption{Label: r.Record.Labels[i], Loss: loss}
		if shown && i < len(s.Options) {
			o.Text = end(s.Options[i])
		}
		out.Options = append(out.Options, o)
	}
	return out
}

// end cuts a text that is too long from the left.
func end(text string) string {
	if len(text) <= textSize {
		return text
	}
	at := len(text) - textSize
	for !utf8.RuneStart(text[at]) {
		at++
	}
	return "… " + text[at:]
}

// breakdown is how a task's rows came out by something about them.
type breakdown struct {
	Title, Of, Value string
	Lines            []breakLine
}

type breakLine struct {
	Name, Value string
	Rows        int
}

// breakdowns tells by length and, where labels are ranked, by where the right option stands and which one was chosen.
func breakdowns(rows []score.Row) []breakdown {
	if len(rows) == 0 {
		return nil
	}
	out := []breakdown{byLength(rows)}
	right, chosen := map[int][]score.Row{}, map[int][]score.Row{}
	for _, r := range rows {
		if len(r.Losses) == 0 || len(r.Gold) == 0 {
			return out
		}
		gold := slices.Index(r.Record.Labels, r.Gold[0])
		right[gold] = append(right[gold], r)
		at := slices.Index(r.Record.Labels, r.Answer)
		chosen[at] = append(chosen[at], r)
	}
	return append(out, byPlace("Where the right option stands", right), byPlace("Which option was chosen", chosen))
}

// byLength has the rows by the quarters of their prompts' lengths.
func byLength(rows []score.Row) breakdown {
	b := breakdown{Title: "By length of the prompt", Of: "tokens", Value: "mean"}
	sorted := slices.Clone(rows)
	slices.SortStableFunc(sorted, func(x, y score.Row) int { return cmp.Compare(x.Record.PromptTokens, y.Record.PromptTokens) })
	for i := range 4 {
		part := sorted[len(sorted)*i/4 : len(sorted)*(i+1)/4]
		if len(part) > 0 {
			b.Lines = append(b.Lines, breakLine{span(part[0].Record.PromptTokens, part[len(part)-1].Record.PromptTokens), mean(part), len(part)})
		}
	}
	return b
}

func byPlace(title string, by map[int][]score.Row) breakdown {
	b := breakdown{Title: title, Of: "option", Value: "mean"}
	for at := range slices.Max(slices.Collect(maps.Keys(by))) + 1 {
		if part := by[at]; len(part) > 0 {
			b.Lines = append(b.Lines, breakLine{strconv.Itoa(at + 1), mean(part), len(part)})
		}
	}
	return b
}

// mean is the mean value in percent.
func mean(rows []score.Row) string {
	sum := 0.0
	for _, r := range rows {
		sum += r.Value
	}
	return number(score.Percent, 100*sum/float64(len(rows)))
}
