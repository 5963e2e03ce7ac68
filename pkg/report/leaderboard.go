package report

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"sextant/pkg/score"
	"sextant/pkg/spec"
)

// boardVersion is that of leaderboard.json: raised when a field changes its meaning or goes.
const boardVersion = 1

// ByMean names the plain mean of all datasets in percent as what a leaderboard goes by.
const ByMean = "mean"

// Board ranks the models of a run: one line a model, for when there are many.
type Board struct {
	Version int           `json:"version"`
	By      string        `json:"by"` // the group or dataset that it goes by, or ByMean
	Metric  string        `json:"metric"`
	Unit    score.Unit    `json:"unit"` // perplexity: the lowest is the best; else the highest
	Columns []BoardColumn `json:"columns"`
	Rows    []BoardRow    `json:"rows"`  // ranked, then those that lack rows, then those without a value
	Notes   []string      `json:"notes"` // what stands below the table
}

// BoardColumn is a group or a dataset by its main metric.
type BoardColumn struct {
	Name   string     `json:"name"`
	Group  bool       `json:"group,omitempty"`
	Metric string     `json:"metric"`
	Mode   string     `json:"mode"` // with the conventions that change the number
	Unit   score.Unit `json:"unit"`
}

// BoardRow is a model. Value and what follows it are of what the board goes by.
type BoardRow struct {
	Rank   int          `json:"rank"` // from 1; equal values share one; 0: none, see Reason
	Model  string       `json:"model"`
	Value  *float64     `json:"value"`
	StdErr *float64     `json:"stderr"`
	Low    *float64     `json:"low"` // of the 95 % interval
	High   *float64     `json:"high"`
	Near   bool         `json:"within_noise,omitempty"` // ranked behind the first, and the lead's interval has "none" in it
	Reason string       `json:"reason,omitempty"`       // why the model has no rank: rows or members are missing
	Cells  []*BoardCell `json:"cells"`                  // one a column; null where the model was not asked

	of *score.Score
}

// BoardCell is a model's score in a column.
type BoardCell struct {
	Value   *float64 `json:"value"` // null: nothing was scored
	StdErr  *float64 `json:"stderr"`
	Partial bool     `json:"partial,omitempty"` // fewer rows or members than planned
}

// NewBoard ranks the models of scores by a group, a dataset, or ByMean. "" is the first group in percent; without one the mean of the
// datasets in percent, without these the first perplexity. Further metrics of a dataset are left out. A model of which rows are missing
// in what the board goes by has no rank, for the missing rows might change it: it stands behind those that have one. A group's members that
// are in no model's scores are nobody's lack. An unknown name is an error that lists the names there are.
func NewBoard(s score.Scores, by string) (Board, error) {
	s.Scores = slices.DeleteFunc(slices.Clone(s.Scores), func(x score.Score) bool { return x.Further })
	v := newView(s)
	v.lines = append(slices.Clone(v.lines[len(v.lines)-v.groups:]), v.lines[:len(v.lines)-v.groups]...)
	r := ranking{view: v, scores: s}
	if err := r.goBy(by); err != nil {
		return Board{}, fmt.Errorf("ranking models: %w", err)
	}
	r.all = r.members()
	b := Board{Version: boardVersion, By: r.by, Metric: r.first().Metric, Unit: r.first().Unit}
	for _, l := range v.lines {
		x := first(l.scores)
		b.Columns = append(b.Columns, BoardColumn{Name: x.Dataset, Group: l.group, Metric: l.metric, Mode: l.mode, Unit: x.Unit})
	}
	for i, m := range v.models {
		b.Rows = append(b.Rows, r.row(i, m))
	}
	r.rank(b.Rows)
	b.Notes = r.notes(b.Rows)
	return b, nil
}

// ranking is a leaderboard in the making.
type ranking struct {
	*view  // its lines are the groups, then the datasets
	scores score.Scores
	by     string
	of     []*score.Score // what it goes by, one a model; nil where the model was not asked
	all    []string       // its members
}

func first(scores []*score.Score) *score.Score {
	return scores[slices.IndexFunc(scores, func(x *score.Score) bool { return x != nil })]
}

func (r *ranking) first() *score.Score { return first(r.of) }

// goBy finds what the board goes by.
func (r *ranking) goBy(by string) error {
	if len(r.lines) == 0 {
		return errors.New("nothing was scored")
	}
	var names []string
	find := func(is func(l line) bool) bool {
		at := slices.IndexFunc(r.lines, is)
		if at >= 0 {
			r.of = r.lines[at].scores
			r.by = r.first().Dataset
		}
		return at >= 0
	}
	percents := 0
	for _, l := range r.lines {
		names = append(names, first(l.scores).Dataset)
		if !l.group && first(l.scores).Unit == score.Percent {
			percents++
		}
	}
	percent := func(l line) bool { return first(l.scores).Unit == score.Percent }
	switch {
	case by != "" && find(func(l line) bool { return first(l.scores).Dataset == by }):
	case by == "" && find(func(l line) bool { return l.group && percent(l) }):
	case by == "" && percents == 1 && find(percent):
	case (by == "" || by == ByMean) && percents > 0:
		r.by, r.of = ByMean, r.mean()
	case by == "" && find(func(l line) bool { return !l.group }), by == "" && find(func(line) bool { return true }):
	default:
		if near := spec.Nearest(by, names); len(near) > 0 {
			return fmt.Errorf("no group or dataset is named %q: did you mean %q? There are %s", by, near[0], strings.Join(names, ", "))
		}
		return fmt.Errorf("no group or dataset is named %q: there are %s", by, strings.Join(names, ", "))
	}
	return nil
}

