package jinja

import (
	"strconv"
	"strings"
)

// Bounds of a source.
const (
	maxSource = 1 << 20 // bytes
	maxNest   = 200     // brackets and operators inside one another
	maxBlocks = 50      // blocks inside one another
)

type (
	// expr computes a value, stmt writes text.
	expr func(r *run, s *scope) any
	stmt func(r *run, s *scope, out *strings.Builder) signal
)

// Template is a source that was read. It is not changed and may be rendered by many goroutines.
type Template struct{ body stmt }

// Parse reads a template.
func Parse(source string) (t *Template, err error) {
	defer caught(&err)
	if len(source) > maxSource {
		fail(0, "the template has %d bytes; the most is %d", len(source), maxSource)
	}
	p := &parser{toks: lex(source)}
	return &Template{p.block()}, nil
}

// parser reads tokens by recursive descent, after Jinja's own grammar.
type parser struct {
	toks   []token
	pos    int
	nest   int // of expressions
	blocks int
	loops  int // for blocks around, within the macro
	macros int
}

func (p *parser) tok() token { return p.toks[p.pos] }

func (p *parser) fail(format string, args ...any) { fail(p.tok().line, format, args...) }

func (p *parser) next() token {
	t := p.tok()
	if t.kind != kEOF {
		p.pos++
	}
	return t
}

func (p *parser) is(k kind, texts ...string) bool {
	t := p.tok()
	if t.kind != k {
		return false
	}
	for _, text := range texts {
		if t.text == text {
			return true
		}
	}
	return len(texts) == 0
}

func (p *parser) accept(k kind, text string) bool {
	if p.is(k, text) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) op(text string) bool   { return p.accept(kOp, text) }
func (p *parser) word(text string) bool { return p.accept(kName, text) }

func (p *parser) expect(k kind, text string) {
	if !p.accept(k, text) {
		p.fail("%q is wanted, there is %q", text, p.tok().text)
	}
}

func (p *parser) name() string {
	if !p.is(kName) {
		p.fail("a name is wanted, there is %q", p.tok().text)
	}
	return p.next().text
}

// node makes an expression that counts its steps and knows its line.
func (p *parser) node(e expr) expr {
	line := p.tok().line
	return func(r *run, s *scope) any {
		r.enter(line)
		v := e(r, s)
		r.depth--
		return v
	}
}

func constant(v any) expr { return func(*run, *scope) any { return v } }

// expression reads the whole of one, with its condition.
func (p *parser) expression() expr {
	if p.nest++; p.nest > maxNest {
		p.fail("expressions are nested more than %d deep", maxNest)
	}
	e := p.or()
	for p.word("if") {
		e = p.conditional(e)
	}
	p.nest--
	return e
}

func (p *parser) conditional(then expr) expr {
	cond := p.or()
	alt := constant(undefined{"the inline if-expression evaluated to false and has no else"})
	if p.word("else") {
		alt = p.expression()
	}
	return p.node(func(r *run, s *scope) any {
		if truth(cond(r, s)) {
			return then(r, s)
		}
		return alt(r, s)
	})
}

func (p *parser) or() expr {
	left := p.and()
	for p.word("or") {
		l, right := left, p.and()
		left = p.node(func(r *run, s *scope) any {
			if v := l(r, s); truth(v) {
				return v
			}
			return right(r, s)
		})
	}
	return left
}

func (p *parser) and() expr {
	left := p.not()
	for p.word("and") {
		l, right := left, p.not()
		left = p.node(func(r *run, s *scope) any {
			if v := l(r, s); !truth(v) {
				return v
			}
			return right(r, s)
		})
	}
	return left
}

func (p *parser) not() expr {
	n := 0
	for p.word("not") {
		n++
	}
	e := p.compare()
	if n == 0 {
		return e
	}
	return p.node(func(r *run, s *scope) any { return truth(e(r, s)) == (n%2 == 0) })
}

// compare reads a chain of comparisons: a < b < c is a < b and b < c.
func (p *parser) compare() expr {
	first := p.binary(0)
	var ops []string
	var rest []expr
	for {
		switch {
		case p.is(kOp, "==", "!=", "<", "<=", ">", ">="):
			ops = append(ops, p.next().text)
		case p.is(kName, "in"):
			ops = append(ops, p.next().text)
		case p.is(kName, "not") && p.toks[p.pos+1].kind == kName && p.toks[p.pos+1].text == "in":
			p.pos += 2
			ops = append(ops, "not in")
		case len(ops) == 0:
			return first
		default:
			return p.node(func(r *run, s *scope) any {
				left := first(r, s)
				for i, op := range ops {
					right := rest[i](r, s)
					if !r.compare(op, left, right) {
						return false
					}
					left = right
				}
				return true
			})
		}
		rest = append(rest, p.binary(0))
	}
}

