package spec

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// globModels makes of each model whose path is a glob one for each directory that matches, in natural order. A path that is there as it is
// written is no glob.
func (s *sweeper) globModels(root *node) *node {
	l := root.get("models")
	if l == nil || l.kind != list {
		return root
	}
	all := *l
	all.items = nil
	lost := false
	taken := map[string]bool{}
	for _, item := range l.items {
		taken[modelName(item)] = true
	}
	for _, item := range l.items {
		at := item.get("path")
		if at == nil {
			all.items = append(all.items, item)
			continue
		}
		paths := s.globPaths([]*node{at}, entryKey("models", item)+".path")
		lost = lost || len(paths) == 0
		for _, path := range paths {
			if path == at {
				all.items = append(all.items, item)
				continue
			}
			n := item.without()
			n.set("path", path)
			name := s.called[path]
			if abbr := item.str("abbr"); abbr != "" {
				s.globbed.add(abbr, made{name: abbr + "-" + name})
				name = abbr + "-" + name
			}
			n.set("abbr", path.as(name))
			all.items = append(all.items, n)
			if taken[name] {
				s.p.add(at, entryKey("models", item)+".path", "%q matches %q, which makes a second model named %q; give this one an abbr of its own",
					at.value, path.value, name)
			}
			taken[name] = true
		}
	}
	root = root.copied()
	if lost && len(all.items) == 0 {
		root.meant = map[string]bool{"models": true} // of which there are none, as is said already
	}
	root.set("models", &all)
	return root
}

// globPaths replaces paths that are globs by those of the directories that match. What is wrong goes to p.
func (s *sweeper) globPaths(paths []*node, key string) []*node {
	var out []*node
	for _, at := range paths {
		text, ok := at.value.(string)
		full, err := expand(text)
		if !ok || err != nil || !strings.ContainsAny(full, `*?[{`) {
			out = append(out, at) // what is wrong with it, the decoder says
			continue
		}
		if remote.MatchString(full) || remote.MatchString(at.src.dir) && !filepath.IsAbs(full) {
			s.p.add(at, key, "%q is a glob, and an object store is not searched: a spec must be read without asking it; write each address, "+
				"as a list in [sweep.models] path", text)
			continue
		}
		if literal, err := resolvePath(full, at.src.dir); err == nil {
			if _, err := os.Stat(literal); err == nil {
				out = append(out, at)
				continue
			}
		}
		out = append(out, s.globPath(at, full, key)...)
	}
	return out
}

func (s *sweeper) globPath(at *node, pattern, key string) []*node {
	switch home, err := os.UserHomeDir(); {
	case strings.HasPrefix(pattern, "~/") && err == nil:
		pattern = quoteMeta(home) + pattern[1:]
	case !filepath.IsAbs(pattern):
		pattern = quoteMeta(at.src.dir) + "/" + pattern
	}
	pattern = filepath.Clean(pattern)
	found, err := s.glob(pattern)
	var dirs []string
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			dirs = append(dirs, path)
		}
	}
	switch {
	case err != nil:
		s.p.add(at, key, "%q as a glob: %v", at.value, cause(err))
	case len(found) == 0:
		s.p.add(at, key, "%q matches nothing; write the directory of a checkpoint, or a glob that matches some", at.value)
	case len(dirs) == 0:
		s.p.add(at, key, "%q matches %s and no directory; a model is a directory", at.value, found[0])
	case len(dirs) > maxSwept:
		s.p.add(at, key, "%q matches %d directories; the most is %d", at.value, len(dirs), maxSwept)
	default:
		return s.models(at, pattern, dirs)
	}
	return nil
}

// models are the paths of the directories that a glob matches, each with what its model is called: the part of the path from the first
// element that the glob leaves open.
func (s *sweeper) models(at *node, pattern string, dirs []string) []*node {
	s.on = true
	slices.SortFunc(dirs, natural)
	base, _ := doublestar.SplitPattern(pattern)
	var out []*node
	for _, dir := range dirs {
		rel, err := filepath.Rel(base, dir)
		if err != nil {
			rel = filepath.Base(dir)
		}
		n := at.as(strings.ReplaceAll(dir, "$", "$$"))
		s.called[n] = nameless.ReplaceAllString(strings.ReplaceAll(rel, "/", "-"), "_")
		out = append(out, n)
	}
	return out
}

// globDirs is the search of a glob in the file system. As in a shell, names with a dot in front match a dot alone. Links are followed but
// below **, where they may lead round in a circle.
func globDirs(pattern string) ([]string, error) {
	options := []doublestar.GlobOption{doublestar.WithFailOnIOErrors(), doublestar.WithNoHidden()}
	if strings.Contains(pattern, "**") {
		options = append(options, doublestar.WithNoFollow())
	}
	return doublestar.FilepathGlob(pattern, options...)
}

// quoteMeta is a path as a glob that matches it alone.
func quoteMeta(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`).Replace(path)
}

// natural orders texts as people do: step2 before step10.
func natural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		n, m := digits(x), digits(y)
		if n == 0 || m == 0 {
			if x[0] != y[0] {
				return cmp.Compare(x[0], y[0])
			}
			x, y = x[1:], y[1:]
			continue
		}
		p, q := strings.TrimLeft(x[:n], "0"), strings.TrimLeft(y[:m], "0")
		if c := cmp.Or(cmp.Compare(len(p), len(q)), cmp.Compare(p, q)); c != 0 {
			return c
		}
		x, y = x[n:], y[m:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}

// digits is how many digits a text begins with.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
