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
// high are the 95 % interval. Of a run that quantizes, rows of the kind "variant" have each variant's bits, bytes and seconds, and those of
// the kinds "change" and "group change" how it stands to its baseline: the unit is "points" or "ratio", n the rows that both have, missing
// those that one of them has alone, p of McNemar's test or another that is exact for the metric. Worst and best are the value were all
// missing rows wrong, or right; detectable is the smallest difference that a test of level 5 % finds with a power of 80 %.
func CSV(s score.Scores) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	records := [][]string{{"kind", "dataset", "version", "metric", "mode", "note", "unit", "model",
		"value", "stderr", "low", "high", "n", "missing", "correct", "hash", "reason", "baseline", "better", "worse", "p",
		"worst", "best", "detectable"}}
	for _, e := range entries(s) {
		kind, correct := "dataset", ""
		if len(e.Members) > 0 {
			kind = "group"
		} else if e.Unit == score.Percent && e.Value != nil {
			correct = strconv.Itoa(e.Correct)
		}
		records = append(records, []string{kind, e.Dataset, e.Prompt, e.Metric, e.Mode, e.Note, string(e.Unit), e.Model,
			full(e.Value), full(e.StdErr), full(e.Low), full(e.High), strconv.Itoa(e.N), strconv.Itoa(e.Missing), correct, e.Hash, clean(e.Reason), "", "", "", "",
			full(e.Worst), full(e.Best), full(e.Detectable)})
	}
	records = append(records, variantRecords(s)...)
	err := w.WriteAll(records)
	return b.Bytes(), err
}

// entry is a score with its interval, as summary.json has it.
type entry struct {
	score.Score
	Low        *float64 `json:"low"` // of the interval; null where there is none
	High       *float64 `json:"high"`
	Detectable *float64 `json:"detectable,omitempty"` // see score.Score.Detectable
}

// entries gives the scores of the datasets, then of the groups.
func entries(s score.Scores) []entry {
	out := make([]entry, 0, len(s.Scores)+len(s.Groups))
	for _, list := range [][]score.Score{s.Scores, s.Groups} {
		for _, x := range list {
			e := entry{Score: x, Detectable: x.Detectable()}
			if low, high, ok := x.Interval(); ok {
				e.Low, e.High = &low, &high
			}
			out = append(out, e)
		}
	}
	return out
}

// variantRecords are the rows of the csv that only a run that quantizes has.
func variantRecords(s score.Scores) [][]string {
	var out [][]string
	add := func(v score.Variant, metric, unit string, x float64) {
		if x > 0 {
			out = append(out, []string{"variant", "", "", metric, v.Position, v.Runs, unit, v.Model, full(&x), "", "", "", "", "", "", "", "", "", "", "", "", "", "", ""})
		}
	}
	for _, v := range s.Variants {
		add(v, "bits", "bits", v.Bits)
		add(v, "size", "bytes", float64(v.Bytes))
		add(v, "quantization", "seconds", v.Seconds)
	}
	for _, c := range s.Comparisons {
		kind, unit, better, worse := "change", "ratio", "", ""
		missing := c.Only + c.OnlyBaseline
		if c.Unit == score.Percent {
			unit, better, worse = "points", strconv.Itoa(c.Better), strconv.Itoa(c.Worse)
		}
		if len(c.Members) > 0 {
			kind, better, worse, missing = "group change", "", "", len(c.Missing)
		}
		out = append(out, []string{kind, c.Dataset, "", c.Metric, "", "", unit, c.Model, full(c.Change), full(c.StdErr), full(c.Low), full(c.High),
			strconv.Itoa(c.N), strconv.Itoa(missing), "", "", "", c.Baseline, better, worse, full(c.P), "", "", full(c.Detectable)})
	}
	return out
}

// variantEntry and comparisonEntry are what summary.json has of a run that quantizes.
type variantEntry struct {
	score.Variant
	Seconds float64 `json:"seconds,omitempty"` // the quantization took
}

type comparisonEntry struct {
	score.Comparison
	Differs bool `json:"differs"` // the interval leaves out "no change"
}

// JSON renders everything: the scores of scores.json, each with its interval; of a run that quantizes the seconds too, and each perplexity
// against size as a series.
func JSON(s score.Scores) ([]byte, error) {
	all := entries(s)
	var variants []variantEntry
	for _, v := range s.Variants {
		variants = append(variants, variantEntry{v, v.Seconds})
	}
	var comparisons []comparisonEntry
	for _, c := range s.Comparisons {
		comparisons = append(comparisons, comparisonEntry{c, c.Differs()})
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Version     int               `json:"version"`
		Confidence  float64           `json:"confidence"` // of low and high
		Scores      []entry           `json:"scores"`
		Groups      []entry           `json:"groups,omitempty"`
		Variants    []variantEntry    `json:"variants,omitempty"`
		Comparisons []comparisonEntry `json:"comparisons,omitempty"`
		Charts      []chart           `json:"charts,omitempty"`
	}{s.Version, score.Confidence, all[:len(s.Scores)], all[len(s.Scores):], variants, comparisons, charts(s)})
	return b.Bytes(), err
}

// Markdown renders a table as GitHub shows it, of a run that quantizes the before/after table and a plot of each perplexity against size, and
// then the notes as a list. Groups are in bold.
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
	if c := newChanges(s); c != nil {
		b.WriteString(c.markdown() + "\n")
	}
	for _, c := range charts(s) {
		b.WriteString(markdownText(c.title()) + "\n\n```text\n" + strings.ReplaceAll(c.plot(), "`", "'") + "```\n\n")
	}
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
