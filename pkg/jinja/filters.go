package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

type filter func(r *run, v any, a *arguments) any

var filters map[string]filter

func init() {
	filters = map[string]filter{
		"trim":       trim,
		"length":     length,
		"count":      length,
		"default":    fallback,
		"d":          fallback,
		"upper":      caseFilter("upper"),
		"lower":      caseFilter("lower"),
		"capitalize": caseFilter("capitalize"),
		"string":     func(r *run, v any, a *arguments) any { return r.text(v) },
		"safe":       func(r *run, v any, a *arguments) any { return markup(r.text(v)) },
		"int":        toInt,
		"float":      toFloat,
		"abs":        absolute,
		"list":       func(r *run, v any, a *arguments) any { return &List{Items: r.clone(v)} },
		"first":      func(r *run, v any, a *arguments) any { return end(r, v, "first") },
		"last":       func(r *run, v any, a *arguments) any { return end(r, v, "last") },
		"reverse":    reverse,
		"join":       join,
		"replace": func(r *run, v any, a *arguments) any {
			return r.replace(r.text(v), r.given("replace", a, "old", "new", "count"))
		},
		"items": func(r *run, v any, a *arguments) any {
			if _, ok := v.(undefined); ok {
				return &List{view: true, once: true}
			}
			d, ok := v.(*Dict)
			if !ok {
				r.fail("items wants a mapping, not a %s", typeName(v))
			}
			items := r.items(d)
			items.once = true
			return items
		},
		"map":        mapped,
		"select":     func(r *run, v any, a *arguments) any { return picked(r, v, a, false, true) },
		"reject":     func(r *run, v any, a *arguments) any { return picked(r, v, a, false, false) },
		"selectattr": func(r *run, v any, a *arguments) any { return picked(r, v, a, true, true) },
		"rejectattr": func(r *run, v any, a *arguments) any { return picked(r, v, a, true, false) },
		"tojson":     toJSON,
		"indent":     indent,
	}
}

// filter applies a filter by its name.
func (r *run) filter(name string, v any, a *arguments) any {
	f := filters[name]
	if f == nil {
		r.fail("the filter %q is not supported", name)
	}
	if _, ok := v.(markup); ok && name != "safe" {
		r.fail("the filter %q after safe is not supported", name)
	}
	return f(r, v, a)
}

// clone is the items of a value, to be changed.
func (r *run) clone(v any) []any {
	items := r.iterate(v)
	r.repeat(len(items), stepCost)
	return slices.Clone(items)
}

func trim(r *run, v any, a *arguments) any {
	chars, s := r.given("trim", a, "chars")["chars"], r.text(v)
	r.spend(len(s))
	if chars == nil {
		return strings.TrimFunc(s, isSpace)
	}
	set := r.str("trim", chars)
	return strings.TrimFunc(s, func(c rune) bool { return strings.ContainsRune(set, c) })
}

func length(r *run, v any, _ *arguments) any { return r.length(v) }

func fallback(r *run, v any, a *arguments) any {
	given := r.given("default", a, "default_value", "boolean")
	_, none := v.(undefined)
	if none || truth(given["boolean"]) && !truth(v) {
		if to, ok := given["default_value"]; ok {
			return to
		}
		return ""
	}
	return v
}

func caseFilter(name string) filter {
	return func(r *run, v any, a *arguments) any { return cased(name)(r, r.text(v), a) }
}

// cased changes a text's case with Unicode's full mappings, as Python does.
func cased(name string) stringMethod {
	return func(r *run, s string, a *arguments) any {
		r.only(name, a, 0, 0)
		r.spend(3 * len(s))
		switch name {
		case "upper":
			return cases.Upper(language.Und).String(s)
		case "lower":
			return cases.Lower(language.Und).String(s)
		}
		if strings.ContainsRune(s, 'Σ') {
			r.fail("capitalize of a Σ is not supported")
		}
		_, n := utf8.DecodeRuneInString(s)
		return string(append([]rune{}, titled(s[:n])...)) + cases.Lower(language.Und).String(s[n:])
	}
}

func titled(s string) []rune {
	out := []rune(cases.Title(language.Und, cases.NoLower).String(s))
	if len(out) == 0 && s != "" {
		return []rune{unicode.ToTitle([]rune(s)[0])}
	}
	return out
}

// numeral is a text that Python reads as a number, "" for one that it does not.
func (r *run) numeral(s string) string {
	r.spend(len(s))
	s = strings.TrimFunc(s, isSpace)
	if strings.ContainsFunc(s, func(c rune) bool { return c == '_' || c >= utf8.RuneSelf }) {
		r.fail("a number with _ or other than ASCII digits is not supported")
	}
	if strings.ContainsAny(s, "xXpP") { // Go's hexadecimal ones
		return ""
	}
	return s
}

func toInt(r *run, v any, a *arguments) any {
	given := r.given("int", a, "default")
	otherwise, ok := given["default"]
	if !ok {
		otherwise = 0
	}
	f := math.NaN()
	switch x := v.(type) {
	case undefined:
		r.fail("%s", x.what)
	case string:
		s := r.numeral(x)
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return int(n)
		}
		if g, err := strconv.ParseFloat(s, 64); err == nil {
			f = g
		}
	case float64:
		f = x
	default:
		if i, _, isInt, ok := number(v); ok && isInt {
			return i
		}
	}
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return otherwise
	case math.Abs(f) >= 1<<62:
		r.fail("the number is too large")
	}
	return int(f)
}

