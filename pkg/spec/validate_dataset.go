package spec

import (
	"regexp"
	"slices"
	"strings"
)

func (c *checker) dataset(n *node, d *Dataset, key string) {
	if d.Abbr != "" {
		c.abbr(n, key, d.Abbr)
	}
	c.required(n, key, []string{"test"}, `say where the rows are: test = { path = "FILE" }`)
	c.files(n, key, "test", &d.Test)
	if d.Train != nil {
		c.files(n, key, "train", d.Train)
	}
	for name, col := range d.Columns {
		c.column(n, key, name, &col)
	}
	c.fewShot(n, key, d)
	c.required(n, key, []string{"mode"}, `write "ppl", "ll", "clp", "gen" or "rolling"`)
	if !slices.Contains([]Mode{PPL, LL, CLP, Gen, Rolling}, d.Mode) {
		return // the rest depends on it
	}
	c.onlyFor(n, key, d.Mode)
	if d.Mode == Rolling {
		c.stride(n, key, d.Rolling)
		return
	}
	if d.Gen.Samples > 1 && d.Gen.Temperature == 0 {
		c.add(n, key, []string{"gen", "samples"}, "%d greedy texts of a row would all be the same; set gen.temperature, or take samples out", d.Gen.Samples)
	}
	c.required(n, key, []string{"answer"}, "name the column that holds the gold answer")
	c.prompt(n, key, d)
}

func (c *checker) stride(n *node, key string, r RollingOptions) {
	switch path := []string{"rolling", "stride"}; {
	case n.get(path...) == nil:
	case r.Convention != "sliding":
		c.add(n, key, path, `has no effect with convention %q, only with "sliding"; take it out`, r.Convention)
	case r.Stride > r.SeqLen:
		c.add(n, key, path, "%d is more than seq_len %d: tokens between the windows would not be scored; the most is seq_len", r.Stride, r.SeqLen)
	}
}

// onlyFor refuses tables that the mode does not read: who writes them expects an effect.
func (c *checker) onlyFor(n *node, key string, mode Mode) {
	for _, k := range []struct {
		name  string
		modes []Mode
	}{
		{"ppl", []Mode{PPL}}, {"gen", []Mode{Gen}}, {"rolling", []Mode{Rolling}}, {"post", []Mode{Gen}}, {"post_gold", []Mode{Gen}},
		{"prompt", []Mode{PPL, LL, CLP, Gen}}, {"truncate", []Mode{PPL, LL, CLP, Gen}}, {"train", []Mode{PPL, LL, CLP, Gen}},
		{"answer", []Mode{PPL, LL, CLP, Gen}}, {"cluster", []Mode{PPL, LL, CLP, Gen}},
	} {
		if at := n.get(k.name); at != nil && !slices.Contains(k.modes, mode) {
			c.add(n, key, []string{k.name}, "has no effect in mode %q; take it out", mode)
		}
	}
}

func (c *checker) files(n *node, key, split string, f *Files) {
	t := n.get(split)
	if t == nil || t.kind != table {
		return
	}
	key = join(key, split)
	c.required(t, key, []string{"path"}, "write the file's name")
	if f.Path == "" {
		return
	}
	if f.Format == "" && t.get("format") == nil {
		c.add(t, key, []string{"path"}, `the extension does not tell the format; add format = "jsonl", "json", "csv", "tsv", "text", "parquet" or "xml"`)
	}
	for _, k := range []struct{ name, formats string }{
		{"json_path", "json xml"}, {"header", "csv tsv"}, {"names", "csv tsv"}, {"labels", "jsonl"}, {"label_name", "jsonl"}, {"unit", "text"},
	} {
		if f.Format != "" && t.get(k.name) != nil && !slices.Contains(strings.Fields(k.formats), f.Format) {
			c.add(t, key, []string{k.name}, "has no effect on a %s file, only on %s; take it out", f.Format, strings.ReplaceAll(k.formats, " ", " and "))
		}
	}
	if t.get("label_name") != nil {
		c.required(t, key, []string{"labels"}, "label_name names the column of a labels file")
	}
	for i, name := range f.Names {
		if slices.Contains(f.Names[:i], name) {
			c.add(t, key, []string{"names"}, "%q is there twice; rename one", name)
		}
	}
	if f.Header != nil && !*f.Header && t.get("names") == nil {
		c.add(t, key, []string{"header"}, "a file without a header needs names = [\"COLUMN\", ...]")
	}
}

