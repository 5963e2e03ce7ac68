package dataset

import (
	"encoding/json"
	"strings"
	"testing"

	"sextant/pkg/spec"
)

func jsonNumber(s string) json.Number { return json.Number(s) }

func TestColumns(t *testing.T) {
	raw := []byte(`{"label":2,"q":"Act: a: b","opts":"x|y","list":["(A) one","(B) two"],"deep":{"c":[{"t":"T"}]}}`)
	columns := map[string]spec.Column{
		"letter":  {From: "label", Map: map[string]string{"1": "A", "2": "B"}},
		"a_last":  {Template: "{z_mid}!"}, // reads a column that sorts after it
		"z_mid":   {Template: "{letter}-{deep.c[0].t}"},
		"q":       {From: "q", Regex: `^.*?: (.*)$`}, // replaces the file's
		"whole":   {From: "label", Regex: `\d`},
		"options": {From: "opts", Split: "|"},
		"clean":   {From: "list", Regex: `^\(.\) (.*)$`},
		"kept":    {From: "list"},
	}
	known := map[string]bool{"label": true, "q": true, "opts": true, "list": true, "deep": true}
	m, err := newMakers(columns, known)
	if err != nil {
		t.Fatal(err)
	}
	row, err := m.view(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"a_last":"B-T!","clean":["one","two"],"deep":{"c":[{"t":"T"}]},"kept":["(A) one","(B) two"],"label":2,"letter":"B",` +
		`"list":["(A) one","(B) two"],"options":["x","y"],"opts":"x|y","q":"a: b","whole":"2","z_mid":"B-T"}`
	if got := string(mustJSON(row)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestColumnErrors(t *testing.T) {
	rows := "{\"label\":1,\"q\":\"x\"}\n{\"label\":9,\"q\":\"x\"}\n"
	for _, c := range []struct{ toml, want string }{
		{"columns.a = { from = 'lable' }", `columns.a: from = "lable": no such column; did you mean label?`},
		{"columns.a = { template = '{lable}' }", `columns.a: template: {lable} names no column; did you mean label?`},
		{"columns.a = { from = 'b' }\ncolumns.b = { from = 'a' }", "columns.a: made from itself"},
		{"columns.a = { from = 'label', map = { 1 = 'A' } }", `line 2 (row 1): columns.a: map has no entry for "9"; there is 1`},
		{"columns.a = { from = 'label', regex = '[0-5]' }", `line 2 (row 1): columns.a: regex "[0-5]" does not match "9"`},
		{"columns.a = { from = 'q.z' }", `line 1 (row 0): columns.a: column "q.z": "x" has no key "z"`},
	} {
		d := entry(t, "mode = 'gen'\nanswer = 'label'\nprompt.template = '{q}'\n"+c.toml, rows, "")
		_, err := Open(d, 0)
		wantError(t, err, "dataset sample", "test.jsonl", c.want)
	}
}

// TestColumnOps tries what columns can do with a value, alone and one after the other.
func TestColumnOps(t *testing.T) {
	const row = `{"q":[{"t":"one"},{"t":"two"}],"opts":["red","blue ","red"],"a":"red","n":2,"py":"['a', \"b's\", 'c\\'d', 'x\\u00e9\\n', 4]",` +
		`"js":"[\"a\", \"b\"]","w":"éa b","deep":{"l":[[1],[2,3]]},"empty":"[]","s":""}`
	for _, c := range []struct{ toml, want string }{
		{`from = "q[].t"`, `["one","two"]`},
		{`from = "q[].t", case = "upper", number = "1) ", join = "; "`, `"1) ONE; 2) TWO"`},
		{`from = "opts", number = "A. ", join = "\n"`, `"A. red\nB. blue \nC. red"`},
		{`from = "opts", number = "- "`, `["- red","- blue ","- red"]`},
		{`from = "opts", index = "{a}"`, `["0","2"]`},
		{`from = "opts", index = "blue"`, `["1"]`},
		{`from = "opts", index = "{a}", join = "+"`, `"0+2"`},
		{`from = "py", parse = "list"`, `["a","b's","c'd","xé\n","4"]`},
		{`from = "js", parse = "list", regex = "^."`, `["a","b"]`},
		{`from = "empty", parse = "list"`, `[]`},
		{`list = ["{a}!", "{n}"]`, `["red!","2"]`},
		{`list = ["No", "Yes"], case = "uncapital"`, `["no","yes"]`},
		{`from = "w", case = "capital"`, `"Éa b"`},
		{`from = "s", case = "capital"`, `""`},
		{`from = "deep", json = true`, `"{\"l\":[[1],[2,3]]}"`},
		{`from = "n", json = true`, `"2"`},
		{`template = "{a},{n}", split = ",", index = "2"`, `["1"]`},
		{`from = "missing | a|n"`, `"red"`},
		{`from = "missing|q[1].t|a"`, `"two"`},
		{`from = "a", template = "{n}"`, `"red"`},
		{`from = "missing", template = "{n}: {a}", case = "upper"`, `"2: RED"`},
	} {
		d := entry(t, "mode = \"gen\"\nanswer = \"a\"\nprompt.template = \"{a}\"\ncolumns.made = { "+c.toml+" }", row+"\n", "")
		s := open(t, d)
		v, err := s.program.makers.view(s.test.rows[0])
		if err != nil {
			t.Errorf("%s: %v", c.toml, err)
		} else if got := string(mustJSON(v["made"])); got != c.want {
			t.Errorf("%s gives %s, want %s", c.toml, got, c.want)
		}
	}
	for _, c := range []struct {
		toml string
		want []string
	}{
		{`from = "a[]"`, []string{`column "a[]"`, "has no []", "a string"}},
		{`from = "q[].x"`, []string{"item 0", `no key "x"`}},
		{`from = "made"`, []string{`from = "made": no such column`, "there is a, deep"}},
		{`from = "mist|opps"`, []string{`from = "mist|opps": no such column`}},
		{`from = "missing", template = "{gone}"`, []string{"{gone} names no column"}},
		{`from = "a", join = ","`, []string{"want a list", "split or parse"}},
		{`from = "opts", index = "green"`, []string{"no item", "green"}},
		{`from = "a", parse = "list"`, []string{"is no list"}},
		{`template = "[['a']]", parse = "list"`, []string{"item 0", "no text in quotes"}},
		{`template = "['a' 'b']", parse = "list"`, []string{"after item 0", "comma"}},
		{`template = "['a]", parse = "list"`, []string{"item 0", "closing quote"}},
		{`template = "['\\q']", parse = "list"`, []string{"item 0", "escape"}},
		{`from = "q", number = "1"`, []string{"item 0", "is an object"}},
		{`from = "opts", index = "{b}"`, []string{"index", "{b} names no column"}},
		{`list = ["{b}"]`, []string{"list[0]", "{b} names no column"}},
		{`file = "/nowhere/x.txt"`, []string{"column made file", "/nowhere/x.txt"}},
	} {
		_, err := Open(entry(t, "mode = \"gen\"\nanswer = \"a\"\nprompt.template = \"{a}\"\ncolumns.made = { "+c.toml+" }", row+"\n", ""), 0)
		wantError(t, err, append(c.want, "made")...)
	}
}

// TestColumnFile: a file's text is in every prompt and part of the data's digest, and its directory is not part of the prompt's hash.
func TestColumnFile(t *testing.T) {
	const toml = "mode = \"gen\"\nanswer = \"a\"\nprompt.template = \"{shots}Q: {q}\"\n"
	with := func(text string) (*Set, string) {
		path := write(t, "shots.txt", text)
		s := open(t, entry(t, toml+"columns.shots = { file = '"+path+"' }", "{\"q\":\"x\",\"a\":\"y\"}\n", ""))
		digest, err := s.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return s, digest
	}
	s, digest := with("one {q}\r\n\n")
	if got := item(t, s, 0, nil).Prompts(0)[0].Text; got != "one {q}\n\nQ: x" {
		t.Errorf("the prompt is %q", got)
	}
	other, otherDigest := with("two")
	if digest == otherDigest || PromptHash(s.d, nil) != PromptHash(other.d, nil) {
		t.Error("the digest must tell the texts apart, and the prompt's hash must not tell the directories apart")
	}
	if _, err := Open(entry(t, toml+"columns.shots = { file = '"+write(t, "big.txt", strings.Repeat("x", maxColumnFile+1))+"' }",
		"{\"q\":\"x\",\"a\":\"y\"}\n", ""), 0); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a large file: %v", err)
	}
}
