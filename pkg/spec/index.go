package spec

import (
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// index reads where every key and array element of a TOML document stands, as a tree of nodes without scalar values. The document is
// one that the TOML library has accepted: index looks for positions, not for errors, and is never wrong by more than a position
// because the values are the library's (see attach). One error it does find, for the library lets some through: twice is where a key is
// given a second time; nil when none is.
func index(src *source) (root, twice *node) {
	x := &indexer{s: src.text, src: src}
	for i := range len(x.s) {
		if x.s[i] == '\n' {
			x.lines = append(x.lines, i+1)
		}
	}
	root = x.node(table, 0)
	current := root
	for x.skip(" \t\r\n"); x.i < len(x.s); x.skip(" \t\r\n") {
		start := x.i
		if x.s[x.i] == '[' {
			current = x.header(root)
		} else {
			x.keyValue(current)
		}
		if x.i == start {
			x.i++
		}
	}
	return root, x.twice
}

type indexer struct {
	s     string
	i     int
	src   *source
	lines []int // offsets of the lines' beginnings but the first
	twice *node

	seen, seenCol int // an offset whose column is known: counting goes on from it
}

func (x *indexer) node(k kind, offset int) *node {
	line := sort.SearchInts(x.lines, offset+1)
	from, col := 0, 1
	if line > 0 {
		from = x.lines[line-1]
	}
	if from < x.seen && x.seen <= offset {
		from, col = x.seen, x.seenCol
	}
	col += utf8.RuneCountInString(x.s[from:offset])
	x.seen, x.seenCol = offset, col
	n := &node{kind: k, src: x.src, line: line + 1, col: col}
	if k == table {
		n.fields = map[string]*node{}
	}
	return n
}

// skip passes the given bytes and comments.
func (x *indexer) skip(space string) {
	for x.i < len(x.s) {
		switch c := x.s[x.i]; {
		case strings.IndexByte(space, c) >= 0:
			x.i++
		case c == '#':
			for x.i < len(x.s) && x.s[x.i] != '\n' {
				x.i++
			}
		default:
			return
		}
	}
}

func (x *indexer) at(c byte) bool { return x.i < len(x.s) && x.s[x.i] == c }

// header reads [a.b] or [[a.b]] and gives the table that the lines after it fill.
func (x *indexer) header(root *node) *node {
	start := x.i
	x.i++
	array := x.at('[')
	if array {
		x.i++
	}
	names, offsets := x.key()
	for range 2 {
		if x.at(']') {
			x.i++
		}
	}
	n := root
	for i, name := range names {
		if array && i == len(names)-1 {
			l := n.fields[name]
			if l == nil || l.kind != list {
				l = x.node(list, start)
				n.set(name, l)
			}
			n = x.node(table, start)
			l.items = append(l.items, n)
			return n
		}
		n = x.descend(n, name, offsets[i])
	}
	return n
}

// descend enters a table by name, making it if it is not there; of a list of tables, the last one.
func (x *indexer) descend(n *node, name string, offset int) *node {
	child := n.fields[name]
	if child != nil && child.kind == list && len(child.items) > 0 {
		child = child.items[len(child.items)-1]
	}
	if child == nil || child.kind != table {
		child = x.node(table, offset)
		n.set(name, child)
	}
	return child
}

func (x *indexer) keyValue(n *node) {
	names, offsets := x.key()
	if len(names) == 0 {
		return
	}
	last := len(names) - 1
	for i, name := range names[:last] {
		n = x.descend(n, name, offsets[i])
	}
	if x.at('=') {
		x.i++
	}
	old := n.fields[names[last]]
	n.set(names[last], x.value(offsets[last]))
	if old != nil && x.twice == nil {
		x.twice = n.fields[names[last]]
	}
}

// key reads a dotted key: its parts and where each begins.
func (x *indexer) key() (names []string, offsets []int) {
	for {
		x.skip(" \t")
		start := x.i
		switch {
		case x.at('"'), x.at('\''):
			x.quoted()
			names = append(names, unquote(x.s[start:x.i]))
		default:
			for x.i < len(x.s) && strings.IndexByte(" \t\r\n.=[]{},#\"'", x.s[x.i]) < 0 {
				x.i++
			}
			if x.i == start {
				return names, offsets
			}
			names = append(names, x.s[start:x.i])
		}
		offsets = append(offsets, start)
		x.skip(" \t")
		if !x.at('.') {
			return names, offsets
		}
		x.i++
	}
}

// value reads a value whose key stands at offset (an array's element: the element itself).
func (x *indexer) value(offset int) *node {
	x.skip(" \t")
	switch {
	case x.at('['):
		return x.array(offset)
	case x.at('{'):
		return x.inlineTable(offset)
	case x.at('"'), x.at('\''):
		x.quoted()
	default:
		for x.i < len(x.s) && strings.IndexByte("\r\n,]}#", x.s[x.i]) < 0 {
			x.i++
		}
	}
	return x.node(scalar, offset)
}

func (x *indexer) array(offset int) *node {
	const space = " \t\r\n,"
	n := x.node(list, offset)
	x.i++
	for x.skip(space); x.i < len(x.s) && x.s[x.i] != ']'; x.skip(space) {
		start := x.i
		n.items = append(n.items, x.value(start))
		if x.i == start {
			return n
		}
	}
	x.i++
	return n
}

func (x *indexer) inlineTable(offset int) *node {
	const space = " \t\r\n,"
	n := x.node(table, offset)
	x.i++
	for x.skip(space); x.i < len(x.s) && x.s[x.i] != '}'; x.skip(space) {
		start := x.i
		x.keyValue(n)
		if x.i == start {
			return n
		}
	}
	x.i++
	return n
}

// quoted passes a string of any of the four kinds.
func (x *indexer) quoted() {
	quote := x.s[x.i]
	long := strings.Repeat(string(quote), 3)
	multi := strings.HasPrefix(x.s[x.i:], long)
	if x.i++; multi {
		x.i += 2
	}
	for ; x.i < len(x.s); x.i++ {
		switch c := x.s[x.i]; {
		case c == '\\' && quote == '"':
			x.i++
		case c == quote && !multi:
			x.i++
			return
		case multi && strings.HasPrefix(x.s[x.i:], long):
			x.i += 3
			for range 2 { // up to two quotes may stand before the closing three
				if x.at(quote) {
					x.i++
				}
			}
			return
		}
	}
	x.i = min(x.i, len(x.s))
}

// unquote gives the text of a quoted key.
func unquote(raw string) string {
	var doc struct{ K string }
	if _, err := toml.Decode("K = "+raw, &doc); err != nil {
		return raw
	}
	return doc.K
}

// attach puts the library's values into the tree of positions. Where the two disagree the value is right, and stands where its table
// stands.
func attach(n *node, v any) {
	switch v := v.(type) {
	case map[string]any:
		attachTable(n, v)
	case []any:
		attachList(n, v)
	case []map[string]any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = v[i]
		}
		attachList(n, all)
	default:
		n.kind, n.value, n.keys, n.fields, n.items = scalar, v, nil, nil, nil
	}
}

func attachTable(n *node, v map[string]any) {
	var keys []string
	for _, k := range n.keys {
		if _, ok := v[k]; ok {
			keys = append(keys, k)
		}
	}
	if n.kind != table {
		n.kind, n.items, n.fields = table, nil, map[string]*node{}
	}
	var unseen []string
	for k := range v {
		if n.fields[k] == nil {
			n.fields[k] = &node{src: n.src, line: n.line, col: n.col}
			unseen = append(unseen, k)
		}
	}
	sort.Strings(unseen)
	n.keys = append(keys, unseen...)
	for k, child := range n.fields {
		if val, ok := v[k]; ok {
			attach(child, val)
		} else {
			delete(n.fields, k)
		}
	}
}

func attachList(n *node, v []any) {
	n.kind, n.keys, n.fields = list, nil, nil
	for len(n.items) < len(v) {
		n.items = append(n.items, &node{src: n.src, line: n.line, col: n.col})
	}
	n.items = n.items[:len(v)]
	for i := range v {
		attach(n.items[i], v[i])
	}
}
