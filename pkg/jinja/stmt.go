package jinja

import (
	"slices"
	"strings"
)

// signal says how a statement ended.
type signal int

const (
	done signal = iota
	broke
	continued
)

// block reads statements up to the end of the source, or up to a tag with one of the names, which is left unread but for its opening.
func (p *parser) block(ends ...string) stmt {
	if p.blocks++; p.blocks > maxBlocks {
		p.fail("blocks are nested more than %d deep", maxBlocks)
	}
	var all []stmt
	for {
		t := p.next()
		switch t.kind {
		case kData:
			all = append(all, func(r *run, _ *scope, out *strings.Builder) signal {
				r.write(out, t.text)
				return done
			})
		case kVarBegin:
			all = append(all, p.output())
		case kBlockBegin:
			if p.is(kName) && slices.Contains(ends, p.tok().text) {
				p.blocks--
				return sequence(all)
			}
			all = append(all, p.statement())
		default:
			if len(ends) > 0 {
				p.fail("the template ends, and %s is wanted", strings.Join(ends, " or "))
			}
			p.blocks--
			return sequence(all)
		}
	}
}

func sequence(all []stmt) stmt {
	return func(r *run, s *scope, out *strings.Builder) signal {
		for _, one := range all {
			r.spend(stepCost)
			if sig := one(r, s, out); sig != done {
				return sig
			}
		}
		return done
	}
}

func (p *parser) output() stmt {
	line := p.tok().line
	e := p.tuple(p.expression, "")
	if !p.is(kVarEnd) {
		p.fail(`"}}" is wanted, there is %q`, p.tok().text)
	}
	p.next()
	return func(r *run, s *scope, out *strings.Builder) signal {
		v := e(r, s)
		r.line = line
		r.write(out, r.text(v))
		return done
	}
}

// end reads the rest of a tag that has no more.
func (p *parser) end() {
	if !p.is(kBlockEnd) {
		p.fail(`"%%}" is wanted, there is %q`, p.tok().text)
	}
	p.next()
}

// body reads a block to its end tag.
func (p *parser) body(end string) stmt {
	p.end()
	b := p.block(end)
	p.next()
	p.end()
	return b
}

func (p *parser) statement() stmt {
	switch name := p.name(); name {
	case "if":
		return p.ifs()
	case "for":
		return p.fors()
	case "set":
		return p.set()
	case "macro":
		name := p.name()
		p.expect(kOp, "(")
		make := p.macro("endmacro")
		return func(r *run, s *scope, _ *strings.Builder) signal {
			s.vars[name] = make(s, name)
			return done
		}
	case "call":
		return p.callBlock()
	case "filter":
		filter := p.filter()
		b := p.body("endfilter")
		return func(r *run, s *scope, out *strings.Builder) signal {
			r.write(out, r.text(filter(r, s, r.capture(b, s.inner()))))
			return done
		}
	case "with":
		return p.with()
	case "generation": // marks what an assistant wrote; transformers' own, for masks in training
		b := p.body("endgeneration")
		return func(r *run, s *scope, out *strings.Builder) signal {
			r.write(out, r.capture(b, s.inner()))
			return done
		}
	case "break", "continue":
		if p.loops == 0 {
			p.fail("%s stands outside of a loop", name)
		}
		p.end()
		sig := map[string]signal{"break": broke, "continue": continued}[name]
		return func(*run, *scope, *strings.Builder) signal { return sig }
	default:
		p.fail("the statement %q is not supported", name)
	}
	return nil
}

func (p *parser) ifs() stmt {
	var conds []expr
	var bodies []stmt
	for {
		conds = append(conds, p.tuple(p.or, ""))
		p.end()
		bodies = append(bodies, p.block("elif", "else", "endif"))
		switch p.next().text {
		case "elif":
			continue
		case "else":
			bodies = append(bodies, p.body("endif"))
		default:
			p.end()
		}
		return func(r *run, s *scope, out *strings.Builder) signal {
			for i, cond := range conds {
				r.spend(stepCost)
				if truth(cond(r, s)) {
					return bodies[i](r, s, out)
				}
			}
			if len(bodies) > len(conds) {
				return bodies[len(conds)](r, s, out)
			}
			return done
		}
	}
}

// target reads what is assigned to: names with commas between.
func (p *parser) target() func(r *run, s *scope, v any) {
	names := []string{p.targetName()}
	paren := names[0] == "("
	if paren {
		names[0] = p.targetName()
	}
	comma := false
	for p.op(",") {
		comma = true
		if p.is(kName) && !p.is(kName, "in") {
			names = append(names, p.targetName())
		}
	}
	if paren {
		p.expect(kOp, ")")
	}
	if !comma {
		return func(_ *run, s *scope, v any) { s.vars[names[0]] = v }
	}
	return func(r *run, s *scope, v any) {
		items := r.iterate(v)
		r.repeat(len(items), stepCost)
		if len(items) != len(names) {
			r.fail("%d values cannot be given to %d names", len(items), len(names))
		}
		for i, name := range names {
			s.vars[name] = items[i]
		}
	}
}

func (p *parser) targetName() string {
	if p.op("(") {
		return "("
	}
	if p.is(kName, "true", "false", "none", "True", "False", "None") {
		p.fail("%q cannot be assigned to", p.tok().text)
	}
	return p.name()
}

func (p *parser) set() stmt {
	if p.is(kName) && p.toks[p.pos+1].kind == kOp && p.toks[p.pos+1].text == "." {
		return p.setAttribute()
	}
	put := p.target()
	if p.op("=") {
		e := p.tuple(p.expression, "")
		p.end()
		return func(r *run, s *scope, _ *strings.Builder) signal {
			put(r, s, e(r, s))
			return done
		}
	}
	filter := func(_ *run, _ *scope, v any) any { return v }
	for p.op("|") {
		before, next := filter, p.filter()
		filter = func(r *run, s *scope, v any) any { return next(r, s, before(r, s, v)) }
	}
	b := p.body("endset")
	return func(r *run, s *scope, _ *strings.Builder) signal {
		put(r, s, filter(r, s, r.capture(b, s.inner())))
		return done
	}
}

// setAttribute is set NAMESPACE.NAME = VALUE.
func (p *parser) setAttribute() stmt {
	line, of := p.tok().line, p.name()
	p.next()
	name := p.name()
	p.expect(kOp, "=")
	e := p.tuple(p.expression, "")
	p.end()
	return func(r *run, s *scope, _ *strings.Builder) signal {
		v := e(r, s)
		r.line = line
		ns, ok := s.get(of).(*namespace)
		if !ok {
			r.fail("cannot assign to an attribute of %s, which is no namespace", of)
		}
		ns.vars[name] = v
		return done
	}
}

func (p *parser) with() stmt {
	var puts []func(r *run, s *scope, v any)
	var vals []expr
	for !p.is(kBlockEnd) {
		if len(vals) > 0 {
			p.expect(kOp, ",")
		}
		name := p.targetName()
		puts = append(puts, func(_ *run, s *scope, v any) { s.vars[name] = v })
		p.expect(kOp, "=")
		vals = append(vals, p.expression())
	}
	b := p.body("endwith")
	return func(r *run, s *scope, out *strings.Builder) signal {
		in := s.inner()
		for i, v := range r.all(vals, s) {
			puts[i](r, in, v)
		}
		return b(r, in, out)
	}
}
