package metric

import (
	"errors"
	"math/big"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// wholeFraction is the second part of a mixed number.
var wholeFraction = regexp.MustCompile(`^\\frac(?:\d\d|\{\d+\}\{\d+\})(?:[^\d^!]|$)`)

// What the parser takes at most: longer or deeper expressions are compared as text.
const (
	maxMath  = 2048 // bytes
	maxNodes = 1000
	maxDepth = 60
)

// A node is one step of an expression: a number, a variable, or an operation on others.
type node struct {
	op   string // "num", "var", "+", "-", "*", "/", "^", "neg", "!", or the name of a function
	num  *big.Rat
	name string
	args []*node
}

var errMath = errors.New("not an expression that is read here")

// The functions that are read; other words are no expressions.
var functions = map[string]bool{
	"sqrt": true, "root": true, "frac": true, "sin": true, "cos": true, "tan": true, "cot": true, "sec": true, "csc": true, "log": true,
	"ln": true, "exp": true, "arcsin": true, "arccos": true, "arctan": true, "abs": true, "binom": true,
}

// greek letters are variables, but for π.
const greek = " alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega "

// A parser reads one expression in the form that mathForm gives: LaTeX or plain, with implicit products.
type parser struct {
	s     string // what is left to read, without spaces
	nodes int
	bars  int // open |
}

// parseMath reads a whole string as one expression.
func parseMath(s string) (*node, error) {
	if len(s) > maxMath {
		return nil, errMath
	}
	p := &parser{s: s}
	n, err := p.sum(0)
	if err == nil && p.s != "" {
		err = errMath
	}
	return n, err
}

func (p *parser) make(op string, args ...*node) (*node, error) {
	p.nodes++
	if p.nodes > maxNodes {
		return nil, errMath
	}
	return &node{op: op, args: args}, nil
}

func (p *parser) peek() rune {
	r, _ := utf8.DecodeRuneInString(p.s)
	return r
}

func (p *parser) eat(prefix string) bool {
	rest, ok := strings.CutPrefix(p.s, prefix)
	p.s = rest
	return ok
}

// sum reads products with + and - between.
func (p *parser) sum(depth int) (*node, error) {
	left, err := p.product(depth + 1)
	for err == nil && (p.peek() == '+' || p.peek() == '-') && p.s != "" {
		op := p.s[:1]
		p.s = p.s[1:]
		var right *node
		if right, err = p.product(depth + 1); err == nil {
			left, err = p.make(op, left, right)
		}
	}
	return left, err
}

// product reads powers with *, / or nothing between.
func (p *parser) product(depth int) (*node, error) {
	left, err := p.signed(depth + 1)
	for err == nil {
		op := "*"
		switch {
		case p.eat("*"):
		case p.eat("/"):
			op = "/"
		case !p.startsFactor():
			return left, nil
		}
		var right *node
		if right, err = p.signed(depth + 1); err == nil {
			left, err = p.make(op, left, right)
		}
	}
	return left, err
}

// startsFactor reports whether what follows multiplies what stands before it without a sign.
func (p *parser) startsFactor() bool {
	r := p.peek()
	return p.s != "" && (unicode.IsLetter(r) || r >= '0' && r <= '9' || r == '.' || strings.ContainsRune(`\({[π`, r) || r == '|' && p.bars == 0)
}

// signed reads a power with signs before it.
func (p *parser) signed(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errMath
	}
	switch {
	case p.eat("+"):
		return p.signed(depth + 1)
	case p.eat("-"):
		n, err := p.signed(depth + 1)
		if err != nil {
			return nil, err
		}
		return p.make("neg", n)
	}
	return p.power(depth + 1)
}

// power reads a factor with its factorials and its exponent, which binds to the right.
func (p *parser) power(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errMath
	}
	n, err := p.factor(depth + 1)
	for err == nil && p.eat("!") {
		n, err = p.make("!", n)
	}
	if err == nil && p.eat("^") {
		var e *node
		if e, err = p.signed(depth + 1); err == nil {
			return p.make("^", n, e)
		}
	}
	return n, err
}

