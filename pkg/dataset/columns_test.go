package dataset

import (
	"encoding/json"
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
