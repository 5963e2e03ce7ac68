package plan

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sextant/pkg/spec"
)

// estimated surveys one dataset on the pocket model.
func estimated(t *testing.T, d spec.Dataset, rows ...string) TaskInput {
	t.Helper()
	s := pocket(t)
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(rows, "\n")), 0o666); err != nil {
		t.Fatal(err)
	}
	d.Abbr, d.Test = "d", spec.Files{Path: path}
	if d.FewShot.Kind != "" {
		d.Train = &d.Test
	}
	s.Datasets = []spec.Dataset{d.WithDefaults()}
	in, err := Survey(s)
	if err != nil {
		t.Fatal(err)
	}
	return in.Tasks[0]
}

func text(template string) spec.Prompt { return spec.Prompt{Template: &spec.Template{Text: template}} }

// words is as many words as the tokenizer gives a token each.
func words(n int) string { return strings.Repeat(" the", n) }

// What a row is counted at follows from what the pocket tokenizer gives: a token for each " the", and up to five for BOS and number.
func TestEstimateOfRows(t *testing.T) {
	row := func(n int) string { return fmt.Sprintf(`{"q":"%d%s","a":"x","b":"0","o":["cat","dog"]}`, n, words(n)) }
	gen := spec.Dataset{Mode: spec.Gen, Answer: "a", Prompt: text("{q}"), Gen: spec.GenOptions{MaxOutLen: 50}}
	near := func(name string, got int64, want, within float64) {
		t.Helper()
		if math.Abs(float64(got)-want) > within {
			t.Errorf("%s: %d tokens, want about %g", name, got, want)
		}
	}
	in := estimated(t, gen, row(10), row(20), row(40), row(80))
	for i, n := range []float64{10, 20, 40, 80} {
		near("prompt and half of the output", in.Estimate.row(i), n+25, 5)
	}
	// Five fixed examples of 60 tokens are the task's once, and not each row's.
	few := gen
	few.Prompt = text("Q:{q}\nA: {a}\n")
	few.FewShot = spec.FewShot{Kind: "fixed", IDs: []int{0, 1, 2, 3, 4}}
	var rows []string
	for i := range 40 {
		rows = append(rows, row(60+i%3))
	}
	in = estimated(t, few, rows...)
	if in.Estimate.Shared < 5*60 || in.Estimate.Shared > 7*70 || in.Estimate.row(0) > 60+25+40 {
		t.Errorf("few-shot: %+v", in.Estimate.Shared)
	}
	// Two labels share the question: it counts once.
	ppl := spec.Dataset{Mode: spec.PPL, Answer: "b", Prompt: spec.Prompt{Template: text("{q} {choice}").Template, Choices: "o"}}
	in = estimated(t, ppl, row(100), row(50), row(20))
	near("ppl", in.Estimate.row(0), 100+cachePage/2, 6)
	if in.Labels != 2 {
		t.Errorf("%d labels", in.Labels)
	}
	// One row: nothing is known to be shared.
	in = estimated(t, gen, row(30))
	near("one row", in.Estimate.row(0)+in.Estimate.Shared, 30+25, 5)
}

func TestEstimateIsCutToTheContext(t *testing.T) {
	gen := spec.Dataset{Mode: spec.Gen, Answer: "a", Prompt: text("{q}"), Gen: spec.GenOptions{MaxOutLen: 2}, Truncate: "left"}
	in := estimated(t, gen, `{"q":"`+words(5000)+`","a":"x"}`, `{"q":"x`+words(6000)+`","a":"x"}`)
	if n := in.Estimate.row(1); n < 400 || n > 600 {
		t.Errorf("a text of 6000 tokens counts %d in a context of 512", n)
	}
}

func TestFit(t *testing.T) {
	for name, c := range map[string]struct {
		samples []sample
		want    Estimate
	}{
		"a line":            {[]sample{{size: 0, tokens: 10}, {size: 100, tokens: 60}, {size: 50, tokens: 35}}, Estimate{Fixed: 10 * fractions, PerUnit: fractions / 2}},
		"alike":             {[]sample{{size: 8, tokens: 10}, {size: 8, tokens: 30}}, Estimate{Fixed: 20 * fractions}},
		"never falls":       {[]sample{{size: 10, tokens: 30}, {size: 30, tokens: 10}}, Estimate{Fixed: 20 * fractions}},
		"begins at 0":       {[]sample{{size: 10, tokens: 0}, {size: 30, tokens: 40}}, Estimate{PerUnit: fractions}},
		"nothing":           {[]sample{{}}, Estimate{}},
		"no size, a prompt": {[]sample{{tokens: 3}, {tokens: 5}}, Estimate{Fixed: 4 * fractions}},
	} {
		if got := fit(c.samples); got.Fixed != c.want.Fixed || got.PerUnit != c.want.PerUnit {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	big := Estimate{Sizes: []uint32{math.MaxUint32}, Fixed: fraction(1e9), PerUnit: maxPerUnit}
	if n := big.row(0); n < 1e12 {
		t.Errorf("the largest row has %d tokens", n)
	}
}

// Tokens the worker put through the pocket model, task by task, by its own count: of the suite as it is, with its first five rows as fixed
// examples, and with three random ones. The engine that counted them lives above this package.
func TestEstimateAgainstTheEngine(t *testing.T) {
	computed := map[string][3]float64{
		"pocket_winograd": {12482, 17362, 44038},
		"pocket_piqa":     {11832, 14280, 37506},
		"pocket_siqa_ppl": {15836, 16380, 44239},
		"pocket_cloze":    {28453, 34269, 64653},
		"pocket_gsm":      {10195, 10339, 38315},
		"pocket_lambada":  {7934, 8819, 30198},
		"pocket_text":     {55335},
	}
	shots := []spec.FewShot{{}, {Kind: "fixed", IDs: []int{0, 1, 2, 3, 4}}, {Kind: "random", K: 3}}
	for i, few := range shots {
		s := pocket(t)
		s.Infer.MaxPartitionSize = 1_000_000 // one shard a task
		if few.Kind != "" {
			s.Datasets = slices.DeleteFunc(s.Datasets, func(d spec.Dataset) bool { return d.Mode == spec.Rolling })
		}
		for k := range s.Datasets {
			d := &s.Datasets[k]
			if train := d.Test; few.Kind != "" {
				d.Train, d.FewShot = &train, few
			}
		}
		for _, task := range planOf(t, s).Tasks {
			want := computed[task.Dataset][i]
			if ratio := float64(task.Tokens) / want; ratio < 0.8 || ratio > 1.25 {
				t.Errorf("%s, %q examples: %d tokens estimated, %g computed", task.Dataset, few.Kind, task.Tokens, want)
			}
		}
	}
}
