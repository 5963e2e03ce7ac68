package bench

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Rows are the figures as rows of a Markdown table: model, work, machine, rate, bound, of peak, cores, date and command. A work that was left
// out has none. The startup and the memory come last.
func (r *Report) Rows(command string) []string {
	model := r.Model.Name + ", " + r.Model.DType
	if !r.Model.Random {
		model = filepath.Base(r.Model.Name) + ", " + r.Model.DType
	}
	row := func(work, rate, bound, share, cores string) string {
		date, _, _ := strings.Cut(r.Time, "T")
		cells := []string{model, work, r.Machine.CPU + ", " + r.Machine.Features, rate, bound, share, cores, date + ", `" + command + "`"}
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(c, "|", `\|`)
		}
		return "| " + strings.Join(cells, " | ") + " |"
	}
	var rows []string
	for _, w := range r.Works {
		if w.Skipped == "" {
			at := digits(w.GFLOPs) + " GFLOP/s"
			if w.Bound == "memory" {
				at = digits(w.GBs) + " GB/s"
			}
			rows = append(rows, row(w.Name, digits(w.Rate)+" "+w.Unit+"/s", w.Bound+", "+at, fmt.Sprintf("%.0f %%", 100*w.Share),
				fmt.Sprintf("%.1f of %d", w.Cores, r.Machine.Threads)))
		}
	}
	return append(rows, row("startup", fmt.Sprintf("first token after %.2f s", r.Startup.FirstToken), "", "", ""),
		row("memory", fmt.Sprintf("%sB at most, weights %sB", short(float64(r.PeakRSS)), short(float64(r.Model.Bytes))), "", "", ""))
}

// beginOf finds the line that a section of rows begins with, and how many of the first cells say what a row is of.
var beginOf = regexp.MustCompile(`^<!-- rows: ([\w-]+), key: (\d+) -->$`)

const endOfRows = "<!-- end of rows -->"

// MergeRows puts rows into a Markdown document's table between the lines
//
//	<!-- rows: SECTION, key: N -->
//	<!-- end of rows -->
//
// A row takes the place of the one with the same first N cells, or goes to the end. All else stays as it is. A document without the section
// or its table, and a row of other columns than its head has, are errors.
func MergeRows(doc, section string, rows []string) (string, error) {
	lines := strings.Split(doc, "\n")
	from, key := -1, 0
	for i, line := range lines {
		if m := beginOf.FindStringSubmatch(strings.TrimSpace(line)); m != nil && m[1] == section {
			from = i
			key, _ = strconv.Atoi(m[2]) // digits; too many give the greatest, which no table has
		}
	}
	if from < 0 {
		return "", fmt.Errorf("there is no line <!-- rows: %s, key: N -->: write it, the head of a table and %s", section, endOfRows)
	}
	table := lines[from+1:]
	if to := slices.IndexFunc(table, func(s string) bool { return strings.TrimSpace(s) == endOfRows }); to >= 0 {
		table = slices.Clone(table[:to])
	} else {
		return "", fmt.Errorf("line %d: the rows %s have no %s", from+1, section, endOfRows)
	}
	old := len(table)
	if old < 2 || key < 1 || len(cellsOf(table[0])) < key {
		return "", fmt.Errorf("line %d: the rows %s need a table's head of two lines, with %d columns at least", from+1, section, max(key, 1))
	}
	for _, row := range rows {
		cells := cellsOf(row)
		if want := len(cellsOf(table[0])); len(cells) != want {
			return "", fmt.Errorf("the rows %s have %d columns, and this has %d: %q", section, want, len(cells), row)
		}
		same := func(s string) bool { c := cellsOf(s); return len(c) >= key && slices.Equal(c[:key], cells[:key]) }
		if i := slices.IndexFunc(table[2:], same); i >= 0 {
			table[2+i] = row
		} else {
			table = append(table, row)
		}
	}
	return strings.Join(slices.Concat(lines[:from+1], table, lines[from+1+old:]), "\n"), nil
}

// cellsOf gives a row's cells without their margins; nil for what is no row.
func cellsOf(row string) []string {
	row = strings.TrimSpace(row)
	if len(row) < 2 || row[0] != '|' || row[len(row)-1] != '|' {
		return nil
	}
	var cells []string
	for cell := range strings.SplitSeq(strings.ReplaceAll(row[1:len(row)-1], `\|`, "\x00"), "|") {
		cells = append(cells, strings.TrimSpace(strings.ReplaceAll(cell, "\x00", `\|`)))
	}
	return cells
}
