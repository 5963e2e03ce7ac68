package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"sextant/pkg/cliargs"
	"sextant/pkg/dataset"
	"sextant/pkg/spec"

	"github.com/urfave/cli/v2"
)

func (e env) datasetsCommand() *cli.Command {
	return &cli.Command{
		Name:      "datasets",
		Usage:     "list the catalog, or show how a row of one dataset is asked",
		UsageText: "submit datasets\n   submit datasets siqa_ppl --data-dir data --row 3",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", Value: "data", Usage: "`DIR` with the datasets' files"},
			&cli.IntFlag{Name: "row", Usage: "`ROW` to show, from 0"},
		},
		Action: func(c *cli.Context) error {
			catalog, err := dataset.NewCatalog()
			if err != nil {
				return err
			}
			if c.NArg() == 0 {
				return e.listDatasets(catalog)
			}
			args, err := cliargs.Positional(c, "NAME")
			if err != nil {
				return err
			}
			return e.showDataset(c, catalog, args[0])
		},
	}
}

func (e env) listDatasets(catalog *dataset.Catalog) error {
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tMODE\tMETRIC\tFILE\tDESCRIPTION")
	for _, name := range catalog.Names() {
		d, _ := catalog.Lookup(name)
		d = d.WithDefaults()
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", name, d.Mode, d.Metric, d.Test.Path, d.Description)
	}
	return w.Flush()
}

// showDataset prints what the model is given for one row, part by part.
func (e env) showDataset(c *cli.Context, catalog *dataset.Catalog, name string) error {
	d, ok := catalog.Lookup(name)
	if !ok {
		hint := ""
		if near := spec.Nearest(name, catalog.Names()); len(near) > 0 {
			hint = fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
		}
		return cliargs.Usagef("no dataset %q in the catalog%s submit datasets lists all", name, hint)
	}
	d = under(c.String("data-dir"), d.WithDefaults())
	set, err := dataset.Open(d, 0)
	if err != nil {
		return badInput{err}
	}
	if d.Mode == spec.Rolling {
		doc := set.Documents()[0]
		fmt.Fprintf(e.stdout, "rolling perplexity (%s, %d tokens a window) of %d bytes, %d words, beginning\n%.200s\n",
			d.Rolling.Convention, d.Rolling.SeqLen, doc.Bytes, doc.Words, doc.Text)
		return nil
	}
	item, err := set.Item(c.Int("row"), nil)
	if err != nil {
		return cliargs.Usagef("%w", err)
	}
	fmt.Fprintf(e.stdout, "row %d of %d, mode %s, %d in-context examples, gold %s\n", item.Row, set.Len(), d.Mode, item.Examples(), strings.Join(item.Gold, " | "))
	for i, p := range item.Prompts(item.Examples()) {
		fmt.Fprintf(e.stdout, "--- %s\n%s\n", partName(item, i), p.Text)
		for j, continuation := range p.Continuations {
			fmt.Fprintf(e.stdout, "--- continuation of label %s\n%s\n", item.Labels[j], continuation)
		}
	}
	return nil
}

func partName(item *dataset.Item, i int) string {
	if item.Mode == spec.PPL && i < len(item.Labels) {
		return "prompt of label " + item.Labels[i]
	}
	return "prompt"
}

// under puts a catalog entry's files below dir, as a spec's data_dir does.
func under(dir string, d spec.Dataset) spec.Dataset {
	place := func(f spec.Files) spec.Files {
		f.Path = filepath.Join(dir, f.Path)
		if f.Labels != "" {
			f.Labels = filepath.Join(dir, f.Labels)
		}
		return f
	}
	d.Test = place(d.Test)
	if d.Train != nil {
		train := place(*d.Train)
		d.Train = &train
	}
	return d
}
