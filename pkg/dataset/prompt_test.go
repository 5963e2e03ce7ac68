package dataset

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"sextant/pkg/spec"
)

const (
	sampleTest = `{"q":"1+1?","opts":["2","3"],"gold":0,"a":"2"}
{"q":"Red {q}?","opts":["no","yes","maybe"],"gold":1,"a":["yes","sure"]}
`
	sampleTrain = `{"q":"T0?","opts":["a0","b0"],"gold":1,"a":"b0"}
{"q":"T1?","opts":["a1","b1"],"gold":0,"a":["a1","x"]}
{"q":"T2?","opts":["a2","b2"],"gold":0,"a":"a2"}
`
)

var chat = &spec.MetaTemplate{
	Begin: "<s>",
	Round: []spec.MetaRole{
		{Role: "HUMAN", Begin: "<|h|>", End: "<|/h|>\n"}, {Role: "BOT", Begin: "<|b|>", End: "<|/b|>\n", Generate: true},
	},
	End: "<e>",
}

var metas = []*Roles{nil, {Meta: chat}}

// samples are datasets whose prompts testdata/prompts.txt holds.
var samples = []struct{ name, toml string }{
	{"gen text", `mode = "gen"
answer = "a"
prompt.template = "Q: {q}\nA: {a}"
few_shot = { kind = "fixed", ids = [1, 0] }`},
	{"gen text, ice token, separator, example", `mode = "gen"
answer = "a"
few_shot = { kind = "fixed", ids = [0, 2] }
[prompt]
template = "Answer.\n\n<ice>Q: {q}\nA:"
example = "Q: {q}\nA: {a}"
ice_token = "<ice>"
separator = "\n---\n"`},
	{"gen turns", `mode = "gen"
answer = "a"
few_shot = { kind = "fixed", ids = [0, 1] }
[prompt.template]
begin = [{ role = "SYSTEM", prompt = "Be brief." }]
round = [{ role = "HUMAN", prompt = "{q}" }, { role = "BOT", prompt = "{a}" }]
end = [{ role = "HUMAN", prompt = "Thanks." }]`},
	{"gen turns, examples after the system's turn", `mode = "gen"
answer = "a"
few_shot = { kind = "fixed", ids = [0, 1] }
[prompt]
ice_token = "<ice>"
separator = "\n\n"
[prompt.template]
begin = [{ role = "SYSTEM", prompt = "Be brief." }, { role = "HUMAN", prompt = "<ice>" }]
round = [{ role = "HUMAN", prompt = "{q}" }]
[prompt.example]
round = [{ role = "HUMAN", prompt = "{q}" }, { role = "BOT", prompt = "{a}" }]`},
	{"ppl labels", `mode = "ppl"
answer = "gold"
few_shot = { kind = "fixed", ids = [0] }
[prompt.labels]
10 = "ten {q}"
0 = "{q} {opts[0]}"
1 = "{q} {opts[1]}"`},
	{"ppl labels in turns", `mode = "ppl"
answer = "gold"
few_shot = { kind = "fixed", ids = [0] }
[prompt.labels]
0 = { round = [{ role = "HUMAN", prompt = "{q}" }, { role = "BOT", prompt = "{opts[0]}" }], end = [{ role = "HUMAN", prompt = "Ok." }] }
1 = { round = [{ role = "HUMAN", prompt = "{q}" }, { role = "BOT", prompt = "{opts[1]}" }], end = [{ role = "HUMAN", prompt = "Ok." }] }`},
	{"ppl choices", `mode = "ppl"
answer = "gold"
few_shot = { kind = "fixed", ids = [0, 1] }
[prompt]
template = "{q} {choice}."
choices = "opts"`},
	{"ppl normalized", `mode = "ppl"
answer = "gold"
ppl = { normalizing = "Answer:" }
few_shot = { kind = "fixed", ids = [0] }
[prompt]
template = "{q} {choice}."
choices = "opts"`},
	{"ll", `mode = "ll"
answer = "gold"
few_shot = { kind = "fixed", ids = [0, 1] }
[prompt]
context = "{q}"
choices = "opts"`},
	{"ll, options in the context", `mode = "ll"
answer = "gold"
few_shot = { kind = "fixed", ids = [0, 1] }
[prompt]
context = "{q} {choice},"
choice = " {a[0]} says."
choices = "opts"
[columns]
a = { list = ["{gold}"] }`},
	{"clp turns", `mode = "clp"
answer = "gold"
few_shot = { kind = "fixed", ids = [0] }
[prompt]
choices = "opts"
choice = "{choice}"
context = { round = [{ role = "HUMAN", prompt = "{q}" }] }`},
}

// TestPrompts renders every sample with and without a meta template. Read the golden file as its documentation.
func TestPrompts(t *testing.T) {
	var out strings.Builder
	for _, sample := range samples {
		s := open(t, entry(t, sample.toml, sampleTest, sampleTrain))
		for _, meta := range metas {
			fmt.Fprintf(&out, "======== %s; meta template: %v\n", sample.name, meta != nil)
			for row := range s.Len() {
				it := item(t, s, row, meta)
				fmt.Fprintf(&out, "---- row %d: labels %q, gold %q, %d examples\n", row, it.Labels, it.Gold, it.Examples())
				for k := it.Examples(); k >= it.Examples()*row; k-- {
					for _, p := range it.Prompts(k) {
						fmt.Fprintf(&out, "[%d] %q %q %q\n", k, p.Text, p.Continuations, p.Normalizing)
					}
				}
			}
		}
	}
	golden(t, "testdata/prompts.txt", out.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Fatalf("%s line %d differs:\n got %s\nwant %s", path, i+1, g[i], w[i])
			}
		}
		t.Fatalf("%s: %d lines, want %d", path, len(g), len(w))
	}
}

