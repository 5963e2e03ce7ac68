package report

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"sextant/pkg/score"

	"golang.org/x/term"
)

const (
	standardWidth = 80 // where the output is no terminal that says otherwise
	leastWidth    = 40 // a narrower terminal wraps
	mostNotes     = 20 // notes shown on a terminal; summary.txt has all
	mostListed    = 8  // models, beyond which a list below each dataset gives way to the leaderboard
)

// Many says that scores are of so many models that no table of them fits 80 columns, and a list of them is too long to be read: a
// leaderboard is shown in their place.
func Many(s score.Scores) bool {
	v := newView(s)
	if len(v.models) <= mostListed {
		return false
	}
	_, fits := v.fit(standardWidth)
	return !fits
}

// layouts are the shared columns to try, the fullest first; what a narrower one leaves out is in summary.txt.
var layouts = [][]column{allColumns, pick(0, 2, 3, 4), pick(0, 2)}

// Terminal shows scores: as a table, with as many of its columns as fit the terminal's width (80 columns where w is no terminal), or
// where no table fits as a list with a line a model below each dataset. The notes follow, wrapped on a terminal and a line each elsewhere;
// a long list of them is cut and points to summary.txt.
func Terminal(w io.Writer, s score.Scores) error {
	columns, isTerminal := widthOf(w)
	_, err := io.WriteString(w, terminal(s, columns, isTerminal))
	return err
}

func pick(of ...int) (some []column) {
	for _, i := range of {
		some = append(some, allColumns[i])
	}
	return some
}

func widthOf(w io.Writer) (columns int, isTerminal bool) {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns, true
		}
	}
	return standardWidth, false
}

// TerminalBoard shows scores as Terminal does, with the leaderboard in the place of the table, and of what changed by quantization only what
// the board goes by.
func TerminalBoard(w io.Writer, s score.Scores) error {
	b, err := NewBoard(s, "")
	if err != nil {
		return err
	}
	columns, isTerminal := widthOf(w)
	_, err = io.WriteString(w, terminalBoard(b, s, columns, isTerminal))
	return err
}

func terminalBoard(b Board, s score.Scores, columns int, wrapped bool) string {
	changed := newChanges(s)
	more := 0
	if changed != nil {
		more = changed.only(clean(b.By))
	}
	table := below(b.table(columns), changed, columns)
	if more > 0 {
		table += fmt.Sprintf("(the same of %s more: see summary.txt)\n\n", Plural(more, "score"))
	}
	return table + shownNotes(slices.Concat(b.Notes, detailNotes(s)), columns, wrapped)
}

func terminal(s score.Scores, columns int, wrapped bool) string {
	v, columns := newView(s), max(columns, leastWidth)
	if len(v.lines) == 0 {
		return wrap(Text(s), columns, "")
	}
	return below(v.show(columns), newChanges(s), columns) + shownNotes(v.notes, columns, wrapped)
}

// below puts below a table what changed by quantization.
func below(table string, c *changes, columns int) string {
	table += "\n"
	if c != nil {
		table += c.text(max(columns, leastWidth)) + "\n"
	}
	return table
}

// shownNotes are the notes as a terminal has them: not too many, and wrapped if need be.
func shownNotes(notes []string, columns int, wrapped bool) string {
	shown := notes
	if len(shown) > mostNotes {
		shown = append(shown[:mostNotes:mostNotes], fmt.Sprintf("... and %d notes more: see summary.txt", len(notes)-mostNotes))
	}
	if !wrapped {
		columns = 0
	}
	return joinNotes(shown, columns)
}

// show is the fullest table that fits, or the list.
func (v *view) show(columns int) string {
	if table, fits := v.fit(columns); fits {
		return table
	}
	return v.list(columns)
}

func (v *view) fit(columns int) (table string, fits bool) {
	for _, shared := range layouts {
		if table = v.table(shared); widest(table) <= columns {
			return table, true
		}
	}
	return "", false
}

// list is the layout for many models or long names: a head a dataset, a line a model. Values stand in one column.
func (v *view) list(columns int) string {
	names, values := 0, 0
	for _, m := range v.models {
		names = max(names, width(clean(m)))
	}
	for _, l := range v.lines {
		for _, s := range l.scores {
			if s != nil {
				values = max(values, width(strings.TrimSuffix(value(*s), "*")))
			}
		}
	}
	names = min(names, columns-values-len("  "+"  "+"*"))
	var b strings.Builder
	for i, l := range v.lines {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(wrap(l.title(), columns, "    "))
		for m, s := range l.scores {
			if s == nil {
				continue
			}
			name, number := shorten(clean(v.models[m]), names), value(*s)
			gap := names - width(name) + values - width(strings.TrimSuffix(number, "*"))
			b.WriteString("  " + name + strings.Repeat(" ", gap) + "  " + number + "\n")
		}
	}
	return b.String()
}

// title says in words what the table has in columns.
func (l line) title() string {
	if l.group {
		return fmt.Sprintf("%s: %s, %s, members %s", l.dataset, l.metric, l.mode, l.n)
	}
	text := fmt.Sprintf("%s: %s, %s", l.dataset, l.metric, l.mode)
	text += ", n " + l.n
	if l.missing != "0" {
		text += ", missing " + l.missing
	}
	if l.version != "" {
		text += ", version " + l.version
	}
	return text
}

// shorten keeps a name within n columns: its start and, as the differences of names are mostly at the end, more of its end.
func shorten(name string, n int) string {
	if width(name) <= n {
		return name
	}
	runes := []rune(name)
	head := runes[:min(len(runes), n/3)]
	for width(string(head)) > n/3 {
		head = head[:len(head)-1]
	}
	tail := runes[len(head):]
	for width(string(head))+2+width(string(tail)) > n {
		tail = tail[1:]
	}
	return string(head) + ".." + string(tail)
}

// wrap breaks text at blanks into lines of at most so many columns, all but the first indented. A word longer than a line is broken
// where the line ends.
func wrap(text string, columns int, indent string) string {
	var b strings.Builder
	current := ""
	for word := range strings.FieldsSeq(text) {
		gap := ""
		if current != "" {
			gap = " "
		}
		if width(current+gap+word) > columns && width(indent+word) <= columns {
			b.WriteString(current + "\n")
			current, gap = indent, ""
		}
		for current += gap + word; width(current) > columns; {
			head := prefix(current, columns)
			b.WriteString(head + "\n")
			current = indent + current[len(head):]
		}
	}
	return b.String() + current + "\n"
}

// prefix is the longest start of text of at most so many columns.
func prefix(text string, columns int) string {
	end := 0
	for i := range text {
		if width(text[:i]) > columns {
			break
		}
		end = i
	}
	return text[:end]
}

func widest(text string) int {
	most := 0
	for l := range strings.Lines(text) {
		most = max(most, width(strings.TrimSuffix(l, "\n")))
	}
	return most
}
