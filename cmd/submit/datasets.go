package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"sextant/pkg/cliargs"
	"sextant/pkg/dataset"
	"sextant/pkg/objstore"
	"sextant/pkg/plan"
	"sextant/pkg/spec"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/urfave/cli/v2"
)

func (e env) datasetsCommand() *cli.Command {
	return &cli.Command{
		Name: "datasets", Usage: "list the datasets and their files, or show how a row of one is asked", ArgsUsage: "[NAME]",
		Description: "Lists the catalog: mode, metric, rows where the files are there, and the file that is looked for. With NAME, a name, a family, a\n" +
			"subset (mmlu_ppl/anatomy) or a pattern in quotes, it lists what has that name; a single one is shown in full, with a row as the model\n" +
			"gets it.\n\nExample: submit datasets siqa_ppl --data-dir data --row 3 --model /models/my-model\n" +
			"         submit datasets \"mmlu_ppl/college_*\" --spec eval.toml",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", DefaultText: "data, or the spec's", Usage: "`DIR` with the datasets' files"},
			&cli.StringFlag{Name: "spec", Usage: "the datasets of this `SPEC` too, and its data_dir"},
			&cli.IntFlag{Name: "row", Usage: "the `ROW` to show, from 0", DefaultText: "0"},
			&cli.StringFlag{Name: "model", Usage: "a checkpoint's `PATH`, or a model of the spec by its abbr: count the prompt's tokens"},
			jsonFlag("print one JSON document: the list, or the one dataset in full"),
		},
		Action: e.datasets,
	}
}

// shelf is the datasets that may be named.
type shelf struct {
	dir   string // where the catalog's files are
	spec  *spec.Spec
	names []string                // in the order of the list
	sets  map[string]spec.Dataset // with their files' places; a family has subsets
}

func readShelf(c *cli.Context) (*shelf, error) {
	catalog, err := dataset.NewCatalog()
	if err != nil {
		return nil, err
	}
	s := &shelf{dir: "data", sets: map[string]spec.Dataset{}}
	if path := c.String("spec"); path != "" {
		if s.spec, err = spec.Load(path, spec.Options{Catalog: catalog}); err != nil {
			return nil, badInput{err}
		}
		plan.UseStore(*s.spec)
		s.dir = s.spec.DataDir
		for _, d := range s.spec.Datasets {
			s.names = append(s.names, d.Abbr)
			s.sets[d.Abbr] = d
		}
	}
	if dir := c.String("data-dir"); dir != "" {
		s.dir = dir
	}
	if objstore.IsAddress(s.dir) {
		if err := objstore.Stat(s.dir); err != nil { // told once, and not of each dataset
			return nil, badInput{fmt.Errorf("data_dir: %w", err)}
		}
	}
	for _, name := range catalog.Names() {
		if _, own := s.sets[name]; own {
			continue
		}
		d, _ := catalog.Lookup(name)
		s.names = append(s.names, name)
		s.sets[name] = d.Under(s.dir)
	}
	return s, nil
}

// find gives the datasets that a name or pattern stands for. A family's own name is the family.
func (s *shelf) find(name string) []spec.Dataset {
	plain := strings.ReplaceAll(name, "/", "-")
	if d, ok := s.sets[name]; ok {
		return []spec.Dataset{d}
	}
	var out []spec.Dataset
	for _, n := range s.names {
		if doublestar.MatchUnvalidated(plain, n) {
			out = append(out, s.sets[n])
			continue
		}
		for _, m := range s.sets[n].Members() {
			if len(s.sets[n].Subsets) > 0 && doublestar.MatchUnvalidated(plain, m.Abbr) {
				out = append(out, m)
			}
		}
	}
	return out
}

func (e env) datasets(c *cli.Context) error {
	s, err := readShelf(c)
	if err != nil {
		return err
	}
	if c.NArg() == 0 {
		return e.listDatasets(c, s, s.find("**"))
	}
	args, err := cliargs.Positional(c, "NAME")
	if err != nil {
		return err
	}
	found := s.find(args[0])
	if len(found) == 0 {
		hint := "; "
		if near := spec.Nearest(args[0], s.names); len(near) > 0 {
			hint = fmt.Sprintf("; did you mean %s? ", strings.Join(near, " or "))
		}
		return cliargs.Usagef("no dataset %q in the catalog%ssubmit datasets lists all", args[0], hint)
	}
	if len(found) > 1 || len(found[0].Subsets) > 0 && !c.IsSet("row") && !c.IsSet("model") {
		var members []spec.Dataset
		for _, d := range found {
			members = append(members, d.Members()...)
		}
		return e.listDatasets(c, s, members)
	}
	return e.showDataset(c, s, found[0].Members()[0])
}

