package jinja

import (
	"math"
	"strconv"
	"strings"
	"unicode"
)

// A value is nil (None), bool, int, float64, string, markup, *List, *Dict, *namespace, Func, *function, *loop or undefined.

// markup is what the filter safe gives. Jinja escapes whatever it is joined with, so that it can be printed here and nothing else.
type markup string

// List is a list, a tuple, or something that can be gone through but not printed: a view, as Python's keys() gives, or a generator, as
// Jinja's map, which can be gone through once.
type List struct {
	Items []any
	tuple bool
	view  bool
	span  bool // a view that has numbered items all the same: a range
	once  bool // a view that is a generator
	gone  bool // through
}

// Dict is a mapping in the order of its making.
type Dict struct {
	keys []any
	vals map[any]any
}

// NewDict makes a mapping of keys and values by turns.
func NewDict(pairs ...any) *Dict {
	d := &Dict{vals: map[any]any{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		d.Set(pairs[i], pairs[i+1])
	}
	return d
}

// Set puts a value under a key: a string, a number, a bool or nil.
func (d *Dict) Set(key, value any) {
	k, _ := hashed(key)
	if _, ok := d.vals[k]; !ok {
		d.keys = append(d.keys, key)
	}
	d.vals[k] = value
}

// size is what a text takes to be looked up by.
func size(key any) int {
	s, _ := key.(string)
	return len(s)
}

func (d *Dict) get(key any) (any, bool) {
	k, ok := hashed(key)
	if !ok {
		return nil, false
	}
	v, ok := d.vals[k]
	return v, ok
}

// hashed is a key as Python takes it for the same: 1, 1.0 and True are.
func hashed(key any) (any, bool) {
	switch k := key.(type) {
	case nil, string, int:
		return k, true
	case bool:
		if k {
			return 1, true
		}
		return 0, true
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<53 {
			return int(k), true
		}
		return k, true
	}
	return nil, false
}

// Func is a function of the caller's. Its error ends the rendering.
type Func func(args []any) (any, error)

// function is one of the language, or a macro. undefined reads as nothing and has nothing in it.
type (
	function struct {
		call func(r *run, a *arguments) any
	}
	namespace struct{ vars map[string]any }
	undefined struct{ what string }
)

// loop is the variable of that name in a for block.
type loop struct {
	items []any
	at    int
	last  any // of changed; nil: not called yet
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case markup:
		return v != ""
	case *List:
		return v.once || len(v.Items) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

// typeName is the type as Python calls it, for errors.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "bool"
	case int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case *List:
		switch {
		case v.view:
			return "view"
		case v.tuple:
			return "tuple"
		}
		return "list"
	case *Dict:
		return "dict"
	case undefined:
		return "undefined"
	case markup:
		return "safe text"
	case *namespace:
		return "namespace"
	}
	return "function"
}

// text is Python's str of a value, as printing a value gives it.
func (r *run) text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case markup:
		return string(v)
	case undefined:
		return ""
	}
	var b strings.Builder
	r.repr(&b, v, 0)
	return b.String()
}

// repr writes Python's repr.
func (r *run) repr(b *strings.Builder, v any, depth int) {
	r.spend(stepCost)
	if depth > maxDepth {
		r.fail("a value is nested too deep to be printed")
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[v])
	case int:
		b.WriteString(strconv.Itoa(v))
	case float64:
		b.WriteString(floatText(v))
	case string:
		r.spend(len(v))
		quote(b, v)
	case *List:
		if v.view {
			r.fail("a view of a list cannot be printed: use |list or |join")
		}
		r.reprList(b, v, depth)
	case *Dict:
		b.WriteByte('{')
		for i, k := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			r.repr(b, k, depth+1)
			b.WriteString(": ")
			val, _ := v.get(k)
			r.repr(b, val, depth+1)
		}
		b.WriteByte('}')
	case undefined:
		b.WriteString("Undefined")
	default:
		r.fail("a %s cannot be printed", typeName(v))
	}
}

func (r *run) reprList(b *strings.Builder, v *List, depth int) {
	open, end := "[", "]"
	if v.tuple {
		open, end = "(", ")"
		if len(v.Items) == 1 {
			end = ",)"
		}
	}
	b.WriteString(open)
	for i, item := range v.Items {
		if i > 0 {
			b.WriteString(", ")
		}
		r.repr(b, item, depth+1)
	}
	b.WriteString(end)
}

// quote writes a string as Python's repr does.
func quote(b *strings.Builder, s string) {
	q := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	b.WriteByte(q)
	for _, c := range s {
		switch {
		case c == rune(q) || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == ' ' || unicode.IsGraphic(c) && !unicode.Is(unicode.Zs, c):
			b.WriteRune(c)
		case c < 0x100:
			b.WriteString(`\x` + hex(c, 2))
		case c < 0x10000:
			b.WriteString(`\u` + hex(c, 4))
		default:
			b.WriteString(`\U` + hex(c, 8))
		}
	}
	b.WriteByte(q)
}

func hex(c rune, digits int) string {
	s := strconv.FormatInt(int64(c), 16)
	return strings.Repeat("0", digits-len(s)) + s
}

// floatText is Python's repr of a float: the shortest digits that give it back, with an exponent from 1e16 on and below 1e-4.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(f, 'g', -1, 64), "+"))
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// number gives a number, or a bool as one.
func number(v any) (i int, f float64, isInt, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, 1, true, true
		}
		return 0, 0, true, true
	case int:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	}
	return 0, 0, false, false
}
