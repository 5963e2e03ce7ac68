package spec

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestChat(t *testing.T) {
	catalog := readCatalog(t)
	read := func(model string) (*Spec, error) {
		return load("/specs/eval.toml", Options{Catalog: catalog}, inMemory(map[string]string{
			"/specs/eval.toml": "datasets = [\"siqa_ppl\"]\n[[models]]\npath = \"/m\"\n" + model,
		}))
	}
	for _, c := range []struct {
		toml string
		want Model
	}{
		{`chat_template = "auto"`, Model{ChatTemplate: "auto"}},
		{`chat_template = "tool_use"`, Model{ChatTemplate: "tool_use"}},
		{`chat_template = "./chat.jinja"`, Model{ChatTemplate: "/specs/chat.jinja"}},
		{"chat_template = \"auto\"\nsystem = \"S\"\nchat_date = \"2024-07-26\"\nchat_args = { think = false, n = 3, s = \"x\" }",
			Model{ChatTemplate: "auto", System: "S", ChatDate: "2024-07-26", ChatArgs: map[string]any{"think": false, "n": int64(3), "s": "x"}}},
		{"chat_template = \"none\"\nsystem = \"S\"", Model{}},
		{"chat_template = \"none\"\nmeta_template = { round = [{ role = \"BOT\", generate = true }] }",
			Model{MetaTemplate: &MetaTemplate{Round: []MetaRole{{Role: "BOT", Generate: true}}}}},
	} {
		s, err := read(c.toml)
		if err != nil {
			t.Errorf("%s: %v", c.toml, err)
			continue
		}
		m := s.Models[0]
		got := Model{ChatTemplate: m.ChatTemplate, System: m.System, ChatDate: m.ChatDate, ChatArgs: m.ChatArgs, MetaTemplate: m.MetaTemplate}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.toml, got, c.want)
		}
		if _, err := json.Marshal(m); err != nil {
			t.Error(err)
		}
	}
	for toml, want := range map[string]string{
		"chat_template = \"auto\"\nmeta_template = { round = [{ role = \"BOT\", generate = true }] }": "4:1: models[m].chat_template: a model has a chat_template or a meta_template, not both",
		`system = "S"`:          "4:1: models[m].system: is for a chat template",
		`chat_args = { a = 1 }`: "4:1: models[m].chat_args: is for a chat template",
		`chat_template = true`:  `is a boolean; write a string`,
		"chat_template = \"auto\"\nchat_date = \"today\"":     `write a day: "2026-01-31"`,
		"chat_template = \"auto\"\nchat_args = { a = 1.5 }":   `models[m].chat_args.a: is a float; write a string, boolean or integer`,
		"chat_template = \"auto\"\nchat_args = { a = [\"\"]}": `write a string, boolean or integer`,
	} {
		if _, err := read(toml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", toml, err, want)
		}
	}
}