// datasetList is the datasets that there are, and their files.
type datasetList struct {
	Version  int           `json:"version"`
	DataDir  string        `json:"data_dir"` // below which files are looked for
	Datasets []datasetView `json:"datasets"`
}

// datasetView is a dataset in the list.
type datasetView struct {
	Name        string     `json:"name"`
	Mode        string     `json:"mode"`
	Metric      string     `json:"metric"`
	Metrics     []string   `json:"metrics,omitempty"` // further ones
	Rows        *int       `json:"rows"`              // nil: its files are not there, or not as they should be
	Subsets     int        `json:"subsets,omitempty"`
	Found       int        `json:"found"`             // of its subsets, or of 1
	Files       []fileView `json:"files"`             // of a family: of its first subset
	Problem     string     `json:"problem,omitempty"` // what is wrong with the files that are there
	Description string     `json:"description,omitempty"`
	Source      string     `json:"source,omitempty"` // origin and licence

	incomplete bool // the problem is a file that is not there
}

// fileView is a file of a dataset.
type fileView struct {
	Role  string `json:"role"` // "test", "labels", "train", "train labels", "column NAME"
	Path  string `json:"path"`
	Found bool   `json:"found"`
}

func filesOf(d spec.Dataset) []fileView {
	var out []fileView
	add := func(role, path string) {
		if path != "" {
			out = append(out, fileView{role, path, objstore.Stat(path) == nil})
		}
	}
	add("test", d.Test.Path)
	add("labels", d.Test.Labels)
	if d.Train != nil {
		add("train", d.Train.Path)
		add("train labels", d.Train.Labels)
	}
	for name, col := range d.Columns {
		add("column "+name, col.File)
	}
	slices.SortStableFunc(out, func(a, b fileView) int { return strings.Compare(columnRole(a.Role), columnRole(b.Role)) })
	return out
}

// columnRole sorts columns behind the splits, whose order stays.
func columnRole(role string) string {
	if strings.HasPrefix(role, "column ") {
		return role
	}
	return ""
}

// describe is what a dataset says of itself; of a family, with the files of its first subset.
func describe(d spec.Dataset) datasetView {
	full := d.WithDefaults()
	return datasetView{Name: d.Abbr, Mode: string(full.Mode), Metric: full.Metric, Metrics: full.Metrics, Subsets: len(d.Subsets),
		Files: filesOf(d.Members()[0]), Description: d.Description, Source: d.Source}
}

// viewOf looks at a dataset's files and counts its rows.
func viewOf(d spec.Dataset) datasetView {
	v := describe(d)
	rows := 0
	for _, m := range d.Members() {
		if objstore.Stat(m.Test.Path) != nil {
			continue
		}
		set, err := dataset.Open(m, 0)
		if err != nil {
			if v.Problem == "" {
				v.Problem, v.incomplete = err.Error(), errors.Is(err, fs.ErrNotExist)
			}
			continue
		}
		v.Found++
		rows += set.Len()
	}
	if v.Found > 0 {
		v.Rows = &rows
	}
	return v
}

// listDatasets lists datasets; of several it reads the files of a few at a time.
func (e env) listDatasets(c *cli.Context, s *shelf, list []spec.Dataset) error {
	views := make([]datasetView, len(list))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i, d := range list {
		slots <- struct{}{}
		wg.Go(func() {
			views[i] = viewOf(d)
			<-slots
		})
	}
	wg.Wait()
	if c.Bool("json") {
		return e.printJSON(datasetList{jsonVersion, s.dir, views})
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tMODE\tMETRIC\tROWS\tFILES\tFILE")
	found := 0
	for i, v := range views {
		rows := "-"
		if v.Rows != nil {
			rows = fmt.Sprint(*v.Rows)
		}
		if v.Found == max(1, v.Subsets) {
			found++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", v.Name, v.Mode, v.Metric, rows, v.state(), within(s.dir, list[i].Test.Path))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	shape := ""
	for _, v := range views {
		if v.Problem != "" {
			fmt.Fprintf(e.stderr, "%s: %s\n", v.Name, v.Problem)
		}
		if v.state() == "faulty" {
			shape = "A file of another shape needs a few lines in a spec: docs/datasets.md, \"The catalog's entries\", has examples.\n"
		}
	}
	fmt.Fprint(e.stderr, shape)
	fmt.Fprintf(e.stderr, "%d of %d found; files are looked for under %s (--data-dir). submit datasets NAME shows one\n", found, len(views), s.dir)
	return nil
}

// state says in a word what there is of a dataset's files.
func (v datasetView) state() string {
	switch {
	case v.Subsets > 0 && v.Found > 0:
		return fmt.Sprintf("%d of %d", v.Found, v.Subsets)
	case v.Found > 0:
		return "found"
	case v.incomplete:
		return "incomplete"
	case v.Problem != "":
		return "faulty"
	}
	return "not found"
}

// within is a path as it is below dir.
func within(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}
