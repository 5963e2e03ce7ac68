package export

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/report"
	"sextant/pkg/result"
	"sextant/pkg/score"
	"sextant/pkg/spec"
)

// Layouts are those of a directory, by name.
var Layouts = []string{"lm-eval", "opencompass"}

// WriteLayout makes files under dir as another tool would have left them.
//
//	lm-eval      MODEL/results_TIME.json and MODEL/samples_DATASET_TIME.jsonl (lm-evaluation-harness 0.4, --log_samples)
//	opencompass  predictions/MODEL/DATASET.json, results/MODEL/DATASET.json and summary/summary_TIME.{csv,txt}
//
// TIME is at, which decides the files' names: the same run at the same time is the same files.
func WriteLayout(dir, layout string, r Run, at time.Time) error {
	var err error
	switch layout {
	case "lm-eval":
		err = r.lmEval(dir, at)
	case "opencompass":
		err = r.openCompass(dir, at)
	default:
		return fmt.Errorf("there is no layout %q; there are %s", layout, strings.Join(Layouts, ", "))
	}
	if err != nil {
		return fmt.Errorf("exporting as %s: %w", layout, err)
	}
	return nil
}

// put writes a file and the directories above it.
func put(raw []byte, elem ...string) error {
	path := filepath.Join(elem...)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return result.Commit(path, func(w io.Writer) error { _, err := w.Write(raw); return err })
}

// fileName is a name that is one element of a path.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`"<>:/\|?*[]`, r) {
			return '_'
		}
		return r
	}, s)
}

// lmEvalMetrics are lm-eval's names of ours.
var lmEvalMetrics = map[string]string{"accuracy": "acc", "squad_em": "em", "squad_f1": "f1"}

func lmEvalMetric(s score.Score) string {
	if name, ok := lmEvalMetrics[s.Metric]; ok {
		return name
	}
	return s.Metric
}

// share turns a percentage into a number from 0 to 1; perplexities stay.
func share(u score.Unit, v *float64) any {
	switch {
	case v == nil:
		return "N/A" // as lm-eval writes it
	case u == score.Percent:
		return *v / 100
	}
	return *v
}

// lmEval writes a directory a model.
func (r Run) lmEval(dir string, at time.Time) error {
	stamp := at.Format("2006-01-02T15-04-05.000000")
	for _, v := range r.Plan.Variants {
		if !slices.ContainsFunc(r.Scores.Scores, func(s score.Score) bool { return s.Model == v.ID }) {
			continue
		}
		home := filepath.Join(dir, strings.ReplaceAll(fileName(v.ID), "_", "__"))
		raw, err := pretty(r.lmEvalResults(v.ID, at))
		if err != nil {
			return err
		}
		if err := put(raw, home, "results_"+stamp+".json"); err != nil {
			return err
		}
		for _, t := range r.Plan.Tasks {
			if t.Kind == plan.Quantize || t.Variant != v.ID {
				continue
			}
			rows, err := r.Rows(t)
			if err != nil {
				return err
			}
			if raw, err = r.lmEvalSamples(t, rows); err != nil {
				return err
			}
			if err := put(raw, home, "samples_"+fileName(t.Dataset)+"_"+stamp+".jsonl"); err != nil {
				return err
			}
		}
	}
	return nil
}

