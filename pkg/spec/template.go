package spec

import "strings"

// withTemplate gives the one model of a tree the path of a watch's checkpoints, in the place of its own, and wants there to be one.
func withTemplate(root *node, path string, p *problems) *node {
	src := &source{name: "--watch", dir: "/"}
	l := root.get("models")
	if size(l) != 1 || l.items[0].kind != table {
		p.add(root.near("models"), "models", "there are %d; a watch wants one [[models]] table, whose settings each checkpoint gets; it needs no path", size(l))
		return root
	}
	model := l.items[0].without()
	model.set("path", &node{src: src, value: strings.ReplaceAll(path, "$", "$$")})
	out, models := root.without(), *l
	models.items = []*node{model}
	out.set("models", &models)
	return out
}
