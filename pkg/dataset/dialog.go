package dataset

import (
	"fmt"
	"slices"
	"strings"

	"sextant/pkg/spec"
)

// template is a spec.Template, compiled: one text, or the turns of a dialogue.
type template struct {
	text  body
	turns []turn // nil for a text
}

type turn struct {
	role    string
	body    body
	section section
}

type section int

const (
	begin section = iota
	round
	end
)

// segment is a rendered turn. glue, when set, follows it instead of what joins turns.
type segment struct {
	role string // "" is text that no role marks
	text string
	glue *string // nil: as turns are joined
}

func (s scope) template(t spec.Template) (template, error) {
	if len(t.Begin)+len(t.Round)+len(t.End) == 0 {
		text, err := s.compile(t.Text)
		return template{text: text}, err
	}
	if t.Text != "" {
		return template{}, fmt.Errorf("a template is a text or turns, not both")
	}
	var out template
	for i, turns := range [][]spec.Turn{t.Begin, t.Round, t.End} {
		for j, one := range turns {
			b, err := s.compile(one.Prompt)
			if err != nil {
				return template{}, fmt.Errorf("%s[%d]: %w", []string{"begin", "round", "end"}[i], j, err)
			}
			out.turns = append(out.turns, turn{role: one.Role, body: b, section: section(i)})
		}
	}
	return out, nil
}

func (t template) bodies() []body {
	if t.turns == nil {
		return []body{t.text}
	}
	var out []body
	for _, turn := range t.turns {
		out = append(out, turn.body)
	}
	return out
}

func (t template) hasIce() bool { return slices.ContainsFunc(t.bodies(), body.hasIce) }

func (t template) names(column string) bool {
	return slices.ContainsFunc(t.bodies(), func(b body) bool { return b.names(column) })
}

// prompt renders the whole prompt with its examples.
func (t template) prompt(e env, examples [][]segment, d dialog) (string, error) {
	if t.turns == nil {
		block := ""
		for _, ex := range examples {
			block += flat(ex, d.separator)
		}
		text, err := t.text.render(e, block)
		if d.rendered(t) && e.blank != "" && t.text.endsWith(e.blank) {
			text = strings.TrimRight(text, " ")
		}
		switch {
		case err == nil && d.rendered(t) && t.hasIce():
			return d.conversation([]segment{{text: text}})
		case err == nil && d.rendered(t):
			return d.conversation(append(d.among(examples), segment{text: text}))
		case err == nil && !t.hasIce():
			text = block + text
		}
		return text, err
	}
	var segs, due []segment
	if !t.hasIce() {
		due = d.among(examples)
	}
	for _, turn := range t.turns {
		if d.chat == nil || turn.role != "SYSTEM" { // which chat templates know in the first place alone
			segs, due = append(segs, due...), nil
		}
		if d.generates && (d.meta != nil || d.chat != nil) && turn.section == end {
			continue
		}
		if len(turn.body) == 1 && turn.body[0].ice {
			segs = append(segs, d.among(examples)...)
			continue
		}
		block := ""
		if turn.body.hasIce() {
			for _, ex := range examples {
				block += flat(ex, d.separator)
			}
		}
		text, err := turn.body.render(e, block)
		if err != nil {
			return "", err
		}
		segs = append(segs, segment{role: turn.role, text: text})
	}
	return d.join(append(segs, due...))
}

// example renders the template as an in-context example. own says that the template was written for examples: then all of it is
// used, else (the prompt's own) its round alone.
func (t template) example(e env, own bool) ([]segment, error) {
	if t.turns == nil {
		text, err := t.text.render(e, "")
		return []segment{{text: text}}, err
	}
	var segs []segment
	for _, turn := range t.turns {
		if turn.section != round && !own {
			continue
		}
		text, err := turn.body.render(e, "")
		if err != nil {
			return nil, err
		}
		segs = append(segs, segment{role: turn.role, text: text})
	}
	return segs, nil
}

// flat is an example as plain text: its turns on lines of their own, then the separator.
func flat(segs []segment, separator string) string { return joinPlain(segs) + separator }

// dialog joins turns to one text, as a model's meta template or chat template says, or by newlines when it has none.
type dialog struct {
	meta      *spec.MetaTemplate
	chat      Chat
	generates bool   // the model goes on: the text ends where the generating role begins
	separator string // after an example that is plain text
}

// among sets the separator between an example's last turn and the turn after it. The default newline is what joins turns anyway,
// and a chat model's roles end themselves, so only another separator is put there.
func (d dialog) among(examples [][]segment) []segment {
	segs := slices.Concat(examples...)
	at := -1
	for _, ex := range examples {
		at += len(ex)
		if len(ex) == 0 {
			continue
		}
		if d.separator != "\n" || segs[at].role == "" {
			segs[at].glue = &d.separator
		}
	}
	return segs
}

func (d dialog) join(segs []segment) (string, error) {
	if d.chat != nil {
		return d.conversation(segs)
	}
	if d.meta == nil {
		return joinPlain(segs), nil
	}
	var out strings.Builder
	out.WriteString(d.meta.Begin)
	for i, s := range segs {
		role, err := d.role(s.role)
		if err != nil {
			return "", err
		}
		out.WriteString(role.Begin)
		if d.generates && role.Generate && i == len(segs)-1 {
			return out.String(), nil
		}
		out.WriteString(s.text + role.End)
		if s.glue != nil {
			out.WriteString(*s.glue)
		}
	}
	if !d.generates {
		return out.String() + d.meta.End, nil
	}
	for _, role := range d.meta.Round {
		if role.Generate {
			return out.String() + role.Begin, nil
		}
	}
	return "", fmt.Errorf("the model's meta_template has no role with generate = true, which a prompt to go on from needs")
}

// role finds a turn's role. A SYSTEM turn becomes a HUMAN one where the model knows no SYSTEM.
func (d dialog) role(name string) (spec.MetaRole, error) {
	if name == "" {
		return spec.MetaRole{}, nil
	}
	for _, want := range []string{name, "HUMAN"} {
		for _, role := range d.meta.Round {
			if role.Role == want {
				return role, nil
			}
		}
		if name != "SYSTEM" {
			break
		}
	}
	var known []string
	for _, role := range d.meta.Round {
		known = append(known, role.Role)
	}
	return spec.MetaRole{}, fmt.Errorf("the model's meta_template has no role %q%s", name, nearest(name, known))
}

// joinPlain joins what is not empty by newlines.
func joinPlain(segs []segment) string {
	var out strings.Builder
	glue := ""
	for _, s := range segs {
		if s.text != "" {
			out.WriteString(glue + s.text)
			glue = "\n"
		}
		if s.glue != nil {
			glue = *s.glue
		}
	}
	return out.String()
}
