package spec

import (
	"reflect"
	"slices"
)

// [sweep] makes of a model, a recipe or a dataset one for each combination of values. It works on the tree, after files are merged, bases
// laid and families taken apart, so that what is wrong with a value is told at the place in [sweep] where it stands.

// maxSwept bounds what a sweep makes of each list, and the variants: models by recipes.
const maxSwept = 10000

// sweepable is a list of a spec whose entries can be swept.
type sweepable struct {
	list string // its key
	typ  reflect.Type
	lay  func(base, over *node) *node
}

var sweepables = []sweepable{
	{"models", reflect.TypeFor[Model](), merge},
	{"quant", reflect.TypeFor[Quant](), mergeQuant},
	{"dataset", reflect.TypeFor[Dataset](), mergeDataset},
}

// notSwept says of other tables why they are not swept.
var notSwept = map[string]string{
	"groups": "groups follow the datasets: each is made once for each combination of its members",
	"calib":  "write sweep.quant.calib, which is laid over [calib]",
	"eval":   "eval.positions lists all that are evaluated already",
}

// made is an entry that a sweep has made: the suffix is what its name has behind that of the entry it was made of.
type made struct{ name, suffix string }

// origins are what was made of the entries of a list, by their names before.
type origins struct {
	order []string
	made  map[string][]made
	fresh map[string]bool // the names that were made
}

func (o *origins) add(base string, m made) {
	if o.made == nil {
		o.made, o.fresh = map[string][]made{}, map[string]bool{}
	}
	if _, ok := o.made[base]; !ok {
		o.order = append(o.order, base)
	}
	o.made[base] = append(o.made[base], m)
	o.fresh[m.name] = true
}

// sweeper expands globs and [sweep].
type sweeper struct {
	p       *problems
	ch      *chooser
	glob    func(pattern string) ([]string, error)
	of      map[string]*origins // of each list
	globbed origins             // of models whose path is a glob
	called  map[*node]string    // a path that a glob matches -> what the model is called by it
	on      bool                // something was swept, or a glob expanded
}

func newSweeper(ch *chooser, glob func(string) ([]string, error)) *sweeper {
	if glob == nil {
		glob = globDirs
	}
	s := &sweeper{p: ch.p, ch: ch, glob: glob, of: map[string]*origins{}, called: map[*node]string{}}
	for _, k := range sweepables {
		s.of[k.list] = &origins{}
	}
	return s
}

// expand gives the tree with the sweeps done. Where [sweep] is wrong p knows, and the entries are as they were.
func (s *sweeper) expand(root *node) *node {
	root = s.globModels(root)
	at := root.get("sweep")
	if at == nil {
		s.follow(root)
		return root
	}
	s.on = true
	out := root.copied("sweep")
	if at.kind != table {
		s.p.add(at, "sweep", "is %s; write [sweep.models], [sweep.quant] or [sweep.dataset]", at.describe())
		return out
	}
	s.strangers(at)
	for _, k := range sweepables {
		if t := at.get(k.list); t != nil {
			s.sweep(out, t, k)
		}
	}
	if n, q := size(out.get("models")), size(out.get("quant")); n*q > maxSwept && len(s.p.list) == 0 {
		s.p.add(at, "sweep", "%d models and %d recipes make %d variants; the most is %d", n, q, n*q, maxSwept)
		return root.without("sweep")
	}
	s.follow(out)
	return out
}

func size(l *node) int {
	if l == nil || l.kind != list {
		return 0
	}
	return len(l.items)
}

// strangers reports tables of [sweep] that are not swept.
func (s *sweeper) strangers(at *node) {
	var names []string
	for _, k := range sweepables {
		names = append(names, k.list)
	}
	for _, name := range at.keys {
		if slices.Contains(names, name) {
			continue
		}
		why := notSwept[name]
		if why == "" && topKey(name) && name != "datasets" {
			why = "it does not change what is asked; models, quant and dataset are swept"
		}
		if why == "" {
			why = choose(name, names)
		}
		s.p.add(at.fields[name], join("sweep", name), "cannot be swept: %s", why)
	}
}

