package jinja

import (
	"maps"
	"strings"
)

// Bounds of a rendering. A step costs as many bytes of the budget as make its time about that of copying them.
const (
	Budget    = 1 << 26 // bytes made, and steps
	stepCost  = 32
	maxDepth  = 1000 // expressions within expressions, as they are computed
	maxMacros = 100
)

// run is one rendering.
type run struct {
	left   int // of the budget
	line   int // of the expression at hand
	depth  int
	macros int
}

// Render gives the text of the template with these variables: nil, bool, int, float64, string, *List, *Dict, Func.
func (t *Template) Render(vars map[string]any) (text string, err error) {
	defer caught(&err)
	r := &run{left: Budget}
	global := &scope{vars: maps.Clone(globals)}
	maps.Copy(global.vars, vars)
	var out strings.Builder
	t.body(r, global.inner(), &out)
	return out.String(), nil
}

func (r *run) fail(format string, args ...any) { fail(r.line, format, args...) }

// spend takes from the budget. It is asked before anything large is made.
func (r *run) spend(n int) {
	if n < 0 || n > r.left {
		panic(&Error{Line: r.line, Text: ErrTooMuch.Error(), Err: ErrTooMuch})
	}
	r.left -= n
}

// repeat spends each n times.
func (r *run) repeat(n, each int) {
	if n > r.left/max(each, 1) {
		r.spend(r.left + 1)
	}
	r.spend(n * each)
}

func (r *run) enter(line int) {
	r.line = line
	r.spend(stepCost)
	if r.depth++; r.depth > maxDepth {
		r.fail("expressions and macros are nested more than %d deep", maxDepth)
	}
}

func (r *run) write(out *strings.Builder, text string) {
	r.spend(len(text))
	out.WriteString(text)
}

// capture runs a block and gives what it writes.
func (r *run) capture(b stmt, in *scope) string {
	var out strings.Builder
	b(r, in, &out)
	return out.String()
}

func (r *run) all(list []expr, s *scope) []any {
	r.repeat(len(list), stepCost)
	out := make([]any, 0, len(list))
	for _, e := range list {
		out = append(out, e(r, s))
	}
	return out
}

// scope is the variables of a block. What is not in it is looked for around it.
type scope struct {
	vars   map[string]any
	around *scope
}

func (s *scope) inner() *scope { return &scope{map[string]any{}, s} }

func (s *scope) get(name string) any {
	for ; s != nil; s = s.around {
		if v, ok := s.vars[name]; ok {
			return v
		}
	}
	return undefined{"'" + name + "' is undefined"}
}

// call calls a value.
func (r *run) call(v any, a *arguments) any {
	switch f := v.(type) {
	case *function:
		return f.call(r, a)
	case Func:
		if len(a.kw) > 0 {
			r.fail("this function takes no arguments by name")
		}
		out, err := f(a.pos)
		if err != nil {
			panic(&Error{Line: r.line, Text: err.Error(), Err: err})
		}
		return out
	case undefined:
		r.fail("%s", f.what)
	}
	r.fail("a %s cannot be called", typeName(v))
	return nil
}

// maxRange is the most numbers of a range, as in Jinja's sandbox.
const maxRange = 100000

var globals = map[string]any{
	"range":     &function{rangeOf},
	"cycler":    missing("cycler"),
	"joiner":    missing("joiner"),
	"lipsum":    missing("lipsum"),
	"namespace": &function{func(r *run, a *arguments) any { return &namespace{r.mapping(a)} }},
	"dict": &function{func(r *run, a *arguments) any {
		if len(a.pos) > 0 {
			r.fail("dict with an argument without a name is not supported")
		}
		d := NewDict()
		for _, name := range a.names {
			d.Set(name, a.kw[name])
		}
		return d
	}},
}

// missing is a function that Jinja has.
func missing(name string) *function {
	return &function{func(r *run, _ *arguments) any {
		r.fail("the function %s is not supported", name)
		return nil
	}}
}

func (r *run) mapping(a *arguments) map[string]any {
	out := map[string]any{}
	for _, v := range a.pos {
		d, ok := v.(*Dict)
		if !ok {
			r.fail("namespace takes names and mappings, not a %s", typeName(v))
		}
		r.repeat(len(d.keys), stepCost)
		for _, k := range d.keys {
			if name, ok := k.(string); ok {
				out[name], _ = d.get(k)
			}
		}
	}
	maps.Copy(out, a.kw)
	return out
}

func rangeOf(r *run, a *arguments) any {
	var n []int
	for _, v := range a.pos {
		i, ok := v.(int)
		if !ok {
			r.fail("range wants integers, not a %s", typeName(v))
		}
		n = append(n, i)
	}
	from, to, step := 0, 0, 1
	switch len(n) {
	case 1:
		to = n[0]
	case 2:
		from, to = n[0], n[1]
	case 3:
		from, to, step = n[0], n[1], n[2]
	default:
		r.fail("range takes 1 to 3 arguments, %d are given", len(n))
	}
	if step == 0 {
		r.fail("range wants a step that is not 0")
	}
	out := &List{view: true, span: true}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		if len(out.Items) == maxRange {
			r.fail("range too big: more than %d numbers", maxRange)
		}
		r.spend(stepCost)
		out.Items = append(out.Items, i)
		if next := i + step; step > 0 && next < i || step < 0 && next > i {
			break
		}
	}
	return out
}
