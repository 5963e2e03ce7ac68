package jinja

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// fromJSON reads values, mappings in their order.
func fromJSON(t testing.TB, data []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := value(dec)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func value(dec *json.Decoder) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch x := tok.(type) {
	case json.Number:
		if i, err := x.Int64(); err == nil {
			return int(i), nil
		}
		return x.Float64()
	case json.Delim:
		var items []any
		for dec.More() {
			v, err := value(dec)
			if err != nil {
				return nil, err
			}
			items = append(items, v)
		}
		if _, err := dec.Token(); err != nil {
			return nil, err
		}
		if x == '[' {
			return &List{Items: items}, nil
		}
		return NewDict(items...), nil
	}
	return tok, nil
}

// TestLikeJinja2 holds the package against what Jinja2 3.1 made of the same templates (testdata/reference.py). Where Jinja2 has a text,
// there is that text, or an error for what is not supported; those are listed. Where Jinja2 has an error, there is one.
func TestLikeJinja2(t *testing.T) {
	read := func(name string) []byte {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	vars := map[string]any{"raise_exception": Func(raise)}
	all, _ := fromJSON(t, read("cases.json")).(*Dict).get("vars")
	for _, k := range all.(*Dict).keys {
		vars[k.(string)], _ = all.(*Dict).get(k)
	}
	var golden []struct{ Template, Text, Error string }
	if err := json.Unmarshal(read("golden.json"), &golden); err != nil {
		t.Fatal(err)
	}
	refused := map[string]bool{}
	for _, one := range golden {
		got, err := render(one.Template, vars)
		switch {
		case one.Error != "" && err == nil:
			t.Errorf("%q gives %q, Jinja2 has the error %s", one.Template, got, one.Error)
		case one.Error == "" && err != nil:
			refused[one.Template] = true
			if !unsupported[one.Template] {
				t.Errorf("%q: %v, Jinja2 gives %q", one.Template, err, one.Text)
			}
		case one.Error == "" && got != one.Text:
			t.Errorf("%q gives %q, Jinja2 %q", one.Template, got, one.Text)
		}
	}
	for template := range unsupported {
		if !refused[template] {
			t.Errorf("%q is listed as unsupported and is not", template)
		}
	}
}

// unsupported are the templates that Jinja2 renders and this package refuses.
var unsupported = map[string]bool{
	"{{ 'a b c'.split(none, 1) }}":   true,
	"{{ 'abc'.startswith('b', 1) }}": true,
	"{{ 'é'.title() }}":              true,
	"{{ 'ab'|title }}":               true,
	"{{ '{}'.format(1) }}":           true,
	"{{ 'Ab'.swapcase() }}":          true,
	"{{ '%s'|format('a') }}":         true,
	"{{ '%s' % 'a' }}":               true,
	"{{ '<a>'|e }}":                  true,
	"{{ nums|sort }}":                true,
	"{{ nums|sum }}":                 true,
	"{{ nums|max }}":                 true,
	"{{ d|dictsort }}":               true,
	"{{ d.keys() }}":                 true,
	"{{ 'a b'|wordcount }}":          true,
	"{% set g = nums|map('string') %}{{ g|join }}|{{ g|join }}": true,
	"{% block a %}x{% endblock %}":                              true,
	"{% for x in nums recursive %}{% endfor %}":                 true,
	"{{ 5[:1] }}":              true,
	"{{ '1_0'|int }}":          true,
	"{{ range(3)[1] }}":        true,
	"{{ '<a>'|safe ~ '<b>' }}": true,
	"{{ '<a>'|safe|upper }}":   true,
	"{{ 'a' is sameas 'a' }}":  true,
	"{% macro m() %}{{ varargs }}{% endmacro %}{{ m(1) }}": true,
	"{{ dict([('a', 1)]) }}":                               true,
	"{{ range(*[3])|list }}":                               true,
}

func raise(args []any) (any, error) { return nil, errRaised }

func render(source string, vars map[string]any) (string, error) {
	t, err := Parse(source)
	if err != nil {
		return "", err
	}
	return t.Render(vars)
}