func (c *checker) column(n *node, key, name string, col *Column) {
	path := []string{"columns", name}
	t := n.get(path...)
	if t == nil || t.kind != table {
		return
	}
	origins := 0
	for _, k := range []string{"from", "template", "list", "file"} {
		if at := t.get(k); at != nil && at.value != "" && (k != "template" || col.From == "") { // where the file lacks from, template stands in
			origins++
		}
	}
	if origins != 1 && len(t.meant) == 0 {
		c.add(n, key, path, `needs one of from = "COLUMN", template = "TEXT with {column}s", list = ["TEXT", ...] and file = "FILE"`)
	}
	if _, err := regexp.Compile(col.Regex); err != nil {
		c.add(n, key, append(path, "regex"), "%q is not a regular expression (RE2): %v", col.Regex,
			strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

func (c *checker) fewShot(n *node, key string, d *Dataset) {
	t := n.get("few_shot")
	if t == nil || t.kind != table {
		return
	}
	key = join(key, "few_shot")
	f := &d.FewShot
	switch f.Kind {
	case "none":
		if (len(f.IDs) > 0 || f.K > 0) && t.str("kind") == "" {
			c.add(t, key, []string{"kind"}, `missing; write "fixed" (with ids) or "random" (with k)`)
		}
		return
	case "fixed":
		c.required(t, key, []string{"ids"}, "write the train rows' numbers, from 0: ids = [0, 1]")
	case "random":
		c.required(t, key, []string{"k"}, "write how many examples: k = 5")
	default:
		return // the decoder has said it
	}
	for name, kind := range map[string]string{"ids": "fixed", "k": "random", "seed": "random"} {
		if t.get(name) != nil && kind != f.Kind {
			c.add(t, key, []string{name}, "has no effect with kind %q; take it out", f.Kind)
		}
	}
	for i, id := range f.IDs {
		if slices.Contains(f.IDs[:i], id) {
			c.add(t, key, []string{"ids"}, "row %d is there twice; leave one", id)
		}
	}
	if d.Mode == Rolling {
		c.add(n, strings.TrimSuffix(key, ".few_shot"), []string{"few_shot"}, `has no effect in mode "rolling"; take it out`)
	} else {
		c.required(n, strings.TrimSuffix(key, ".few_shot"), []string{"train"}, `the examples are rows of it: train = { path = "FILE" }`)
	}
}

// prompt checks that the parts of a prompt are those that the mode takes.
func (c *checker) prompt(n *node, key string, d *Dataset) {
	t := n.get("prompt")
	if t == nil || t.kind != table {
		c.required(n, key, []string{"prompt"}, "say how a row becomes text; docs/spec.md shows each mode's form")
		return
	}
	key = join(key, "prompt")
	rank := []string{"context", "choice", "choices"}
	takes := map[Mode][]string{Gen: {"template"}, PPL: {"template", "choices"}, LL: rank, CLP: rank}[d.Mode]
	needs := takes
	switch {
	case d.Mode == PPL && t.get("labels") != nil:
		takes, needs = []string{"labels"}, nil
		if l := t.get("labels"); l.kind == table && len(l.keys) < 2 {
			c.add(t, key, []string{"labels"}, "leaves nothing to choose; write at least two labels")
		}
	case d.Mode == PPL && t.get("template") == nil && t.get("choices") == nil:
		if len(t.meant) > 0 {
			return
		}
		c.add(t, key, nil, `mode "ppl" needs labels = { LABEL = "whole prompt with that answer", ... }, or template with choices`)
		return
	}
	for _, k := range []string{"template", "labels", "context", "choice", "choices"} {
		if at := t.get(k); at != nil && at.value != "" && !slices.Contains(takes, k) {
			c.add(t, key, []string{k}, "does not go with %s; take it out", orWith(d.Mode, takes))
		}
	}
	advice := map[string]string{
		"template": "write the prompt with {column}s", "context": "write what stands before the continuation, with {column}s",
		"choices": "name the column with the list of options; {choice} is each of them",
	}
	for _, k := range needs {
		if k != "choice" {
			c.required(t, key, []string{k}, advice[k])
		}
	}
	c.templates(t, key, d)
}

func orWith(mode Mode, takes []string) string {
	if mode == PPL && takes[0] == "labels" {
		return `labels (mode "ppl")`
	}
	return `mode "` + string(mode) + `" (` + strings.Join(takes, ", ") + ")"
}

// templates checks the texts: that they are not empty, and hold what the other keys count on.
func (c *checker) templates(t *node, key string, d *Dataset) {
	p := &d.Prompt
	texts := map[string]*Template{"template": p.Template, "context": p.Context, "example": p.Example}
	for label, l := range p.Labels {
		texts["labels\x00"+label] = &l
	}
	for name, tmpl := range texts {
		path := strings.Split(name, "\x00")
		at := t.get(path...)
		if tmpl == nil || at == nil || at.kind == list || at.kind == scalar && at.value != tmpl.Text {
			continue
		}
		c.turns(t, key, path, tmpl)
		text := tmpl.all()
		if name == "template" && d.Mode == PPL && p.Choices != "" && !strings.Contains(text, "{choice}") {
			c.add(t, key, path, "does not hold {choice}: every option would get the same prompt; put {choice} where the option goes")
		}
		if name != "example" && p.IceToken != "" && !strings.Contains(text, p.IceToken) {
			c.add(t, key, path, "does not hold ice_token %q; put it where the examples go, or leave ice_token out", p.IceToken)
		}
	}
	partial := d.Mode == LL && p.Context != nil && strings.Contains(p.Context.all(), "{choice}")
	if (d.Mode == LL || d.Mode == CLP) && !partial && !strings.Contains(p.Choice, "{choice}") {
		c.add(t, key, []string{"choice"}, `does not hold {choice}; write it where the option goes, as in " {choice}"`)
	}
}

func (c *checker) turns(t *node, key string, path []string, tmpl *Template) {
	at := t.get(path...)
	if at.kind == scalar {
		if tmpl.Text == "" {
			c.add(t, key, path, "is empty; write the text")
		}
		return
	}
	if len(tmpl.Begin)+len(tmpl.Round)+len(tmpl.End) == 0 && len(at.meant) == 0 {
		c.add(t, key, path, `has no turns; write round = [{role = "HUMAN", prompt = "..."}]`)
	}
	for part, turns := range map[string][]Turn{"begin": tmpl.Begin, "round": tmpl.Round, "end": tmpl.End} {
		for i, turn := range turns {
			l := at.get(part)
			if l == nil || l.kind != list || i >= len(l.items) {
				continue
			}
			full := key
			for _, name := range append(slices.Clone(path), part) {
				full = join(full, name)
			}
			if turn.Role == "" {
				c.required(l.items[i], full, []string{"role"}, `write "HUMAN", "BOT" or "SYSTEM"`)
			}
		}
	}
}

// all is the text of a template, for looking something up in it.
func (t *Template) all() string {
	var b strings.Builder
	b.WriteString(t.Text)
	for _, turns := range [][]Turn{t.Begin, t.Round, t.End} {
		for _, turn := range turns {
			b.WriteString(turn.Prompt)
			b.WriteByte('\n')
		}
	}
	return b.String()
}
