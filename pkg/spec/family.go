package spec

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// A family is a dataset table with subsets: it stands for one dataset a subset, whose abbr is ABBR-SUBSET. Here it is taken apart as a
// tree, so that what a user lays over the family reaches every member, with its place in the file.

// isFamily says that a dataset table has subsets.
func isFamily(n *node) bool {
	s := n.get("subsets")
	return s != nil && s.kind == table && len(s.keys) > 0
}

// subsetNames lists a family's subsets, sorted.
func subsetNames(n *node) []string { return slices.Sorted(slices.Values(n.get("subsets").keys)) }

// memberAbbr is the name of a family's member.
func memberAbbr(family, subset string) string { return family + "-" + subset }

// member is the table of one subset: the family's, with {subset} and {subset.title} filled in and the subset's own keys laid over.
func member(n *node, subset string) *node {
	own := n.get("subsets", subset)
	if own.kind != table {
		own = newTable(own)
	}
	title := own.str("title")
	if title == "" {
		title = strings.ReplaceAll(subset, "_", " ")
	}
	out := n.without("subsets", "groups")
	out = fillIn(out, strings.NewReplacer("{subset}", subset, "{subset.title}", title))
	out = merge(out, own.without("title"))
	out.line, out.col, out.src = n.line, n.col, n.src
	out.set("abbr", &node{src: n.src, line: n.line, col: n.col, value: memberAbbr(n.str("abbr"), subset)})
	return out
}

// fillIn replaces in every text of a tree. What holds nothing to replace is shared with n.
func fillIn(n *node, r *strings.Replacer) *node {
	switch n.kind {
	case table:
		out := n.copied()
		for _, k := range out.keys {
			out.fields[k] = fillIn(out.fields[k], r)
		}
		return out
	case list:
		out := *n
		out.items = make([]*node, len(n.items))
		for i, item := range n.items {
			out.items[i] = fillIn(item, r)
		}
		return &out
	}
	s, ok := n.value.(string)
	if filled := r.Replace(s); ok && filled != s {
		out := *n
		out.value = filled
		return &out
	}
	return n
}

// Members gives the datasets that a family stands for, sorted by subset: each has the abbr ABBR-SUBSET. A dataset without subsets gives
// itself.
func (d Dataset) Members() []Dataset {
	if len(d.Subsets) == 0 {
		return []Dataset{d}
	}
	var out []Dataset
	for _, subset := range slices.Sorted(maps.Keys(d.Subsets)) {
		m, _ := d.Member(subset)
		out = append(out, m)
	}
	return out
}

// Member gives a family's dataset of one subset; false: it has no such subset.
func (d Dataset) Member(subset string) (Dataset, bool) {
	one, ok := d.Subsets[subset]
	if !ok {
		return Dataset{}, false
	}
	d.Subsets, d.Groups = map[string]Subset{subset: one}, nil
	var m Dataset
	tree := member(encode(reflect.ValueOf(d), &source{name: d.Abbr}), subset)
	(&decoder{p: &problems{}, raw: true}).decode(tree, reflect.ValueOf(&m).Elem(), "", rule{})
	return m, true
}

// checkFamily reports what is wrong in the keys that taking a family apart leaves behind.
func (c *chooser) checkFamily(n *node) {
	key := entryKey("dataset", n)
	var d struct {
		Subsets map[string]Subset   `toml:"subsets"`
		Groups  map[string][]string `toml:"groups"`
	}
	dec := &decoder{p: c.p}
	for _, f := range fieldsOf(reflect.TypeOf(d)) {
		if at := n.get(f.name); at != nil {
			dec.decode(at, reflect.ValueOf(&d).Elem().FieldByIndex(f.index), join(key, f.name), f.rule)
		}
	}
	checkSubsetGroups(c.p, n, key, d.Groups)
}

// checkSubsetGroups holds a family's groups against its subsets.
func checkSubsetGroups(p *problems, n *node, key string, groups map[string][]string) {
	if len(groups) > 0 && !isFamily(n) {
		p.add(n.near("groups"), join(key, "groups"), "has no effect without subsets; take it out, or write [[groups]]")
		return
	}
	for name, subsets := range groups {
		at := n.near("groups", name)
		where := join(join(key, "groups"), name)
		if n.get("subsets", name) != nil || name == "weighted" {
			p.add(at, where, "%q is what a subset or the weighted mean is called; give the group another name", name)
		}
		for _, s := range subsets {
			if n.get("subsets", s) == nil {
				p.add(at, where, "no subset is named %q; %s", s, choose(s, subsetNames(n)))
			}
		}
	}
}

