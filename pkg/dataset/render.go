package dataset

import (
	"fmt"
	"slices"
	"strings"

	"sextant/pkg/spec"
)

// render gives the prompts with the first n examples.
func (it *Item) render(n int) ([]Prompt, error) {
	n = max(0, min(n, len(it.examples)))
	p := it.set.program
	d := dialog{meta: it.roles.meta(), chat: it.roles.chat(), separator: *p.d.Prompt.Separator, generates: p.d.Mode != spec.PPL}
	return p.prompts(it.row, it.examples[:n], d)
}

// check renders a row without examples, to find what it lacks.
func (p *program) check(row view) error {
	if p.d.Mode == spec.Rolling {
		_, err := p.main.prompt(env{row: row}, nil, dialog{})
		return err
	}
	if _, _, err := p.outcome(row); err != nil {
		return err
	}
	_, err := p.prompts(row, nil, dialog{})
	return err
}

func (p *program) prompts(row view, examples [][]segment, d dialog) ([]Prompt, error) {
	switch {
	case p.d.Mode == spec.Gen:
		text, err := p.main.prompt(env{row: row, blank: p.answer.name}, examples, d)
		return []Prompt{{Text: text, Rendered: d.rendered(p.main)}}, err
	case p.d.Mode != spec.PPL:
		return d.answered(p.contextPrompts(row, examples, d))
	case p.labelled == nil:
		return p.choicePrompts(row, examples, d)
	}
	var out []Prompt
	for _, label := range p.labels {
		text, err := p.labelled[label].prompt(env{row: row}, examples, d)
		if err != nil {
			return nil, fmt.Errorf("prompt.labels.%s: %w", label, err)
		}
		out = append(out, Prompt{Text: text, Rendered: d.rendered(p.labelled[label])})
	}
	return out, nil
}

func (p *program) choicePrompts(row view, examples [][]segment, d dialog) ([]Prompt, error) {
	options, err := p.options(row)
	if err != nil {
		return nil, err
	}
	var out []Prompt
	for _, option := range options {
		e := env{row: row, choice: &option}
		if p.d.PPL.Normalizing != "" {
			one, err := p.normalized(e, examples, d)
			if err != nil {
				return nil, err
			}
			out = append(out, one)
			continue
		}
		text, err := p.main.prompt(e, examples, d)
		if err != nil {
			return nil, err
		}
		out = append(out, Prompt{Text: text, Rendered: d.rendered(p.main)})
	}
	return out, nil
}

// normalized cuts the prompt where {choice} begins: what is before is the context, the rest the answer. Spaces between belong to the
// answer, because tokenizers put a space at the front of a word.
func (p *program) normalized(e env, examples [][]segment, d dialog) (Prompt, error) {
	before, from, err := p.main.text.split(choiceName)
	if err != nil {
		return Prompt{}, err
	}
	context, err := template{text: before}.prompt(e, examples, d)
	if err != nil {
		return Prompt{}, err
	}
	answer, err := from.render(e, "")
	bare := strings.TrimRight(context, " ")
	answer = context[len(bare):] + answer
	return Prompt{Text: bare, Continuations: []string{answer}, Normalizing: []string{p.d.PPL.Normalizing}}, err
}

func (p *program) contextPrompts(row view, examples [][]segment, d dialog) ([]Prompt, error) {
	options, err := p.options(row)
	if err != nil {
		return nil, err
	}
	var out []Prompt
	for i, option := range options {
		e := env{row: row, choice: &option}
		if i == 0 || p.partial {
			text, err := p.context.prompt(e, examples, d)
			if err != nil {
				return nil, err
			}
			out = append(out, Prompt{Text: text})
		}
		c, err := p.choice.render(e, "")
		if err != nil {
			return nil, fmt.Errorf("prompt.choice: %w", err)
		}
		if c == "" {
			return nil, fmt.Errorf("prompt.choice: an empty continuation cannot be scored")
		}
		last := &out[len(out)-1]
		last.Continuations = append(last.Continuations, c)
	}
	return out, nil
}

// example renders a row of the train split as an in-context example.
func (s *Set) example(id int, roles *Roles) ([]segment, error) {
	train := s.shots.train
	row, err := s.program.makers.view(train.rows[id])
	if err == nil {
		var segs []segment
		if segs, err = s.program.exampleOf(row, roles); err == nil {
			return segs, nil
		}
	}
	return nil, fmt.Errorf("example: %s: %w", train.at(id), err)
}

func (p *program) exampleOf(row view, roles *Roles) ([]segment, error) {
	labels, gold, err := p.outcome(row)
	if err != nil {
		return nil, err
	}
	e := env{row: row}
	if p.d.Mode == spec.Gen {
		row[p.answer.name] = firstOf(row[p.answer.name])
	} else if p.choices != nil && p.labelled == nil {
		options, err := p.options(row)
		if err != nil {
			return nil, err
		}
		e.choice = &options[slices.Index(labels, gold[0])]
	}
	if roles.chat() != nil && p.exchanges() {
		return p.exchange(e)
	}
	switch {
	case p.example != nil:
		return p.example.example(e, true)
	case p.d.Mode == spec.Gen || p.d.Mode == spec.PPL && p.labelled == nil:
		return p.main.example(e, false)
	case p.d.Mode == spec.PPL:
		return p.labelled[gold[0]].example(e, false)
	}
	return p.continued(e, roles)
}

// firstOf is a list's first entry: of several accepted answers, an example shows the first.
func firstOf(v any) any {
	if items, ok := v.([]any); ok && len(items) > 0 {
		return items[0]
	}
	return v
}

// continued is the context with the right continuation: in the turn of the role that generates, or straight after the last text.
func (p *program) continued(e env, roles *Roles) ([]segment, error) {
	segs, err := p.context.example(e, false)
	if err != nil {
		return nil, err
	}
	text, err := p.choice.render(e, "")
	if err != nil || len(segs) == 0 {
		return nil, err
	}
	last := &segs[len(segs)-1]
	meta := roles.meta()
	switch {
	case roles.chat() != nil && !p.context.isTextWithIce():
		answer := segment{role: "BOT", text: strings.TrimLeft(text, " ")}
		if last.role == answer.role {
			segs = segs[:len(segs)-1]
		}
		return append(segs, answer), nil
	case p.context.turns == nil || meta == nil:
		last.text += text
		return segs, nil
	}
	for _, role := range meta.Round {
		if role.Generate && role.Role == last.role {
			last.text = text
			return segs, nil
		}
	}
	for _, role := range meta.Round {
		if role.Generate {
			return append(segs, segment{role: role.Role, text: text}), nil
		}
	}
	return segs, nil
}
