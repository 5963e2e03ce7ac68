package jinja

import (
	"math"
	"strings"
	"unicode/utf8"
)

// arith is Python's arithmetic; "~" joins texts.
func (r *run) arith(op string, a, b any) any {
	for _, v := range []any{a, b} {
		if u, ok := v.(undefined); ok && op != "~" {
			r.fail("%s", u.what)
		}
		if _, ok := v.(markup); ok {
			r.fail("joining a text after safe is not supported")
		}
	}
	if op == "~" {
		return r.join(r.text(a), r.text(b))
	}
	x, f, xInt, xOK := number(a)
	y, g, yInt, yOK := number(b)
	if xOK && yOK {
		if xInt && yInt && op != "/" && (op != "**" || y >= 0) {
			return r.integers(op, x, y)
		}
		return r.floats(op, f, g)
	}
	switch op {
	case "+":
		if s, ok := a.(string); ok {
			if t, ok := b.(string); ok {
				return r.join(s, t)
			}
		}
		if l, ok := a.(*List); ok {
			if m, ok := b.(*List); ok && l.tuple == m.tuple && !l.view && !m.view {
				r.repeat(len(l.Items)+len(m.Items), stepCost)
				return &List{Items: append(append([]any{}, l.Items...), m.Items...), tuple: l.tuple}
			}
		}
	case "*":
		if xInt {
			a, b, y, yInt = b, a, x, true
		}
		if yInt {
			if v, ok := r.times(a, y); ok {
				return v
			}
		}
	case "%":
		if _, ok := a.(string); ok {
			r.fail("formatting a text with %% is not supported: use ~")
		}
	}
	r.fail("unsupported operand type(s) for %s: %s and %s", op, typeName(a), typeName(b))
	return nil
}

func (r *run) join(a, b string) string {
	r.spend(len(a) + len(b))
	return a + b
}

func (r *run) times(v any, n int) (any, bool) {
	n = max(n, 0)
	switch v := v.(type) {
	case string:
		r.repeat(n, len(v))
		return strings.Repeat(v, n), true
	case *List:
		r.repeat(n, stepCost*len(v.Items))
		out := &List{tuple: v.tuple}
		for range n {
			out.Items = append(out.Items, v.Items...)
		}
		return out, true
	}
	return nil, false
}

func (r *run) integers(op string, x, y int) any {
	v, ok := 0, true
	switch op {
	case "+":
		v = x + y
		ok = (v > x) == (y > 0)
	case "-":
		v = x - y
		ok = (v < x) == (y > 0)
	case "*":
		v = x * y
		ok = x == 0 || v/x == y && !(x == -1 && y == math.MinInt)
	case "**":
		v = 1
		for i := 0; i < y && ok && v != 0 && (x != 1 || v != 1); i++ {
			next := v * x
			ok = x == 0 || next/x == v
			v = next
			r.spend(stepCost)
		}
	default:
		if y == 0 {
			r.fail("division by zero")
		}
		v = x / y
		rem := x - v*y
		if rem != 0 && (rem < 0) != (y < 0) {
			v, rem = v-1, rem+y
		}
		if op == "%" {
			v = rem
		}
		ok = !(x == math.MinInt && y == -1)
	}
	if !ok {
		r.fail("the number is too large")
	}
	return v
}

func (r *run) floats(op string, x, y float64) any {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "**":
		return math.Pow(x, y)
	}
	if y == 0 {
		r.fail("division by zero")
	}
	switch op {
	case "/":
		return x / y
	case "//":
		return math.Floor(x / y)
	}
	m := math.Mod(x, y)
	if m != 0 && (m < 0) != (y < 0) {
		m += y
	}
	return m
}

func (r *run) compare(op string, a, b any) bool {
	switch op {
	case "==":
		return r.equal(a, b)
	case "!=":
		return !r.equal(a, b)
	case "in":
		return r.contains(b, a)
	case "not in":
		return !r.contains(b, a)
	}
	c := r.order(a, b, op)
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0 && c != unordered
	}
	return c >= 0 && c != unordered
}

