package spec

import (
	"maps"
	"reflect"
	"slices"
	"time"
)

// source is what a value was written in.
type source struct {
	name string // shown in errors
	dir  string // absolute; relative paths in it start here
	text string
}

type kind int

const (
	scalar kind = iota
	table
	list
)

// node is a TOML value that knows where it was written. Nodes are shared between trees and never changed once a file is read, but
// for meant.
type node struct {
	kind      kind
	src       *source
	line, col int
	value     any              // scalar: string, int64, float64, bool or time.Time
	keys      []string         // table: in order of first appearance
	fields    map[string]*node // table
	items     []*node          // list

	meant map[string]bool // keys that an unknown key of this table was probably meant to be: not reported missing too
}

func newTable(at *node) *node {
	return &node{kind: table, src: at.src, line: at.line, col: at.col, fields: map[string]*node{}}
}

func (n *node) set(key string, v *node) {
	if _, ok := n.fields[key]; !ok {
		n.keys = append(n.keys, key)
	}
	n.fields[key] = v
}

// without is a copy of a table that lacks the keys.
func (n *node) without(keys ...string) *node {
	out := newTable(n)
	for _, k := range n.keys {
		if !slices.Contains(keys, k) {
			out.set(k, n.fields[k])
		}
	}
	return out
}

// copied is without with what is meant, for a tree that takes the place of the other.
func (n *node) copied(keys ...string) *node {
	out := n.without(keys...)
	out.meant = maps.Clone(n.meant)
	return out
}

// get is the node at a path of keys, or nil.
func (n *node) get(path ...string) *node {
	for _, k := range path {
		if n == nil || n.kind != table {
			return nil
		}
		n = n.fields[k]
	}
	return n
}

// near is the node at a path of keys, or the nearest that encloses it.
func (n *node) near(path ...string) *node {
	for i := len(path); ; i-- {
		if at := n.get(path[:i]...); at != nil {
			return at
		}
	}
}

// str is the string at a path of keys, or "".
func (n *node) str(path ...string) string {
	if at := n.get(path...); at != nil && at.kind == scalar {
		s, _ := at.value.(string)
		return s
	}
	return ""
}

// describe is the node's type in a user's words.
func (n *node) describe() string {
	switch n.kind {
	case table:
		return "a table"
	case list:
		return "an array"
	}
	switch n.value.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date"
	}
	return "a value"
}

// merge lays over on base: tables key by key and deeply, anything else replaced. Neither is changed.
func merge(base, over *node) *node {
	if base == nil || base.kind != table || over.kind != table {
		return over
	}
	out := base.without()
	out.src, out.line, out.col = over.src, over.line, over.col
	for _, k := range over.keys {
		out.set(k, merge(out.fields[k], over.fields[k]))
	}
	return out
}

// entryLists are the lists of a spec whose entries are merged one by one.
var entryLists = []string{"models", "dataset", "groups", "quant"}

// entryID is what identifies an entry of such a list; "": nothing does.
func entryID(key string, n *node) string {
	switch key {
	case "models":
		if id := n.str("abbr"); id != "" {
			return id
		}
		return lastElement(n.str("path"))
	case "dataset":
		return n.str("abbr")
	case "groups":
		return n.str("name")
	case "quant":
		return recipeID(n)
	}
	return ""
}

// recipeID is a recipe's name, or the one that its defaults give it.
func recipeID(n *node) string {
	if id := n.str("name"); id != "" || n.kind != table {
		return id
	}
	var q Quant
	(&decoder{p: &problems{}, raw: true}).decode(n, reflect.ValueOf(&q).Elem(), "", rule{})
	return q.WithDefaults().Name
}

// mergeFile lays one file's tree over another's: as merge, with models, datasets, groups and recipes merged entry by entry.
func mergeFile(base, over *node) *node {
	out := merge(base, over)
	for _, k := range entryLists {
		b, o := base.get(k), over.get(k)
		if b == nil || o == nil || b.kind != list || o.kind != list {
			continue
		}
		lay := merge
		switch k {
		case "dataset":
			lay = mergeDataset
		case "quant":
			lay = mergeQuant
		}
		out.set(k, mergeEntries(b, o, func(n *node) string { return entryID(k, n) }, lay))
	}
	if b, o := base.get("calib"), over.get("calib"); b != nil && o != nil {
		out.set("calib", mergeCalib(b, o))
	}
	if b, o := base.get("notify"), over.get("notify"); b != nil && o != nil {
		out.set("notify", mergeNotify(b, o))
	}
	return out
}