// levels are the operators of arithmetic, those that bind least first.
var levels = [][]string{{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}}

func (p *parser) binary(level int) expr {
	if level == len(levels) {
		return p.unary(true)
	}
	left := p.binary(level + 1)
	for p.is(kOp, levels[level]...) {
		op := p.next().text
		l, right := left, p.binary(level+1)
		left = p.node(func(r *run, s *scope) any { return r.arith(op, l(r, s), right(r, s)) })
	}
	return left
}

func (p *parser) unary(filters bool) expr {
	if p.nest++; p.nest > maxNest {
		p.fail("expressions are nested more than %d deep", maxNest)
	}
	var e expr
	switch {
	case p.op("-"):
		of := p.unary(false)
		e = p.node(func(r *run, s *scope) any {
			v := of(r, s)
			if f, ok := v.(float64); ok {
				return -f
			}
			return r.arith("-", 0, v)
		})
	case p.op("+"):
		of := p.unary(false)
		e = p.node(func(r *run, s *scope) any { return r.arith("+", 0, of(r, s)) })
	default:
		e = p.primary()
	}
	e = p.postfix(e)
	if filters {
		e = p.filtered(e)
	}
	p.nest--
	return e
}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case kName:
		return p.named(t)
	case kString:
		text := t.text
		for p.is(kString) {
			text += p.next().text
		}
		return constant(text)
	case kInt:
		n, err := strconv.ParseInt(t.text, 0, 64)
		if err != nil {
			p.fail("the number %s is too large", t.text)
		}
		return constant(int(n))
	case kFloat:
		f, _ := strconv.ParseFloat(strings.ReplaceAll(t.text, "_", ""), 64)
		return constant(f)
	}
	switch {
	case t.kind == kOp && t.text == "(":
		if p.op(")") {
			return constant(&List{tuple: true})
		}
		e := p.tuple(p.expression, ")")
		p.expect(kOp, ")")
		return e
	case t.kind == kOp && t.text == "[":
		return p.list()
	case t.kind == kOp && t.text == "{":
		return p.dict()
	}
	fail(t.line, "unexpected %q", t.text)
	return nil
}

func (p *parser) named(t token) expr {
	switch t.text {
	case "true", "True":
		return constant(true)
	case "false", "False":
		return constant(false)
	case "none", "None":
		return constant(nil)
	case "self":
		fail(t.line, "self is not supported")
	case "varargs", "kwargs":
		if p.macros > 0 {
			fail(t.line, "%s in a macro is not supported", t.text)
		}
	}
	return p.node(func(_ *run, s *scope) any { return s.get(t.text) })
}

// tuple reads expressions with commas between; one without a comma is itself. end may follow a comma.
func (p *parser) tuple(one func() expr, end string) expr {
	items := []expr{one()}
	comma := false
	for p.op(",") {
		comma = true
		if p.is(kOp, end) || p.is(kBlockEnd) || p.is(kVarEnd) {
			break
		}
		items = append(items, one())
	}
	if !comma {
		return items[0]
	}
	return p.node(func(r *run, s *scope) any { return &List{Items: r.all(items, s), tuple: true} })
}

func (p *parser) list() expr {
	items := []expr{}
	for !p.op("]") {
		if len(items) > 0 {
			p.expect(kOp, ",")
			if p.op("]") {
				break
			}
		}
		items = append(items, p.expression())
	}
	return p.node(func(r *run, s *scope) any { return &List{Items: r.all(items, s)} })
}

func (p *parser) dict() expr {
	var keys, vals []expr
	for !p.op("}") {
		if len(keys) > 0 {
			p.expect(kOp, ",")
			if p.op("}") {
				break
			}
		}
		keys = append(keys, p.expression())
		p.expect(kOp, ":")
		vals = append(vals, p.expression())
	}
	return p.node(func(r *run, s *scope) any {
		d := NewDict()
		for i := range keys {
			k := keys[i](r, s)
			r.spend(stepCost + size(k))
			if _, ok := hashed(k); !ok {
				r.fail("a %s cannot be a key", typeName(k))
			}
			d.Set(k, vals[i](r, s))
		}
		return d
	})
}
