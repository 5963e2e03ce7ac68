package dataset

import (
	"testing"
)

func TestTemplate(t *testing.T) {
	row := view{"q": "{a} {{", "a": "A", "col name": "N", "x.y": "dotted", "größe": "G", "n": jsonNumber("1.0"), "ok": true,
		"o": map[string]any{"key": "K", "list": []any{"L0", map[string]any{"z": "Z"}}}, "l": []any{"zero", "one"}}
	known := map[string]bool{}
	for name := range row {
		known[name] = true
	}
	for _, c := range []struct{ template, want string }{
		{"", ""},
		{"plain ü", "plain ü"},
		{"{q}", "{a} {{"}, // a row's text is not read as a template
		{"[{a}][{a}]", "[A][A]"},
		{"{col name}|{größe}|{x.y}", "N|G|dotted"},
		{"{n} {ok}", "1.0 true"},
		{"{l[1]} {o.key} {o.list[0]} {o.list[1].z}", "one K L0 Z"},
		{"{{a}}", "{a}"},
		{"{{{a}}}", "{A}"},
		{"\\boxed{{{a}}} }} {{", "\\boxed{A} }} {"},
		{`{"a": {"b": 1}}`, `{"a": {"b": 1}}`},
		{`{{"a": {"b": "{a}"}}}`, `{"a": {"b": "A"}}`},
		{"def f(x):\n    return {x + 1, 2}", "def f(x):\n    return {x + 1, 2}"},
		{"{} { a } {1} {\n} {a", "{} { a } {1} {\n} {a"},
		{"a}b}}c", "a}b}}c"},
		{"{{unknown}} {{a} {a}", "{unknown} {a} A"},
	} {
		b, err := scope{known: known}.compile(c.template)
		if err != nil {
			t.Errorf("%q: %v", c.template, err)
			continue
		}
		if got, err := b.render(env{row: row}, ""); err != nil || got != c.want {
			t.Errorf("%q gives %q, %v; want %q", c.template, got, err, c.want)
		}
	}
	for _, c := range []struct{ template, want string }{
		{"{qq}", "{qq} names no column; did you mean q?"},
		{"{answer}", "write {{answer}}"},
		{"{aa.b}", "{aa.b} names no column; did you mean a?"},
	} {
		_, err := scope{known: known}.compile(c.template)
		wantError(t, err, c.want)
	}
	for _, c := range []struct{ template, want string }{
		{"{l}", `["zero","one"] is a list, not text`},
		{"{o}", "is an object, not text"},
		{"{l[2]}", `column "l[2]": no [2]: the list has 2 items`},
		{"{o.kay}", `no key "kay"; did you mean key?`},
		{"{a.b}", `"A" has no key "b": it is a string`},
		{"{o[0]}", "has no [0]: it is an object"},
	} {
		b, err := scope{known: known}.compile(c.template)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.render(env{row: row}, "")
		wantError(t, err, c.want)
	}
}

func TestTemplateIce(t *testing.T) {
	s := scope{known: map[string]bool{"a": true}, ice: "<ice>"}
	b, err := s.compile("x <i <ice>{a}{{<ice>}}")
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.render(env{row: view{"a": "<ice>"}}, "EX")
	if want := "x <i EX<ice>{EX}"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
