package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"sextant/pkg/result"
	"sextant/pkg/score"
)

// Write renders scores into summary.txt, summary.csv, summary.md and summary.json of a directory, each whole or not at all.
func Write(dir string, s score.Scores) error {
	csv, err := CSV(s)
	if err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	json, err := JSON(s)
	if err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{"summary.txt", []byte(Text(s))}, {"summary.csv", csv}, {"summary.md", []byte(Markdown(s))}, {"summary.json", json}} {
		write := func(w io.Writer) error { _, err := w.Write(f.data); return err }
		if err := result.Commit(filepath.Join(dir, f.name), write); err != nil {
			return fmt.Errorf("writing the summary: %w", err)
		}
	}
	return nil
}

// CSV renders one row a dataset and model, with full precision; empty where there is no number. The header names the columns; low and
// high are the 95 % interval.
func CSV(s score.Scores) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	records := [][]string{{"kind", "dataset", "version", "metric", "mode", "note", "unit", "model",
		"value", "stderr", "low", "high", "n", "missing", "correct", "hash", "reason"}}
	for _, e := range entries(s) {
		kind, correct := "dataset", ""
		if len(e.Members) > 0 {
			kind = "group"
		} else if e.Unit == score.Percent && e.Value != nil {
			correct = strconv.Itoa(e.Correct)
		}
		records = append(records, []string{kind, e.Dataset, e.Prompt, e.Metric, e.Mode, e.Note, string(e.Unit), e.Model,
			full(e.Value), full(e.StdErr), full(e.Low), full(e.High), strconv.Itoa(e.N), strconv.Itoa(e.Missing), correct, e.Hash, clean(e.Reason)})
	}
	err := w.WriteAll(records)
	return b.Bytes(), err
}

// entry is a score with its interval, as summary.json has it.
type entry struct {
	score.Score
	Low  *float64 `json:"low"` // of the interval; null where there is none
	High *float64 `json:"high"`
}

// entries gives the scores of the datasets, then of the groups.
func entries(s score.Scores) []entry {
	out := make([]entry, 0, len(s.Scores)+len(s.Groups))
	for _, list := range [][]score.Score{s.Scores, s.Groups} {
		for _, x := range list {
			e := entry{Score: x}
			if low, high, ok := x.Interval(); ok {
				e.Low, e.High = &low, &high
			}
			out = append(out, e)
		}
	}
	return out
}

// JSON renders everything: the scores of scores.json, each with its interval.
func JSON(s score.Scores) ([]byte, error) {
	all := entries(s)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Version    int     `json:"version"`
		Confidence float64 `json:"confidence"` // of low and high
		Scores     []entry `json:"scores"`
		Groups     []entry `json:"groups,omitempty"`
	}{s.Version, score.Confidence, all[:len(s.Scores)], all[len(s.Scores):]})
	return b.Bytes(), err
}

// Markdown renders a table as GitHub shows it, then the notes as a list. Groups are in bold.
func Markdown(s score.Scores) string {
	v := newView(s)
	if len(v.lines) == 0 {
		return Text(s)
	}
	var b strings.Builder
	b.WriteString(markdownRow(v.head(allColumns), false))
	b.WriteString(strings.Repeat("| --- ", 4) + strings.Repeat("| ---: ", len(v.models)+2) + "|\n")
	for _, l := range v.lines {
		b.WriteString(markdownRow(l.cells(allColumns), l.group))
	}
	b.WriteString("\n")
	for _, n := range v.notes {
		b.WriteString("- " + markdownText(n) + "\n")
	}
	return b.String()
}

func markdownRow(cells []string, bold bool) string {
	for i, c := range cells {
		cells[i] = markdownText(c)
	}
	if bold {
		cells[0] = "**" + cells[0] + "**"
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

var markdownEscapes = strings.NewReplacer(`\`, `\\`, "|", `\|`, "*", `\*`, "`", "\\`", "<", "&lt;", "[", `\[`)

// markdownText makes plain text of text: nothing in it is markup. A note's leading "-" would start a list in a list.
func markdownText(text string) string {
	text = markdownEscapes.Replace(text)
	if strings.HasPrefix(text, "- ") {
		return `\` + text
	}
	return text
}
