package spec

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Catalog is the datasets known by name. Lookup gives an entry as DecodeDataset made it.
type Catalog interface {
	Names() []string
	Lookup(name string) (Dataset, bool)
}

// DecodeDataset reads one catalog file: the keys that a user writes under [[dataset]], with the same rules and errors. The abbr is
// name. Defaults are left out (see WithDefaults), relative paths stay relative: Load resolves them under its data_dir.
func DecodeDataset(name string, data []byte) (Dataset, error) {
	p := &problems{}
	d := Dataset{Abbr: name}
	n := parse(&source{name: name + ".toml", text: string(data)}, p)
	if n == nil {
		return Dataset{}, p.err()
	}
	(&decoder{p: p, raw: true}).decode(n, reflect.ValueOf(&d).Elem(), "", rule{})
	if d.Abbr != name {
		p.add(n.near("abbr"), "abbr", "is %q; a catalog entry's abbr is its file's name", d.Abbr)
	}
	if d.Base != "" {
		p.add(n.near("base"), "base", "is for [[dataset]] tables; a catalog entry is whole")
	}
	full := d.WithDefaults()
	(&checker{p: p}).dataset(n, &full, "")
	checkSubsetGroups(p, n, "", d.Groups)
	if err := p.err(); err != nil {
		return Dataset{}, err
	}
	return d, nil
}

// chooser finds the datasets of a spec: what `datasets` names, in its order, then the [[dataset]] tables that it does not name.
type chooser struct {
	p       *problems
	catalog Catalog
	dataDir string
	names   []string         // of the catalog, sorted
	entries map[string]*node // the catalog's, as far as looked up
	tables  map[string]*node // [[dataset]] tables, each laid over its base
	order   []string         // their abbrs
}

func newChooser(c Catalog, dataDir string, p *problems) *chooser {
	ch := &chooser{p: p, catalog: c, dataDir: dataDir, entries: map[string]*node{}, tables: map[string]*node{}}
	if c != nil {
		ch.names = slices.Sorted(slices.Values(c.Names()))
	}
	return ch
}

// choose gives the list of dataset tables, bases laid under.
func (c *chooser) choose(root *node) *node {
	out := &node{kind: list, src: root.src, line: root.line, col: root.col}
	if l := root.get("dataset"); l != nil && l.kind == list {
		out.src, out.line, out.col = l.src, l.line, l.col
		out.items = c.readTables(l)
	}
	var picked []*node
	seen := map[string]bool{}
	if sel := root.get("datasets"); sel != nil && sel.kind == list {
		for _, n := range sel.items {
			for _, name := range c.match(n) {
				if !seen[name] {
					seen[name] = true
					picked = append(picked, c.find(name))
				}
			}
		}
	}
	for _, n := range out.items {
		names := c.spread(n.str("abbr"))
		switch {
		case n.kind != table || !isFamily(n):
			if !seen[n.str("abbr")] {
				picked = append(picked, n)
			}
		case !slices.ContainsFunc(names, func(m string) bool { return seen[m] }):
			for _, m := range names {
				seen[m] = true
				picked = append(picked, c.find(m))
			}
		}
	}
	out.items = picked
	return out
}

func (c *chooser) readTables(l *node) []*node {
	var out []*node
	for i, n := range l.items {
		if n.kind != table {
			out = append(out, n)
			continue
		}
		abbr := n.str("abbr")
		n = c.overBase(n, abbr, l.items[i+1:])
		if n.get("subsets") != nil || n.get("groups") != nil {
			c.checkFamily(n)
		}
		if abbr != "" {
			c.tables[abbr] = n
			c.order = append(c.order, abbr)
		}
		out = append(out, n)
	}
	return out
}

// overBase lays a table over its base: the one it names, or the catalog's entry of its abbr.
func (c *chooser) overBase(n *node, abbr string, later []*node) *node {
	name := n.str("base")
	var base *node
	switch {
	case name == "" || name == abbr:
		base = c.entry(abbr)
		if base == nil {
			base = c.memberOf(abbr)
		}
	default:
		base = c.find(name)
	}
	if base != nil {
		base = base.without("abbr", "base")
		n = mergeDataset(base, n)
		if name == "" {
			n.set("base", &node{src: n.src, line: n.line, col: n.col, value: abbr})
		}
		return n
	}
	if name == "" {
		return n
	}
	at, key := n.get("base"), entryKey("dataset", n)+".base"
	if slices.ContainsFunc(later, func(o *node) bool { return o.str("abbr") == name }) {
		c.p.add(at, key, "%q is defined below; move it above this table", name)
	} else {
		c.p.add(at, key, "%s", c.noSuch(name))
	}
	n = n.without()
	n.meant = map[string]bool{} // the base would have had the rest
	for _, f := range fieldsOf(reflect.TypeFor[Dataset]()) {
		n.meant[f.name] = true
	}
	return n
}

