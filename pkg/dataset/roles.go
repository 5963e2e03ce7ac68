package dataset

import (
	"cmp"
	"errors"
	"strings"

	"sextant/pkg/spec"
)

// Roles is how a model wants turns written: by a meta template, by a chat template, or, without both, plainly. nil is plainly.
type Roles struct {
	Meta *spec.MetaTemplate
	Chat Chat
}

// Chat is a model's own chat template.
type Chat interface {
	// Render gives the text of a conversation with its special tokens; with generate it ends where the answer begins.
	Render(turns []spec.Turn, generate bool) (string, error)
	// Digest identifies all that Render depends on but the turns.
	Digest() string
}

func (r *Roles) meta() *spec.MetaTemplate {
	if r == nil {
		return nil
	}
	return r.Meta
}

func (r *Roles) chat() Chat {
	if r == nil {
		return nil
	}
	return r.Chat
}

// ChatDigest identifies the chat template for prompts of a mode; "": they have none. A rolling dataset's texts have no turns.
func (r *Roles) ChatDigest(mode spec.Mode) string {
	if r.chat() == nil || mode == spec.Rolling {
		return ""
	}
	return r.Chat.Digest()
}

// rendered says whether a template's prompt goes through the chat template. A text is the user's words, but for ppl, where it holds the
// answer too and is scored as it is.
func (d dialog) rendered(t template) bool { return d.chat != nil && (d.generates || t.turns != nil) }

// answered says of contexts and continuations that they went through the chat template. The answer then begins a message, so that the
// space between context and continuation is not there; lm-evaluation-harness leaves it out too.
func (d dialog) answered(prompts []Prompt, err error) ([]Prompt, error) {
	if d.chat == nil || err != nil {
		return prompts, err
	}
	for i := range prompts {
		prompts[i].Rendered = true
		for k, c := range prompts[i].Continuations {
			if prompts[i].Continuations[k] = strings.TrimLeft(c, " "); prompts[i].Continuations[k] == "" {
				return nil, errors.New("prompt.choice: an empty continuation cannot be scored")
			}
		}
	}
	return prompts, nil
}

// conversation gives segments as messages. Neighbours of one role become one message; a last turn of the assistant, where it is to be
// generated, is left to it.
func (d dialog) conversation(segs []segment) (string, error) {
	var turns []spec.Turn
	glue := "\n"
	for i, s := range segs {
		role := cmp.Or(s.role, "HUMAN")
		if d.generates && i == len(segs)-1 && role == "BOT" {
			break
		}
		if last := len(turns) - 1; last >= 0 && turns[last].Role == role {
			if s.text != "" && turns[last].Prompt != "" {
				turns[last].Prompt += glue
			}
			turns[last].Prompt += s.text
		} else {
			turns = append(turns, spec.Turn{Role: role, Prompt: s.text})
		}
		glue = "\n"
		if s.glue != nil {
			glue = *s.glue
		}
	}
	return d.chat.Render(turns, d.generates)
}

// isTextWithIce says that examples stand within a text, so that they cannot be turns.
func (t template) isTextWithIce() bool { return t.turns == nil && t.hasIce() }

// ofExample is the template of a generation's examples.
func (p *program) ofExample() template {
	if p.example != nil {
		return *p.example
	}
	return p.main
}

// exchanges says that a generation's example is a text that ends with the answer, so that it can be two turns: what is asked, and it.
func (p *program) exchanges() bool {
	t := p.ofExample()
	if p.d.Mode != spec.Gen || p.main.isTextWithIce() || t.turns != nil {
		return false
	}
	return t.text.endsWith(p.answer.name)
}

// endsWith says that a text ends with a column. The space before an answer that is a message of its own is in neither message.
func (b body) endsWith(column string) bool {
	return len(b) > 0 && b[len(b)-1].ref != nil && b[len(b)-1].ref.name == column
}

func (p *program) exchange(e env) ([]segment, error) {
	body := p.ofExample().text
	asked, err := body[:len(body)-1].render(e, "")
	if err != nil {
		return nil, err
	}
	answer, err := body[len(body)-1:].render(e, "")
	return []segment{{role: "HUMAN", text: strings.TrimRight(asked, " ")}, {role: "BOT", text: answer}}, err
}
