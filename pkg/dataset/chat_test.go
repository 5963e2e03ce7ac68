package dataset

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sextant/pkg/spec"
)

// shown is a chat template that writes each message as <role words>, and where the answer begins <BOT.
type shown struct{ digest string }

func (c shown) Render(turns []spec.Turn, generate bool) (string, error) {
	var out strings.Builder
	for _, turn := range turns {
		if turn.Prompt == "refuse" {
			return "", errors.New("refused")
		}
		fmt.Fprintf(&out, "<%s %s>", turn.Role, turn.Prompt)
	}
	if generate {
		out.WriteString("<BOT ")
	}
	return out.String(), nil
}

func (c shown) Digest() string { return c.digest }

// TestChatPrompts renders the samples by a chat template. Read the golden file as its documentation.
func TestChatPrompts(t *testing.T) {
	roles := &Roles{Chat: shown{"d"}}
	var out strings.Builder
	for _, sample := range samples {
		s := open(t, entry(t, sample.toml, sampleTest, sampleTrain))
		it := item(t, s, 0, roles)
		fmt.Fprintf(&out, "======== %s\n", sample.name)
		for _, k := range []int{it.Examples(), 0} {
			for _, p := range it.Prompts(k) {
				fmt.Fprintf(&out, "[%d] rendered %v: %q %q %q\n", k, p.Rendered, p.Text, p.Continuations, p.Normalizing)
			}
		}
	}
	golden(t, "testdata/chat.txt", out.String())
}

func TestChatDigests(t *testing.T) {
	d := entry(t, "mode = 'gen'\nanswer = 'a'\n[prompt]\ntemplate = '{q}'", sampleTest, "")
	chatted, other := &Roles{Chat: shown{"1"}}, &Roles{Chat: shown{"2"}}
	if h := PromptHash(d, chatted); h == PromptHash(d, nil) || h == PromptHash(d, other) {
		t.Error("the chat template is not part of a prompt's hash")
	}
	s := open(t, d)
	if item(t, s, 0, chatted).Digest("s") == item(t, s, 0, nil).Digest("s") {
		t.Error("a rendered prompt has the digest of the plain one")
	}
	rolling := spec.Dataset{Mode: spec.Rolling}
	if PromptHash(rolling, chatted) != PromptHash(rolling, nil) {
		t.Error("a rolling dataset's texts do not go through a chat template")
	}
}

// What a template refuses, with whatever number of examples, is an error of the item, for Prompts has none.
func TestChatErrors(t *testing.T) {
	s := open(t, entry(t, "mode = 'gen'\nanswer = 'a'\n[prompt]\ntemplate = 'refuse'", sampleTest, ""))
	_, err := s.Item(0, &Roles{Chat: shown{}})
	wantError(t, err, "refused")
	s = open(t, entry(t, `mode = "ll"
answer = "gold"
[prompt]
context = "{q}"
choice = " {choice}"
choices = "opts"`, `{"q":"a","opts":["",""],"gold":0}`, ""))
	_, err = s.Item(0, &Roles{Chat: shown{}})
	wantError(t, err, "empty continuation")
}
