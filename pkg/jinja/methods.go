package jinja

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// method gives a method bound to its value, or nil.
func method(v any, name string) any {
	bind := func(f func(r *run, a *arguments) any) any { return &function{f} }
	switch x := v.(type) {
	case string:
		if f := stringMethods[name]; f != nil {
			return bind(func(r *run, a *arguments) any {
				r.spend(len(x))
				return f(r, x, a)
			})
		}
	case *List:
		if f := listMethods[name]; f != nil && !x.view {
			return bind(func(r *run, a *arguments) any { return f(r, x, a) })
		}
	case *Dict:
		if f := dictMethods[name]; f != nil {
			return bind(func(r *run, a *arguments) any { return f(r, x, a) })
		}
	}
	return nil
}

// given lays arguments on parameter names; those not given are absent. A name that is not among them is an error.
func (r *run) given(what string, a *arguments, names ...string) map[string]any {
	out := map[string]any{}
	if len(a.pos) > len(names) {
		r.fail("%s takes at most %d arguments, %d are given", what, len(names), len(a.pos))
	}
	for i, v := range a.pos {
		out[names[i]] = v
	}
	for _, name := range a.names {
		if _, twice := out[name]; twice || !slices.Contains(names, name) {
			r.fail("%s has no argument %q to give here", what, name)
		}
		out[name] = a.kw[name]
	}
	return out
}

func (r *run) str(what string, v any) string {
	s, ok := v.(string)
	if u, no := v.(undefined); no {
		r.fail("%s", u.what)
	}
	if !ok {
		r.fail("%s wants a text, not a %s", what, typeName(v))
	}
	return s
}

func (r *run) integer(what string, v any) int {
	i, _, isInt, ok := number(v)
	if !ok || !isInt {
		r.fail("%s wants an integer, not a %s", what, typeName(v))
	}
	return i
}

// only are the arguments of a method that takes texts, least to most of them, without names.
func (r *run) only(what string, a *arguments, least, most int) []string {
	if len(a.kw) > 0 || len(a.pos) < least || len(a.pos) > most {
		r.fail("%s takes %d to %d arguments without names", what, least, most)
	}
	var out []string
	for _, v := range a.pos {
		out = append(out, r.str(what, v))
	}
	return out
}

type stringMethod func(r *run, s string, a *arguments) any

var stringMethods map[string]stringMethod

func init() {
	stringMethods = map[string]stringMethod{
		"strip":      stripper("strip", strings.TrimFunc),
		"lstrip":     stripper("lstrip", strings.TrimLeftFunc),
		"rstrip":     stripper("rstrip", strings.TrimRightFunc),
		"split":      func(r *run, s string, a *arguments) any { return r.split("split", s, a) },
		"rsplit":     func(r *run, s string, a *arguments) any { return r.split("rsplit", s, a) },
		"splitlines": splitLines,
		"startswith": affix("startswith", strings.HasPrefix),
		"endswith":   affix("endswith", strings.HasSuffix),
		"removeprefix": func(r *run, s string, a *arguments) any {
			return strings.TrimPrefix(s, r.only("removeprefix", a, 1, 1)[0])
		},
		"removesuffix": func(r *run, s string, a *arguments) any {
			return strings.TrimSuffix(s, r.only("removesuffix", a, 1, 1)[0])
		},
		"upper":      cased("upper"),
		"lower":      cased("lower"),
		"capitalize": cased("capitalize"),
		"replace": func(r *run, s string, a *arguments) any {
			return r.replace(s, r.given("replace", a, "old", "new", "count"))
		},
		"join": func(r *run, s string, a *arguments) any {
			if len(a.pos) != 1 {
				r.fail("join takes one argument")
			}
			var parts []string
			for _, item := range r.iterate(a.pos[0]) {
				parts = append(parts, r.str("join", item))
				r.spend(len(parts[len(parts)-1]) + len(s))
			}
			return strings.Join(parts, s)
		},
		"find":  finder("find", strings.Index),
		"rfind": finder("rfind", strings.LastIndex),
		"index": func(r *run, s string, a *arguments) any {
			at := finder("index", strings.Index)(r, s, a)
			if at == -1 {
				r.fail("substring not found")
			}
			return at
		},
		"count": func(r *run, s string, a *arguments) any { return strings.Count(s, r.only("count", a, 1, 1)[0]) },
		"title": title,
		"isdigit": func(r *run, s string, a *arguments) any {
			r.only("isdigit", a, 0, 0)
			for _, c := range s {
				if c >= utf8.RuneSelf {
					r.fail("isdigit of other than ASCII is not supported")
				}
			}
			return s != "" && strings.Trim(s, "0123456789") == ""
		},
	}
}

// title is str.title: each letter behind another is small, each other one is a capital.
func title(r *run, s string, a *arguments) any {
	r.only("title", a, 0, 0)
	out := []byte(s)
	for i, c := range out {
		letter := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
		switch {
		case c >= utf8.RuneSelf:
			r.fail("title of other than ASCII is not supported")
		case letter(c) && i > 0 && letter(out[i-1]):
			out[i] = c | 0x20
		case letter(c):
			out[i] = c &^ 0x20
		}
	}
	return string(out)
}