func TestMetaTemplateErrors(t *testing.T) {
	turns := "mode = 'gen'\nanswer = 'a'\n[prompt.template]\nround = [{ role = 'HUMAN', prompt = '{q}' }, { role = 'BOT', prompt = '{a}' }]"
	s := open(t, entry(t, turns, sampleTest, ""))
	_, err := s.Item(1, &Roles{Meta: &spec.MetaTemplate{Round: []spec.MetaRole{{Role: "HUMAN"}}}})
	wantError(t, err, "dataset sample", "line 2 (row 1)", `no role "BOT"`, "there is HUMAN")
	_, err = s.Item(1, &Roles{Meta: &spec.MetaTemplate{Round: []spec.MetaRole{{Role: "HUMAN"}, {Role: "BOT"}}}})
	wantError(t, err, "no role with generate = true")
	_, err = s.Item(2, nil)
	wantError(t, err, "row 2 of 2")
}

func TestOpenErrors(t *testing.T) {
	labels := "mode = 'ppl'\nanswer = 'gold'\nprompt.labels = { 0 = '{q}', 1 = '{q}!' }\n"
	choices := "mode = 'ppl'\nanswer = 'gold'\nprompt = { template = '{q} {choice}', choices = 'opts' }\n"
	gen := "mode = 'gen'\nanswer = 'a'\nprompt.template = 'Q: {q}'\n"
	for _, c := range []struct{ name, toml, test, want string }{
		{"unknown column", "mode = 'gen'\nanswer = 'a'\nprompt.template = '{question}'", "{\"qestion\":1,\"a\":2}", "{question} names no column; did you mean qestion?; there is a, qestion"},
		{"unknown answer", "mode = 'gen'\nanswer = 'b'\nprompt.template = '{q}'", "{\"q\":1,\"a\":2}", `answer = "b": no such column`},
		{"column missing in row 17", gen, strings.Repeat("{\"q\":1,\"a\":2}\n", 17) + "{\"Q\":1,\"a\":2}\n", `line 18 (row 17): no column "q"; did you mean Q?`},
		{"null", gen, "{\"q\":null,\"a\":2}", `column "q": the value is null`},
		{"null gold", gen, "{\"q\":1,\"a\":null}", `answer "a": item 0: the value is null`},
		{"no gold", gen, "{\"q\":1,\"a\":[]}", "the list is empty"},
		{"gold no label", labels, "{\"q\":1,\"gold\":2}", `row 0): answer "gold" is 2, which is no label; there is 0, 1`},
		{"gold no choice", choices, "{\"q\":1,\"gold\":2,\"opts\":[\"x\"]}", `which is no label; there is 0: map it`},
		{"choices no list", choices, "{\"q\":1,\"gold\":0,\"opts\":\"x\"}", `"x" is no list: make one with [columns] split`},
		{"no choices", choices, "{\"q\":1,\"gold\":0,\"opts\":[]}", "the list is empty"},
		{"clp with options in the context", "mode = 'clp'\nanswer = 'gold'\nprompt = { context = '{q} {choice}', choices = 'opts' }",
			"{\"q\":1,\"gold\":0,\"opts\":[\"x\"]}", "prompt.context names {choice}, which goes with mode ll alone"},
		{"nothing behind options in the context", "mode = 'll'\nanswer = 'gold'\nprompt = { context = '{q} {choice}', choice = '{rest}', choices = 'opts' }",
			"{\"q\":1,\"gold\":0,\"opts\":[\"x\"],\"rest\":\"\"}", "an empty continuation"},
		{"normalizing labels", labels + "ppl.normalizing = 'x'", "{\"q\":1,\"gold\":0}", "ppl.normalizing needs prompt.template with prompt.choices"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(entry(t, c.toml, c.test, ""), 0)
			wantError(t, err, "dataset sample", c.want)
		})
	}
	few := func(name, toml, want string) {
		t.Run(name, func(t *testing.T) {
			_, err := Open(entry(t, toml, sampleTest, sampleTrain), 0)
			wantError(t, err, "dataset sample", want)
		})
	}
	few("id too large", "few_shot = { kind = 'fixed', ids = [0, 3] }\n"+gen+"prompt.example = 'x'", "train.jsonl: few_shot.ids has 3, but the rows are 0 to 2")
	few("k too large", "few_shot = { kind = 'random', k = 4 }\n"+gen+"prompt.example = 'x'", "few_shot.k is 4, but there are 3 rows")
	few("no example", "few_shot = { kind = 'random', k = 1 }\n"+gen, "few_shot needs prompt.example")
	few("bad example", "few_shot = { kind = 'fixed', ids = [1] }\n"+gen+"prompt.example = '{a[5]}'", "example: ")
	_, err := Open(spec.Dataset{Abbr: "x", Mode: spec.Gen, Answer: "a", Test: spec.Files{Path: "nowhere.jsonl"}}, 0)
	wantError(t, err, "dataset x: test file", "nowhere.jsonl")
	shots := entry(t, "few_shot = { kind = 'fixed', ids = [0] }\n"+gen+"prompt.example = 'x'", sampleTest, sampleTrain)
	shots.Train.Path = "nowhere.jsonl"
	_, err = Open(shots, 0)
	wantError(t, err, "train file", "nowhere.jsonl", `few_shot.kind = "none"`)
}