// factor reads a number, a variable, a function of its argument, or an expression in brackets.
func (p *parser) factor(depth int) (*node, error) {
	if depth > maxDepth || p.s == "" {
		return nil, errMath
	}
	switch r := p.peek(); {
	case r >= '0' && r <= '9' || r == '.':
		return p.number(depth)
	case r == 'π':
		p.eat("π")
		return p.make("pi")
	case r == '|':
		p.eat("|")
		p.bars++
		n, err := p.closed("|", depth)
		if err != nil {
			return nil, err
		}
		return p.make("abs", n)
	case p.eat("("):
		return p.closed(")", depth)
	case p.eat("["):
		return p.closed("]", depth)
	case p.eat("{"):
		return p.closed("}", depth)
	case p.eat(`\`):
		name := commandName(p.s)
		p.s = p.s[len(name):]
		p.eat(string(nameEnd))
		return p.word(name, true, depth)
	default:
		name := commandName(p.s)
		return p.letters(name, depth)
	}
}

// closed reads a sum and the bracket after it.
func (p *parser) closed(end string, depth int) (*node, error) {
	bars := p.bars
	if end != "|" {
		p.bars = 0
	}
	n, err := p.sum(depth + 1)
	if err == nil && !p.eat(end) {
		err = errMath
	}
	p.bars = bars
	if end == "|" {
		p.bars--
	}
	return n, err
}

// number reads digits with a point; before \frac with two whole numbers it is a mixed number.
func (p *parser) number(depth int) (*node, error) {
	i := 0
	for i < len(p.s) && (p.s[i] >= '0' && p.s[i] <= '9' || p.s[i] == '.') {
		i++
	}
	digits := p.s[:i]
	value, ok := new(big.Rat).SetString(digits)
	if !ok {
		return nil, errMath
	}
	p.s = p.s[i:]
	n, err := p.make("num")
	if err != nil {
		return nil, err
	}
	n.num = value
	if m := wholeFraction.FindString(p.s); m != "" && !strings.Contains(digits, ".") {
		f, err := p.factor(depth + 1)
		if err != nil {
			return nil, err
		}
		return p.make("+", n, f)
	}
	return n, nil
}

// letters reads a run of plain letters: a function, or one variable, or a product of two. Longer runs are words, unless they are made of
// the letters that algebra multiplies.
func (p *parser) letters(name string, depth int) (*node, error) {
	switch {
	case name == "":
		return nil, errMath
	case functions[name] && name != "frac", name == "pi":
		p.s = p.s[len(name):]
		return p.word(name, false, depth)
	case len(name) <= 2 || strings.Trim(name, "abcxyz") == "":
		p.s = p.s[1:]
		return p.variable(name[:1])
	}
	for f := range functions {
		if len(name) == len(f)+1 && strings.HasPrefix(name, f) && f != "frac" {
			p.s = p.s[len(f):] // sinx
			return p.word(f, false, depth)
		}
	}
	return nil, errMath
}

// variable reads the subscript of a variable, if it has one.
func (p *parser) variable(name string) (*node, error) {
	if p.eat("_") {
		inner, rest := group(p.s)
		if inner == "" {
			return nil, errMath
		}
		name, p.s = name+"_"+inner, rest
	}
	n, err := p.make("var")
	if err == nil {
		n.name = name
	}
	return n, err
}

// word reads what follows the name of a function or a Greek letter.
func (p *parser) word(name string, latex bool, depth int) (*node, error) {
	switch {
	case name == "pi":
		return p.make("pi")
	case latex && strings.Contains(greek, " "+name+" "):
		return p.variable(`\` + name)
	case !functions[name]:
		return nil, errMath
	case name == "frac" || name == "binom":
		return p.fraction(name, depth)
	case name == "sqrt":
		return p.root(depth)
	}
	return p.function(name, depth)
}

func (p *parser) fraction(name string, depth int) (*node, error) {
	a, err := p.braced(depth + 1)
	if err != nil {
		return nil, err
	}
	b, err := p.braced(depth + 1)
	if err != nil {
		return nil, err
	}
	if name == "frac" {
		name = "/"
	}
	return p.make(name, a, b)
}

// braced reads what LaTeX takes for one argument: a group, one digit, one letter or one command.
func (p *parser) braced(depth int) (*node, error) {
	if c := p.peek(); p.s != "" && c >= '0' && c <= '9' {
		n, err := p.make("num")
		if err == nil {
			n.num = big.NewRat(int64(c-'0'), 1)
			p.s = p.s[1:]
		}
		return n, err
	}
	if r := p.peek(); unicode.IsLetter(r) && r < utf8.RuneSelf {
		p.s = p.s[1:]
		return p.variable(string(r))
	}
	return p.factor(depth + 1)
}

// root reads \sqrt{x}, \sqrt[n]{x}, \sqrt3 and sqrt(x).
func (p *parser) root(depth int) (*node, error) {
	var degree *node
	if strings.HasPrefix(p.s, "[") {
		p.s = p.s[1:]
		n, err := p.closed("]", depth+1)
		if err != nil {
			return nil, err
		}
		degree = n
	}
	x, err := p.factor(depth + 1)
	switch {
	case err != nil:
		return nil, err
	case degree != nil:
		return p.make("root", x, degree)
	}
	return p.make("sqrt", x)
}

// function reads \sin x, \sin(x), \sin^2 x, \log_2 8: without brackets the argument is the product that follows.
func (p *parser) function(name string, depth int) (*node, error) {
	var base, exponent *node
	var err error
	if name == "log" && p.eat("_") {
		if base, err = p.braced(depth + 1); err != nil {
			return nil, err
		}
	}
	if p.eat("^") {
		if exponent, err = p.braced(depth + 1); err != nil {
			return nil, err
		}
		if exponent.op == "neg" {
			return nil, errMath // an inverse function
		}
	}
	x, err := p.argument(depth + 1)
	if err != nil {
		return nil, err
	}
	n, err := p.make(name, x)
	if base != nil && err == nil {
		n, err = p.make("logb", x, base)
	}
	if exponent != nil && err == nil {
		n, err = p.make("^", n, exponent)
	}
	return n, err
}

func (p *parser) argument(depth int) (*node, error) {
	x, err := p.power(depth + 1)
	bracketed := err == nil && x.op != "num" && x.op != "var" && x.op != "pi"
	for err == nil && !bracketed && p.startsFactor() && p.peek() != '(' && p.peek() != '|' {
		if name := commandName(strings.TrimPrefix(p.s, `\`)); functions[name] && name != "frac" && name != "sqrt" {
			break
		}
		var y *node
		if y, err = p.power(depth + 1); err == nil {
			x, err = p.make("*", x, y)
		}
	}
	return x, err
}