// mean is the plain mean of the datasets in percent, of each model, as a group's score has it: the standard error takes the datasets as
// independent.
func (r *ranking) mean() []*score.Score {
	out := make([]*score.Score, len(r.models))
	for m, name := range r.models {
		s := &score.Score{Model: name, Dataset: ByMean, Metric: "mean", Unit: score.Percent}
		var sum, variance float64
		for _, l := range r.lines {
			if l.group || first(l.scores).Unit != score.Percent {
				continue
			}
			s.Members = append(s.Members, first(l.scores).Dataset)
			x := l.scores[m]
			if x == nil || x.Value == nil {
				s.Missing++
				continue
			}
			s.N++
			sum += *x.Value
			if x.StdErr == nil {
				variance = math.NaN()
			} else {
				variance += *x.StdErr * *x.StdErr
			}
		}
		if n := float64(s.N); s.N > 0 {
			value, stderr := sum/n, math.Sqrt(variance)/n
			s.Value = &value
			if !math.IsNaN(stderr) {
				s.StdErr = &stderr
			}
		}
		out[m] = s
	}
	return out
}

func (r *ranking) row(m int, name string) BoardRow {
	row := BoardRow{Model: name, of: r.of[m], Reason: r.incomplete(m)}
	if x := row.of; x != nil {
		row.Value, row.StdErr = x.Value, x.StdErr
		if low, high, ok := x.Interval(); ok {
			row.Low, row.High = &low, &high
		}
	}
	for _, l := range r.lines {
		var c *BoardCell
		if x := l.scores[m]; x != nil {
			c = &BoardCell{Value: x.Value, StdErr: x.StdErr, Partial: x.Partial()}
		}
		row.Cells = append(row.Cells, c)
	}
	return row
}

// incomplete says why a model has no rank; "": it has all that any model has of what the board goes by.
func (r *ranking) incomplete(m int) string {
	x := r.of[m]
	switch {
	case x == nil:
		return "was not asked"
	case len(x.Members) == 0 && x.Value != nil && x.Partial():
		return fmt.Sprintf("%d of %d rows: %s", x.N, x.N+x.Missing, reason(x.Reason))
	case len(x.Members) == 0 && x.Value == nil:
		return reason(x.Reason)
	case len(x.Members) == 0:
		return ""
	}
	var lacks []string
	for _, name := range r.all {
		s := r.dataset(name, m)
		switch {
		case !slices.Contains(x.Members, name) || s == nil:
			lacks = append(lacks, name+" was not asked")
		case s.Value == nil:
			lacks = append(lacks, name+" has no score")
		case s.Partial():
			lacks = append(lacks, fmt.Sprintf("%s has %d of %d rows", name, s.N, s.N+s.Missing))
		}
	}
	if len(lacks) == 0 && x.Value == nil {
		return reason(x.Reason)
	}
	return strings.Join(lacks, ", ")
}

// members are the datasets behind what the board goes by: of a group, those that any model has.
func (r *ranking) members() []string {
	var out []string
	for _, x := range r.of {
		if x == nil {
			continue
		}
		for _, name := range x.Members {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	if len(out) == 0 {
		out = []string{r.by}
	}
	return out
}

// dataset is a model's score of a dataset; nil where it was not asked.
func (r *ranking) dataset(name string, m int) *score.Score {
	for _, l := range r.lines {
		if x := l.scores[m]; !l.group && x != nil && x.Dataset == name {
			return x
		}
	}
	return nil
}

// rank sorts the rows and numbers those that are whole. What is equal to nine decimals shares a rank and stands in the order of the models.
func (r *ranking) rank(rows []BoardRow) {
	order := func(row BoardRow) float64 {
		v := math.Round(*row.Value*1e9) / 1e9
		if r.first().Unit != score.Perplexity {
			return -v
		}
		return v
	}
	class := func(row BoardRow) int {
		switch {
		case row.Value == nil:
			return 2
		case row.Reason != "":
			return 1
		}
		return 0
	}
	slices.SortStableFunc(rows, func(a, b BoardRow) int {
		if a.Value == nil || b.Value == nil {
			return cmp.Compare(class(a), class(b))
		}
		return cmp.Or(cmp.Compare(class(a), class(b)), cmp.Compare(order(a), order(b)))
	})
	for i := range rows {
		if class(rows[i]) > 0 {
			break
		}
		rows[i].Rank = i + 1
		if i > 0 && order(rows[i]) == order(rows[i-1]) {
			rows[i].Rank = rows[i-1].Rank
		}
		if rows[i].Rank > 1 {
			l := r.lead(rows[0].of, rows[i].of)
			rows[i].Near = l.known && !l.outside()
		}
	}
}
