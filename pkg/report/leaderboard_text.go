package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sextant/pkg/score"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// leastName is to how many columns a model's name is cut, at most, on a narrow terminal.
const leastName = 12

// cells are a line of the board as text: rank, model and what it goes by, then the columns but that one.
func (b *Board) cells(row BoardRow) []string {
	rank := ""
	if row.Rank > 0 {
		rank = strconv.Itoa(row.Rank)
	}
	if row.Near {
		rank += "~"
	}
	by := score.Score{Unit: b.Unit, Value: row.Value, StdErr: row.StdErr, Reason: row.Reason}
	out := []string{rank, clean(row.Model), value(by)}
	at := b.byColumn()
	for i, c := range row.Cells {
		if i == at {
			continue
		}
		switch {
		case c == nil:
			out = append(out, "")
		case c.Value == nil:
			out = append(out, "-")
		case c.Partial:
			out = append(out, number(b.Columns[i].Unit, *c.Value)+"*")
		default:
			out = append(out, number(b.Columns[i].Unit, *c.Value))
		}
	}
	return out
}

func (b *Board) head() []string {
	out := []string{"rank", "model", clean(b.By)}
	at := b.byColumn()
	for i, c := range b.Columns {
		if i != at {
			out = append(out, clean(c.Name))
		}
	}
	return out
}

// byColumn is the column of what the board goes by, which stands before the others; -1: none is.
func (b *Board) byColumn() int {
	return slices.IndexFunc(b.Columns, func(c BoardColumn) bool { return c.Name == b.By })
}

// Text renders the table and its notes, each line at most so many columns wide: columns of datasets that do not fit are left out, and
// counted below; a model's name is cut where it must be. With 0 columns nothing is left out.
func (b Board) Text(columns int) string {
	return b.table(columns) + "\n" + joinNotes(b.Notes, columns)
}

// lines are the head and the rows as text, with blanks behind what has no mark where another of the column has one, so that digits stand
// below digits.
func (b *Board) lines() [][]string {
	out := [][]string{b.head()}
	marked := make([]bool, len(out[0]))
	is := func(cell string) bool { return strings.HasSuffix(cell, "*") || strings.HasSuffix(cell, "~") }
	for _, row := range b.Rows {
		cells := b.cells(row)
		for i, cell := range cells {
			marked[i] = marked[i] || i != 1 && is(cell)
		}
		out = append(out, cells)
	}
	for _, l := range out[1:] {
		for i := range l {
			if marked[i] && !is(l[i]) {
				l[i] += " "
			}
		}
	}
	return out
}