func mergeEntries(base, over *node, id func(*node) string, lay func(b, o *node) *node) *node {
	out := &node{kind: list, src: over.src, line: over.line, col: over.col, items: slices.Clone(base.items)}
	at := map[string]int{}
	for i, n := range out.items {
		if name := id(n); name != "" {
			at[name] = i
		}
	}
	for _, n := range over.items {
		if i, ok := at[id(n)]; ok {
			out.items[i] = lay(out.items[i], n)
		} else {
			out.items = append(out.items, n)
		}
	}
	return out
}

// mergeDataset is merge for dataset tables. Keys that exclude each other displace each other: who writes labels over a base with a
// template wants the labels, and has no other way to take the template out.
func mergeDataset(base, over *node) *node {
	if base == nil || base.kind != table || over.kind != table {
		return over
	}
	if m := over.str("mode"); m != "" && base.str("mode") != "" && m != base.str("mode") {
		base = base.without("ppl", "gen", "rolling", "post", "post_gold", "metric", "metrics")
	}
	if k := over.str("few_shot", "kind"); k != "" && base.str("few_shot", "kind") != "" && k != base.str("few_shot", "kind") {
		base = base.without("few_shot")
	}
	base = displace(base, over, "prompt", [][]string{{"template", "choices"}, {"labels"}, {"context", "choice", "choices"}})
	if cols, o := base.get("columns"), over.get("columns"); cols != nil && cols.kind == table && o != nil {
		base = base.without()
		base.fields["columns"] = cols.without(anew(o)...)
	}
	return merge(base, over)
}

// anew names the columns that a table makes from the beginning: it says what they are made of, so that nothing of a base's is meant.
func anew(columns *node) []string {
	var out []string
	for _, name := range columns.keys {
		for _, origin := range []string{"from", "template", "list", "file"} {
			if columns.get(name, origin) != nil {
				out = append(out, name)
			}
		}
	}
	return out
}

// mergeQuant is merge for recipes: another method takes the settings of the base's out.
func mergeQuant(base, over *node) *node {
	if base.kind != table || over.kind != table {
		return over
	}
	if m := over.str("method"); m != "" && base.str("method") != "" && m != base.str("method") {
		base = base.without("awq", "gptq", "alpha")
	}
	out := merge(base, over)
	if b, o := base.get("calib"), over.get("calib"); b != nil && o != nil {
		out.set("calib", mergeCalib(b, o))
	}
	return out
}

// mergeCalib is merge for [calib] tables: another set, named or a file, takes the base's out.
func mergeCalib(base, over *node) *node {
	if base.kind == table && (over.get("name") != nil || over.get("file") != nil) {
		base = base.without("name", "file", "column", "cut")
	}
	return merge(base, over)
}

// mergeNotify is merge for [notify] tables: another kind has another address.
func mergeNotify(base, over *node) *node {
	if k := over.str("kind"); base.kind == table && k != "" && k != base.str("kind") {
		base = base.without("url", "secret")
	}
	return merge(base, over)
}

// oneQuant makes of a single [quant] table a list of one.
func oneQuant(root *node) {
	if n := root.get("quant"); n != nil && n.kind == table {
		root.fields["quant"] = &node{kind: list, src: n.src, line: n.line, col: n.col, items: []*node{n}}
	}
}

// shareCalib lays the recipes that need text over [calib].
func shareCalib(root *node) *node {
	shared, l := root.get("calib"), root.get("quant")
	if shared == nil || l == nil || l.kind != list {
		return root
	}
	all := *l
	all.items = nil
	for _, n := range l.items {
		q := Quant{Method: n.str("method"), Act: n.str("act"), ActScale: n.str("act_scale")}
		if n.kind == table && q.NeedsText() {
			own := n.get("calib")
			n = n.without()
			n.set("calib", shared)
			if own != nil {
				n.set("calib", mergeCalib(shared, own))
			}
		}
		all.items = append(all.items, n)
	}
	root = root.without()
	root.set("quant", &all)
	return root
}

// displace takes from base's table at key every form's keys that over does not share, when over's table there begins another form. A
// form is named by its first key.
func displace(base, over *node, key string, forms [][]string) *node {
	b, o := base.get(key), over.get(key)
	if b == nil || o == nil || b.kind != table || o.kind != table {
		return base
	}
	for _, form := range forms {
		if o.get(form[0]) == nil || b.get(form[0]) != nil {
			continue
		}
		var drop []string
		for _, other := range forms {
			for _, k := range other {
				if !slices.Contains(form, k) {
					drop = append(drop, k)
				}
			}
		}
		out := base.without()
		out.fields[key] = b.without(drop...)
		return out
	}
	return base
}
