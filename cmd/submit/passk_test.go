package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sextant/internal/goldens"
	"sextant/pkg/result"
	"sextant/pkg/sandbox"
	"sextant/pkg/score"
)

// TestPassAtK has the pocket model write programs, and the real commands score them: first none, for want of leave, then all. Verdicts of
// greedy programs are those of the independent goldens; pass@K of several samples is counted by hand over all subsets of K, of verdicts
// that another way of running the same texts gives.
func TestPassAtK(t *testing.T) {
	runner, err := newConfined(t.Context())
	if err != nil {
		t.Skip(err)
	}
	t.Setenv("POCKET", pocket())
	s := newSession(t)
	s.args[0] = filepath.Join("testdata", "pocket-code.toml")
	cmd, log := s.start()
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitIncomplete || !strings.Contains(log.String(), "--"+allowCode) {
		t.Fatalf("without leave: %v\n%s", err, log)
	}
	s.args = append(s.args, "--"+allowCode)
	var all score.Scores
	if err := json.Unmarshal(s.finish(), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Scores) != 4 {
		t.Fatalf("%+v", all.Scores)
	}
	for _, sc := range all.Scores {
		if sc.N != 24 || sc.Missing != 0 || sc.Value == nil || len(sc.Layers) == 0 {
			t.Fatalf("%+v", sc)
		}
	}
	var golden []struct{ Correct bool }
	goldens.ReadJSON(t, filepath.Join(pocket(), "golden", "items_code.json"), &golden)
	greedy := passes(t, runner, s.records("code"), 24)
	for row, right := range greedy {
		if right != golden[row].Correct {
			t.Errorf("row %d: %v, want %v", row, right, golden[row].Correct)
		}
	}
	samples := passes(t, runner, s.records("code_samples"), 4*24)
	for i, want := range []float64{share(greedy, 1, 1), share(samples, 4, 1), share(samples, 4, 2), share(samples, 4, 4)} {
		if got := all.Scores[i]; math.Abs(*got.Value-want) > 1e-9 {
			t.Errorf("%s of %s is %v, want %v", got.Metric, got.Dataset, *got.Value, want)
		}
	}
	if a, b := share(samples, 4, 1), share(samples, 4, 4); a >= b || a == 0 {
		t.Errorf("the samples are of one kind: pass@1 %v, pass@4 %v", a, b)
	}
}

// passes runs the texts of records 0 to n-1 with their rows' tests, all in one confined program.
func passes(t *testing.T, c *confined, recs map[int]result.Record, n int) []bool {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(pocket(), "data", "code", "test.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(raw), "\n")
	var sources []string
	for i := range n {
		var row struct{ Prompt, Test, Entry string }
		if err := json.Unmarshal([]byte(strings.Replace(lines[i*24/n], "entry_point", "entry", 1)), &row); err != nil {
			t.Fatal(err)
		}
		sources = append(sources, fmt.Sprintf("%s%s\n%s\ncheck(%s)\n", row.Prompt, recs[i].Text, row.Test, row.Entry))
	}
	texts, err := json.Marshal(sources)
	if err != nil {
		t.Fatal(err)
	}
	out, err := sandbox.Box{}.Run(t.Context(), sandbox.Program{Argv: []string{c.python.Path, "main.py"}, Read: c.python.Read, Env: c.python.Env,
		Limits: sandbox.Limits{Wall: time.Minute}, Files: map[string][]byte{"texts.json": texts, "main.py": []byte(`import json
verdict = ""
for text in json.load(open("texts.json")):
    try:
        exec(text, {})
        verdict += "1"
    except BaseException:
        verdict += "0"
print("VERDICT", verdict)
`)}})
	_, verdict, ok := strings.Cut(string(out.Stdout), "VERDICT ")
	if verdict = strings.TrimSpace(verdict); err != nil || !ok || len(verdict) != n {
		t.Fatalf("%v %+v", err, out)
	}
	right := make([]bool, n)
	for i := range right {
		right[i] = verdict[i] == '1'
	}
	return right
}

// share is the share of the subsets of k of a row's n samples that hold a right one, in percent, over all rows.
func share(right []bool, n, k int) float64 {
	of, hits := 0, 0
	for row := 0; row < len(right); row += n {
		for set := range uint(1) << n {
			if bits.OnesCount(set) != k {
				continue
			}
			of++
			for i := range n {
				if set>>i&1 == 1 && right[row+i] {
					hits++
					break
				}
			}
		}
	}
	return 100 * float64(hits) / float64(of)
}
