package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"sextant/pkg/plan"
	"sextant/pkg/report"
	"sextant/pkg/result"
	"sextant/pkg/score"

	"github.com/parquet-go/parquet-go"
)

// Run is what is exported.
type Run struct {
	Name   string // of its directory
	Plan   *plan.Plan
	Scores score.Scores
	// Rows gives a task's rows as they were scored.
	Rows func(plan.Task) ([]score.Row, error)
}

// Formats are those of one file, by name.
var Formats = []string{"csv", "md", "latex", "jsonl", "rows-jsonl", "rows-parquet"}

// Write writes a run in one of Formats.
//
//	csv, md       as summary.csv and summary.md
//	latex         a table of the package booktabs: a line a dataset, a column a model, the best of a line in bold
//	jsonl         a line a score, as in scores.json
//	rows-jsonl    a line a row: model, dataset, row, value, answer, gold, losses, text, prompt_tokens
//	rows-parquet  the same as columns
func Write(w io.Writer, format string, r Run) error {
	var err error
	switch format {
	case "csv":
		var text []byte
		if text, err = report.CSV(r.Scores); err == nil {
			_, err = w.Write(text)
		}
	case "md":
		_, err = io.WriteString(w, report.Markdown(r.Scores))
	case "latex":
		_, err = io.WriteString(w, report.LaTeX(r.Scores))
	case "jsonl":
		err = scoreLines(w, r.Scores)
	case "rows-jsonl":
		enc := encoder(w)
		err = r.each(func(row Row) error { return enc.Encode(row) })
	case "rows-parquet":
		err = r.parquet(w)
	default:
		return fmt.Errorf("there is no format %q; there are %s", format, strings.Join(Formats, ", "))
	}
	if err != nil {
		return fmt.Errorf("exporting as %s: %w", format, err)
	}
	return nil
}

func encoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

func scoreLines(w io.Writer, s score.Scores) error {
	enc := encoder(w)
	for _, x := range slices.Concat(s.Scores, s.Groups) {
		if err := enc.Encode(x); err != nil {
			return err
		}
	}
	return nil
}

// Row is a row of rows-jsonl and rows-parquet.
type Row struct {
	Model        string    `json:"model" parquet:"model,dict"`
	Dataset      string    `json:"dataset" parquet:"dataset,dict"`
	Row          int64     `json:"row" parquet:"row"`
	Value        float64   `json:"value" parquet:"value"`   // 0 to 1 by the main metric; rolling: the loss in nats a token
	Answer       string    `json:"answer" parquet:"answer"` // the chosen label, or what was made of the text
	Gold         []string  `json:"gold" parquet:"gold,list"`
	Labels       []string  `json:"labels,omitempty" parquet:"labels,list"`
	Losses       []float64 `json:"losses,omitempty" parquet:"losses,list"` // of each label; the lowest wins
	Text         string    `json:"text,omitempty" parquet:"text"`          // that was generated
	PromptTokens int64     `json:"prompt_tokens,omitempty" parquet:"prompt_tokens"`
	Digest       string    `json:"digest" parquet:"digest"` // of what was asked
}

// each gives every row of every task, in the plan's order.
func (r Run) each(do func(Row) error) error {
	for _, t := range r.Plan.Tasks {
		if t.Kind == plan.Quantize {
			continue
		}
		rows, err := r.Rows(t)
		if err != nil {
			return err
		}
		for _, x := range rows {
			if err := do(rowOf(t, x)); err != nil {
				return err
			}
		}
	}
	return nil
}

func rowOf(t plan.Task, x score.Row) Row {
	rec := x.Record
	if rec == nil {
		rec = &result.Record{}
	}
	return Row{Model: t.Variant, Dataset: t.Dataset, Row: int64(x.Row), Value: x.Value, Answer: x.Answer, Gold: x.Gold, Labels: rec.Labels,
		Losses: x.Losses, Text: rec.Text, PromptTokens: int64(rec.PromptTokens), Digest: rec.Digest}
}

// parquet writes the rows as columns, compressed, a group of rows a task.
func (r Run) parquet(w io.Writer) error {
	out := parquet.NewGenericWriter[Row](w, parquet.Compression(&parquet.Zstd))
	task := ""
	err := r.each(func(row Row) error {
		if of := row.Model + "/" + row.Dataset; of != task {
			if task != "" {
				if err := out.Flush(); err != nil {
					return err
				}
			}
			task = of
		}
		_, err := out.Write([]Row{row})
		return err
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// pretty is a value as indented JSON.
func pretty(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := encoder(&b)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}
