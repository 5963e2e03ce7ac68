package jinja

import "strings"

// forBlock is a for statement, read.
type forBlock struct {
	put       func(r *run, s *scope, v any)
	over      expr
	cond      expr // nil: none
	body, alt stmt // alt, nil: none
}

func (p *parser) fors() stmt {
	f := &forBlock{put: p.target()}
	p.expect(kName, "in")
	f.over = p.tuple(p.or, "")
	if p.word("if") {
		f.cond = p.expression()
	}
	if p.is(kName, "recursive") {
		p.fail("a recursive for is not supported")
	}
	p.end()
	p.loops++
	f.body = p.block("endfor", "else")
	p.loops--
	if p.next().text == "else" {
		f.alt = p.body("endfor")
	} else {
		p.end()
	}
	return f.run
}

func (f *forBlock) run(r *run, s *scope, out *strings.Builder) signal {
	items := r.iterate(f.over(r, s))
	if f.cond != nil {
		var kept []any
		for _, item := range items {
			r.spend(stepCost)
			in := s.inner()
			f.put(r, in, item)
			if truth(f.cond(r, in)) {
				kept = append(kept, item)
			}
		}
		items = kept
	}
	l := &loop{items: items}
	ended := false // an iteration, by itself: else is for when none did
	for i, item := range items {
		r.spend(stepCost)
		l.at = i
		in := s.inner()
		in.vars["loop"] = l
		f.put(r, in, item)
		sig := f.body(r, in, out)
		ended = ended || sig == done
		if sig == broke {
			break
		}
	}
	if !ended && f.alt != nil {
		return f.alt(r, s.inner(), out)
	}
	return done
}

func (l *loop) attribute(name string) (any, bool) {
	n := len(l.items)
	near := func(i int, what string) any {
		if i < 0 || i >= n {
			return undefined{"there is no " + what + " item"}
		}
		return l.items[i]
	}
	switch name {
	case "index":
		return l.at + 1, true
	case "index0":
		return l.at, true
	case "revindex":
		return n - l.at, true
	case "revindex0":
		return n - l.at - 1, true
	case "first":
		return l.at == 0, true
	case "last":
		return l.at == n-1, true
	case "length":
		return n, true
	case "depth": // that of recursion, which is not supported
		return 1, true
	case "depth0":
		return 0, true
	case "previtem":
		return near(l.at-1, "previous"), true
	case "nextitem":
		return near(l.at+1, "next"), true
	case "cycle":
		return &function{func(r *run, a *arguments) any {
			if len(a.pos) == 0 {
				r.fail("no items for cycling given")
			}
			return a.pos[l.at%len(a.pos)]
		}}, true
	case "changed":
		return &function{func(r *run, a *arguments) any {
			now := &List{Items: a.pos, tuple: true}
			same := l.last != nil && r.equal(l.last, now)
			l.last = now
			return !same
		}}, true
	}
	return nil, false
}

// param is a macro's parameter.
type param struct {
	name  string
	value expr // nil: no default
}

func (p *parser) params() []param {
	var out []param
	for !p.op(")") {
		if len(out) > 0 {
			p.expect(kOp, ",")
		}
		one := param{name: p.targetName()}
		if p.op("=") {
			one.value = p.expression()
		} else if len(out) > 0 && out[len(out)-1].value != nil {
			p.fail("the parameter %s has no default and stands after one that has", one.name)
		}
		out = append(out, one)
	}
	return out
}

// macro reads parameters and body of a macro, and gives what makes it where it is defined.
func (p *parser) macro(end string) func(s *scope, name string) *function {
	params := p.params()
	loops := p.loops
	p.macros++
	p.loops = 0
	b := p.body(end)
	p.loops = loops
	p.macros--
	return func(s *scope, name string) *function {
		return &function{func(r *run, a *arguments) any {
			in := s.inner()
			r.bind(name, params, a, in)
			if r.macros++; r.macros > maxMacros {
				r.fail("macros call each other more than %d deep", maxMacros)
			}
			text := r.capture(b, in)
			r.macros--
			return text
		}}
	}
}

// bind gives a macro's parameters their values.
func (r *run) bind(macro string, params []param, a *arguments, in *scope) {
	r.repeat(len(params), stepCost)
	if len(a.pos) > len(params) {
		r.fail("the macro %s takes %d arguments, %d are given", macro, len(params), len(a.pos))
	}
	used := 0
	if caller, ok := a.kw["caller"]; ok {
		in.vars["caller"] = caller
		used++
	}
	for i, one := range params {
		v, named := a.kw[one.name]
		switch {
		case i < len(a.pos) && named:
			r.fail("the macro %s is given %s twice", macro, one.name)
		case i < len(a.pos):
			v = a.pos[i]
		case named:
		case one.value != nil:
			v = one.value(r, in)
		default:
			v = undefined{"parameter '" + one.name + "' was not provided"}
		}
		if named && one.name != "caller" {
			used++
		}
		in.vars[one.name] = v
	}
	if used < len(a.kw) {
		r.fail("the macro %s is given an argument that it does not have", macro)
	}
}

// callBlock is call MACRO(...): the macro with the block as its caller().
func (p *parser) callBlock() stmt {
	var params []param
	if p.op("(") {
		params = p.params()
	}
	line := p.tok().line
	of := p.primary()
	for p.op(".") {
		of = p.attribute(of)
	}
	p.expect(kOp, "(")
	args := p.args()
	loops := p.loops
	p.loops = 0
	b := p.body("endcall")
	p.loops = loops
	caller := func(s *scope) *function {
		return &function{func(r *run, a *arguments) any {
			in := s.inner()
			r.bind("caller", params, a, in)
			return r.capture(b, in)
		}}
	}
	return func(r *run, s *scope, out *strings.Builder) signal {
		a := args(r, s)
		r.line = line
		a.kw["caller"] = caller(s)
		r.write(out, r.text(r.call(of(r, s), a)))
		return done
	}
}
