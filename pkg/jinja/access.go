package jinja

import (
	"fmt"
	"slices"
)

// attribute is v.name: a method, else an item of that name, else undefined.
func (r *run) attribute(v any, name string) any {
	switch x := v.(type) {
	case undefined:
		r.fail("%s", x.what)
	case *namespace:
		if got, ok := x.vars[name]; ok {
			return got
		}
	case *loop:
		if got, ok := x.attribute(name); ok {
			return got
		}
	case *Dict:
		if m := method(v, name); m != nil {
			return m
		}
		r.known("dict", name)
		if got, ok := x.get(name); ok {
			return got
		}
	case string, *List:
		if m := method(v, name); m != nil {
			return m
		}
		r.known(typeName(v), name)
	case int, float64, bool:
		r.known(typeName(v), name)
	}
	return undefined{fmt.Sprintf("'%s object' has no attribute '%s'", typeName(v), name)}
}

// item is v[key]: an item, else, of a text key, a method, else undefined.
func (r *run) item(v, key any) any {
	r.spend(size(key))
	switch x := v.(type) {
	case undefined:
		r.fail("%s", x.what)
	case *Dict:
		if got, ok := x.get(key); ok {
			return got
		}
	case *List:
		if x.view {
			r.fail("a view of a list has no items by number: use |list")
		}
		if i, _, isInt, ok := number(key); ok && isInt {
			if i < 0 {
				i += len(x.Items)
			}
			if i >= 0 && i < len(x.Items) {
				return x.Items[i]
			}
		}
	case string:
		if i, _, isInt, ok := number(key); ok && isInt {
			r.spend(len(x))
			chars := []rune(x)
			if i < 0 {
				i += len(chars)
			}
			if i >= 0 && i < len(chars) {
				return string(chars[i])
			}
		}
	}
	if name, ok := key.(string); ok {
		if d, ok := v.(*Dict); ok {
			if m := method(d, name); m != nil {
				return m
			}
			r.known("dict", name)
			return undefined{fmt.Sprintf("'dict object' has no attribute '%s'", name)}
		}
		return r.attribute(v, name)
	}
	return undefined{fmt.Sprintf("%s object has no element %s", typeName(v), r.text(key))}
}

// slice is v[from:to:step] with Python's rules.
func (r *run) slice(v any, bounds [3]any) any {
	if u, ok := v.(undefined); ok {
		r.fail("%s", u.what)
	}
	var items []any
	switch x := v.(type) {
	case string:
		items = r.iterate(x)
	case *List:
		if x.view {
			r.fail("a view of a list has no slices: use |list")
		}
		items = x.Items
	default:
		r.fail("a %s has no slices", typeName(v))
	}
	from, to, step := r.bounds(bounds, len(items))
	out := []any{}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		r.spend(stepCost)
		out = append(out, items[i])
	}
	if l, ok := v.(*List); ok {
		return &List{Items: out, tuple: l.tuple}
	}
	return r.concat(out)
}

func (r *run) concat(items []any) string {
	var b []byte
	for _, item := range items {
		s := r.text(item)
		r.spend(stepCost + len(s))
		b = append(b, s...)
	}
	return string(b)
}

// bounds are slice indices of a sequence of n, as Python's slice.indices gives them.
func (r *run) bounds(given [3]any, n int) (from, to, step int) {
	whole := func(v any, otherwise int) int {
		if v == nil {
			return otherwise
		}
		i, _, isInt, ok := number(v)
		if !ok || !isInt {
			r.fail("slice indices are integers, not %s", typeName(v))
		}
		return i
	}
	step = whole(given[2], 1)
	least, most := 0, n
	switch {
	case step == 0:
		r.fail("slice step cannot be zero")
	case step < 0:
		least, most = -1, n-1
		step = max(step, -n-1)
		from, to = most, least
	default:
		step = min(step, n+1)
		from, to = least, most
	}
	for i, at := range []*int{&from, &to} {
		if given[i] == nil {
			continue
		}
		v := whole(given[i], 0)
		if v < 0 {
			v += n
		}
		*at = min(max(v, least), most)
	}
	return from, to, step
}

// pythonMethods are those of Python's types that templates could use, and which are not all here. One that is not must not pass for an
// attribute that does not exist.
var pythonMethods = map[string][]string{
	"str": {"casefold", "center", "encode", "expandtabs", "format", "format_map", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit",
		"isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper", "ljust", "maketrans", "partition", "rjust",
		"rpartition", "swapcase", "translate", "zfill"},
	"list":  {"append", "clear", "copy", "extend", "insert", "pop", "remove", "reverse", "sort"},
	"dict":  {"clear", "copy", "fromkeys", "pop", "popitem", "setdefault", "update"},
	"int":   {"as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "imag", "is_integer", "numerator", "real", "to_bytes"},
	"float": {"as_integer_ratio", "conjugate", "hex", "imag", "is_integer", "real"},
	"bool":  {"bit_length", "conjugate", "denominator", "imag", "numerator", "real"},
}

// known refuses a method of Python's that is not supported.
func (r *run) known(of, name string) {
	if slices.Contains(pythonMethods[of], name) || len(name) > 4 && name[:2] == "__" {
		r.fail("the method %s of a %s is not supported", name, of)
	}
}
