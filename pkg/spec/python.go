package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// literals reads plain values as Python and JSON write them. It executes nothing and knows no more of Python than that.
type literals struct {
	file   string
	text   string // what is left
	line   int
	deep   int
	passed bool // comma passed over one
	last   bool // a comma stood after the last entry of the list read last
}

// literalsDeep is how deep values may lie in one another.
const literalsDeep = 32

// parseSettings reads assignments NAME = value, or one dict.
func parseSettings(file, text string) (map[string]setting, error) {
	l := &literals{file: file, text: strings.TrimPrefix(text, "\ufeff"), line: 1}
	out := map[string]setting{}
	for {
		l.space(true)
		if l.text == "" {
			return out, nil
		}
		line := l.line
		name := l.name()
		switch {
		case len(out) == 0 && (name == "" && l.text[0] == '{' || name == "dict" && strings.HasPrefix(l.text, "(")):
			l.text = name + l.text
			v, err := l.value()
			if err != nil {
				return nil, err
			}
			if l.space(true); l.text != "" {
				return nil, l.odd()
			}
			return v.value.(map[string]setting), nil
		case name == "":
			return nil, l.odd()
		}
		l.space(false)
		if !strings.HasPrefix(l.text, "=") || strings.HasPrefix(l.text, "==") {
			return nil, l.odd()
		}
		l.text = l.text[1:]
		l.space(false)
		v, err := l.value()
		if err != nil {
			return nil, err
		}
		v.line = line
		out[name] = v
		if l.space(false); l.text != "" && l.text[0] != '\n' && l.text[0] != ';' {
			return nil, l.odd()
		}
		l.text = strings.TrimPrefix(l.text, ";")
	}
}

// odd is the error of what is no plain value.
func (l *literals) odd() error {
	rest, _, _ := strings.Cut(l.text, "\n")
	return fmt.Errorf("%s:%d: %q is no plain value: texts, numbers, True, False, None, lists and dicts of them can be read, and nothing is executed; "+
		"write what it comes to, or the same keys as TOML under [dlc] in the spec", l.file, l.line, string([]rune(rest)[:min(len([]rune(rest)), 60)]))
}

// space passes over white space and comments, over the ends of lines if they mean nothing here.
func (l *literals) space(lines bool) {
	for l.text != "" {
		switch c := l.text[0]; {
		case c == ' ' || c == '\t' || c == '\r':
		case c == '\n' && lines:
			l.line++
		case c == '\\' && strings.HasPrefix(l.text, "\\\n"):
			l.text = l.text[1:]
			l.line++
		case c == '#':
			end := strings.IndexByte(l.text, '\n')
			if end < 0 {
				end = len(l.text)
			}
			l.text = l.text[end:]
			continue
		default:
			return
		}
		l.text = l.text[1:]
	}
}

func (l *literals) name() string {
	n := 0
	for n < len(l.text) && (l.text[n] == '_' || l.text[n]|0x20 >= 'a' && l.text[n]|0x20 <= 'z' || n > 0 && l.text[n] >= '0' && l.text[n] <= '9') {
		n++
	}
	name := l.text[:n]
	l.text = l.text[n:]
	return name
}

func (l *literals) value() (setting, error) {
	s := setting{line: l.line}
	if l.deep++; l.deep > literalsDeep {
		return s, fmt.Errorf("%s:%d: values lie more than %d deep in one another", l.file, l.line, literalsDeep)
	}
	defer func() { l.deep-- }()
	if l.text == "" {
		return s, l.odd()
	}
	var err error
	switch c := l.text[0]; {
	case c == '"' || c == '\'':
		s.value, err = l.strings(false)
	case c == '[':
		s.value, err = l.list("[", "]")
	case c == '(':
		s.value, err = l.tuple()
	case c == '{':
		s.value, err = l.dict("{", "}", ":")
	case c == '-' || c >= '0' && c <= '9':
		s.value, err = l.number()
	default:
		s.value, err = l.word()
	}
	return s, err
}

func (l *literals) word() (any, error) {
	before := l.text
	switch name := l.name(); name {
	case "True", "true":
		return true, nil
	case "False", "false":
		return false, nil
	case "None", "null":
		return nil, nil
	case "dict":
		if strings.HasPrefix(l.text, "(") {
			return l.dict("(", ")", "=")
		}
	case "r", "R", "u", "U":
		if l.text != "" && (l.text[0] == '"' || l.text[0] == '\'') {
			return l.strings(name == "r" || name == "R")
		}
	}
	l.text = before
	return nil, l.odd()
}

