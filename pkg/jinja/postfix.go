package jinja

import "strings"

// postfix reads what follows a value: .name, [index] and (arguments).
func (p *parser) postfix(e expr) expr {
	for {
		of := e
		switch {
		case p.op("."):
			e = p.attribute(of)
		case p.op("["):
			e = p.subscript(of)
		case p.op("("):
			args := p.args()
			e = p.node(func(r *run, s *scope) any { return r.call(of(r, s), args(r, s)) })
		default:
			return e
		}
	}
}

func (p *parser) attribute(of expr) expr {
	t := p.next()
	switch t.kind {
	case kName:
		return p.node(func(r *run, s *scope) any { return r.attribute(of(r, s), t.text) })
	case kInt:
		p.pos--
		index := p.primary()
		return p.node(func(r *run, s *scope) any { return r.item(of(r, s), index(r, s)) })
	}
	fail(t.line, "a name or a number is wanted after the dot, there is %q", t.text)
	return nil
}

func (p *parser) subscript(of expr) expr {
	var parts [3]expr
	colons := 0
	for !p.is(kOp, "]") {
		switch {
		case p.op(":"):
			if colons++; colons > 2 {
				p.fail("a slice has at most two colons")
			}
		case parts[colons] != nil:
			p.fail(`"]" is wanted, there is %q`, p.tok().text)
		default:
			parts[colons] = p.expression()
		}
	}
	p.expect(kOp, "]")
	if colons == 0 {
		if parts[0] == nil {
			p.fail("an index is wanted between the brackets")
		}
		return p.node(func(r *run, s *scope) any { return r.item(of(r, s), parts[0](r, s)) })
	}
	return p.node(func(r *run, s *scope) any {
		v := of(r, s)
		var bounds [3]any
		for i, e := range parts {
			if e != nil {
				bounds[i] = e(r, s)
			}
		}
		return r.slice(v, bounds)
	})
}

// arguments are those of a call, computed.
type arguments struct {
	pos   []any
	names []string // of the keywords, as written
	kw    map[string]any
}

func noArgs(*run, *scope) *arguments { return &arguments{} }

// args reads arguments up to the closing bracket.
func (p *parser) args() func(r *run, s *scope) *arguments {
	var pos, vals []expr
	var names []string
	for n := 0; !p.op(")"); n++ {
		if n > 0 {
			p.expect(kOp, ",")
			if p.op(")") {
				break
			}
		}
		switch {
		case p.is(kOp, "*", "**"):
			p.fail("arguments with %s are not supported", p.tok().text)
		case p.is(kName) && p.toks[p.pos+1].kind == kOp && p.toks[p.pos+1].text == "=":
			names = append(names, p.name())
			p.pos++
			vals = append(vals, p.expression())
		case len(names) > 0:
			p.fail("an argument without a name stands after one with a name")
		default:
			pos = append(pos, p.expression())
		}
	}
	return func(r *run, s *scope) *arguments {
		a := &arguments{pos: r.all(pos, s), names: names, kw: map[string]any{}}
		for i, name := range names {
			if _, twice := a.kw[name]; twice {
				r.fail("the argument %s is given twice", name)
			}
			a.kw[name] = vals[i](r, s)
		}
		return a
	}
}

// filtered reads filters and tests after a value.
func (p *parser) filtered(e expr) expr {
	for {
		of := e
		switch {
		case p.op("|"):
			filter := p.filter()
			e = p.node(func(r *run, s *scope) any { return filter(r, s, of(r, s)) })
		case p.word("is"):
			e = p.test(of)
		case p.op("("):
			args := p.args()
			e = p.node(func(r *run, s *scope) any { return r.call(of(r, s), args(r, s)) })
		default:
			return e
		}
	}
}

// filter reads a filter's name and arguments. What it does not know fails when it is used: it may stand in a branch that is never taken.
func (p *parser) filter() func(r *run, s *scope, v any) any {
	name := p.dotted()
	args := noArgs
	if p.op("(") {
		args = p.args()
	}
	return func(r *run, s *scope, v any) any { return r.filter(name, v, args(r, s)) }
}

func (p *parser) dotted() string {
	parts := []string{p.name()}
	for p.op(".") {
		parts = append(parts, p.name())
	}
	return strings.Join(parts, ".")
}

// test reads what follows "is".
func (p *parser) test(of expr) expr {
	not := p.word("not")
	name := p.dotted()
	args := noArgs
	switch {
	case p.op("("):
		args = p.args()
	case p.is(kName, "is"):
		p.fail("tests cannot be chained with is")
	case p.is(kName, "else", "or", "and"):
	case p.is(kName), p.is(kString), p.is(kInt), p.is(kFloat), p.is(kOp, "(", "[", "{"):
		arg := p.postfix(p.primary())
		args = func(r *run, s *scope) *arguments { return &arguments{pos: []any{arg(r, s)}} }
	}
	return p.node(func(r *run, s *scope) any { return r.test(name, of(r, s), args(r, s)) != not })
}
