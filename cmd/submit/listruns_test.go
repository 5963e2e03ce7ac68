package main

import (
	"os"
	"path/filepath"
	"testing"

	"sextant/pkg/run"
)

// TestRunStates reads runs that ended in different ways.
func TestRunStates(t *testing.T) {
	const plan = `{"version": 3, "spec": {"name": "s", "datasets": [{"abbr": "d"}]}, "variants": [{"id": "m"}],
		"tasks": [{"id": "m/d", "rows": 10}], "shards": [{"id": "a", "from": 0, "to": 6}, {"id": "b", "from": 6, "to": 10}]}`
	score := func(n, missing, reason string) string {
		return `{"version": 1, "scores": [{"model": "m", "dataset": "d", "metric": "accuracy", "unit": "percent", "value": 50, "stderr": 1, "n": ` + n +
			`, "missing": ` + missing + `, "reason": "` + reason + `"}, {"model": "m", "dataset": "d", "metric": "f1", "n": 3, "missing": 7, "further": true}]}`
	}
	for _, c := range []struct {
		name, plan, scores, result string
		want                       runLine
	}{
		{"whole", plan, score("10", "0", ""), "", runLine{State: listDone, Rows: 10, Done: 10, By: "d"}},
		{"stopped", plan, score("4", "6", run.NotYet), "", runLine{State: listStopped, Rows: 10, Done: 4, By: "d"}},
		{"given up", plan, score("4", "6", "too long"), "", runLine{State: listFailed, Rows: 10, Done: 4, By: "d", Reason: "m/d: too long"}},
		{"not scored", plan, "", "a", runLine{State: listStopped, Rows: 10, Done: 6}},
		{"damaged plan", plan[:40], score("10", "0", ""), "", runLine{State: listUnreadable}},
		{"damaged scores", plan, "{", "", runLine{State: listUnreadable}},
		{"of another time", `{"version": 99}`, "", "", runLine{State: listUnreadable}},
		{"empty", "", "", "", runLine{State: listUnreadable}},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"plan.json": c.plan, "scores.json": c.scores, filepath.Join("results", c.result+".jsonl"): c.result} {
			if text == "" {
				continue
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		got := readLine(foundAt(dir))
		if got.State != c.want.State || (got.Error != "") != (c.want.State == listUnreadable) || got.Reason != c.want.Reason {
			t.Errorf("%s: %+v", c.name, got)
		}
		if c.want.State != listUnreadable && (got.Rows != c.want.Rows || got.Done != c.want.Done || got.By != c.want.By || (len(got.Values) > 0) != (c.want.By != "")) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