// lmEvalResults is results_TIME.json of a model.
func (r Run) lmEvalResults(model string, at time.Time) map[string]any {
	results, subtasks, configs := map[string]map[string]any{}, map[string][]string{}, map[string]any{}
	versions, shots, samples := map[string]any{}, map[string]int{}, map[string]any{}
	better := map[string]map[string]bool{}
	for _, s := range slices.Concat(r.Scores.Scores, r.Scores.Groups) {
		if s.Model != model {
			continue
		}
		if results[s.Dataset] == nil {
			results[s.Dataset], better[s.Dataset] = map[string]any{"alias": s.Dataset}, map[string]bool{}
		}
		name := lmEvalMetric(s)
		results[s.Dataset][name+",none"] = share(s.Unit, s.Value)
		results[s.Dataset][name+"_stderr,none"] = share(s.Unit, s.StdErr)
		better[s.Dataset][name] = s.Unit == score.Percent
		if len(s.Members) > 0 {
			subtasks[s.Dataset] = s.Members
			continue
		}
		subtasks[s.Dataset] = []string{}
		versions[s.Dataset] = s.Hash
		samples[s.Dataset] = map[string]int{"original": s.N + s.Missing, "effective": s.N}
		if d, ok := r.Plan.Dataset(s.Dataset); ok {
			shots[s.Dataset] = len(d.FewShot.IDs)
			configs[s.Dataset] = map[string]any{"task": s.Dataset, "output_type": outputType(d.Mode), "num_fewshot": shots[s.Dataset],
				"description": d.Description}
		}
	}
	path := ""
	if v, ok := r.Plan.Variant(model); ok {
		if m, ok := r.Plan.Model(v.Model); ok {
			path = m.Path
		}
	}
	return map[string]any{"results": results, "group_subtasks": subtasks, "configs": configs, "versions": versions, "n-shot": shots,
		"higher_is_better": better, "n-samples": samples, "config": map[string]any{"model": "sextant", "model_args": "pretrained=" + path},
		"date": float64(at.UnixMicro()) / 1e6, "model_source": "sextant", "model_name": model, "model_name_sanitized": strings.ReplaceAll(fileName(model), "_", "__")}
}

func outputType(m spec.Mode) string {
	switch m {
	case spec.Gen:
		return "generate_until"
	case spec.Rolling:
		return "loglikelihood_rolling"
	}
	return "multiple_choice"
}

// lmEvalSamples is samples_DATASET_TIME.jsonl: a line a row.
func (r Run) lmEvalSamples(t plan.Task, rows []score.Row) ([]byte, error) {
	main := ""
	for _, s := range r.Scores.Scores {
		if s.Model == t.Variant && s.Dataset == t.Dataset && !s.Further {
			main = lmEvalMetric(s)
		}
	}
	var b bytes.Buffer
	enc := encoder(&b)
	for _, x := range rows {
		row := rowOf(t, x)
		line := map[string]any{"doc_id": row.Row, "doc": map[string]any{}, "target": strings.Join(row.Gold, " | "), "doc_hash": row.Digest,
			"filter": "none", "metrics": []string{main}, main: row.Value, "filtered_resps": []string{row.Answer}}
		switch {
		case len(row.Losses) > 0:
			var each [][]any
			for _, loss := range row.Losses {
				each = append(each, []any{-loss, false})
			}
			line["resps"] = each
			line["filtered_resps"] = each
		default:
			line["resps"] = [][]string{{row.Text}}
		}
		if err := enc.Encode(line); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// openCompass writes OpenCompass's three directories.
func (r Run) openCompass(dir string, at time.Time) error {
	for _, t := range r.Plan.Tasks {
		if t.Kind == plan.Quantize {
			continue
		}
		rows, err := r.Rows(t)
		if err != nil {
			return err
		}
		model, file := fileName(t.Variant), fileName(t.Dataset)+".json"
		raw, err := pretty(predictions(t, rows))
		if err != nil {
			return err
		}
		if err := put(raw, dir, "predictions", model, file); err != nil {
			return err
		}
		values := map[string]any{}
		for _, s := range r.Scores.Scores {
			if s.Model == t.Variant && s.Dataset == t.Dataset && s.Value != nil {
				values[s.Metric] = *s.Value
			}
		}
		if len(values) == 0 {
			continue // as OpenCompass, which then shows a "-"
		}
		if raw, err = pretty(values); err != nil {
			return err
		}
		if err := put(raw, dir, "results", model, file); err != nil {
			return err
		}
	}
	table, err := report.CSV(r.Scores)
	if err != nil {
		return err
	}
	name := "summary_" + at.Format("20060102_150405")
	if err := put(table, dir, "summary", name+".csv"); err != nil {
		return err
	}
	return put([]byte(report.Text(r.Scores)), dir, "summary", name+".txt")
}

// predictions is predictions/MODEL/DATASET.json: by row number the prediction, for ranked labels with each label's loss.
func predictions(t plan.Task, rows []score.Row) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, x := range rows {
		row := rowOf(t, x)
		p := map[string]any{"prediction": row.Answer, "gold": strings.Join(row.Gold, " | ")}
		if len(row.Losses) == 0 {
			p["prediction"] = row.Text
		}
		for i, loss := range row.Losses {
			p["label: "+row.Labels[i]] = map[string]any{"PPL": loss}
		}
		out[strconv.FormatInt(row.Row, 10)] = p
	}
	return out
}
