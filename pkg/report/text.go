package report

import (
	"strings"

	"sextant/pkg/score"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// A character of ambiguous width ("±") is one column wide whatever the locale, so that a summary's bytes do not depend on it. Chinese,
// Japanese and Korean characters are two columns wide all the same.
func init() { text.OverrideRuneWidthEastAsianWidth(false) }

// plainStyle is columns apart by two blanks, with rules of dashes.
var plainStyle = table.Style{
	Name:    "sextant",
	Box:     table.BoxStyle{MiddleHorizontal: "-", MiddleSeparator: "-", MiddleVertical: " ", PaddingRight: " "},
	Options: table.Options{SeparateColumns: true, SeparateHeader: true},
}

// Text renders scores as summary.txt has them: one table, of a run that quantizes the before/after table and a plot of each perplexity
// against size, then the notes.
func Text(s score.Scores) string {
	v := newView(s)
	if len(v.lines) == 0 {
		return "nothing was scored: the plan has no tasks\n"
	}
	parts := []string{v.table(allColumns)}
	if c := newChanges(s); c != nil {
		parts = append(parts, c.text(summaryWidth))
	}
	for _, c := range charts(s) {
		parts = append(parts, c.title()+"\n\n"+c.plot())
	}
	return strings.Join(append(parts, joinNotes(v.notes, 0)), "\n")
}

// table renders the shared columns wanted and the models' columns, with a rule between datasets and groups.
func (v *view) table(shared []column) string {
	t := table.NewWriter()
	t.SetStyle(plainStyle)
	head := v.head(shared)
	t.AppendHeader(row(head))
	var right []table.ColumnConfig
	for c := range head {
		if c >= len(shared) || shared[c].right {
			right = append(right, table.ColumnConfig{Number: c + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	t.SetColumnConfigs(right)
	starred := v.starred()
	for i, l := range v.lines {
		if v.groups > 0 && i == len(v.lines)-v.groups {
			t.AppendSeparator()
		}
		cells := l.cells(shared)
		for c := len(shared); c < len(cells); c++ {
			if starred && !strings.HasSuffix(cells[c], "*") {
				cells[c] += " " // so that the star of another line stands apart from the digits
			}
		}
		t.AppendRow(row(cells))
	}
	return trimLines(t.Render())
}

func (v *view) starred() bool {
	for _, l := range v.lines {
		for _, s := range l.scores {
			if s != nil && s.Partial() {
				return true
			}
		}
	}
	return false
}

func row(cells []string) table.Row {
	r := make(table.Row, len(cells))
	for i, c := range cells {
		r[i] = c
	}
	return r
}

// joinNotes writes a line a note; with columns wrapped.
func joinNotes(notes []string, columns int) string {
	var b strings.Builder
	for _, n := range notes {
		if columns > 0 {
			b.WriteString(wrap(n, max(columns, leastWidth), "  "))
		} else {
			b.WriteString(n + "\n")
		}
	}
	return b.String()
}

func width(s string) int { return text.StringWidthWithoutEscSequences(s) }
