package jinja

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHostile: what never ends or grows without end is an error, soon.
func TestHostile(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	vars := map[string]any{"long": long}
	for name, c := range map[string]struct{ template, want string }{
		"doubling":             {"{% set n = namespace(s='x') %}{% for i in range(100) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "more steps or memory"},
		"loops within loops":   {"{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}", "more steps or memory"},
		"a large output":       {"{% for a in range(99999) %}{{ long }}{% endfor %}", "more steps or memory"},
		"a repeated text":      {"{{ 'ab' * 9999999999 }}", "more steps or memory"},
		"a repeated list":      {"{{ [1] * 9999999999 }}", "more steps or memory"},
		"replacing":            {"{{ long|replace('x', long) }}", "more steps or memory"},
		"joining":              {"{{ long.join(range(100000)|map('string')) }}", "more steps or memory"},
		"a large indent":       {"{{ 'a\nb'|indent(9999999999) }}", "more steps or memory"},
		"a large JSON":         {"{{ [1]|tojson(indent=9999999999) }}", "more steps or memory"},
		"a range":              {"{{ range(10000000000) }}", "range too big"},
		"a macro that calls":   {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deep"},
		"two macros":           {"{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}", "deep"},
		"a power":              {"{{ 10 ** 100 }}", "too large"},
		"a long power":         {"{{ 1 ** 9999999999 }}{{ (-1) ** 9999999999 }}", "more steps or memory"},
		"a deep expression":    {"{{ " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + " }}", "nested more than"},
		"a deep list":          {"{{ " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + " }}", "nested more than"},
		"a long chain":         {"{{ 1" + strings.Repeat(" + 1", 5000) + " }}", "nested more than"},
		"many signs":           {"{{ " + strings.Repeat("-", 5000) + "1 }}", "nested more than"},
		"deep blocks":          {strings.Repeat("{% if 1 %}", 5000), "nested more than"},
		"a deep value":         {"{% set n = namespace(l=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}", "nested too deep"},
		"deep values compared": {"{% set n = namespace(l=[], m=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}{% set n.m = [n.m] %}{% endfor %}{{ n.l == n.m }}", "nested more than"},
		"a deep value as JSON": {"{% set n = namespace(l=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l|tojson }}", "nested more than"},
		"a large source":       {strings.Repeat("x", maxSource+1), "the most is"},
		"searching":            {"{% for i in range(99999) %}{{ 'y' in long }}{% endfor %}", "more steps or memory"},
		"counting":             {"{% for i in range(99999) %}{{ long|length }}{% endfor %}", "more steps or memory"},
	} {
		begun := time.Now()
		_, err := render(c.template, vars)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("%s took %s", name, took)
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: the error %v is of another kind", name, err)
		}
	}
}

// TestRefused: what would come out otherwise than by Jinja2 is an error that names it.
func TestRefused(t *testing.T) {
	vars := map[string]any{"d": NewDict("items", 1, "a", 2), "nums": &List{Items: []any{3, 1, 2}}}
	for template, want := range map[string]string{
		"{{ d.items }}":                                 "a function cannot be printed",
		"{{ range }}":                                   "a function cannot be printed",
		"{{ nums|map('string') }}":                      "cannot be printed",
		"{{ nums|map('string')|length }}":               "has no length",
		"{{ (nums|map('string'))[0] }}":                 "no items by number",
		"{{ (nums|map('string'))[1:] }}":                "no slices",
		"{{ nums|map('string') == nums }}":              "cannot be compared",
		"{{ nums|map('string')|tojson }}":               "not JSON serializable",
		"{{ self }}":                                    "self is not supported",
		"a\n{{ 'x'|shout }}":                            `line 2: the filter "shout" is not supported`,
		"{{ 1 is shiny }}":                              `the test "shiny" is not supported`,
		"{% import 'x' as y %}":                         `the statement "import" is not supported`,
		"{{ 'a'.zfill(3) }}":                            "the method zfill of a str is not supported",
		"{{ d.update(nums) }}":                          "the method update of a dict is not supported",
		"{{ nums.append(1) }}":                          "the method append of a list is not supported",
		"{{ ''.__class__ }}":                            "the method __class__ of a str is not supported",
		"{{ 'a'|trim(chars='a', x=1) }}":                `trim has no argument "x"`,
		"{{ 9223372036854775807 + 1 }}":                 "too large",
		"{{ 99999999999999999999 }}":                    "too large",
		"{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}": "is given a twice",
		"{% for x in nums %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}": "break stands outside of a loop",
	} {
		got, err := render(template, vars)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %q", template, got, err, want)
		}
	}
}

// TestFuncs: a function of the caller's gets values, and its error ends the rendering and can be told.
func TestFuncs(t *testing.T) {
	vars := map[string]any{"raise": Func(raise), "show": Func(func(args []any) (any, error) { return fmt.Sprintf("%v", args), nil })}
	if got, err := render("{{ show(1, 'a', none) }}", vars); err != nil || got != "[1 a <nil>]" {
		t.Errorf("%q, %v", got, err)
	}
	_, err := render("a\n\n{{ raise() }}", vars)
	if !errors.Is(err, errRaised) || !strings.HasPrefix(err.Error(), "line 3: ") {
		t.Error(err)
	}
	if _, err := render("{{ show(x=1) }}", vars); err == nil {
		t.Error("a function takes an argument by name")
	}
}

// TestVariablesStay: rendering changes nothing that was given to it.
func TestVariablesStay(t *testing.T) {
	vars := map[string]any{"x": 1, "l": &List{Items: []any{1, 2}}}
	tpl, err := Parse("{% set x = 2 %}{% set l = l + [3] %}{{ x }}{{ l }}")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := tpl.Render(vars); err != nil || got != "2[1, 2, 3]" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// FuzzRender: whatever a template says, there is a text or an error, the same each time, within the budget.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{
		"{% for m in messages %}{{ m.role|upper }}: {{ m['content'].strip() }}\n{% endfor %}", "{%- if messages[-1].x is defined -%} {{ 1 }} {%- endif +%}",
		"{% macro a(b, c='d') %}{{ b ~ c }}{% endmacro %}{{ a(1) }}{{ a('x', c=2) }}", "{% set ns = namespace(x=1) %}{% set ns.x = ns.x ** 2 // 3 %}{{ ns.x }}",
		"{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list|tojson(indent=2) }}", "{{ messages[::-1][1:][0].content[-3:]|replace('a','b') }}",
		"{% raw %}{{ x }}{% endraw %}{# c #}{{ '\\u00e9\\x41' }}", "{% set x %}a{% endset %}{% filter upper %}{{ x }}{% endfilter %}", "{{ (1, 2.5e3, none, [true], {'a': 1}) }}",
	} {
		f.Add(seed)
	}
	vars := map[string]any{"bos_token": "<s>", "add_generation_prompt": true, "messages": &List{Items: []any{
		NewDict("role", "user", "content", " é \"x\" "), NewDict("role", "assistant", "content", "b\nc"),
	}}}
	f.Fuzz(func(t *testing.T, source string) {
		first, err1 := render(source, vars)
		second, err2 := render(source, vars)
		if first != second || fmt.Sprint(err1) != fmt.Sprint(err2) {
			t.Fatalf("%q, %v and then %q, %v", first, err1, second, err2)
		}
		var e *Error
		if err1 != nil && !errors.As(err1, &e) {
			t.Fatalf("an error of another kind: %v", err1)
		}
		if len(first) > Budget {
			t.Fatalf("%d bytes", len(first))
		}
	})
}
