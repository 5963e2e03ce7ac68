package chat

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sextant/pkg/spec"
)

// model is a directory with these files, and a model whose tokenizer is there.
func model(t testing.TB, files map[string]string) *spec.Model {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &spec.Model{Path: dir, ChatTemplate: "auto"}
}

func load(t testing.TB, m *spec.Model) *Template {
	t.Helper()
	tpl, err := Load(m)
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

const tokens = `"bos_token": "<s>", "eos_token": {"content": "</s>", "special": true}, "pad_token": null`

// TestLikeTransformers holds templates in the styles of the known families against what Jinja2 makes of them in transformers' environment
// (testdata/reference.py).
func TestLikeTransformers(t *testing.T) {
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden []struct {
		Template    string
		Turns       [][2]string
		Generate    bool
		Args        map[string]any
		Text, Error string
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	for _, one := range golden {
		text, err := os.ReadFile("testdata/templates/" + one.Template)
		if err != nil {
			t.Fatal(err)
		}
		m := model(t, map[string]string{"tokenizer_config.json": "{" + tokens + "}", "chat_template.jinja": string(text)})
		m.ChatArgs = one.Args
		var turns []spec.Turn
		for _, turn := range one.Turns {
			turns = append(turns, spec.Turn{Role: turn[0], Prompt: turn[1]})
		}
		got, err := load(t, m).Render(turns, one.Generate)
		switch {
		case one.Error != "":
			if err == nil || !strings.Contains(err.Error(), one.Error) {
				t.Errorf("%s %q: %q, %v; transformers has the error %q", one.Template, one.Turns, got, err, one.Error)
			}
		case err != nil || got != one.Text:
			t.Errorf("%s %q generate %v: %v\ngot  %q\nwant %q", one.Template, one.Turns, one.Generate, err, got, one.Text)
		}
	}
}

const plain = `{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}`

func quoted(s string) string {
	out, _ := json.Marshal(s)
	return string(out)
}

func TestWhereTheTemplateIs(t *testing.T) {
	config := func(template string) string { return `{` + tokens + `, "chat_template": ` + template + `}` }
	list := config(`[{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]`)
	for name, c := range map[string]struct {
		files map[string]string
		which string
		want  string // what it renders, or a part of the error
	}{
		"in tokenizer_config.json":   {map[string]string{"tokenizer_config.json": config(`"A{{ bos_token }}"`)}, "auto", "A<s>"},
		"a file goes before":         {map[string]string{"tokenizer_config.json": config(`"A"`), "chat_template.jinja": "B{{ eos_token }}"}, "auto", "B</s>"},
		"a processor's":              {map[string]string{"chat_template.json": `{"chat_template": "P{{ bos_token }}"}`}, "auto", "P"},
		"the default of several":     {map[string]string{"tokenizer_config.json": list}, "auto", "D"},
		"one of several":             {map[string]string{"tokenizer_config.json": list}, "tool_use", "T"},
		"one of several files":       {map[string]string{"chat_template.jinja": "D", "additional_chat_templates/rag.jinja": "R"}, "rag", "R"},
		"not one of several":         {map[string]string{"tokenizer_config.json": list}, "tools", `there is no chat template named "tools"; there is default, tool_use`},
		"several without a default":  {map[string]string{"tokenizer_config.json": config(`[{"name": "rag", "template": "R"}]`)}, "auto", `named "default"; there is rag`},
		"none":                       {map[string]string{"tokenizer_config.json": `{"chat_template": null}`}, "auto", "has no chat template"},
		"no files":                   {nil, "auto", "has no chat template"},
		"another type":               {map[string]string{"tokenizer_config.json": config(`3`)}, "auto", "neither a text nor a list"},
		"no JSON":                    {map[string]string{"tokenizer_config.json": `{`}, "auto", "tokenizer_config.json"},
		"a path":                     {map[string]string{"own/x.jinja": "X"}, "/own/x.jinja", "X"},
		"a path to a configuration":  {map[string]string{"own/x.json": config(`"XJ"`)}, "/own/x.json", "XJ"},
		"a path to nothing":          {nil, "/own/x.jinja", "no such file"},
		"a directory":                {map[string]string{"own/x.jinja": "X"}, "/own", "is no file"},
		"a mistake":                  {map[string]string{"chat_template.jinja": "a\n{% if %}"}, "auto", "chat_template.jinja: line 2: unexpected"},
		"tokens of the Llama class":  {map[string]string{"tokenizer_config.json": `{"tokenizer_class": "LlamaTokenizerFast", "eos_token": "<e>", "chat_template": "{{ bos_token + eos_token }}"}`}, "auto", "<s><e>"},
		"tokens of another file":     {map[string]string{"tokenizer_config.json": `{"chat_template": "{{ bos_token }}"}`, "special_tokens_map.json": `{"bos_token": "<b>"}`}, "auto", "<b>"},
		"not by default: a key less": {map[string]string{"tokenizer_config.json": config(`"A"`)}, "", ""},
	} {
		m := model(t, c.files)
		m.ChatTemplate = c.which
		if strings.HasPrefix(c.which, "/") {
			m.ChatTemplate = m.Path + c.which
		}
		tpl, err := Load(m)
		if c.which == "" {
			if tpl != nil || err != nil {
				t.Errorf("%s: %v, %v", name, tpl, err)
			}
			continue
		}
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			continue
		}
		if got, err := tpl.Render(nil, true); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestSystem(t *testing.T) {
	m := model(t, map[string]string{"chat_template.jinja": plain})
	m.System = "Be kind."
	tpl := load(t, m)
	for _, c := range []struct {
		turns []spec.Turn
		want  string
	}{
		{[]spec.Turn{{Role: "HUMAN", Prompt: "a"}}, "[system]Be kind.[user]a[assistant]"},
		{[]spec.Turn{{Role: "SYSTEM", Prompt: "Be brief."}, {Prompt: "a"}}, "[system]Be kind.\n\nBe brief.[user]a[assistant]"},
	} {
		if got, err := tpl.Render(c.turns, true); err != nil || got != c.want {
			t.Errorf("%q, %v; want %q", got, err, c.want)
		}
	}
	if _, err := tpl.Render([]spec.Turn{{Role: "NARRATOR"}}, true); err == nil || !strings.Contains(err.Error(), `no role "NARRATOR"`) {
		t.Error(err)
	}
}

func TestEndOfTurn(t *testing.T) {
	for template, want := range map[string]string{
		plain:                 "</s>",
		"{{ messages[5].x }}": "",
		"{% for m in messages %}{{ m.content }}<|im_end|>\n{% endfor %}.": "<|im_end|>\n.",
	} {
		tpl := load(t, model(t, map[string]string{"tokenizer_config.json": "{" + tokens + "}", "chat_template.jinja": template}))
		if got := tpl.EndOfTurn(); got != want {
			t.Errorf("%q: %q, want %q", template, got, want)
		}
	}
}

// The day is the spec's, never today's.
func TestDate(t *testing.T) {
	m := model(t, map[string]string{"chat_template.jinja": `{{ strftime_now("%d %b %Y, %A %j %% %B %m/%y %H:%M:%S") }}`})
	_, err := load(t, m).Render(nil, true)
	if err == nil || !strings.Contains(err.Error(), "'strftime_now' is undefined") || !strings.Contains(err.Error(), "chat_date") {
		t.Error(err)
	}
	m.ChatDate = "2024-07-26"
	if got, err := load(t, m).Render(nil, true); err != nil || got != "26 Jul 2024, Friday 208 % July 07/24 00:00:00" {
		t.Errorf("%q, %v", got, err)
	}
	for template, want := range map[string]string{`{{ strftime_now("%Q") }}`: "%Q is not supported", `{{ strftime_now(1) }}`: "wants a text", `{{ strftime_now() }}`: "one argument"} {
		m := model(t, map[string]string{"chat_template.jinja": template})
		m.ChatDate = "2024-07-26"
		if _, err := load(t, m).Render(nil, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", template, err, want)
		}
	}
	m.ChatDate = "2024-02-31"
	if _, err := Load(m); err == nil || !strings.Contains(err.Error(), "chat_date") {
		t.Error(err)
	}
}

// TestDigest: all that a prompt depends on but its turns is in it, and a journey through JSON changes nothing.
func TestDigest(t *testing.T) {
	files := map[string]string{"tokenizer_config.json": "{" + tokens + "}", "chat_template.jinja": plain}
	base := func() *spec.Model {
		m := model(t, files)
		m.ChatArgs = map[string]any{"n": int64(3), "think": false}
		return m
	}
	want := load(t, base()).Digest()
	same := base()
	data, err := json.Marshal(same)
	if err != nil {
		t.Fatal(err)
	}
	var back spec.Model
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if got := load(t, &back).Digest(); got != want {
		t.Error("a journey through JSON changes the digest")
	}
	for name, change := range map[string]func(m *spec.Model){
		"the system's words": func(m *spec.Model) { m.System = "s" },
		"a variable":         func(m *spec.Model) { m.ChatArgs["n"] = int64(4) },
		"the day":            func(m *spec.Model) { m.ChatDate = "2024-01-01" },
		"the template": func(m *spec.Model) {
			m.Path = model(t, map[string]string{"tokenizer_config.json": files["tokenizer_config.json"], "chat_template.jinja": plain + " "}).Path
		},
		"a token": func(m *spec.Model) {
			m.Path = model(t, map[string]string{"tokenizer_config.json": `{"eos_token": "<e>"}`, "chat_template.jinja": plain}).Path
		},
	} {
		m := base()
		change(m)
		if load(t, m).Digest() == want {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	tpl := load(t, model(t, map[string]string{"chat_template.jinja": plain}))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if got, err := tpl.Render([]spec.Turn{{Role: "HUMAN", Prompt: "a"}, {Role: "BOT", Prompt: "b"}}, false); err != nil || got != "[user]a[assistant]b" {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// FuzzConfig: whatever stands in tokenizer_config.json, there is a template or an error.
func FuzzConfig(f *testing.F) {
	f.Add(`{"chat_template": ` + quoted(plain) + `, ` + tokens + `}`)
	f.Add(`{"chat_template": [{"name": "default", "template": "{{ 1 }}"}], "bos_token": ["a"]}`)
	f.Add(`{"chat_template": {"default": "x"}}`)
	f.Fuzz(func(t *testing.T, config string) {
		m := model(t, map[string]string{"tokenizer_config.json": config})
		tpl, err := Load(m)
		if (tpl == nil) == (err == nil) && err == nil {
			t.Fatal("neither a template nor an error")
		}
		if err != nil {
			return
		}
		turns := []spec.Turn{{Role: "SYSTEM", Prompt: "s"}, {Role: "HUMAN", Prompt: "a"}}
		first, err1 := tpl.Render(turns, true)
		second, err2 := tpl.Render(turns, true)
		if first != second || (err1 == nil) != (err2 == nil) {
			t.Fatalf("%q and then %q, %v and then %v", first, second, err1, err2)
		}
	})
}
