package chat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sextant/pkg/jinja"
	"sextant/pkg/spec"
)

// maxFile bounds the files that are read. The largest tokenizer_config.json known have a few MB of added tokens.
const maxFile = 1 << 26

// source is the text of a template and where it was found.
type source struct{ text, path string }

// find finds the template that a model's spec asks for: "auto", the name of one of several, or a path.
func find(which, dir string) (source, error) {
	if strings.Contains(which, "/") {
		return fromFile(which)
	}
	named, path, err := all(dir)
	if err != nil {
		return source{}, err
	}
	if len(named) == 0 {
		return source{}, fmt.Errorf("%q has no chat template: neither chat_template.jinja nor a chat_template in tokenizer_config.json; "+
			"leave chat_template out for a base model, or give it the path of a file", dir)
	}
	want := which
	if want == "auto" {
		want = "default"
	}
	if text, ok := named[want]; ok {
		return source{text, path}, nil
	}
	return source{}, fmt.Errorf("%s: there is no chat template named %q; there is %s: set chat_template to one of them", path, want, strings.Join(names(named), ", "))
}

func names(named map[string]string) []string {
	var out []string
	for name := range named {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// fromFile reads a template's own file, or a JSON file with the key chat_template.
func fromFile(path string) (source, error) {
	data, err := read(path)
	if err != nil {
		return source{}, err
	}
	if filepath.Ext(path) != ".json" {
		return source{string(data), path}, nil
	}
	named, err := decode(path, data)
	if err == nil && named["default"] == "" {
		err = fmt.Errorf("%s: it has no chat_template", path)
	}
	return source{named["default"], path}, err
}

// all are the templates of a directory by name. As in transformers, chat_template.jinja and additional_chat_templates win over
// tokenizer_config.json; chat_template.json is what processors had before.
func all(dir string) (map[string]string, string, error) {
	path := filepath.Join(dir, "chat_template.jinja")
	data, err := read(path)
	if err == nil {
		named := map[string]string{"default": string(data)}
		more, _ := filepath.Glob(filepath.Join(dir, "additional_chat_templates", "*.jinja"))
		for _, file := range more {
			if data, err = read(file); err != nil {
				return nil, "", err
			}
			named[strings.TrimSuffix(filepath.Base(file), ".jinja")] = string(data)
		}
		return named, path, nil
	}
	for _, name := range []string{"tokenizer_config.json", "chat_template.json"} {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
		path = filepath.Join(dir, name)
		if data, err = read(path); err != nil {
			continue
		}
		named, bad := decode(path, data)
		if bad != nil || len(named) > 0 {
			return named, path, bad
		}
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return nil, "", err
}

// decode reads the key chat_template: a text, or a list of named ones.
func decode(path string, data []byte) (map[string]string, error) {
	var file struct {
		Template json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	if len(file.Template) == 0 || bytes.Equal(file.Template, []byte("null")) {
		return nil, nil
	}
	var one string
	if json.Unmarshal(file.Template, &one) == nil {
		return map[string]string{"default": one}, nil
	}
	var list []struct{ Name, Template string }
	if json.Unmarshal(file.Template, &list) != nil {
		return nil, fmt.Errorf("%s: chat_template is neither a text nor a list of { name, template }", path)
	}
	out := map[string]string{}
	for _, t := range list {
		out[t.Name] = t.Template
	}
	return out, nil
}

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (info.IsDir() || info.Size() > maxFile) {
		return nil, fmt.Errorf("%q is no file of a chat template: it is a directory, or larger than %d bytes", path, maxFile)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// specialKeys are the tokens that transformers gives to a template by these names.
var specialKeys = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// specials reads the texts of the special tokens. tokenizer_config.json goes before special_tokens_map.json; the Llama classes have tokens
// of their own where neither says.
func specials(dir string) (map[string]string, error) {
	out := map[string]string{}
	class := ""
	for _, name := range []string{"tokenizer_config.json", "special_tokens_map.json"} {
		path := filepath.Join(dir, name)
		data, err := read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(data, &keys); err != nil {
			return nil, fmt.Errorf("reading %q: %w", path, err)
		}
		var named string
		if json.Unmarshal(keys["tokenizer_class"], &named) == nil {
			class = cmp.Or(class, named)
		}
		for _, key := range specialKeys {
			if text := tokenText(keys[key]); out[key] == "" && text != "" {
				out[key] = text
			}
		}
	}
	if strings.HasPrefix(class, "LlamaTokenizer") {
		for key, text := range map[string]string{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} {
			out[key] = cmp.Or(out[key], text)
		}
	}
	return out, nil
}

// tokenText reads a token that is written as a text, or as an object with its content.
func tokenText(data json.RawMessage) string {
	var text string
	if json.Unmarshal(data, &text) == nil {
		return text
	}
	var token struct{ Content string }
	_ = json.Unmarshal(data, &token) // another shape is no token
	return token.Content
}

// Load reads the chat template that a model's spec asks for, from beside its tokenizer; nil where it asks for none.
func Load(m *spec.Model) (*Template, error) {
	if m.ChatTemplate == "" {
		return nil, nil
	}
	dir := cmp.Or(m.TokenizerPath, m.Path)
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		dir = filepath.Dir(dir)
	}
	src, err := find(m.ChatTemplate, dir)
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	t := &Template{path: src.path, system: m.System}
	if t.parsed, err = jinja.Parse(src.text); err != nil {
		return nil, t.wrap(err)
	}
	tokens, err := specials(dir)
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	return t, t.prepare(m, src.text, tokens)
}
