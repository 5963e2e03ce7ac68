package spec

import (
	"reflect"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// sweepSet is a grid, or one entry of a list: a grid of one combination.
type sweepSet struct {
	at     *node // its table
	axes   []axis
	only   []only // what it is of; none: everything
	suffix string // of a list's entry: what it says the combination is called
}

// axis is a key and the values it is to have.
type axis struct {
	path   []string
	values []*node
}

// only is one element of a sweep's "for".
type only struct {
	at       *node
	written  string
	patterns []string
}

func (o only) is(name string) bool {
	return slices.ContainsFunc(o.patterns, func(p string) bool { return matches(p, name) })
}

// matches says whether a name or glob is of a name.
func matches(pattern, name string) bool {
	return pattern == name || isGlob(pattern) && len(matching(pattern, []string{name})) > 0
}

func (s *sweepSet) isOf(name string) bool {
	return len(s.only) == 0 || name != "" && slices.ContainsFunc(s.only, func(o only) bool { return o.is(name) })
}

// count is how many combinations there are, or one more than are allowed.
func (s *sweepSet) count() int {
	n := 1
	for _, a := range s.axes {
		n = min(n*min(len(a.values), maxSwept+1), maxSwept+1)
	}
	return n
}

// combination is a value for each axis.
type combination struct {
	set    *sweepSet
	values []*node // one an axis
}

// combination gives the i-th: the last axis changes fastest.
func (s *sweepSet) combination(i int) combination {
	c := combination{s, make([]*node, len(s.axes))}
	for k := len(s.axes) - 1; k >= 0; k-- {
		n := len(s.axes[k].values)
		c.values[k] = s.axes[k].values[i%n]
		i /= n
	}
	return c
}

// has says that a key of the entry itself is swept.
func (c combination) has(key string) bool {
	return slices.ContainsFunc(c.set.axes, func(a axis) bool { return len(a.path) == 1 && a.path[0] == key })
}

// over is the table that is laid over the entry.
func (c combination) over() *node {
	out := newTable(c.set.at)
	for i, a := range c.set.axes {
		out.put(a.path, c.values[i])
	}
	return out
}

// put sets the value at a path of keys in tables that are the caller's own.
func (n *node) put(path []string, v *node) {
	for _, k := range path[:len(path)-1] {
		next := n.fields[k]
		if next == nil {
			next = newTable(n)
			n.set(k, next)
		}
		n = next
	}
	n.set(path[len(path)-1], v)
}

// read reads what [sweep] says of a list. What is wrong goes to p.
func (s *sweeper) read(t *node, key string, k sweepable) []*sweepSet {
	switch {
	case t.kind == table:
		return []*sweepSet{s.readSet(t, key, k, true)}
	case t.kind == scalar:
		s.p.add(t, key, "is %s; write a grid, [%s] with a list of values for each key, or a list, [[%s]] once for each combination", t.describe(), key, key)
	case len(t.items) == 0:
		s.p.add(t, key, "is empty; write [[%s]] once for each combination, or take it out", key)
	}
	var out []*sweepSet
	for _, item := range t.items {
		if item.kind != table {
			s.p.add(item, key, "holds %s; write [[%s]] once for each combination", item.describe(), key)
			continue
		}
		out = append(out, s.readSet(item, key, k, false))
	}
	return out
}

// readSet reads a grid or an entry of a list.
func (s *sweeper) readSet(t *node, key string, k sweepable, grid bool) *sweepSet {
	set := &sweepSet{at: t}
	if f := t.get("for"); f != nil {
		set.only = s.readFor(f, key, k)
	}
	name := k.nameKey()
	if n := t.get(name); n != nil && grid {
		s.p.add(n, join(key, name), "follows from the values in a grid; to give names write the combinations as a list, [[%s]]", key)
	} else if n != nil {
		text, ok := n.value.(string)
		if !ok || !isName(text) {
			s.p.add(n, join(key, name), "is what the combination is called, behind the name of what is swept; "+
				"write 1 to 100 of the characters A-Z a-z 0-9 . _ + -")
		}
		set.suffix = text
	}
	before := len(s.p.list)
	s.readAxes(set, t.without("for", name), nil, axisReader{key: key, kind: k, grid: grid})
	if grid && len(set.axes) == 0 && len(s.p.list) == before {
		s.p.add(t, key, "has no key to sweep; write a list of values for one: bits = [3, 4]")
	}
	return set
}

type axisReader struct {
	key  string
	kind sweepable
	grid bool
}

func (r axisReader) at(path []string) string {
	key := r.key
	for _, name := range path {
		key = join(key, name)
	}
	return key
}

// readAxes finds the axes below a table: in a grid each list is one, in an entry of a list each value.
func (s *sweeper) readAxes(set *sweepSet, t *node, path []string, r axisReader) {
	for _, name := range t.keys {
		n, path := t.fields[name], append(slices.Clone(path), name)
		if !resolves(r.kind.typ, path) {
			s.probe(n, path, r) // which says so, and what is meant
			continue
		}
		a := axis{path: path, values: []*node{n}}
		switch {
		case n.kind == table:
			s.readAxes(set, n, path, r)
			continue
		case r.grid && n.kind == scalar:
			s.p.add(n, r.at(path), "is %s; write a list of the values to try, or [[%s]] tables with one value each", n.describe(), r.key)
			continue
		case r.grid && len(n.items) == 0:
			s.p.add(n, r.at(path), "has no value to try; write some, or take it out")
			continue
		case r.grid:
			a.values = n.items
		}
		before := len(s.p.list)
		for _, v := range a.values {
			s.probe(v, path, r)
		}
		if r.kind.list == "models" && len(path) == 1 && name == "path" && len(s.p.list) == before {
			a.values = s.globPaths(a.values, r.at(path))
		}
		set.axes = append(set.axes, a)
	}
}

// probe decodes one value alone, for what is wrong with it.
func (s *sweeper) probe(v *node, path []string, r axisReader) {
	over := newTable(v)
	over.put(path, v)
	(&decoder{p: s.p}).decode(over, reflect.New(r.kind.typ).Elem(), r.key, rule{})
}

// resolves says that there is a key of that path.
func resolves(t reflect.Type, path []string) bool {
	for _, name := range path {
		switch t = deref(t); t.Kind() {
		case reflect.Struct:
			i := slices.IndexFunc(fieldsOf(t), func(f field) bool { return f.name == name })
			if i < 0 {
				return false
			}
			t = fieldsOf(t)[i].typ
		case reflect.Map:
			t = t.Elem()
		default:
			return true // what is no table, the decoder tells
		}
	}
	return true
}

// readFor reads what a sweep is of.
func (s *sweeper) readFor(n *node, key string, k sweepable) []only {
	items := []*node{n}
	if n.kind == list {
		items = n.items
	}
	var out []only
	for _, item := range items {
		text, ok := item.value.(string)
		if !ok || text == "" {
			s.p.add(item, join(key, "for"), "is %s; write the name or a glob of what is swept, or a list of them", emptyOr(item))
			continue
		}
		o := only{at: item, written: text, patterns: []string{text}}
		if k.list == "dataset" {
			o.patterns = s.patterns(text)
		}
		if !doublestar.ValidatePattern(o.patterns[0]) {
			s.p.add(item, join(key, "for"), "%q is not a valid glob; use *, ?, [abc] and {a,b}", text)
			continue
		}
		out = append(out, o)
	}
	if len(items) == 0 {
		s.p.add(n, join(key, "for"), "is empty; write what the sweep is of, or take it out for all")
	}
	return out
}

// patterns are what a dataset's name or glob stands for: a family's name for its members.
func (s *sweeper) patterns(text string) []string {
	return s.ch.spread(strings.ReplaceAll(text, "/", "-"))
}
