package spec

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest gives up to three of the names that word may have been meant to be, the nearest first.
func Nearest(word string, names []string) []string {
	type near struct {
		name string
		dist int
	}
	var all []near
	limit := min(1+len(word)/4, 6)
	for _, name := range names {
		dist := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(name))
		begins := len(word) >= 3 && strings.HasPrefix(name, word) || len(word) >= 4 && dist <= 3 && strings.HasPrefix(name, word[:4])
		if dist <= limit && dist < len(word) || begins {
			all = append(all, near{name, dist})
		}
	}
	slices.SortFunc(all, func(a, b near) int { return cmp.Or(cmp.Compare(a.dist, b.dist), cmp.Compare(a.name, b.name)) })
	var out []string
	for _, n := range all[:min(3, len(all))] {
		if n.dist <= all[0].dist+1 {
			out = append(out, n.name)
		}
	}
	return out
}

// choose says which of a few names to write.
func choose(word string, names []string) string {
	if near := Nearest(word, names); len(near) > 0 {
		return "did you mean " + orList(near) + "?"
	}
	return "write " + orList(names)
}

func orList(names []string) string {
	var b strings.Builder
	for i, name := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(name))
	}
	return b.String()
}

// unknown reports a key that a table does not have, and what was probably meant.
func (d *decoder) unknown(n *node, name, key string, fields []field) {
	at := n.fields[name]
	mean := func(what string) {
		if n.meant == nil {
			n.meant = map[string]bool{}
		}
		n.meant[what] = true
	}
	full := join(key, name)
	var names, below []string
	for _, f := range fields {
		names = append(names, f.name)
		if t := deref(f.typ); t.Kind() == reflect.Struct {
			for _, g := range fieldsOf(t) {
				if g.name == name {
					below = append(below, f.name+"."+name)
					mean(f.name)
				}
			}
		}
	}
	near := Nearest(name, names)
	switch {
	case len(below) > 0:
		d.p.add(at, full, "unknown key here; did you mean %s?", orList(below))
	case key != "" && topKey(name):
		d.p.add(at, full, "unknown key here: it stands under the table above it; move it to the top of the file, above the first [table]")
	case len(near) > 0:
		mean(near[0])
		d.p.add(at, full, "unknown key; did you mean %s?", orList(near))
	default:
		d.p.add(at, full, "unknown key; the keys here are %s", strings.Join(names, ", "))
	}
}

func deref(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func topKey(name string) bool {
	return slices.ContainsFunc(fieldsOf(reflect.TypeFor[document]()), func(f field) bool { return f.name == name })
}