// unordered is what a comparison with NaN gives.
const unordered = 2

// order compares numbers, texts and lists as Python does: -1, 0 or 1.
func (r *run) order(a, b any, op string) int {
	r.spend(stepCost)
	for _, v := range []any{a, b} {
		if u, ok := v.(undefined); ok {
			r.fail("%s", u.what)
		}
	}
	_, f, _, xOK := number(a)
	_, g, _, yOK := number(b)
	if xOK && yOK {
		switch {
		case f < g:
			return -1
		case f > g:
			return 1
		case f == g:
			return 0
		}
		return unordered
	}
	if s, ok := a.(string); ok {
		if t, ok := b.(string); ok {
			r.spend(min(len(s), len(t)))
			return strings.Compare(s, t)
		}
	}
	if l, ok := a.(*List); ok {
		if m, ok := b.(*List); ok && l.tuple == m.tuple {
			for i := range min(len(l.Items), len(m.Items)) {
				if !r.equal(l.Items[i], m.Items[i]) {
					return r.order(l.Items[i], m.Items[i], op)
				}
			}
			return r.order(len(l.Items), len(m.Items), op)
		}
	}
	r.fail("%q not supported between instances of %s and %s", op, typeName(a), typeName(b))
	return 0
}

func (r *run) equal(a, b any) bool {
	if m, ok := a.(markup); ok {
		a = string(m)
	}
	if m, ok := b.(markup); ok {
		b = string(m)
	}
	r.enter(r.line)
	defer func() { r.depth-- }()
	if _, f, _, ok := number(a); ok {
		_, g, _, same := number(b)
		return same && f == g
	}
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		r.spend(min(len(x), len(y)))
		return ok && x == y
	case undefined:
		_, ok := b.(undefined)
		return ok
	case *List:
		y, ok := b.(*List)
		if x.view || ok && y.view {
			r.fail("views of lists cannot be compared: use |list")
		}
		if !ok || x.tuple != y.tuple || len(x.Items) != len(y.Items) {
			return false
		}
		for i := range x.Items {
			if !r.equal(x.Items[i], y.Items[i]) {
				return false
			}
		}
		return true
	case *Dict:
		y, ok := b.(*Dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for _, k := range x.keys {
			v, _ := x.get(k)
			w, ok := y.get(k)
			if !ok || !r.equal(v, w) {
				return false
			}
		}
		return true
	case Func:
		return false
	}
	if _, ok := b.(Func); ok {
		return false
	}
	return a == b
}

func (r *run) contains(in, v any) bool {
	switch x := in.(type) {
	case string:
		s, ok := v.(string)
		if u, no := v.(undefined); no {
			r.fail("%s", u.what)
		}
		if !ok {
			r.fail("'in <string>' requires string as left operand, not %s", typeName(v))
		}
		r.spend(len(x))
		return strings.Contains(x, s)
	case *Dict:
		if _, ok := hashed(v); !ok {
			if _, ok := v.(undefined); ok {
				return false
			}
			r.fail("a %s cannot be a key", typeName(v))
		}
		r.spend(size(v))
		_, ok := x.get(v)
		return ok
	}
	for _, item := range r.iterate(in) {
		if r.equal(item, v) {
			return true
		}
	}
	return false
}

// iterate gives the items that a for block goes through.
func (r *run) iterate(v any) []any {
	switch v := v.(type) {
	case undefined:
		return nil
	case *List:
		if v.gone {
			r.fail("a generator is gone through twice: use |list")
		}
		v.gone = v.once
		return v.Items
	case *Dict:
		return v.keys
	case string:
		r.repeat(len(v), stepCost)
		out := make([]any, 0, len(v))
		for _, c := range v {
			out = append(out, string(c))
		}
		return out
	}
	r.fail("a %s has no items to go through", typeName(v))
	return nil
}

func (r *run) length(v any) int {
	if s, ok := v.(string); ok {
		r.spend(len(s))
		return utf8.RuneCountInString(s)
	}
	if l, ok := v.(*List); ok && l.once {
		r.fail("a generator has no length: use |list")
	}
	return len(r.iterate(v))
}
