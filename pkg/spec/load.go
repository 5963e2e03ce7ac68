package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Options are what a spec is read with besides its file.
type Options struct {
	Catalog   Catalog    // datasets by name; nil: none
	Overrides []Override // laid over the file in order, before validation
	Template  string     // a path: the spec has one model, the template of checkpoints that are found later, and this in the place of its path

	glob func(pattern string) ([]string, error) // nil: globDirs
}

// Override is a value that wins over the file: a command-line flag.
type Override struct {
	Key   string // dotted: "infer.max_num_workers", "work_dir", "datasets"
	Value any    // string, bool, int, float64 or []string
	From  string // shown in errors in the place of a file: "--max-num-workers". A relative path is relative to the current directory
}

// document is a spec file: Spec as TOML writes it.
type document struct {
	Include []string `toml:"include"`
	Select  []string `toml:"datasets"`
	Spec
	Tables []Dataset `toml:"dataset"`
	Calib  Calib     `toml:"calib"`
	Sweep  struct {
		Models  sweepTable `toml:"models"`
		Quant   sweepTable `toml:"quant"`
		Dataset sweepTable `toml:"dataset"`
	} `toml:"sweep"`
}

// sweepTable is a grid, or a list of combinations. The tree has none any more when it is decoded: see sweeper.
type sweepTable struct{}

// Load reads a spec with its includes, lays the overrides over it, fills the defaults and checks everything. When path itself cannot
// be read the error wraps fs.ErrNotExist or its like; else it is a *multierror.Error of *Error, one for each thing that is wrong.
func Load(path string, o Options) (*Spec, error) {
	return load(path, o, readFile)
}

// Parse is Load of a text in the place of the file name, which need not be there.
func Parse(name, text string, o Options) (*Spec, error) {
	return load(name, o, func(path string) ([]byte, error) {
		if path == name {
			return []byte(text), nil
		}
		return readFile(path)
	})
}

func load(path string, o Options, read func(string) ([]byte, error)) (*Spec, error) {
	p := &problems{}
	l := &loader{read: read, p: p}
	if err := l.load(path); err != nil {
		return nil, fmt.Errorf("reading spec %q: %w", path, cause(err))
	}
	if len(p.list) > 0 {
		return nil, p.err() // a file is not TOML or not there: all that it defines would be reported missing
	}
	root := l.files[0]
	for i, f := range l.files {
		checkDuplicates(f, p)
		if i > 0 {
			root = mergeFile(root, f)
		}
	}
	top := l.files[len(l.files)-1].src
	root, err := override(root, o.Overrides)
	if err != nil {
		return nil, err
	}
	if o.Template != "" {
		if root = withTemplate(root, o.Template, p); len(p.list) > 0 {
			return nil, p.err()
		}
	}
	s := build(root, top, o, p)
	return s, p.err()
}

// build makes the Spec of a merged tree. What is wrong goes to p, and then the Spec is nil.
func build(root *node, top *source, o Options, p *problems) *Spec {
	dataDir := dataDirOf(root, top.dir)
	ch := newChooser(o.Catalog, dataDir, p)
	if l := root.get("dataset"); l == nil || l.kind == list {
		root = root.without() // a copy
		root.set("dataset", ch.choose(root))
	}
	sw := newSweeper(ch, o.glob)
	root = shareCalib(sw.expand(root))
	doc := document{Spec: defaultSpec()}
	(&decoder{p: p}).decode(root, reflect.ValueOf(&doc).Elem(), "", rule{})
	s := &doc.Spec
	s.DataDir = dataDir
	s.Name = strings.TrimSuffix(filepath.Base(top.name), filepath.Ext(top.name))
	s.Swept = sw.on
	for i := range s.Models {
		s.Models[i].fill()
	}
	for _, d := range doc.Tables {
		s.Datasets = append(s.Datasets, d.WithDefaults())
	}
	s.fillQuant()
	ch.ofFamilies(s.Groups)
	(&checker{p: p, known: append(ch.all(), slices.Sorted(maps.Keys(sw.of["dataset"].fresh))...)}).spec(root, s)
	ch.addGroups(s, sw.of["dataset"])
	if len(p.list) > 0 {
		return nil
	}
	return s
}

// override lays the overrides over the tree. Only a mistake in the program, not in its input, is an error here.
func override(root *node, all []Override) (*node, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("reading flags: %w", err)
	}
	for _, o := range all {
		n, err := valueNode(o.Value, &source{name: o.From, dir: cwd})
		if err != nil {
			return nil, fmt.Errorf("override %q: %w", o.Key, err)
		}
		keys := strings.Split(o.Key, ".")
		for i := len(keys) - 1; i >= 0; i-- {
			t := newTable(n)
			t.set(keys[i], n)
			n = t
		}
		at := *root
		root = merge(root, n)
		root.src, root.line, root.col = at.src, at.line, at.col
	}
	return root, nil
}

func valueNode(value any, src *source) (*node, error) {
	switch v := value.(type) {
	case string, bool, float64, int64:
		return &node{src: src, value: v}, nil
	case int:
		return &node{src: src, value: int64(v)}, nil
	case []string:
		n := &node{kind: list, src: src}
		for _, s := range v {
			n.items = append(n.items, &node{src: src, value: s})
		}
		return n, nil
	}
	return nil, fmt.Errorf("a value of type %T cannot be laid over a spec", value)
}

// unevaluated tells of models that no position evaluates.
func (s *Spec) unevaluated() []string {
	var names []string
	for _, m := range s.Models {
		at := s.Eval.At(nil)
		for i := range s.Quant {
			if s.Quant[i].For(m.Abbr) {
				at = append(at, s.Eval.At(&s.Quant[i])...)
			}
		}
		if len(at) == 0 {
			names = append(names, m.Abbr)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("nothing of %s is evaluated: eval.positions lacks \"pretrain\", and no recipe is for it", quotedAnd(names))}
}

func quotedAnd(names []string) string {
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, strconv.Quote(name))
	}
	return strings.Join(quoted, " and ")
}

// Warnings are sentences about what is legal and probably not meant.
func (s *Spec) Warnings() []string {
	var out []string
	same := map[string][]string{} // a model without its abbr -> the abbrs
	var order []string
	for _, m := range s.Models {
		abbr := m.Abbr
		m.Abbr = ""
		key, err := json.Marshal(m)
		if err != nil {
			continue // of texts, numbers and tables none is
		}
		if same[string(key)] == nil {
			order = append(order, string(key))
		}
		same[string(key)] = append(same[string(key)], abbr)
	}
	for _, key := range order {
		if names := same[key]; len(names) > 1 {
			first := slices.IndexFunc(s.Models, func(m Model) bool { return m.Abbr == names[0] })
			out = append(out, fmt.Sprintf("models %s are the same checkpoint (%s) with the same settings: one of the paths may be a slip",
				quotedAnd(names), s.Models[first].Path))
		}
	}
	return append(out, s.unevaluated()...)
}
