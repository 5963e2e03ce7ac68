package report

import (
	"fmt"
	"slices"

	"sextant/pkg/score"
)

// view is scores laid out as a table: one line a dataset, one column a model.
type view struct {
	models []string
	at     map[string]int // the model's place there
	lines  []line         // of the datasets, then of the groups
	groups int            // how many of lines are groups
	notes  []string
}

// line is a dataset's scores, one a model; nil where the model was not asked.
type line struct {
	group        bool
	dataset      string
	version      string
	metric, mode string
	n, missing   string
	scores       []*score.Score
}

// A column is one that all models share. The models' columns follow.
type column struct {
	name  string
	right bool // numbers stand to the right
	cell  func(line) string
}

var allColumns = []column{
	{"dataset", false, func(l line) string { return l.dataset }},
	{"version", false, func(l line) string { return l.version }},
	{"metric", false, func(l line) string { return l.metric }},
	{"mode", false, func(l line) string { return l.mode }},
	{"n", true, func(l line) string { return l.n }},
	{"missing", true, func(l line) string { return l.missing }},
}

func newView(s score.Scores) *view {
	v := &view{at: map[string]int{}}
	for _, list := range [][]score.Score{s.Scores, s.Groups} {
		for i := range list {
			if _, known := v.at[list[i].Model]; !known {
				v.at[list[i].Model] = len(v.models)
				v.models = append(v.models, list[i].Model)
			}
		}
	}
	v.lines = append(v.collect(s.Scores, false), v.collect(s.Groups, true)...)
	for _, l := range v.lines {
		if l.group {
			v.groups++
		}
	}
	v.notes = notes(s)
	return v
}

// collect makes a line of the scores that differ only in their model, in the order of the first of them.
func (v *view) collect(scores []score.Score, group bool) []line {
	type key struct{ dataset, metric, mode string }
	var lines []line
	at := map[key]int{}
	for i := range scores {
		s := &scores[i]
		k := key{s.Dataset, s.Metric, mode(*s)}
		if _, ok := at[k]; !ok {
			at[k] = len(lines)
			lines = append(lines, line{group: group, dataset: clean(s.Dataset), metric: s.Metric, mode: clean(k.mode),
				scores: make([]*score.Score, len(v.models))})
		}
		lines[at[k]].scores[v.at[s.Model]] = s
	}
	for i := range lines {
		lines[i].sum()
	}
	return lines
}

// sum fills in the cells that the models share.
func (l *line) sum() {
	var versions []string
	var n, missing []int
	for _, s := range l.scores {
		if s == nil {
			continue
		}
		n, missing = append(n, s.N), append(missing, s.Missing)
		if s.Prompt != "" && !slices.Contains(versions, s.Prompt) {
			versions = append(versions, s.Prompt)
		}
	}
	switch len(versions) {
	case 0:
	case 1:
		l.version = versions[0]
	default: // models whose chat templates differ; the csv has each
		l.version = fmt.Sprintf("%s+%d", versions[0], len(versions)-1)
	}
	l.n, l.missing = span(slices.Min(n), slices.Max(n)), span(slices.Min(missing), slices.Max(missing))
}

// head and cells are the table as text: the shared columns, then a value a model.
func (v *view) head(shared []column) []string {
	var head []string
	for _, c := range shared {
		head = append(head, c.name)
	}
	for _, m := range v.models {
		head = append(head, clean(m))
	}
	return head
}

func (l line) cells(shared []column) []string {
	var cells []string
	for _, c := range shared {
		cells = append(cells, c.cell(l))
	}
	for _, s := range l.scores {
		if s == nil {
			cells = append(cells, "")
		} else {
			cells = append(cells, value(*s))
		}
	}
	return cells
}
