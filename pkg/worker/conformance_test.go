//go:build conformance

package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sextant/internal/goldens"
	"sextant/pkg/result"
	"sextant/pkg/score"
)

// choicesOf is a row of the outside golden: what an implementation in float64 makes of the options of a row.
type choicesOf struct {
	Dataset    string
	Index      int
	Choices    []string // with the space before them
	Gold       int
	IDs        [][]int32 `json:"ids"`
	LogProb    []float64 `json:"cont_logprob"`
	Tokens     []int     `json:"cont_tokens"`
	FullNLL    []float64 `json:"full_nll"`
	FullTokens []int     `json:"full_tokens_with_bos"`
	Best       int       `json:"pred_sum"`
	BestByMean int       `json:"pred_fullmean"` // of the whole text, by all tokens
}

const storiesSpec = `
models = [{ abbr = "stories", path = "$DATA/stories260k/hf" }]
datasets = ["piqa_ll", "arc_e_ll", "copa_ll", "piqa_whole", "arc_e_whole", "copa_whole"]
[[dataset]]
abbr = "piqa_ll"
metrics = ["acc_norm", "acc_bytes"]
test = { path = "$DATA/bench/piqa/valid.jsonl", labels = "$DATA/bench/piqa/valid-labels.lst" }
[[dataset]]
abbr = "arc_e_ll"
metrics = ["acc_norm", "acc_bytes"]
truncate = "left"
test.path = "$DATA/bench/arc/arc_easy.jsonl"
columns = { stem = { from = "query", regex = "^Question: (.*)$" }, options = { from = "choices" }, gold = { from = "gold" } }
prompt.context = "Question: {stem}\nAnswer:"
[[dataset]]
abbr = "copa_ll"
metrics = ["acc_norm", "acc_bytes"]
test.path = "$DATA/bench/copa/copa-dev.xml"
[dataset.columns]
question = { from = "asks-for" }
premise = { from = "p" }
choice1 = { from = "a1" }
choice2 = { from = "a2" }
label = { from = "most-plausible-alternative", map = { 1 = "0", 2 = "1" } }
[[dataset]]
abbr = "piqa_whole"
base = "piqa_ll"
mode = "ppl"
prompt = { template = "Question: {goal}\nAnswer: {choice}", choices = "options" }
[[dataset]]
abbr = "arc_e_whole"
base = "arc_e_ll"
mode = "ppl"
prompt = { template = "Question: {stem}\nAnswer: {choice}", choices = "options" }
[[dataset]]
abbr = "copa_whole"
base = "copa_ll"
mode = "ppl"
prompt = { template = "{start} {link} {choice}", choices = "options" }
`

// TestStoriesChoices runs a really trained model over real rows through the catalog's entries, and holds each option's log-probability, each
// prediction and the scores against the golden. Rows longer than the model's context, which the golden does not cut, are left out.
func TestStoriesChoices(t *testing.T) {
	data, err := filepath.Abs(os.Getenv("SEXTANT_DATA"))
	if err != nil || os.Getenv("SEXTANT_DATA") == "" {
		t.Fatal("SEXTANT_DATA is not set: it names the directory with stories260k")
	}
	var golden struct{ Rows []choicesOf }
	goldens.ReadJSON(t, filepath.Join(data, "stories260k/golden/mc.json"), &golden)
	dir, p := planned(t, given(t, strings.ReplaceAll(storiesSpec, "$DATA", data), limit(200)))
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	recs := map[string][]result.Record{}
	for _, task := range p.Tasks {
		recs[task.ID] = records(t, dir, p, task.ID)
	}
	right := map[string]int{} // rows that the golden has right, by dataset and metric
	rows, long := 0, 0
	entryOf := map[string]string{"piqa_valid": "piqa", "arc_easy_test": "arc_e", "copa_dev": "copa"}
	for _, want := range golden.Rows {
		name := entryOf[want.Dataset]
		part, whole := recs["stories/"+name+"_ll"][want.Index], recs["stories/"+name+"_whole"][want.Index]
		if slices.ContainsFunc(want.IDs, func(ids []int32) bool { return len(ids) > 512 }) {
			if long++; part.Cut == 0 || whole.Cut == 0 {
				t.Errorf("%s row %d was not cut", name, want.Index)
			}
			continue
		}
		rows++
		want.compare(t, part, whole)
		for metric, chosen := range map[string]int{
			"_whole accuracy": want.BestByMean, "_ll accuracy": want.Best, // as lm-evaluation-harness divides: by the option without its space
			"_ll acc_norm":  best(want.LogProb, func(k int) int { return len([]rune(want.Choices[k])) - 1 }),
			"_ll acc_bytes": best(want.LogProb, func(k int) int { return len(want.Choices[k]) - 1 }),
		} {
			if chosen == want.Gold {
				right[name+metric]++
			}
		}
	}
	if rows < 595 || rows+long != 600 {
		t.Errorf("%d rows were compared, %d are too long", rows, long)
	}
	scores, err := score.Compute(p, func(id string) ([]result.Record, error) { return recs[id], nil }, nil)
	if err != nil || len(scores.Scores) != 12 {
		t.Fatalf("%d scores: %v", len(scores.Scores), err)
	}
	for _, s := range scores.Scores {
		if want := right[s.Dataset+" "+s.Metric]; s.N != 200 || s.Correct < want || s.Correct > want+long {
			t.Errorf("%s %s: %d of %d right, want %d, and of those that are too long", s.Dataset, s.Metric, s.Correct, s.N, want)
		}
	}
}

// compare holds the records of a row, of its continuations and of its whole texts, against the golden.
func (c choicesOf) compare(t *testing.T, part, whole result.Record) {
	t.Helper()
	name := fmt.Sprintf("%s row %d", c.Dataset, c.Index)
	for k := range c.Choices {
		if !goldens.Near(-part.NLL[k], c.LogProb[k], 1e-3) || part.Tokens[k] != c.Tokens[k] || part.Size[k] != len(c.Choices[k])-1 {
			t.Errorf("%s option %d: log-probability %v of %d tokens, %d bytes; want %v of %d, %d", name, k, -part.NLL[k], part.Tokens[k], part.Size[k],
				c.LogProb[k], c.Tokens[k], len(c.Choices[k])-1)
		}
		if !goldens.Near(whole.NLL[k], c.FullNLL[k], 1e-3) || whole.Tokens[k]+1 != c.FullTokens[k] {
			t.Errorf("%s option %d: loss %v of %d tokens, want %v of %d with BOS", name, k, whole.NLL[k], whole.Tokens[k], c.FullNLL[k], c.FullTokens[k])
		}
	}
	one := func(int) int { return 1 }
	all := func(k int) int { return whole.Tokens[k] + 1 }
	if best(negative(part.NLL), one) != c.Best || best(negative(whole.NLL), all) != c.BestByMean {
		t.Errorf("%s: another prediction", name)
	}
}

// best is the first option with the greatest log-probability for its length.
func best(logs []float64, length func(k int) int) int {
	at := 0
	for k := range logs {
		if logs[k]/float64(length(k)) > logs[at]/float64(length(at)) {
			at = k
		}
	}
	return at
}

func negative(losses []float64) []float64 {
	out := make([]float64, len(losses))
	for i, l := range losses {
		out[i] = -l
	}
	return out
}
