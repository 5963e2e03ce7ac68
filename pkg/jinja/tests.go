package jinja

import (
	"strings"
	"unicode"
)

// test applies a test by its name.
func (r *run) test(name string, v any, a *arguments) bool {
	if f := plainTests[name]; f != nil {
		if len(a.pos)+len(a.kw) > 0 {
			r.fail("the test %q takes no argument", name)
		}
		return f(v)
	}
	if len(a.kw) > 0 {
		r.fail("the test %q takes no argument by name", name)
	}
	switch name {
	case "odd", "even":
		return r.arith("%", v, 2) == map[string]int{"odd": 1, "even": 0}[name]
	case "lower", "upper":
		s := r.text(v)
		r.spend(len(s))
		return isCased(s, name)
	case "filter", "test":
		r.fail("the test %q is not supported", name)
	}
	op := comparisons[name]
	if len(a.pos) != 1 && (op != "" || name == "divisibleby" || name == "sameas") {
		r.fail("the test %q takes one argument", name)
	}
	switch {
	case op != "":
		return r.compare(op, v, a.pos[0])
	case name == "divisibleby":
		return r.arith("%", v, a.pos[0]) == 0
	case name == "sameas":
		return r.same(v, a.pos[0])
	}
	r.fail("the test %q is not supported", name)
	return false
}

var comparisons = map[string]string{
	"eq": "==", "equalto": "==", "==": "==", "ne": "!=", "!=": "!=", "lt": "<", "lessthan": "<", "<": "<", "le": "<=", "<=": "<=",
	"gt": ">", "greaterthan": ">", ">": ">", "ge": ">=", ">=": ">=", "in": "in",
}

func isA[T any](v any) bool { _, ok := v.(T); return ok }

var plainTests = map[string]func(v any) bool{
	"defined":   func(v any) bool { return !isA[undefined](v) },
	"undefined": isA[undefined],
	"none":      func(v any) bool { return v == nil },
	"boolean":   isA[bool],
	"true":      func(v any) bool { b, ok := v.(bool); return ok && b },
	"false":     func(v any) bool { b, ok := v.(bool); return ok && !b },
	"integer":   isA[int],
	"float":     isA[float64],
	"number":    func(v any) bool { return isA[int](v) || isA[float64](v) || isA[bool](v) },
	"string":    func(v any) bool { return isA[string](v) || isA[markup](v) },
	"mapping":   isA[*Dict],
	"sequence": func(v any) bool {
		l, ok := v.(*List)
		return ok && (!l.view || l.span) || isA[string](v) || isA[*Dict](v) || isA[undefined](v)
	},
	"iterable": func(v any) bool { return isA[*List](v) || isA[string](v) || isA[*Dict](v) || isA[undefined](v) },
	"callable": func(v any) bool { return isA[*function](v) || isA[Func](v) || isA[undefined](v) },
}

// same is Python's "is", as far as it does not hang on how Python keeps small values.
func (r *run) same(a, b any) bool {
	switch a.(type) {
	case nil, bool:
		return a == b
	case *List, *Dict, *namespace:
		return a == b
	}
	switch b.(type) {
	case nil, bool:
		return false
	}
	r.fail("sameas of a %s is not supported", typeName(a))
	return false
}

// isCased is str.islower and str.isupper.
func isCased(s, name string) bool {
	is, other := unicode.IsLower, unicode.IsUpper
	if name == "upper" {
		is, other = other, is
	}
	return strings.ContainsFunc(s, is) && !strings.ContainsFunc(s, func(c rune) bool { return other(c) || unicode.IsTitle(c) })
}