// table is the board's table with the columns that fit.
func (b *Board) table(columns int) string {
	lines := b.lines()
	widths := make([]int, len(lines[0]))
	for _, l := range lines {
		for i, cell := range l {
			widths[i] = max(widths[i], width(cell))
		}
	}
	shown, left := len(widths), 0
	if columns > 0 {
		shown, left = b.fit(lines, widths, max(columns, leastWidth))
	}
	t := table.NewWriter()
	t.SetStyle(plainStyle)
	var right []table.ColumnConfig
	for i := range shown {
		if i != 1 {
			right = append(right, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	t.SetColumnConfigs(right)
	t.AppendHeader(row(lines[0][:shown]))
	for i, l := range lines[1:] {
		if i > 0 && b.Rows[i].Rank == 0 && b.Rows[i-1].Rank > 0 {
			t.AppendSeparator()
		}
		t.AppendRow(row(l[:shown]))
	}
	out := trimLines(t.Render())
	if left > 0 {
		out += fmt.Sprintf("(%s more: see leaderboard.txt)\n", Plural(left, "column"))
	}
	return out
}

// fit says how many cells of a line there is room for, and how many are left out. Names, and then the headings, are cut where not even the
// first three fit.
func (b *Board) fit(lines [][]string, widths []int, columns int) (shown, left int) {
	const gap = len("  ")
	columns-- // a rule is one longer than the lines
	if room := columns - widths[0] - widths[2] - 2*gap; widths[1] > room {
		room = max(room, leastName)
		lines[0][2] = shorten(lines[0][2], max(columns-widths[0]-room-2*gap, leastName))
		widths[1], widths[2] = 0, 0
		for _, l := range lines {
			l[1] = shorten(l[1], room)
			widths[1], widths[2] = max(widths[1], width(l[1])), max(widths[2], width(l[2]))
		}
	}
	used := widths[0] + gap + widths[1] + gap + widths[2]
	for shown = 3; shown < len(widths) && used+gap+widths[shown] <= columns; shown++ {
		used += gap + widths[shown]
	}
	return shown, len(widths) - shown
}

// Markdown renders the whole table as GitHub shows it, the first model in bold, and the notes as a list.
func (b Board) Markdown() string {
	var out strings.Builder
	head := b.head()
	out.WriteString(markdownRow(head, false) + "| ---: | --- " + strings.Repeat("| ---: ", len(head)-2) + "|\n")
	for _, row := range b.Rows {
		out.WriteString(markdownRow(b.cells(row), row.Rank == 1))
	}
	out.WriteString("\n")
	for _, n := range b.Notes {
		out.WriteString("- " + markdownText(n) + "\n")
	}
	return out.String()
}

// html is the whole table as a page has it, the models first, which stay in sight; none of a board without models.
func (b *Board) html() (heads []head, lines [][]cell) {
	if len(b.Rows) == 0 {
		return nil, nil
	}
	for _, name := range b.head() {
		heads = append(heads, head{name, true})
	}
	heads[0], heads[1] = head{heads[1].Name, false}, heads[0]
	for _, row := range b.Rows {
		var line []cell
		for _, text := range b.cells(row) {
			line = append(line, cell{Text: text, Class: "n"})
		}
		line[0], line[1] = line[1], line[0]
		lines = append(lines, line)
	}
	return heads, lines
}

// CSV renders one row a model, with full precision: rank (empty: none), model, by (what the board goes by), value, stderr, low, high,
// within_noise, reason, then the value in each column, headed by its name. Empty where there is none.
func (b Board) CSV() ([]byte, error) {
	head := []string{"rank", "model", "by", "value", "stderr", "low", "high", "within_noise", "reason"}
	for _, c := range b.Columns {
		head = append(head, c.Name)
	}
	lines := [][]string{head}
	for _, r := range b.Rows {
		rank := ""
		if r.Rank > 0 {
			rank = strconv.Itoa(r.Rank)
		}
		line := []string{rank, r.Model, b.By, full(r.Value), full(r.StdErr), full(r.Low), full(r.High), strconv.FormatBool(r.Near), clean(r.Reason)}
		for _, c := range r.Cells {
			if c == nil {
				line = append(line, "")
			} else {
				line = append(line, full(c.Value))
			}
		}
		lines = append(lines, line)
	}
	var out bytes.Buffer
	err := csv.NewWriter(&out).WriteAll(lines)
	return out.Bytes(), err
}

// JSON renders the board itself, indented.
func (b Board) JSON() ([]byte, error) { return indented(b) }

// WriteBoard ranks the models of scores as NewBoard does and writes leaderboard.txt, .md, .csv and .json of a directory, each whole or not at
// all.
func WriteBoard(dir string, s score.Scores, by string) error {
	b, err := NewBoard(s, by)
	if err != nil {
		return fmt.Errorf("writing the leaderboard: %w", err)
	}
	return b.Write(dir)
}

// Write writes the files of WriteBoard.
func (b Board) Write(dir string) error {
	csv, err := b.CSV()
	var json []byte
	if err == nil {
		json, err = b.JSON()
	}
	if err == nil {
		err = commit(dir, "leaderboard", renderings{[]byte(b.Text(0)), []byte(b.Markdown()), csv, json})
	}
	if err != nil {
		return fmt.Errorf("writing the leaderboard: %w", err)
	}
	return nil
}
