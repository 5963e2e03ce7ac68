package spec

import "slices"

// follow lets what names swept entries name what was made of them: recipes their models, groups their datasets.
func (s *sweeper) follow(root *node) {
	if of := s.allModels(); len(of.order) > 0 {
		var now []string
		for _, m := range root.get("models").items {
			now = append(now, modelName(m))
		}
		root.replace("quant", func(n *node) []*node { return []*node{recipeOf(n, of, now)} })
	}
	if of := s.of["dataset"]; len(of.order) > 0 {
		g := regroup{s, of, nil}
		for _, d := range root.get("dataset").items {
			if name := d.str("abbr"); !of.fresh[name] {
				g.plain = append(g.plain, name)
			}
		}
		root.replace("groups", g.groups)
	}
}

// replace replaces each table of a list.
func (n *node) replace(key string, by func(*node) []*node) {
	l := n.get(key)
	if l == nil || l.kind != list {
		return
	}
	out := *l
	out.items = nil
	for _, item := range l.items {
		if item.kind == table {
			out.items = append(out.items, by(item)...)
		} else {
			out.items = append(out.items, item)
		}
	}
	n.set(key, &out)
}

// allModels are the models made by globs and by the sweep. What a glob has made may have been swept.
func (s *sweeper) allModels() *origins {
	swept, out := s.of["models"], &origins{}
	for _, base := range swept.order {
		for _, m := range swept.made[base] {
			out.add(base, m)
		}
	}
	for _, base := range s.globbed.order {
		for _, m := range s.globbed.made[base] {
			further := swept.made[m.name]
			if further == nil {
				further = []made{m}
			}
			for _, f := range further {
				out.add(base, f)
			}
		}
	}
	return out
}

// recipeOf is a recipe for what was made of its models: a pattern that is of a model before the sweep is of all that was made of it, beside
// what it matches of the models as they are called now.
func recipeOf(n *node, of *origins, now []string) *node {
	return withList(n, "models", func(item *node, pattern string) []*node {
		var out []*node
		for _, base := range of.order {
			if base != "" && matches(pattern, base) {
				for _, m := range of.made[base] {
					if !matches(pattern, m.name) {
						out = append(out, item.as(m.name))
					}
				}
			}
		}
		if len(out) == 0 || slices.ContainsFunc(now, func(name string) bool { return matches(pattern, name) }) {
			out = append(out, item)
		}
		return out
	})
}

// as is the same place with another text.
func (n *node) as(text string) *node {
	return &node{src: n.src, line: n.line, col: n.col, value: text}
}

// withList is a table whose list of texts at a key is replaced, text by text; what comes again is left out.
func withList(n *node, key string, by func(item *node, text string) []*node) *node {
	l := n.get(key)
	if l == nil || l.kind != list {
		return n
	}
	all := *l
	all.items = nil
	seen := map[string]bool{}
	for _, item := range l.items {
		text, ok := item.value.(string)
		if !ok {
			all.items = append(all.items, item)
			continue
		}
		for _, one := range by(item, text) {
			if name, _ := one.value.(string); !seen[name] {
				seen[name] = true
				all.items = append(all.items, one)
			}
		}
	}
	n = n.copied()
	n.set(key, &all)
	return n
}

// regroup makes groups of swept datasets.
type regroup struct {
	s     *sweeper
	of    *origins
	plain []string // datasets that are not swept
}

// groups are those that one becomes: where all its swept members have the same combinations, one for each of these, with the members that
// are not swept in each; else one with all combinations.
func (g regroup) groups(n *node) []*node {
	members := n.get("members")
	if members == nil || members.kind != list {
		return []*node{n}
	}
	var swept []string
	for _, item := range members.items {
		text, _ := item.value.(string)
		for _, base := range g.bases(text) {
			if !slices.Contains(swept, base) {
				swept = append(swept, base)
			}
		}
	}
	suffixes := g.of.suffixes(swept)
	switch {
	case len(swept) == 0:
		return []*node{n}
	case suffixes == nil:
		return []*node{g.group(n, nil)}
	}
	var out []*node
	for _, suffix := range suffixes {
		one := g.group(n, &suffix)
		if name := n.str("name"); name != "" {
			one.set("name", n.get("name").as(name+suffix))
		}
		out = append(out, one)
	}
	return out
}

// group is a group of the combinations of one suffix, or, with nil, of all.
func (g regroup) group(n *node, suffix *string) *node {
	return withList(n, "members", func(item *node, text string) []*node {
		bases := g.bases(text)
		if len(bases) == 0 {
			return []*node{item}
		}
		var out []*node
		for _, base := range bases {
			for _, m := range g.of.made[base] {
				if suffix == nil || m.suffix == *suffix {
					out = append(out, item.as(m.name))
				}
			}
		}
		of := only{patterns: g.s.patterns(text)}
		for _, name := range g.plain {
			if of.is(name) {
				out = append(out, item.as(name))
			}
		}
		return out
	})
}

// bases are the swept datasets, by their names before, that a member of a group is of.
func (g regroup) bases(text string) []string {
	if text == "" {
		return nil
	}
	of := only{patterns: g.s.patterns(text)}
	return slices.DeleteFunc(slices.Clone(g.of.order), func(base string) bool { return !of.is(base) })
}

// suffixes are the combinations that all of the entries have, in order; nil: they have not the same.
func (o *origins) suffixes(bases []string) []string {
	var first []string
	for i, base := range bases {
		var all []string
		for _, m := range o.made[base] {
			all = append(all, m.suffix)
		}
		if i == 0 {
			first = all
		} else if !slices.Equal(first, all) {
			return nil
		}
	}
	return first
}

// combinations are the names and members of a group of a family, as they are after the sweep: see regroup.groups. Without a swept member
// it is the group itself; where the members have not the same combinations there is none.
func (o *origins) combinations(members []string) (suffixes []string, of [][]string) {
	var swept []string
	for _, m := range members {
		if _, ok := o.made[m]; ok {
			swept = append(swept, m)
		}
	}
	if len(swept) == 0 {
		return []string{""}, [][]string{members}
	}
	suffixes = o.suffixes(swept)
	for _, suffix := range suffixes {
		var all []string
		for _, m := range members {
			if slices.Contains(swept, m) {
				m += suffix
			}
			all = append(all, m)
		}
		of = append(of, all)
	}
	return suffixes, of
}
