package jinja

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	kEOF kind = iota
	kData
	kVarBegin
	kVarEnd
	kBlockBegin
	kBlockEnd
	kName
	kString
	kInt
	kFloat
	kOp
)

type token struct {
	kind kind
	text string // of a string literal: its value
	line int
}

// lexer cuts a source into tokens. The white space that "-" and the environment take away around tags is gone from the data tokens.
type lexer struct {
	src   string
	pos   int
	line  int
	fresh bool // what was read last ended a line, so that a tag here may begin one
	out   []token
}

var newlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// lex reads a whole source. One newline at its end is not part of it.
func lex(src string) []token {
	l := &lexer{src: strings.TrimSuffix(newlines.Replace(src), "\n"), line: 1, fresh: true}
	for l.pos < len(l.src) {
		l.root()
	}
	l.emit(kEOF, "")
	return l.out
}

func (l *lexer) fail(format string, args ...any) { fail(l.line, format, args...) }

func (l *lexer) emit(k kind, text string) { l.out = append(l.out, token{k, text, l.line}) }

// skip steps over n bytes.
func (l *lexer) skip(n int) {
	l.line += strings.Count(l.src[l.pos:l.pos+n], "\n")
	l.pos += n
}

func (l *lexer) rest() string { return l.src[l.pos:] }

// skipSpace steps over white space and says whether it ended with a newline.
func (l *lexer) skipSpace() {
	rest := l.rest()
	n := len(rest) - len(strings.TrimLeftFunc(rest, isSpace))
	if n > 0 {
		l.fresh = rest[n-1] == '\n'
	}
	l.skip(n)
}

var rawBegin = regexp.MustCompile(`^\{%[-+]?\s*raw\s*(-%\}|%\})`)
var rawEnd = regexp.MustCompile(`\{%([-+]?)\s*endraw\s*(\+%\}|-%\}|%\})`)

// root reads data up to a tag, and the tag.
func (l *lexer) root() {
	at, open := len(l.src), ""
	for i := l.pos; i+1 < len(l.src); i++ {
		if l.src[i] == '{' && strings.IndexByte("{%#", l.src[i+1]) >= 0 {
			at, open = i, l.src[i:i+2]
			break
		}
	}
	data := l.src[l.pos:at]
	if open == "" {
		l.emit(kData, data)
		l.skip(len(data))
		return
	}
	l.data(data, sign(l.src[at+2:]), open != "{{")
	l.skip(at - l.pos)
	l.fresh = false
	if m := rawBegin.FindStringSubmatch(l.rest()); m != nil {
		l.skip(len(m[0]))
		if m[1] == "-%}" {
			l.skipSpace()
		}
		l.raw()
		return
	}
	l.skip(2 + len(sign(l.src[at+2:])))
	switch open {
	case "{#":
		l.comment()
	case "{{":
		l.emit(kVarBegin, open)
		l.code("}}", kVarEnd)
	default:
		l.emit(kBlockBegin, open)
		l.code("%}", kBlockEnd)
	}
}

func sign(s string) string {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		return s[:1]
	}
	return ""
}

// data emits text before a tag, less what the tag's sign takes, or where block is set the blanks of the line that it begins.
func (l *lexer) data(text, sign string, block bool) {
	if sign == "-" {
		text = strings.TrimRightFunc(text, isSpace)
	} else if sign == "" && block {
		from := strings.LastIndexByte(text, '\n') + 1
		if (from > 0 || l.fresh) && strings.TrimFunc(text[from:], isSpace) == "" {
			text = text[:from]
		}
	}
	if text != "" {
		l.emit(kData, text)
	}
}

func (l *lexer) comment() {
	n := strings.Index(l.rest(), "#}")
	if n < 0 {
		l.fail("a comment is not closed by #}")
	}
	end := ""
	if n > 0 {
		end = sign(l.rest()[n-1:])
	}
	l.skip(n + 2)
	l.afterBlock(end)
}

// afterBlock takes away the white space that belongs to a tag that was closed with the sign: the newline after it, or with "-" all.
func (l *lexer) afterBlock(sign string) {
	l.fresh = false
	switch {
	case sign == "-":
		l.skipSpace()
	case sign == "" && strings.HasPrefix(l.rest(), "\n"):
		l.skip(1)
		l.fresh = true
	}
}