func toFloat(r *run, v any, a *arguments) any {
	given := r.given("float", a, "default")
	switch x := v.(type) {
	case undefined:
		r.fail("%s", x.what)
	case string:
		if f, err := strconv.ParseFloat(r.numeral(x), 64); err == nil || math.IsInf(f, 0) {
			return f
		}
	}
	if _, f, _, ok := number(v); ok {
		return f
	}
	if to, ok := given["default"]; ok {
		return to
	}
	return 0.0
}

func absolute(r *run, v any, _ *arguments) any {
	i, f, isInt, ok := number(v)
	if !ok {
		r.fail("abs wants a number, not a %s", typeName(v))
	}
	if isInt {
		if i < 0 {
			return r.integers("-", 0, i)
		}
		return i
	}
	return math.Abs(f)
}

func end(r *run, v any, which string) any {
	items := r.iterate(v)
	if len(items) == 0 {
		return undefined{"no " + which + " item, sequence was empty"}
	}
	if which == "first" {
		return items[0]
	}
	return items[len(items)-1]
}

func reverse(r *run, v any, _ *arguments) any {
	items := r.clone(v)
	slices.Reverse(items)
	if _, ok := v.(string); ok {
		return r.concat(items)
	}
	return &List{Items: items, view: true, once: true}
}

func join(r *run, v any, a *arguments) any {
	given := r.given("join", a, "d", "attribute")
	sep := ""
	if d, ok := given["d"]; ok {
		sep = r.text(d)
	}
	var out []any
	for i, item := range r.iterate(v) {
		if i > 0 {
			out = append(out, sep)
		}
		if name, ok := given["attribute"]; ok && name != nil {
			item = r.path(item, name)
		}
		out = append(out, item)
	}
	return r.concat(out)
}

// path is an attribute named with dots, "message.role".
func (r *run) path(v, name any) any {
	if i, ok := name.(int); ok {
		return r.item(v, i)
	}
	for part := range strings.SplitSeq(r.str("attribute", name), ".") {
		if i, err := strconv.Atoi(part); err == nil {
			v = r.item(v, i)
		} else {
			v = r.item(v, part)
		}
	}
	return v
}

// some is the items of a value; of none, 0 and their like there are none.
func (r *run) some(v any) []any {
	if !truth(v) {
		return nil
	}
	return r.iterate(v)
}

func mapped(r *run, v any, a *arguments) any {
	out := &List{view: true, once: true}
	each := func(item any) any {
		if len(a.pos) == 0 {
			r.fail("map wants a filter or an attribute")
		}
		return r.filter(r.str("map", a.pos[0]), item, &arguments{pos: a.pos[1:], names: a.names, kw: a.kw})
	}
	if name, ok := a.kw["attribute"]; ok && len(a.pos) == 0 {
		given := r.given("map", a, "attribute", "default")
		each = func(item any) any {
			got := r.path(item, name)
			if _, none := got.(undefined); none {
				if to, ok := given["default"]; ok {
					return to
				}
			}
			return got
		}
	}
	for _, item := range r.some(v) {
		r.spend(stepCost)
		out.Items = append(out.Items, each(item))
	}
	return out
}

// picked keeps the items of which a test is keep; of the items themselves, or of an attribute.
func picked(r *run, v any, a *arguments, byAttribute, keep bool) any {
	pos := a.pos
	of := func(item any) any { return item }
	if byAttribute {
		if len(pos) == 0 {
			r.fail("the filter wants the name of an attribute")
		}
		name := pos[0]
		of = func(item any) any { return r.path(item, name) }
		pos = pos[1:]
	}
	out := &List{view: true, once: true}
	for _, item := range r.some(v) {
		r.spend(stepCost)
		var is bool
		if len(pos) == 0 {
			is = truth(of(item))
		} else {
			is = r.test(r.str("the filter", pos[0]), of(item), &arguments{pos: pos[1:], names: a.names, kw: a.kw})
		}
		if is == keep {
			out.Items = append(out.Items, item)
		}
	}
	return out
}

func indent(r *run, v any, a *arguments) any {
	given := r.given("indent", a, "width", "first", "blank")
	pad := "    "
	if w, ok := given["width"]; ok {
		if s, ok := w.(string); ok {
			pad = s
		} else {
			n := r.integer("indent", w)
			r.spend(max(n, 0))
			pad = strings.Repeat(" ", max(n, 0))
		}
	}
	s := r.str("indent", v)
	r.spend(len(s))
	if strings.ContainsAny(s, "\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029") {
		r.fail("indent of other line ends than the newline is not supported")
	}
	r.repeat(strings.Count(s, "\n")+1, len(pad))
	var b strings.Builder
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i == 0 && truth(given["first"]) || i > 0 && (line != "" || truth(given["blank"])) {
			b.WriteString(pad)
		}
		b.WriteString(line)
	}
	return b.String()
}
