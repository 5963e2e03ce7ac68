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
	if err := commit(dir, "summary", renderings{[]byte(Text(s)), []byte(Markdown(s)), csv, json}); err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	return nil
}

// renderings are one thing as the files that people and programs read.
type renderings struct{ txt, md, csv, json []byte }

// commit writes NAME.txt, .csv, .md and .json of a directory, each whole or not at all.
func commit(dir, name string, all renderings) error {
	for _, f := range []struct {
		ext  string
		data []byte
	}{{".txt", all.txt}, {".csv", all.csv}, {".md", all.md}, {".json", all.json}} {
		write := func(w io.Writer) error { _, err := w.Write(f.data); return err }
		if err := result.Commit(filepath.Join(dir, name+f.ext), write); err != nil {
			return err
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
	lines := [][]string{csvColumns}
	for _, r := range append(scoreRecords(s), variantRecords(s)...) {
		line := make([]string, len(csvColumns))
		for i, column := range csvColumns {
			line[i] = r[column]
		}
		lines = append(lines, line)
	}
	err := w.WriteAll(lines)
	return b.Bytes(), err
}

var csvColumns = []string{"kind", "dataset", "version", "metric", "mode", "note", "unit", "model",
	"value", "stderr", "low", "high", "n", "missing", "correct", "hash", "reason", "baseline", "better", "worse", "p",
	"worst", "best", "detectable"}

// record is a row of the csv: text by column.
type record map[string]string

// scoreRecords are the rows of the csv that every run has.
func scoreRecords(s score.Scores) (out []record) {
	for _, e := range entries(s) {
		r := record{"kind": "dataset", "dataset": e.Dataset, "version": e.Prompt, "metric": e.Metric, "mode": e.Mode, "note": e.Note,
			"unit": string(e.Unit), "model": e.Model, "value": full(e.Value), "stderr": full(e.StdErr), "low": full(e.Low), "high": full(e.High),
			"n": strconv.Itoa(e.N), "missing": strconv.Itoa(e.Missing), "hash": e.Hash, "reason": clean(e.Reason),
			"worst": full(e.Worst), "best": full(e.Best), "detectable": full(e.Detectable)}
		if len(e.Members) > 0 {
			r["kind"] = "group"
		} else if e.Unit == score.Percent && e.Value != nil {
			r["correct"] = strconv.Itoa(e.Correct)
		}
		out = append(out, r)
	}
	return out
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
func variantRecords(s score.Scores) (out []record) {
	add := func(v score.Variant, metric, unit string, x float64) {
		if x > 0 {
			out = append(out, record{"kind": "variant", "metric": metric, "mode": v.Position, "note": v.Runs, "unit": unit, "model": v.Model, "value": full(&x)})
		}
	}
	for _, v := range s.Variants {
		add(v, "bits", "bits", v.Bits)
		add(v, "size", "bytes", float64(v.Bytes))
		add(v, "quantization", "seconds", v.Seconds)
	}
	for _, c := range s.Comparisons {
		r := record{"kind": "change", "dataset": c.Dataset, "metric": c.Metric, "unit": "ratio", "model": c.Model, "value": full(c.Change),
			"stderr": full(c.StdErr), "low": full(c.Low), "high": full(c.High), "n": strconv.Itoa(c.N),
			"missing": strconv.Itoa(c.Only + c.OnlyBaseline), "baseline": c.Baseline, "p": full(c.P), "detectable": full(c.Detectable)}
		if c.Unit == score.Percent {
			r["unit"] = "points"
		}
		switch {
		case len(c.Members) > 0:
			r["kind"], r["missing"] = "group change", strconv.Itoa(len(c.Missing))
		case c.Unit == score.Percent:
			r["better"], r["worse"] = strconv.Itoa(c.Better), strconv.Itoa(c.Worse)
		}
		out = append(out, r)
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
	return indented(struct {
		Version     int               `json:"version"`
		Confidence  float64           `json:"confidence"` // of low and high
		Scores      []entry           `json:"scores"`
		Groups      []entry           `json:"groups,omitempty"`
		Variants    []variantEntry    `json:"variants,omitempty"`
		Comparisons []comparisonEntry `json:"comparisons,omitempty"`
		Charts      []chart           `json:"charts,omitempty"`
	}{s.Version, score.Confidence, all[:len(s.Scores)], all[len(s.Scores):], variants, comparisons, charts(s)})
}

// indented is v as JSON for people too.
func indented(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
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
