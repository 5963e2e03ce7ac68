package chat

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"sextant/pkg/jinja"
	"sextant/pkg/spec"
)

// Template is a model's chat template with all that it is given but the conversation. It may be used by many goroutines.
type Template struct {
	path   string
	system string
	parsed *jinja.Template
	vars   map[string]any
	digest string
	end    string
}

// errRefused is what a template says by raise_exception.
type errRefused struct{ says string }

func (e errRefused) Error() string {
	return fmt.Sprintf("the template refuses the conversation: %s", e.says)
}

// prepare gathers the variables, and what identifies them.
func (t *Template) prepare(m *spec.Model, text string, tokens map[string]string) error {
	t.vars = map[string]any{"tools": nil, "documents": nil, "raise_exception": jinja.Func(func(args []any) (any, error) {
		says := "it gives no reason"
		if len(args) == 1 {
			if s, ok := args[0].(string); ok {
				says = s[:min(len(s), 1000)]
			}
		}
		return nil, errRefused{says}
	})}
	for key, token := range tokens {
		t.vars[key] = token
	}
	for name, v := range m.ChatArgs {
		switch x := v.(type) {
		case int64:
			v = int(x)
		case float64: // a whole number that was in JSON
			v = int(x)
		}
		t.vars[name] = v
	}
	if m.ChatDate != "" {
		day, err := time.Parse(time.DateOnly, m.ChatDate)
		if err != nil {
			return fmt.Errorf("chat_date = %q: write a day as 2026-01-31", m.ChatDate)
		}
		t.vars["strftime_now"] = jinja.Func(func(args []any) (any, error) { return strftime(day, args) })
	}
	data, err := json.Marshal([]any{text, t.system, m.ChatDate, tokens, m.ChatArgs})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	t.digest = hex.EncodeToString(sum[:16])
	t.end = t.endOfTurn()
	return nil
}

// Digest identifies the template and all that it is given: 32 hex digits.
func (t *Template) Digest() string { return t.digest }

// EndOfTurn is what follows an assistant's words, "<|im_end|>\n"; "": it cannot be told.
func (t *Template) EndOfTurn() string { return t.end }

func (t *Template) endOfTurn() string {
	const probe = "SextantProbe"
	text, err := t.Render([]spec.Turn{{Role: "HUMAN", Prompt: "Hello"}, {Role: "BOT", Prompt: probe}}, false)
	if at := strings.LastIndex(text, probe); err == nil && at >= 0 {
		return text[at+len(probe):]
	}
	return ""
}

var roles = map[string]string{"HUMAN": "user", "BOT": "assistant", "SYSTEM": "system"}

// Render gives the text of a conversation, special tokens in it: a tokenizer must add none. A turn without a role is the user's. With
// generate the text ends where the assistant's answer is to begin. The model's system text comes first; it joins a system turn there.
func (t *Template) Render(turns []spec.Turn, generate bool) (string, error) {
	var messages []any
	add := func(role, content string) {
		messages = append(messages, jinja.NewDict("role", role, "content", content))
	}
	if t.system != "" {
		system := t.system
		if len(turns) > 0 && turns[0].Role == "SYSTEM" {
			system += "\n\n" + turns[0].Prompt
			turns = turns[1:]
		}
		add("system", system)
	}
	for _, turn := range turns {
		role, ok := roles[turn.Role]
		if !ok && turn.Role != "" {
			return "", fmt.Errorf("chat template: there is no role %q; there is HUMAN, BOT, SYSTEM", turn.Role)
		}
		if !ok {
			role = "user"
		}
		add(role, turn.Prompt)
	}
	vars := maps.Clone(t.vars)
	vars["messages"] = &jinja.List{Items: messages}
	vars["add_generation_prompt"] = generate
	text, err := t.parsed.Render(vars)
	if err != nil {
		return "", t.wrap(err)
	}
	return text, nil
}

// wrap says where an error comes from, and what helps.
func (t *Template) wrap(err error) error {
	hint := ""
	var refused errRefused
	switch {
	case errors.As(err, &refused):
	case strings.Contains(err.Error(), "strftime_now"):
		hint = "; the template writes today's date, which would make each day's prompts others: set the model's chat_date = \"2026-01-31\""
	}
	return fmt.Errorf("chat template %s: %w%s", t.path, err, hint)
}

// strftime is Python's, of a day's first second.
func strftime(day time.Time, args []any) (any, error) {
	if len(args) != 1 {
		return nil, errors.New("strftime_now takes one argument")
	}
	format, ok := args[0].(string)
	if !ok {
		return nil, errors.New("strftime_now wants a text")
	}
	layouts := map[byte]string{'d': "02", 'm': "01", 'Y': "2006", 'y': "06", 'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'H': "15",
		'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'j': "002"}
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			out.WriteByte(format[i])
			continue
		}
		if i++; i == len(format) {
			return nil, errors.New("strftime_now: the format ends with %")
		}
		layout, ok := layouts[format[i]]
		switch {
		case format[i] == '%':
			out.WriteByte('%')
		case ok:
			out.WriteString(day.Format(layout))
		default:
			return nil, fmt.Errorf("strftime_now: %%%c is not supported", format[i])
		}
	}
	return out.String(), nil
}