func (l *literals) number() (any, error) {
	n := 1
	for n < len(l.text) && strings.IndexByte("0123456789._eE+-xXabcdefABCDEF", l.text[n]) >= 0 {
		n++
	}
	word := l.text[:n]
	if v, err := strconv.ParseInt(word, 0, 64); err == nil {
		l.text = l.text[n:]
		return v, nil
	}
	v, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return nil, l.odd()
	}
	l.text = l.text[n:]
	return v, nil
}

// strings reads texts that stand side by side, which are one.
func (l *literals) strings(raw bool) (string, error) {
	var b strings.Builder
	for {
		quote := l.text[:1]
		if triple := strings.Repeat(quote, 3); strings.HasPrefix(l.text, triple) {
			quote = triple
		}
		rest := l.text[len(quote):]
		for !strings.HasPrefix(rest, quote) {
			if rest == "" || rest[0] == '\n' && len(quote) == 1 {
				return "", fmt.Errorf("%s:%d: a text has no end", l.file, l.line)
			}
			if rest[0] == '\n' {
				l.line++
			}
			if rest[0] != '\\' || raw || len(rest) < 2 {
				b.WriteByte(rest[0])
				rest = rest[1:]
				continue
			}
			switch e := rest[1]; e {
			case '\'', '"', '\\':
				b.WriteByte(e)
				rest = rest[2:]
			case '\n':
				l.line++
				rest = rest[2:]
			default:
				r, wide, tail, err := strconv.UnquoteChar(rest, 0)
				if err != nil {
					return "", fmt.Errorf("%s:%d: a text has an escape that is not known: %q", l.file, l.line, rest[:2])
				}
				if wide || r < 0x80 {
					b.WriteRune(r)
				} else {
					b.WriteByte(byte(r))
				}
				rest = tail
			}
		}
		l.text = rest[len(quote):]
		l.space(l.deep > 1) // inside of brackets lines go on
		if l.text == "" || l.text[0] != '"' && l.text[0] != '\'' {
			return b.String(), nil
		}
	}
}

func (l *literals) list(open, end string) ([]setting, error) {
	l.text = l.text[len(open):]
	out := []setting{}
	for comma := false; ; {
		if l.space(true); strings.HasPrefix(l.text, end) {
			l.text, l.last = l.text[len(end):], comma
			return out, nil
		}
		v, err := l.value()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if err := l.comma(end); err != nil {
			return nil, err
		}
		comma = l.passed
	}
}

// tuple reads what is in parentheses: a list, or one value that they only keep together.
func (l *literals) tuple() (any, error) {
	list, err := l.list("(", ")")
	if err == nil && len(list) == 1 && !l.last {
		return list[0].value, nil
	}
	return list, err
}

// comma passes over what stands between two entries.
func (l *literals) comma(end string) error {
	l.space(true)
	l.passed = strings.HasPrefix(l.text, ",")
	switch {
	case l.passed:
		l.text = l.text[1:]
	case !strings.HasPrefix(l.text, end):
		return l.odd()
	}
	return nil
}

// dict reads {"key": value} or dict(key=value).
func (l *literals) dict(open, end, between string) (map[string]setting, error) {
	l.text = l.text[len(open):]
	out := map[string]setting{}
	for {
		if l.space(true); strings.HasPrefix(l.text, end) {
			l.text = l.text[len(end):]
			return out, nil
		}
		line, key := l.line, ""
		if between == "=" {
			key = l.name()
		} else if l.text != "" && (l.text[0] == '"' || l.text[0] == '\'') {
			var err error
			if key, err = l.strings(false); err != nil {
				return nil, err
			}
		}
		if l.space(true); key == "" || !strings.HasPrefix(l.text, between) {
			return nil, l.odd()
		}
		l.text = l.text[len(between):]
		l.space(true)
		v, err := l.value()
		if err != nil {
			return nil, err
		}
		v.line = line
		out[key] = v
		if err := l.comma(end); err != nil {
			return nil, err
		}
	}
}
