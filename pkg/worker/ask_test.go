package worker

import (
	"fmt"
	"strings"
	"testing"

	"sextant/internal/goldens"
	"sextant/pkg/dataset"
	"sextant/pkg/engine"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

// Examples are dropped from the end until the prompt fits; then the left is cut, but not BOS.
func TestFits(t *testing.T) {
	dir, p := planned(t, given(t, `
models = [{ abbr = "pocket", path = "$POCKET/model", max_seq_len = 100 }]
datasets = ["short"]
[[dataset]]
abbr = "short"
base = "pocket_gsm"
few_shot = { kind = "fixed", ids = [0, 1, 2, 3] }
gen = { max_out_len = 8 }
[[dataset]]
abbr = "cut"
base = "pocket_piqa"
truncate = "left"
`, limit(4), spec.Override{Key: "datasets", Value: []string{"short", "cut"}, From: "-"}))
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	for _, r := range records(t, dir, p, "pocket/short") {
		if r.Dropped < 1 || r.Dropped > 4 || r.Cut != 0 || r.PromptTokens > 92 || r.PromptTokens < 50 {
			t.Errorf("row %d: %d examples dropped, %d tokens cut, %d left of 92", r.Row, r.Dropped, r.Cut, r.PromptTokens)
		}
	}
	s := given(t, `
models = [{ abbr = "pocket", path = "$POCKET/model", max_seq_len = 12 }]
datasets = ["cut"]
[[dataset]]
abbr = "cut"
base = "pocket_piqa"
truncate = "left"
`, limit(4))
	dir, p = planned(t, s)
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	for _, r := range records(t, dir, p, "pocket/cut") {
		if r.Cut < 8 || r.PromptTokens != 12 || r.Tokens[0] != 11 {
			t.Errorf("%+v", r)
		}
	}
}

func TestCutLeft(t *testing.T) {
	a := &ask{seqs: []engine.Sequence{{Tokens: []int32{1, 10, 11, 12, 13, 14}, From: 4}, {Tokens: []int32{1, 10, 11}, From: 1}}}
	a.cutLeft(4, 1)
	if got := fmt.Sprint(a.seqs, a.cut); got != "[{[1 12 13 14] 2} {[1 10 11] 1}] 2" {
		t.Error(got)
	}
}

// A continuation has at least one token: one that melts into its context gets the last one, one of no tokens is refused.
func TestContinued(t *testing.T) {
	tok, err := tokenizer.Load(pocket + "/model")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		context, continuation string
		mode                  spec.Mode
		from, len             int
		err                   string
	}{
		{"One day", " Anna", spec.LL, 3, 4, ""},
		{"One da", "y", spec.LL, 2, 3, ""}, // "One day" has fewer tokens than "One da"
		{"", "One", spec.LL, 1, 2, ""},
		{"One day", "", spec.LL, 0, 0, `the continuation "" has no tokens`},
		{"One day", " Anna is here", spec.CLP, 0, 0, "ranks single tokens"},
	} {
		task := &task{tok: tok, data: spec.Dataset{Mode: c.mode}}
		task.affixes()
		s, err := task.continued(dataset.Prompt{Text: c.context}, c.continuation)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q + %q: %v, want %q", c.context, c.continuation, err, c.err)
			}
		} else if err != nil || s.From != c.from || len(s.Tokens) != c.len {
			t.Errorf("%q + %q: %v (%v), want %d tokens from %d", c.context, c.continuation, s, err, c.len, c.from)
		}
	}
}

