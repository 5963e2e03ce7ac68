package dataset

import (
	"errors"
	"fmt"
	"strings"
)

// piece is a part of a template's text: plain text, a column, or the place of the in-context examples.
type piece struct {
	text string
	ref  *ref
	ice  bool
}

// body is a template's text, compiled.
type body []piece

// scope is what a template's text may name.
type scope struct {
	known map[string]bool
	ice   string // the ice token; "" is none
}

// env is what a body is rendered with.
type env struct {
	row    view
	blank  string  // a column that reads as "": the answer, in the prompt of a generation
	choice *string // what {choice} stands for, where a prompt has choices
}

// compile reads a template's text. {column} stands for a value. Other braces are text, but one that looks like a column and is
// none is an error; {{ and its }} stand for braces as such.
func (s scope) compile(text string) (body, error) {
	c := compiler{scope: s}
	for c.rest = text; c.rest != ""; {
		if err := c.next(); err != nil {
			return nil, err
		}
	}
	c.flush()
	return c.out, nil
}

// compiler cuts a template's text into pieces. open holds the braces not yet closed: true for an escaped one.
type compiler struct {
	scope
	rest string
	lit  strings.Builder
	open []bool
	out  body
}

func (c *compiler) next() error {
	switch {
	case c.ice != "" && strings.HasPrefix(c.rest, c.ice):
		c.flush()
		c.out = append(c.out, piece{ice: true})
		c.rest = c.rest[len(c.ice):]
	case strings.HasPrefix(c.rest, "{{"):
		c.open = append(c.open, true)
		c.literal("{", 2)
	case c.rest[0] == '{':
		return c.brace()
	case c.rest[0] == '}':
		c.closing()
	default:
		n := strings.IndexAny(c.rest[1:], "{}"+first(c.ice)) + 1
		if n == 0 {
			n = len(c.rest)
		}
		c.literal(c.rest[:n], n)
	}
	return nil
}

// brace reads what a single { begins: a column, or plain text.
func (c *compiler) brace() error {
	if end := strings.IndexAny(c.rest[1:], "{}\n") + 1; end > 1 && c.rest[end] == '}' {
		inner := c.rest[1:end]
		if r, ok := parseRef(inner, c.known); ok {
			if !c.known[r.name] {
				return fmt.Errorf("{%s} names no column%s; if the braces are meant as text, write {{%s}}", inner, nearest(r.name, keys(c.known)), inner)
			}
			c.flush()
			c.out = append(c.out, piece{ref: &r})
			c.rest = c.rest[end+1:]
			return nil
		}
	}
	c.open = append(c.open, false)
	c.literal("{", 1)
	return nil
}

func (c *compiler) closing() {
	escaped := false
	if n := len(c.open); n > 0 {
		escaped = c.open[n-1] && strings.HasPrefix(c.rest, "}}")
		if escaped || !c.open[n-1] {
			c.open = c.open[:n-1]
		}
	}
	if escaped {
		c.literal("}", 2)
		return
	}
	c.literal("}", 1)
}

// literal adds text and steps over n bytes of the template.
func (c *compiler) literal(text string, n int) {
	c.lit.WriteString(text)
	c.rest = c.rest[n:]
}

func (c *compiler) flush() {
	if c.lit.Len() > 0 {
		c.out = append(c.out, piece{text: c.lit.String()})
		c.lit.Reset()
	}
}

func first(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}

// render fills the columns in. examples stands where the ice token stood. Text that came from a row is never read as a template.
func (b body) render(e env, examples string) (string, error) {
	var out strings.Builder
	for _, p := range b {
		switch {
		case p.ice:
			out.WriteString(examples)
		case p.ref == nil:
			out.WriteString(p.text)
		case e.blank != "" && p.ref.name == e.blank:
		case e.choice != nil && p.ref.name == choiceName:
			out.WriteString(*e.choice)
		default:
			v, err := p.ref.value(e.row)
			if err != nil {
				return "", err
			}
			s, err := scalar(v)
			if err != nil {
				return "", fmt.Errorf("column %q: %w", p.ref.text, err)
			}
			out.WriteString(s)
		}
	}
	return out.String(), nil
}

func (b body) hasIce() bool {
	for _, p := range b {
		if p.ice {
			return true
		}
	}
	return false
}

func (b body) names(column string) bool {
	for _, p := range b {
		if p.ref != nil && p.ref.name == column {
			return true
		}
	}
	return false
}

// split cuts the body before the first piece that names the column.
func (b body) split(column string) (before, from body, err error) {
	for i, p := range b {
		if p.ref != nil && p.ref.name == column {
			return b[:i], b[i:], nil
		}
	}
	return nil, nil, errors.New("the template does not name {" + column + "}")
}