// find is the table of a name: the file's own, the catalog's, or a family's member; nil when there is none.
func (c *chooser) find(name string) *node {
	if n := c.tables[name]; n != nil {
		return n
	}
	if n := c.entry(name); n != nil {
		return n
	}
	return c.memberOf(name)
}

// entry is a catalog entry as a table whose relative paths start at the data directory; nil when there is none.
func (c *chooser) entry(name string) *node {
	if n, ok := c.entries[name]; ok || c.catalog == nil || name == "" {
		return n
	}
	d, ok := c.catalog.Lookup(name)
	if !ok {
		return nil
	}
	d.Abbr, d.Base = name, ""
	n := encode(reflect.ValueOf(d), &source{name: "catalog entry " + name, dir: c.dataDir})
	c.entries[name] = n
	return n
}

// match gives the abbrs that one element of `datasets` names.
func (c *chooser) match(n *node) []string {
	written, ok := n.value.(string)
	if !ok {
		return nil // the decoder says so
	}
	pattern := strings.ReplaceAll(written, "/", "-")
	if !isGlob(pattern) {
		if c.find(pattern) == nil {
			c.p.add(n, "datasets", "%s", c.noSuch(written))
			return nil
		}
		return c.spread(pattern)
	}
	if !doublestar.ValidatePattern(pattern) {
		c.p.add(n, "datasets", "%q is not a valid glob; use *, ?, [abc] and {a,b}", pattern)
		return nil
	}
	var out []string
	for _, name := range matching(pattern, c.all()) {
		out = append(out, c.spread(name)...)
	}
	if len(out) == 0 {
		c.p.add(n, "datasets", "%s", c.noSuch(written))
	}
	return out
}

func isGlob(s string) bool { return strings.ContainsAny(s, `*?[{\`) }

func matching(pattern string, names []string) []string {
	var out []string
	for _, name := range names {
		if ok, _ := doublestar.Match(pattern, name); ok {
			out = append(out, name)
		}
	}
	return out
}

// all is every known name: the catalog's, then the file's own, then those of the families' members.
func (c *chooser) all() []string {
	out := slices.Clone(c.names)
	for _, abbr := range c.order {
		if !slices.Contains(out, abbr) {
			out = append(out, abbr)
		}
	}
	for _, n := range c.families() {
		for _, name := range c.spread(n.str("abbr")) {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

func (c *chooser) noSuch(name string) string {
	verb := "is neither in the catalog nor a [[dataset]] table of this spec"
	if isGlob(name) {
		verb = "matches nothing in the catalog and no [[dataset]] table of this spec"
	}
	if near := Nearest(name, c.all()); len(near) > 0 {
		return fmt.Sprintf("%q %s; did you mean %s?", name, verb, orList(near))
	}
	return fmt.Sprintf(`%q %s; "submit datasets" lists the catalog`, name, verb)
}

// encode is decode's inverse, but for zero values, which are left out: only a catalog entry passes here, where a zero is a default.
func encode(v reflect.Value, src *source) *node {
	switch v.Kind() {
	case reflect.Pointer:
		return encode(v.Elem(), src)
	case reflect.Struct:
		if t, ok := v.Interface().(Template); ok && len(t.Begin)+len(t.Round)+len(t.End) == 0 {
			return &node{src: src, value: t.Text}
		}
		n := newTable(&node{src: src})
		for _, f := range fieldsOf(v.Type()) {
			if fv := v.FieldByIndex(f.index); !fv.IsZero() {
				n.set(f.name, encode(fv, src))
			}
		}
		return n
	case reflect.Map:
		n := newTable(&node{src: src})
		for _, k := range v.MapKeys() {
			n.set(k.String(), encode(v.MapIndex(k), src))
		}
		slices.Sort(n.keys)
		return n
	case reflect.Slice:
		n := &node{kind: list, src: src}
		for i := range v.Len() {
			n.items = append(n.items, encode(v.Index(i), src))
		}
		return n
	case reflect.String:
		return &node{src: src, value: v.String()}
	case reflect.Bool:
		return &node{src: src, value: v.Bool()}
	case reflect.Float64:
		return &node{src: src, value: v.Float()}
	case reflect.Uint64:
		return &node{src: src, value: int64(v.Uint())}
	}
	return &node{src: src, value: v.Int()}
}

// dataDirOf reads data_dir before the rest, because the catalog's paths start there.
func dataDirOf(root *node, fallback string) string {
	out := struct {
		DataDir string `toml:"data_dir" spec:"path"`
	}{filepath.Join(fallback, "data")}
	if n := root.get("data_dir"); n != nil {
		quiet := &decoder{p: &problems{}}
		quiet.scalar(n, reflect.ValueOf(&out).Elem().Field(0), "data_dir", fieldsOf(reflect.TypeOf(out))[0].rule)
	}
	return out.DataDir
}