// families lists the families that the spec may name: those of its own tables, then the catalog's that no table replaces.
func (c *chooser) families() []*node {
	var out []*node
	seen := map[string]bool{}
	for _, name := range append(slices.Clone(c.order), c.names...) {
		n := c.find(name)
		if n != nil && !seen[name] && isFamily(n) {
			out = append(out, n)
		}
		seen[name] = true
	}
	return out
}

// memberOf finds a family's member by its abbr; nil when no family has it.
func (c *chooser) memberOf(abbr string) *node {
	for i := range len(abbr) {
		if abbr[i] != '-' {
			continue
		}
		if n := c.find(abbr[:i]); n != nil && isFamily(n) && n.get("subsets", abbr[i+1:]) != nil {
			return member(n, abbr[i+1:])
		}
	}
	return nil
}

// spread gives the abbrs that a name stands for: a family's members, else the name alone.
func (c *chooser) spread(name string) []string {
	n := c.find(name)
	if n == nil || !isFamily(n) {
		return []string{name}
	}
	var out []string
	for _, s := range subsetNames(n) {
		out = append(out, memberAbbr(name, s))
	}
	return out
}

// addGroups gives a spec the groups that come with its families: of each family the mean of all members (named as the family), the mean
// weighted by rows, and the means of its groups. A group some of whose members are not chosen is left out: its mean would be another
// number of the same name. Groups that the user has written stay as they are. Of members that were swept there is a group for each
// combination.
func (c *chooser) addGroups(s *Spec, of *origins) {
	chosen := map[string]bool{}
	for _, d := range s.Datasets {
		chosen[d.Abbr] = true
	}
	addOne := func(name, mean string, members []string) {
		named := slices.ContainsFunc(s.Groups, func(g Group) bool { return g.Name == name })
		if !named && !slices.ContainsFunc(members, func(m string) bool { return !chosen[m] }) {
			s.Groups = append(s.Groups, Group{Name: name, Members: members, Mean: mean})
		}
	}
	add := func(name, mean string, members []string) {
		suffixes, all := of.combinations(members)
		for i, suffix := range suffixes {
			addOne(name+suffix, mean, all[i])
		}
	}
	for _, n := range c.families() {
		abbr := n.str("abbr")
		all := c.spread(abbr)
		add(abbr, "mean", all)
		add(memberAbbr(abbr, "weighted"), "weighted", all)
		groups := n.get("groups")
		if groups == nil || groups.kind != table {
			continue
		}
		for _, name := range groups.keys {
			var members []string
			for _, item := range groups.fields[name].items {
				members = append(members, memberAbbr(abbr, fmt.Sprint(item.value)))
			}
			add(memberAbbr(abbr, name), "mean", members)
		}
	}
}

// ofFamilies writes the members of the user's groups as the plan's datasets are called: a family's name stands for its members, and "/"
// parts a family from its subset.
func (c *chooser) ofFamilies(groups []Group) {
	for i := range groups {
		var members []string
		for _, m := range groups[i].Members {
			if n := c.find(m); n != nil && isFamily(n) {
				members = append(members, memberAbbr(m, "*"))
			} else {
				members = append(members, strings.ReplaceAll(m, "/", "-"))
			}
		}
		groups[i].Members = members
	}
}

// Under is the dataset with its relative files put below dir, as Load puts a catalog entry's below data_dir.
func (d Dataset) Under(dir string) Dataset {
	place := func(path string) string {
		if path == "" || filepath.IsAbs(path) || remote.MatchString(path) {
			return path
		}
		return below(dir, path)
	}
	split := func(f Files) Files {
		f.Path, f.Labels = place(f.Path), place(f.Labels)
		return f
	}
	d.Test = split(d.Test)
	if d.Train != nil {
		train := split(*d.Train)
		d.Train = &train
	}
	d.Columns = maps.Clone(d.Columns)
	for name, c := range d.Columns {
		c.File = place(c.File)
		d.Columns[name] = c
	}
	return d
}
