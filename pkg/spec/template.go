package spec

import "strings"

// withTemplate gives the one model of a tree the path of a watch's checkpoints, in the place of its own, and wants there to be one.
func withTemplate(root *node, path string, p *problems) *node {
	src := &source{name: "--watch", dir: "/"}
	l := root.get("models")
	if l == nil || l.kind != list || len(l.items) != 1 || l.items[0].kind != table {
		at := root
		if l != nil {
			at = l
		}
		n := 0
		if l != nil {
			n = len(l.items)
		}
		p.add(at, "models", "there are %d; a watch wants one [[models]] table, whose settings each checkpoint gets; it needs no path", n)
		return root
	}
	model := l.items[0].without()
	model.set("path", &node{src: src, value: strings.ReplaceAll(path, "$", "$$")})
	out, models := root.without(), *l
	models.items = []*node{model}
	out.set("models", &models)
	return out
}