// sweep expands one list of root.
func (s *sweeper) sweep(root, t *node, k sweepable) {
	key := "sweep." + k.list
	l := root.get(k.list)
	if l != nil && l.kind != list {
		return // the decoder says so
	}
	if size(l) == 0 {
		if k.list == "quant" { // the others must be there, which the checker says
			s.p.add(t, key, "there is nothing to sweep: the spec has no [[quant]] table; add one, or take this out")
		}
		return
	}
	before := len(s.p.list)
	sets := s.read(t, key, k)
	s.match(sets, l, key, k)
	if len(s.p.list) == before {
		s.bound(sets, l, key, k)
	}
	if len(s.p.list) > before {
		root.set(k.list, spared(l, sets))
		return
	}
	all := *l
	all.items = nil
	for _, item := range l.items {
		all.items = append(all.items, s.apply(item, sets, k)...)
	}
	if twice := s.twice(&all, k); twice != "" {
		s.p.add(t, key, "two of what there is after the sweep are named %q; write the combinations as a list, [[%s]], and give each %s = \"...\"",
			twice, key, k.nameKey())
		root.set(k.list, spared(l, sets))
		s.of[k.list] = &origins{}
		return
	}
	root.set(k.list, &all)
}

// spared is a list whose entries may lack the keys that a sweep, which is wrong, would have given them.
func spared(l *node, sets []*sweepSet) *node {
	out := *l
	out.items = nil
	for _, item := range l.items {
		if item.kind == table {
			item = item.without()
			item.meant = map[string]bool{}
			for _, set := range sets {
				for _, a := range set.axes {
					item.meant[a.path[0]] = true
				}
			}
		}
		out.items = append(out.items, item)
	}
	return &out
}

// id is an entry's name before the sweep; "": it has none.
func (k sweepable) id(n *node) string {
	if n.kind != table {
		return ""
	}
	if k.list == "models" {
		return modelName(n)
	}
	return entryID(k.list, n)
}

// modelName is a model's abbr, or what its path says.
func modelName(n *node) string {
	if abbr := n.str("abbr"); abbr != "" {
		return abbr
	}
	path := n.str("path")
	if full, err := expand(path); err == nil {
		path = full
	}
	return lastElement(path)
}

// match reports what no entry is of.
func (s *sweeper) match(sets []*sweepSet, l *node, key string, k sweepable) {
	var names []string
	for _, item := range l.items {
		if name := k.id(item); name != "" {
			names = append(names, name)
		}
	}
	for _, set := range sets {
		for _, f := range set.only {
			if len(names) == 0 || slices.ContainsFunc(names, f.is) {
				continue
			}
			some := names
			if near := Nearest(f.written, names); len(near) == 0 {
				some = names[:min(len(names), 8)]
			}
			s.p.add(f.at, join(key, "for"), "%q is of nothing that is swept here; %s", f.written, choose(f.written, some))
		}
	}
}

// bound reports a sweep that makes too much.
func (s *sweeper) bound(sets []*sweepSet, l *node, key string, k sweepable) {
	total := 0
	for _, item := range l.items {
		n := 0
		for _, set := range sets {
			if set.isOf(k.id(item)) {
				n = min(n+set.count(), maxSwept+1)
			}
		}
		total = min(total+max(n, 1), maxSwept+1)
	}
	if total > maxSwept {
		s.p.add(sets[0].at, key, "makes more than %d entries of %d; sweep fewer values, or say with for = \"...\" what the sweep is of",
			maxSwept, len(l.items))
	}
}

// apply makes the combinations of one entry.
func (s *sweeper) apply(item *node, sets []*sweepSet, k sweepable) []*node {
	base := k.id(item)
	var out []*node
	for _, set := range sets {
		if item.kind != table || !set.isOf(base) {
			continue
		}
		for i := range set.count() {
			c := set.combination(i)
			if base == "" && (k.list != "models" || !c.has("path")) {
				continue // it lacks what it is called by, and the checker says so
			}
			n := k.lay(item, c.over()).without()
			n.src, n.line, n.col = item.src, item.line, item.col
			name, suffix := s.name(k, item, n, c)
			n.set(k.nameKey(), c.set.at.as(name))
			s.of[k.list].add(base, made{name, suffix})
			out = append(out, n)
		}
	}
	if out == nil {
		return []*node{item}
	}
	return out
}

func (k sweepable) nameKey() string {
	if k.list == "quant" {
		return "name"
	}
	return "abbr"
}

// twice finds a name that two entries have, of which at least one was made here; "": there is none.
func (s *sweeper) twice(l *node, k sweepable) string {
	seen := map[string]bool{}
	for _, item := range l.items {
		name := k.id(item)
		if name != "" && seen[name] && s.of[k.list].fresh[name] {
			return name
		}
		seen[name] = true
	}
	return ""
}
