package spec

import (
	"regexp"
	"slices"
	"strings"
)

// checker finds what the types and tags cannot say. Each method gets the node a value was decoded from, for positions and for what
// was written at all, and the value with its defaults.
type checker struct {
	p     *problems
	known []string        // dataset names that groups may use; nil: not checked
	named map[string]bool // the same
}

// add reports a key of a table, at the key or, if it is not written, at the table.
func (c *checker) add(n *node, key string, path []string, format string, args ...any) {
	for _, name := range path {
		key = join(key, name)
	}
	c.p.add(n.near(path...), key, format, args...)
}

// required reports a key that is not written or empty, unless an unknown key beside it was probably meant to be it, or the decoder
// has refused it.
func (c *checker) required(n *node, key string, path []string, advice string) {
	what, at := "missing", n.get(path...)
	switch last := len(path) - 1; {
	case at == nil:
		if in := n.near(path[:last]...); in.meant[path[last]] || in.kind != table {
			return
		}
	case at.value == "" || at.kind == list && len(at.items) == 0:
		what = "empty"
	default:
		return
	}
	for _, e := range c.p.list {
		if at != nil && e.File == at.src.name && e.Line == at.line && e.Col == at.col {
			return
		}
	}
	c.add(n, key, path, "%s; %s", what, advice)
}

func (c *checker) spec(root *node, s *Spec) {
	c.slurm(root, &s.Slurm)
	c.dlc(root, s)
	c.notify(root, &s.Notify)
	c.track(root, &s.Track)
	c.models(root, s.Models)
	c.datasets(root, s.Datasets)
	c.quants(root, s)
	if l := root.get("groups"); l != nil && l.kind == list {
		for i, g := range s.Groups {
			c.group(l.items[i], &g, entryKey("groups", l.items[i]))
		}
	}
}

func (c *checker) models(root *node, models []Model) {
	l := root.get("models")
	if len(models) == 0 {
		if (l == nil || l.kind == list) && !root.meant["models"] {
			c.add(root, "", []string{"models"}, `none is given; add a [[models]] table with path = "/path/to/checkpoint"`)
		}
		return
	}
	first := map[string]string{} // abbr -> as written
	for i, m := range models {
		n := l.items[i]
		if n.kind != table {
			continue
		}
		key := entryKey("models", n)
		c.required(n, key, []string{"path"}, "write the checkpoint's directory")
		if m.Path != "" || m.Abbr != "" {
			c.abbr(n, key, m.Abbr)
		}
		// Equal names as written are found file by file; here are those that only ${VAR} or a default make equal.
		written := entryID("models", n)
		switch other, seen := first[m.Abbr]; {
		case m.Abbr == "" || !seen || other == written:
		case n.get("abbr") == nil:
			c.add(n, key, []string{"path"}, "%q, its last element, is the abbr of an earlier model; write abbr = \"NAME\" here", m.Abbr)
		default:
			c.add(n, key, []string{"abbr"}, "%q is that of an earlier model; give this one another", m.Abbr)
		}
		first[m.Abbr] = written
		if m.MetaTemplate != nil && n.get("meta_template").kind == table {
			c.metaTemplate(n, key, m.MetaTemplate)
		}
		c.chat(n, key, &m)
	}
}

var nameForm = form{regexp.MustCompile(`^[A-Za-z0-9_+][A-Za-z0-9._+-]*$`), 100, 0, ""}

// isName says that a name can be an abbr or that of a recipe.
func isName(name string) bool { return nameForm.fits(name) }

// abbr holds a name to what file names and Slurm take.
func (c *checker) abbr(n *node, key, abbr string) {
	if at := n.get("abbr"); isName(abbr) || at != nil && at.value != abbr {
		return
	}
	const form = `1 to 100 of the characters A-Z a-z 0-9 . _ + -, not "." or "-" first`
	if n.get("abbr") == nil {
		c.add(n, key, []string{"path"}, "%q, its last element, cannot be the abbr; write abbr = \"NAME\": %s", abbr, form)
	} else {
		c.add(n, key, []string{"abbr"}, "%q cannot be used; write %s", abbr, form)
	}
}