func stripper(name string, trim func(string, func(rune) bool) string) stringMethod {
	return func(r *run, s string, a *arguments) any {
		if len(a.pos) == 1 && a.pos[0] == nil {
			return trim(s, isSpace)
		}
		if chars := r.only(name, a, 0, 1); len(chars) > 0 {
			return trim(s, func(c rune) bool { return strings.ContainsRune(chars[0], c) })
		}
		return trim(s, isSpace)
	}
}

func affix(name string, has func(s, affix string) bool) stringMethod {
	return func(r *run, s string, a *arguments) any {
		if len(a.pos) != 1 || len(a.kw) > 0 {
			r.fail("%s with a place to begin is not supported", name)
		}
		if l, ok := a.pos[0].(*List); ok && l.tuple {
			return slices.ContainsFunc(l.Items, func(v any) bool { return has(s, r.str(name, v)) })
		}
		return has(s, r.str(name, a.pos[0]))
	}
}

func finder(name string, find func(s, sub string) int) stringMethod {
	return func(r *run, s string, a *arguments) any {
		at := find(s, r.only(name, a, 1, 1)[0])
		if at <= 0 {
			return at
		}
		return utf8.RuneCountInString(s[:at])
	}
}

func (r *run) replace(s string, given map[string]any) any {
	n := -1
	if v, ok := given["count"]; ok && v != nil {
		n = r.integer("replace", v)
	}
	r.spend(len(s))
	from, to := r.str("replace", given["old"]), r.str("replace", given["new"])
	times := strings.Count(s, from)
	if n >= 0 {
		times = min(times, n)
	}
	r.repeat(times, len(to))
	return strings.Replace(s, from, to, n)
}

// split is str.split and str.rsplit.
func (r *run) split(name, s string, a *arguments) any {
	given := r.given(name, a, "sep", "maxsplit")
	most := -1
	if v, ok := given["maxsplit"]; ok {
		most = r.integer(name, v)
	}
	var parts []string
	sep, hasSep := given["sep"].(string)
	switch {
	case hasSep && sep == "":
		r.fail("empty separator")
	case hasSep:
		parts = strings.Split(s, sep)
	case given["sep"] != nil:
		r.str(name, given["sep"])
	case most >= 0:
		r.fail("%s of white space with a maximum is not supported", name)
	default:
		parts = strings.FieldsFunc(s, isSpace)
	}
	if most >= 0 && len(parts) > most+1 {
		if name == "rsplit" {
			cut := len(parts) - most
			parts = append([]string{strings.Join(parts[:cut], sep)}, parts[cut:]...)
		} else {
			parts = append(parts[:most:most], strings.Join(parts[most:], sep))
		}
	}
	return r.texts(parts)
}

func (r *run) texts(parts []string) *List {
	r.repeat(len(parts), stepCost)
	out := &List{Items: make([]any, 0, len(parts))}
	for _, s := range parts {
		out.Items = append(out.Items, s)
	}
	return out
}

func splitLines(r *run, s string, a *arguments) any {
	r.only("splitlines", a, 0, 0)
	isEnd := func(c rune) bool {
		return c >= '\n' && c <= '\r' || c >= 0x1c && c <= 0x1e || c == 0x85 || c == 0x2028 || c == 0x2029
	}
	var parts []string
	for s != "" {
		at := strings.IndexFunc(s, isEnd)
		if at < 0 {
			parts = append(parts, s)
			break
		}
		parts = append(parts, s[:at])
		_, n := utf8.DecodeRuneInString(s[at:])
		if strings.HasPrefix(s[at:], "\r\n") {
			n = 2
		}
		s = s[at+n:]
	}
	return r.texts(parts)
}

var listMethods = map[string]func(r *run, l *List, a *arguments) any{
	"count": func(r *run, l *List, a *arguments) any {
		n := 0
		for _, item := range l.Items {
			if len(a.pos) == 1 && r.equal(item, a.pos[0]) {
				n++
			}
		}
		return n
	},
	"index": func(r *run, l *List, a *arguments) any {
		for i, item := range l.Items {
			if len(a.pos) == 1 && r.equal(item, a.pos[0]) {
				return i
			}
		}
		r.fail("the value is not in the list")
		return nil
	},
}

var dictMethods = map[string]func(r *run, d *Dict, a *arguments) any{
	"items": func(r *run, d *Dict, _ *arguments) any { return r.items(d) },
	"keys":  func(_ *run, d *Dict, _ *arguments) any { return &List{Items: d.keys, view: true} },
	"values": func(r *run, d *Dict, _ *arguments) any {
		out := &List{view: true}
		r.repeat(len(d.keys), stepCost)
		for _, k := range d.keys {
			v, _ := d.get(k)
			out.Items = append(out.Items, v)
		}
		return out
	},
	"get": func(r *run, d *Dict, a *arguments) any {
		if len(a.pos) < 1 || len(a.pos) > 2 || len(a.kw) > 0 {
			r.fail("get takes 1 or 2 arguments without names")
		}
		r.spend(size(a.pos[0]))
		if v, ok := d.get(a.pos[0]); ok {
			return v
		}
		if len(a.pos) == 2 {
			return a.pos[1]
		}
		return nil
	},
}

func (r *run) items(d *Dict) *List {
	r.repeat(len(d.keys), 2*stepCost)
	out := &List{view: true}
	for _, k := range d.keys {
		v, _ := d.get(k)
		out.Items = append(out.Items, &List{Items: []any{k, v}, tuple: true})
	}
	return out
}