// The other modes: what a continuation is worth is the difference of two whole texts.
func TestContinuations(t *testing.T) {
	dir, p := planned(t, given(t, `
models = [{ abbr = "pocket", path = "$POCKET/model" }]
datasets = ["whole", "normalized", "likely"]
[[dataset]]
abbr = "whole"
base = "pocket_cloze"
[[dataset]]
abbr = "normalized"
base = "pocket_cloze"
ppl = { normalizing = "One day" }
[[dataset]]
abbr = "likely"
base = "pocket_cloze"
mode = "ll"
[dataset.prompt]
context = "{ctx}"
choice = " {choice}"
choices = "endings"
`, limit(5)))
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	whole, normalized, likely := records(t, dir, p, "pocket/whole"), records(t, dir, p, "pocket/normalized"), records(t, dir, p, "pocket/likely")
	for i, r := range likely {
		for k := range r.Labels {
			// The contexts are the same text, so the whole less the continuation is the same for all labels.
			if d, d0 := whole[i].NLL[k]-r.NLL[k], whole[i].NLL[0]-r.NLL[0]; !goldens.Near(d, d0, 1e-6) || d <= 0 {
				t.Errorf("row %d label %d: the context is worth %v, and %v for label 0", i, k, d, d0)
			}
			if r.Tokens[k] >= whole[i].Tokens[k] || r.Tokens[k] < 3 {
				t.Errorf("row %d: %d tokens of %d are the continuation", i, r.Tokens[k], whole[i].Tokens[k])
			}
			if r.Chars[k] < 8 || r.Size[k] != r.Chars[k] {
				t.Errorf("row %d: an ending of %d characters, %d bytes", i, r.Chars[k], r.Size[k])
			}
		}
		n := normalized[i]
		if len(n.NormNLL) != len(n.Labels) || len(n.NLL) != len(n.Labels) || n.NormNLL[0] <= n.NLL[0] {
			t.Errorf("row %d: an ending is likelier after its story than after no story: %+v", i, n)
		}
	}
}

// Partial evaluation: where the option stands in the context, what follows it is the whole text less the context with that option.
func TestOptionsInTheContext(t *testing.T) {
	const head = `
models = [{ abbr = "pocket", path = "$POCKET/model" }]
datasets = ["partial", "context", "whole"]
`
	var tables string
	for abbr, prompt := range map[string]string{
		"partial": "mode = 'll'\nprompt = { context = 'It is {choice}', choice = ' that {text}', choices = 'options' }",
		"context": "prompt = { template = 'It is {choice}', choices = 'options' }",
		"whole":   "prompt = { template = 'It is {choice} that {text}', choices = 'options' }",
	} {
		tables += "[[dataset]]\nabbr = '" + abbr + "'\nbase = 'pocket_winograd'\n" + prompt + "\n"
	}
	dir, p := planned(t, given(t, head+tables, limit(5)))
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	context, whole := records(t, dir, p, "pocket/context"), records(t, dir, p, "pocket/whole")
	for i, r := range records(t, dir, p, "pocket/partial") {
		for k := range r.Labels {
			if want := whole[i].NLL[k] - context[i].NLL[k]; !goldens.Near(r.NLL[k], want, 1e-6) || r.Tokens[k] != whole[i].Tokens[k]-context[i].Tokens[k] {
				t.Errorf("row %d label %d: %v of %d tokens, want %v", i, k, r.NLL[k], r.Tokens[k], want)
			}
		}
	}
}

// A continuation is greedy where the model, let write, writes it.
func TestGreedy(t *testing.T) {
	dir, p := planned(t, given(t, `
models = [{ abbr = "pocket", path = "$POCKET/model" }]
datasets = ["pocket_lambada", "likely"]
[[dataset]]
abbr = "likely"
base = "pocket_lambada"
mode = "ll"
answer = "gold"
[dataset.columns]
options = { list = ["{word}"] }
gold = { template = "0" }
[dataset.prompt]
context = "{start}"
choices = "options"
`, limit(40)))
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	written := records(t, dir, p, "pocket/pocket_lambada")
	greedy := 0
	for i, r := range records(t, dir, p, "pocket/likely") {
		is := len(r.Greedy) == 1 && r.Greedy[0] == "0"
		if writes := strings.HasPrefix(written[i].Text, " "+written[i].Gold[0]); is != writes || len(r.Greedy) > 1 {
			t.Errorf("row %d: greedy %q, and the model writes %q for %q", i, r.Greedy, written[i].Text, written[i].Gold[0])
		}
		if is {
			greedy++
		}
	}
	if greedy == 0 || greedy == len(written) {
		t.Errorf("%d of %d rows are greedy: nothing is told apart", greedy, len(written))
	}
}
