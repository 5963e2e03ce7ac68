package report

import (
	"fmt"
	"slices"
	"strings"

	"sextant/pkg/score"
)

// notes are the lines below the table, the general ones first.
func notes(s score.Scores) []string {
	var head []string
	all := slices.Concat(s.Scores, s.Groups)
	if slices.ContainsFunc(all, func(x score.Score) bool { return x.StdErr != nil }) {
		text := "± is one standard error."
		if slices.ContainsFunc(all, unanimous) {
			text += " Where every row is right, or none, it is the half width of Wilson's 95 % interval over 1.96."
		}
		head = append(head, text)
	}
	if len(s.Groups) > 0 {
		head = append(head, "A group's n and missing count its members.")
	}
	if slices.ContainsFunc(s.Scores, func(x score.Score) bool { return x.Further }) {
		head = append(head, "Of a dataset with several metrics groups take the first.")
	}
	return slices.Concat(head, detailNotes(s))
}

// detailNotes are those of single variants and scores.
func detailNotes(s score.Scores) []string {
	var out []string
	for _, x := range slices.Concat(s.Scores, s.Groups) {
		out = append(out, scoreNotes(x)...)
	}
	more, missing := variantNotes(s)
	return slices.Concat(more, out, missing)
}

// unanimous says that a score's rows leave no spread.
func unanimous(x score.Score) bool {
	return x.Unit == score.Percent && len(x.Members) == 0 && x.StdErr != nil && x.Value != nil && (*x.Value == 0 || *x.Value == 100)
}

// scoreNotes are those of one score: what is missing and what that could change, and how its rows were asked and scored. What is so of all
// metrics of a dataset stands with the first.
func scoreNotes(x score.Score) []string {
	name := clean(x.Model + "/" + x.Dataset)
	if x.Further {
		if x.Worst == nil {
			return nil
		}
		return []string{fmt.Sprintf("* %s, %s: %s", name, clean(x.Metric), strings.TrimPrefix(bounds(x), "; "))}
	}
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch group := len(x.Members) > 0; {
	case x.Value == nil:
		add("- %s: %s", name, reason(x.Reason))
	case x.Partial() && !group && x.Missing > 0:
		add("* %s, %d of %d rows: %s%s", name, x.N, x.N+x.Missing, reason(x.Reason), bounds(x))
	case x.Partial():
		add("* %s: %s%s", name, reason(x.Reason), bounds(x))
	}
	if n := x.Detail["rows_cut"]; n > 0 {
		add("! %s: %.0f of %d prompts were too long and were cut from the left", name, n, x.N)
	}
	if n := x.Detail["rows_with_fewer_examples"]; n > 0 {
		add("! %s: %.0f of %d prompts were too long and lost examples", name, n, x.N)
	}
	if x.Cluster > 0 {
		add("! %s: the standard error takes %d clusters of rows as independent", name, x.Cluster)
	}
	if len(x.Layers) > 0 {
		add("! %s: generated code was run, confined by %s", name, clean(strings.Join(x.Layers, ", ")))
	}
	return out
}

// bounds says what the missing rows could make of a value.
func bounds(x score.Score) string {
	if x.Worst == nil || x.Best == nil {
		return ""
	}
	return fmt.Sprintf("; the value would be %s were they all wrong, %s all right", number(x.Unit, *x.Worst), number(x.Unit, *x.Best))
}

func reason(text string) string {
	if text = clean(text); text != "" {
		return text
	}
	return "no reason is known"
}