// chat holds the keys of a chat template together. "none" has emptied them all.
func (c *checker) chat(n *node, key string, m *Model) {
	if m.ChatTemplate != "" {
		if m.MetaTemplate != nil {
			c.add(n, key, []string{"chat_template"}, `a model has a chat_template or a meta_template, not both; remove one, or write chat_template = "none"`)
		}
		return
	}
	for _, name := range []string{"system", "chat_args", "chat_date"} {
		if at := n.get(name); at != nil && n.get("chat_template") == nil {
			c.add(n, key, []string{name}, `is for a chat template; write chat_template = "auto", or remove it`)
		}
	}
}

func (c *checker) metaTemplate(n *node, key string, m *MetaTemplate) {
	at := []string{"meta_template", "round"}
	c.required(n, key, at, `write [{role = "HUMAN", begin = "...", end = "..."}, {role = "BOT", generate = true}]`)
	l := n.get(at...)
	if l == nil || l.kind != list || len(m.Round) == 0 {
		return
	}
	key = key + ".meta_template.round"
	seen := map[string]bool{}
	generating := 0
	for i, r := range m.Round {
		if r.Role == "" {
			c.required(l.items[i], key, []string{"role"}, `write "HUMAN", "BOT" or "SYSTEM"`)
		} else if seen[r.Role] {
			c.add(l.items[i], key, []string{"role"}, "%q is there twice; leave one", r.Role)
		}
		seen[r.Role] = true
		if r.Generate {
			generating++
		}
	}
	if generating != 1 {
		c.add(l, key, nil, "%d roles have generate = true; exactly one must have it: the one that the model writes", generating)
	}
}

func (c *checker) datasets(root *node, datasets []Dataset) {
	l := root.get("dataset")
	if len(datasets) == 0 {
		sel := root.get("datasets")
		if l.kind == list && (sel == nil || sel.kind == list && len(sel.items) == 0) && !root.meant["datasets"] && !root.meant["dataset"] {
			c.add(root, "", []string{"datasets"},
				`none is chosen; write datasets = ["NAME"] above the first table ("submit datasets" lists the names), or add a [[dataset]] table`)
		}
		return
	}
	for i := range datasets {
		if n := l.items[i]; n.kind == table {
			key := entryKey("dataset", n)
			c.required(n, key, []string{"abbr"}, "give the dataset a name")
			if datasets[i].Abbr == "quantize" && root.get("quant") != nil {
				c.add(n, key, []string{"abbr"}, `"quantize" is what the step is called that makes a recipe's variants; write another name`)
			}
			c.dataset(n, &datasets[i], key)
		}
	}
}

func (c *checker) group(n *node, g *Group, key string) {
	if n.kind != table {
		return
	}
	c.required(n, key, []string{"name"}, "give the group a name")
	if len(g.Name) > 100 || strings.ContainsFunc(g.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.add(n, key, []string{"name"}, "%q cannot be used; write at most 100 bytes without control characters", g.Name)
	}
	c.required(n, key, []string{"members"}, `write the members' abbrs or globs: ["mmlu_*"]`)
	for i, m := range g.Members {
		if c.named == nil {
			c.named = map[string]bool{}
			for _, name := range c.known {
				c.named[name] = true
			}
		}
		if m == "" || c.named[m] || slices.ContainsFunc(c.known, func(name string) bool { return matches(m, name) }) {
			continue
		}
		at := n.get("members").items[i]
		if near := Nearest(m, c.known); len(near) > 0 {
			c.p.add(at, join(key, "members"), "no dataset is named %q; did you mean %s?", m, orList(near))
		} else {
			c.p.add(at, join(key, "members"), "no dataset is named %q; write the abbr of a dataset, or a glob", m)
		}
	}
}
