package main

import (
	"encoding/json"
	"math"
	"path/filepath"
	"testing"

	"sextant/internal/goldens"
	"sextant/pkg/result"
	"sextant/pkg/score"
)

// TestPocketGoldens runs the whole pocket suite, the letter-answering siqa too, and holds it to goldens computed in float64 by an
// independent implementation: accuracies exactly, each item's NLL within 1e-3 relative, the perplexity within 0.1 %.
func TestPocketGoldens(t *testing.T) {
	s := newSession(t, "--max-num-workers", "2")
	s.args[0] = filepath.Join("testdata", "pocket-all.toml")
	s.t.Setenv("POCKET", pocket())
	var got score.Scores
	if err := json.Unmarshal(s.finish(), &got); err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	goldens.ReadJSON(t, filepath.Join(pocket(), "golden", "scores.json"), &want)
	for dataset, golden := range map[string]string{
		"pocket_winograd": "winograd", "pocket_piqa": "piqa", "pocket_siqa_ppl": "siqa_ppl", "pocket_cloze": "cloze",
		"pocket_siqa": "siqa", "pocket_gsm": "gsm", "pocket_lambada": "lambada", "pocket_text": "ppl",
	} {
		value, tolerance := want[golden].(float64)*100, 1e-9
		if golden == "ppl" {
			value, tolerance = want[golden].(float64), want[golden].(float64)*1e-3
		}
		if sc := find(t, got, dataset); math.Abs(*sc.Value-value) > tolerance || sc.Missing != 0 {
			t.Errorf("%s is %v with %d missing, want %v", dataset, *sc.Value, sc.Missing, value)
		}
	}
	for dataset, golden := range map[string]string{
		"pocket_winograd": "winograd", "pocket_piqa": "piqa", "pocket_siqa_ppl": "siqa_ppl", "pocket_cloze": "cloze",
	} {
		compareItems(t, s.records(dataset), filepath.Join(pocket(), "golden", "items_"+golden+".json"))
	}
	checkPage(t, s, "pocket_piqa", 1, "report.png")
}

func find(t *testing.T, all score.Scores, dataset string) score.Score {
	t.Helper()
	for _, s := range all.Scores {
		if s.Dataset == dataset && s.Value != nil {
			return s
		}
	}
	t.Fatalf("no score of %s", dataset)
	return score.Score{}
}

// records reads a dataset's verified result files.
func (s session) records(dataset string) map[int]result.Record {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.work, "*", "results", "*.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	rows := map[int]result.Record{}
	for _, name := range files {
		head, records, err := result.Read(name)
		if err != nil {
			s.t.Fatal(err)
		}
		if head.Task == "pocket/"+dataset {
			for _, r := range records {
				rows[r.Row] = r
			}
		}
	}
	return rows
}

func compareItems(t *testing.T, rows map[int]result.Record, golden string) {
	t.Helper()
	var items []struct {
		SumNLL  []float64 `json:"sum_nll"`
		NTokens []int     `json:"n_tokens"`
	}
	goldens.ReadJSON(t, golden, &items)
	if len(rows) != len(items) {
		t.Fatalf("%s: %d rows, want %d", golden, len(rows), len(items))
	}
	for i, item := range items {
		for label, nll := range item.SumNLL {
			r := rows[i]
			if math.Abs(r.NLL[label]-nll) > 1e-3*nll || r.Tokens[label] != item.NTokens[label] {
				t.Errorf("%s row %d label %d: NLL %v over %d tokens, want %v over %d", golden, i, label, r.NLL[label], r.Tokens[label], nll, item.NTokens[label])
			}
		}
	}
}
