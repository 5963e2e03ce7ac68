package spec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxDepth ends a chain of includes that a directory linked into itself makes endless.
const maxDepth = 20

// maxFile keeps a checkpoint named by mistake from being read whole.
const maxFile = 16 << 20

// loader reads a spec and what it includes.
type loader struct {
	read  func(path string) ([]byte, error)
	p     *problems
	files []*node  // trees, a file before the one that includes it, each once
	done  []string // absolute names of files
	chain []string // names of the files being read, the first includes the second
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New("it is larger than 16 MiB and cannot be a spec")
	}
	return data, err
}

// load reads path and its includes. Only the failure to read path itself is returned; the rest is in l.p.
func (l *loader) load(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if slices.Contains(l.done, abs) {
		return nil
	}
	data, err := l.read(path)
	if err != nil {
		return err
	}
	root := parse(&source{name: path, dir: filepath.Dir(abs), text: string(data)}, l.p)
	l.done = append(l.done, abs)
	if root == nil {
		return nil
	}
	l.chain = append(l.chain, path)
	l.include(root)
	l.chain = l.chain[:len(l.chain)-1]
	oneQuant(root)
	l.files = append(l.files, root.without("include"))
	return nil
}

func (l *loader) include(root *node) {
	inc := root.get("include")
	if inc == nil {
		return
	}
	if inc.kind != list {
		l.p.add(inc, "include", `is %s; write an array of file names: include = ["base.toml"]`, inc.describe())
		return
	}
	for _, n := range inc.items {
		name, ok := n.value.(string)
		if !ok || name == "" {
			l.p.add(n, "include", "holds %s; write file names", emptyOr(n))
			continue
		}
		path, err := expand(name)
		if err != nil {
			l.p.add(n, "include", "%v", err)
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(root.src.name), path)
		}
		if chain := l.cycle(path); chain != "" {
			l.p.add(n, "include", "%q includes itself: %s; take one of them out", path, chain)
		} else if len(l.chain) > maxDepth {
			l.p.add(n, "include", "is nested more than %d deep; include %q from a file nearer to the top", maxDepth, path)
		} else if err := l.load(path); err != nil {
			l.p.add(n, "include", "reading %q: %v; the name is relative to the including file", path, cause(err))
		}
	}
}

func emptyOr(n *node) string {
	if n.kind == scalar && n.value == "" {
		return "an empty string"
	}
	return n.describe()
}

// cycle shows the way from path back to path, or "" when it is not being read.
func (l *loader) cycle(path string) string {
	abs, _ := filepath.Abs(path)
	for i, name := range l.chain {
		if a, _ := filepath.Abs(name); a == abs {
			return strings.Join(append(slices.Clone(l.chain[i:]), path), " -> ")
		}
	}
	return ""
}

// cause is a file error without the operation and the name, which the message around it has.
func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// parse reads one document; nil after a syntax error, which is in p.
func parse(src *source, p *problems) (root *node) {
	if strings.HasPrefix(src.text, "\xff\xfe") || strings.HasPrefix(src.text, "\xfe\xff") {
		p.list = append(p.list, &Error{File: src.name, Line: 1, Col: 1, Text: "not TOML: the file is UTF-16; save it as UTF-8"})
		return nil
	}
	src.text = strings.TrimPrefix(src.text, "\ufeff")
	defer func() { // the library panics on what it holds to be its own bugs
		if r := recover(); r != nil {
			p.list = append(p.list, &Error{File: src.name, Text: fmt.Sprintf("not readable as TOML: %v", r)})
			root = nil
		}
	}()
	var doc map[string]any
	if _, err := toml.Decode(src.text, &doc); err != nil {
		p.list = append(p.list, syntaxError(src, err))
		return nil
	}
	root, twice := index(src)
	if twice != nil {
		p.add(twice, "", "not TOML: the key is given twice; remove one of them")
		return nil
	}
	attach(root, doc)
	return root
}

// syntaxError shows the library's error with the line and a caret under the column.
func syntaxError(src *source, err error) *Error {
	e := &Error{File: src.name, Text: strings.TrimPrefix(err.Error(), "toml: ")}
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		return e
	}
	lines := strings.Split(src.text, "\n")
	e.Line = min(max(pe.Position.Line, 1), len(lines))
	line := strings.TrimRight(lines[e.Line-1], "\r")
	before := line[:min(max(pe.Position.Col-1, 0), len(line))]
	e.Col = utf8.RuneCountInString(before) + 1
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, before)
	e.Text = fmt.Sprintf("not TOML: %s\n    %s\n    %s^", pe.Message, strings.ToValidUTF8(line, "\ufffd"), pad)
	return e
}

// checkDuplicates refuses two entries of one name in one file: the second would silently be laid over the first.
func checkDuplicates(root *node, p *problems) {
	for _, k := range entryLists {
		l := root.get(k)
		if l == nil || l.kind != list {
			continue
		}
		first := map[string]*node{}
		for _, n := range l.items {
			name := entryID(k, n)
			if f := first[name]; name != "" && f != nil {
				what := "abbr"
				if k == "groups" || k == "quant" {
					what = "name"
				}
				p.add(n, k, "%s %q is already that of the entry on line %d; give this one another %s", what, name, f.line, what)
			} else {
				first[name] = n
			}
		}
	}
}
