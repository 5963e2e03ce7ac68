package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sextant/pkg/score"
	"sextant/pkg/spec"

	"pgregory.net/rapid"
)

// sweepScene is a run of nine models, of which two lack rows, one has none, and two are equal.
func sweepScene(t testing.TB) score.Scores {
	var models []string
	for i := range 9 {
		models = append(models, fmt.Sprintf("pocket-sweep-w%d-g64", i))
	}
	return run(t, models, []spec.Group{{Name: "ranking", Members: []string{"*_ppl", "elsewhere"}}}, []bench{
		{ppl("winograd_ppl"), 300, [][2]int{{300, 240}, {300, 290}, {300, 200}, {300, 290}, {280, 279}, {300, 100}, {0, 0}, {300, 288}, {300, 10}}},
		{ppl("piqa_ppl"), 300, [][2]int{{300, 240}, {300, 280}, {300, 200}, {300, 280}, {300, 299}, {300, 100}, {0, 0}, {300, 281}, {300, 10}}},
		{gen("gsm"), 200, [][2]int{{200, 10}, {200, 20}, {200, 30}, {200, 40}, {200, 50}, {200, 60}, {0, 0}, {150, 80}, {200, 90}}},
		{textPPL, 217, [][2]int{{217}, {217}, {217}, {217}, {217}, {217}, {0}, {217}, {217}}}},
		map[string]string{"pocket-sweep-w6-g64/gsm": "the model does not load", "pocket-sweep-w6-g64/piqa_ppl": "the model does not load"})
}

func board(t testing.TB, s score.Scores, by string) Board {
	t.Helper()
	b, err := NewBoard(s, by)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBoardRenderings(t *testing.T) {
	all := scenes(t)
	all["sweep"] = sweepScene(t)
	delete(all, "empty")
	for name, s := range all {
		b := board(t, s, "")
		dir := t.TempDir()
		if err := WriteBoard(dir, s, ""); err != nil {
			t.Fatal(err)
		}
		for _, ext := range []string{"txt", "md", "csv", "json"} {
			got, err := os.ReadFile(dir + "/leaderboard." + ext)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "board/"+name+"."+ext, got)
		}
		golden(t, "board/"+name+".term80.txt", []byte(terminalBoard(b, s, 80, true)))
		for _, columns := range []int{0, 40, 60, 80, 132, 300} {
			out := b.Text(max(columns, 40))
			if w := widest(out); w > max(columns, 40) {
				t.Errorf("%s on %d columns is %d wide:\n%s", name, columns, w, out)
			}
		}
	}
}

// ranks writes a board's order: rank and the model's last digit or name.
func ranks(b Board) string {
	var out []string
	for _, r := range b.Rows {
		out = append(out, fmt.Sprintf("%d:%s", r.Rank, strings.TrimSuffix(strings.TrimPrefix(r.Model, "pocket-sweep-w"), "-g64")))
	}
	return strings.Join(out, " ")
}

func TestBoardRanks(t *testing.T) {
	s := sweepScene(t)
	for _, c := range []struct{ by, goesBy, want string }{
		{"", "ranking", "1:1 1:3 3:7 4:0 5:2 6:5 7:8 0:4 0:6"},
		{"ranking", "ranking", "1:1 1:3 3:7 4:0 5:2 6:5 7:8 0:4 0:6"},
		{"gsm", "gsm", "1:8 2:5 3:4 4:3 5:2 6:1 7:0 0:7 0:6"},
		{"text", "text", "1:0 1:1 1:2 1:3 1:4 1:5 1:7 1:8 0:6"},
		{ByMean, ByMean, "1:3 2:1 3:0 4:2 5:5 6:8 0:7 0:4 0:6"},
	} {
		b := board(t, s, c.by)
		if got := ranks(b); got != c.want || b.By != c.goesBy {
			t.Errorf("by %q (%s): %s\nwant %s", c.by, b.By, got, c.want)
		}
	}
}