func (l *lexer) raw() {
	m := rawEnd.FindStringSubmatchIndex(l.rest())
	if m == nil {
		l.fail("a raw block is not closed by {%% endraw %%}")
	}
	rest := l.rest()
	l.data(rest[:m[0]], rest[m[2]:m[3]], true)
	l.skip(m[1])
	l.afterBlock(sign(rest[m[4]:m[5]]))
}

// code reads the tokens of a tag up to its end.
func (l *lexer) code(end string, k kind) {
	var open []byte
	for {
		l.skipSpace()
		rest := l.rest()
		if rest == "" {
			l.fail("a tag is not closed by %s", end)
		}
		if s := sign(rest); len(open) == 0 && strings.HasPrefix(rest[len(s):], end) && (s != "+" || k == kBlockEnd) {
			l.emit(k, end)
			l.skip(len(s) + len(end))
			if k == kBlockEnd || s == "-" {
				l.afterBlock(s)
			} else {
				l.fresh = false
			}
			return
		}
		open = l.token(rest, open)
	}
}

var (
	floatForm = regexp.MustCompile(`^(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?[eE][+\-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)`)
	intForm   = regexp.MustCompile(`^(?:0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*)`)
)

var operators = []string{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}

// token reads one token of a tag. open holds the brackets that wait for their end.
func (l *lexer) token(rest string, open []byte) []byte {
	afterDot := l.pos > 0 && l.src[l.pos-1] == '.'
	if rest[0] == '"' || rest[0] == '\'' {
		l.str(rest)
		return open
	}
	if m := floatForm.FindString(rest); m != "" && !afterDot {
		return l.take(kFloat, m, open)
	}
	if m := intForm.FindString(rest); m != "" {
		return l.take(kInt, m, open)
	}
	if n := strings.IndexFunc(rest, func(r rune) bool {
		return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	}); n != 0 {
		if n < 0 {
			n = len(rest)
		}
		if n > 1000 {
			l.fail("a name has %d bytes", n)
		}
		return l.take(kName, rest[:n], open)
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			return l.take(kOp, op, l.balance(op, open))
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	l.fail("unexpected %q", r)
	return nil
}

func (l *lexer) take(k kind, text string, open []byte) []byte {
	l.emit(k, text)
	l.skip(len(text))
	return open
}

func (l *lexer) balance(op string, open []byte) []byte {
	switch op {
	case "(":
		return append(open, ')')
	case "[":
		return append(open, ']')
	case "{":
		return append(open, '}')
	case ")", "]", "}":
		if len(open) == 0 || open[len(open)-1] != op[0] {
			l.fail("unexpected %q", op)
		}
		return open[:len(open)-1]
	}
	return open
}

// str reads a string literal with Python's escapes.
func (l *lexer) str(rest string) {
	var b strings.Builder
	for i := 1; i < len(rest); {
		switch c := rest[i]; {
		case c == rest[0]:
			l.emit(kString, b.String())
			l.skip(i + 1)
			return
		case c == '\\':
			i += l.escape(&b, rest[i:])
		default:
			b.WriteByte(c)
			i++
		}
	}
	l.fail("a string is not closed by %c", rest[0])
}

var plainEscapes = map[byte]string{'\n': "", '\\': `\`, '\'': `'`, '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}

// escape writes what an escape stands for and says how long it is. One that Python does not know stands for itself.
func (l *lexer) escape(b *strings.Builder, s string) int {
	if len(s) < 2 {
		l.fail("a string is not closed")
	}
	if plain, ok := plainEscapes[s[1]]; ok {
		b.WriteString(plain)
		return 2
	}
	digits := 0
	switch s[1] {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	case 'N':
		l.fail(`the escape \N{...} is not supported: write \u and the number`)
	case '0', '1', '2', '3', '4', '5', '6', '7':
		n := 2
		for n < len(s) && n < 4 && s[n] >= '0' && s[n] <= '7' {
			n++
		}
		v, _ := strconv.ParseUint(s[1:n], 8, 32)
		b.WriteRune(rune(v))
		return n
	default:
		b.WriteByte('\\')
		return 1
	}
	if len(s) < 2+digits {
		l.fail(`the escape \%c wants %d hex digits`, s[1], digits)
	}
	v, err := strconv.ParseUint(s[2:2+digits], 16, 32)
	if err != nil || v > unicode.MaxRune || v >= 0xd800 && v < 0xe000 {
		l.fail("%q is not a character", s[:2+digits])
	}
	b.WriteRune(rune(v))
	return 2 + digits
}

// isSpace is Python's str.isspace.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