// TestBoardWithoutGroups: what a board goes by when nobody says.
func TestBoardWithoutGroups(t *testing.T) {
	s := sweepScene(t)
	s.Groups = nil
	if b := board(t, s, ""); b.By != ByMean || b.Unit != score.Percent {
		t.Errorf("by %q in %s", b.By, b.Unit)
	}
	only := func(datasets ...string) score.Scores {
		return score.Scores{Version: 1, Scores: slices.DeleteFunc(slices.Clone(s.Scores), func(x score.Score) bool { return !slices.Contains(datasets, x.Dataset) })}
	}
	if b := board(t, only("gsm", "text"), ""); b.By != "gsm" {
		t.Errorf("by %q", b.By)
	}
	b := board(t, only("text"), "")
	if b.By != "text" || b.Unit != score.Perplexity {
		t.Errorf("by %q in %s", b.By, b.Unit)
	}
	worse := only("text")
	high := 2 * *worse.Scores[0].Value
	worse.Scores[0].Value = &high
	if got := ranks(board(t, worse, "")); !strings.HasSuffix(got, " 8:0 0:6") {
		t.Errorf("a high perplexity ranks high: %s", got)
	}
}

func TestBoardErrors(t *testing.T) {
	s := sweepScene(t)
	for by, want := range map[string]string{
		"rankin": `ranking models: no group or dataset is named "rankin": did you mean "ranking"? There are ranking, winograd_ppl, piqa_ppl, gsm, text`,
		"zzz":    `ranking models: no group or dataset is named "zzz": there are ranking, winograd_ppl, piqa_ppl, gsm, text`,
	} {
		if _, err := NewBoard(s, by); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	if _, err := NewBoard(score.Scores{Version: 1}, ""); err == nil || !strings.Contains(err.Error(), "nothing was scored") {
		t.Error(err)
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := WriteBoard(file, s, ""); err == nil || !strings.HasPrefix(err.Error(), "writing the leaderboard: ") {
		t.Error(err)
	}
}

// TestBoardOfOtherDatasets: a model that was not asked a member of the group has no rank among those that were.
func TestBoardOfOtherDatasets(t *testing.T) {
	s := sweepScene(t)
	s.Scores = slices.DeleteFunc(s.Scores, func(x score.Score) bool { return x.Model == "pocket-sweep-w1-g64" && x.Dataset == "piqa_ppl" })
	g := &s.Groups[1]
	g.Members, g.N, g.Reason = []string{"winograd_ppl"}, 1, ""
	b := board(t, s, "")
	if b.Rows[0].Model != "pocket-sweep-w3-g64" || b.Rows[0].Rank != 1 || b.Rows[1].Rank != 2 {
		t.Errorf("%s", ranks(b))
	}
	at := slices.IndexFunc(b.Rows, func(r BoardRow) bool { return r.Model == "pocket-sweep-w1-g64" })
	if b.Rows[at].Rank != 0 || b.Rows[at].Reason != "piqa_ppl was not asked" {
		t.Errorf("%+v", b.Rows[at])
	}
}

// TestBoardTellsUnlikeQuestions: other prompts and other numbers of rows are no like question.
func TestBoardTellsUnlikeQuestions(t *testing.T) {
	s := sweepScene(t)
	s.Scores[0].Prompt, s.Scores[4].N = "ffffff", 290
	text := board(t, s, "").Text(0)
	if !strings.Contains(text, "! winograd_ppl: not the same for all models, 290 to 300 rows and 2 prompts\n") {
		t.Error(text)
	}
}

// TestLead holds the note against the arithmetic of two independent shares, and against the run's own comparison.
func TestLead(t *testing.T) {
	at := func(model string, right, n int) score.Score {
		p, q := 100*float64(right)/float64(n), float64(right)/float64(n)
		se := 100 * math.Sqrt(q*(1-q)/float64(n-1))
		return score.Score{Model: model, Dataset: "d", Metric: "accuracy", Mode: "ppl", Unit: score.Percent, Value: &p, StdErr: &se, N: n, Correct: right}
	}
	far := score.Scores{Scores: []score.Score{at("a", 900, 1000), at("b", 800, 1000), at("c", 790, 1000)}}
	b := board(t, far, "")
	// Newcombe's interval of two Wilson intervals, 90 % and 80 % of 1000 (R. G. Newcombe, Statistics in Medicine 17, 1998, method 10).
	if want := "a is ahead of b by +10.00 [+6.89, +13.10], outside noise: the 95 % interval is of unpaired errors"; !strings.HasPrefix(b.Notes[1], want) {
		t.Errorf("%s\nwant %s", b.Notes[1], want)
	}
	near := score.Scores{Scores: []score.Score{at("a", 800, 1000), at("b", 790, 1000), at("c", 500, 1000)}}
	b = board(t, near, "")
	if !strings.Contains(b.Notes[1], "within noise") || !b.Rows[1].Near || b.Rows[2].Near || !strings.Contains(b.Text(0), "\n  2~  b") {
		t.Errorf("%s", b.Text(0))
	}
	change, low, high := -1.0, -1.4, -0.6
	near.Comparisons = []score.Comparison{{Model: "b", Baseline: "a", Dataset: "d", Metric: "accuracy", Unit: score.Percent, Change: &change, Low: &low, High: &high}}
	b = board(t, near, "")
	if want := "a is ahead of b by +1.00 [+0.60, +1.40], outside noise: the 95 % interval is on the same rows, paired."; b.Notes[1] != want || b.Rows[1].Near {
		t.Errorf("%s\nwant %s", b.Notes[1], want)
	}
	near.Scores[1].StdErr, near.Scores[1].Correct, near.Comparisons = nil, 0, nil
	if b = board(t, near, ""); !strings.HasSuffix(b.Notes[1], "without a standard error nobody can say whether that is noise.") {
		t.Error(b.Notes[1])
	}
}

func TestMany(t *testing.T) {
	if !Many(sweepScene(t)) || Many(scenes(t)["quant"]) || Many(scenes(t)["three"]) {
		t.Error("a leaderboard is for many models, and for these alone")
	}
}

// TestAnyBoard holds of any scores: lines fit; ranks follow the values; a model that lacks rows has none; the csv reads back.
func TestAnyBoard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := score.Scores{Version: 1}
		names := rapid.SliceOfNDistinct(rapid.String(), 1, 12, func(s string) string { return s }).Draw(t, "models")
		unit := rapid.SampledFrom([]score.Unit{score.Percent, score.Perplexity}).Draw(t, "unit")
		for _, d := range []string{rapid.String().Draw(t, "dataset"), "other"} {
			for _, m := range names {
				x := score.Score{Model: m, Dataset: d, Metric: "m", Mode: "ppl", Unit: unit, N: 10, Prompt: "abcdef"}
				if rapid.Bool().Draw(t, "scored") {
					v := float64(rapid.IntRange(1, 5).Draw(t, "value"))
					x.Value = &v
					if rapid.Bool().Draw(t, "error") {
						x.StdErr = &v
					}
				}
				if rapid.Bool().Draw(t, "partial") {
					x.Missing, x.Reason = 1, rapid.String().Draw(t, "reason")
				}
				s.Scores = append(s.Scores, x)
			}
		}
		b, err := NewBoard(s, rapid.SampledFrom([]string{"", "other"}).Draw(t, "by"))
		if err != nil {
			t.Fatal(err)
		}
		columns := rapid.IntRange(40, 120).Draw(t, "columns")
		if out := b.Text(columns); widest(out) > columns {
			t.Fatalf("%d wide on %d columns:\n%s", widest(out), columns, out)
		}
		for i, r := range b.Rows {
			if (r.Rank == 0) != (r.Value == nil || r.Reason != "") {
				t.Fatalf("row %d: %+v", i, r)
			}
			if i == 0 || r.Rank == 0 {
				continue
			}
			before := b.Rows[i-1]
			if before.Rank == 0 || (*before.Value == *r.Value) != (before.Rank == r.Rank) || (*before.Value > *r.Value) != (unit == score.Percent) && *before.Value != *r.Value {
				t.Fatalf("row %d: %+v after %+v", i, r, before)
			}
		}
		data, err := b.CSV()
		if err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
		if err != nil || len(records) != len(names)+1 {
			t.Fatal(err, len(records))
		}
		for i, r := range records[1:] {
			if v, err := strconv.ParseFloat(r[3], 64); err == nil && v != *b.Rows[i].Value {
				t.Fatal(r)
			}
		}
		raw, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var back Board
		if err := json.Unmarshal(raw, &back); err != nil || len(back.Rows) != len(names) || back.Text(80) != b.Text(80) && !strings.Contains(string(raw), "\ufffd") {
			t.Fatalf("%v: %s", err, raw)
		}
	})
}
