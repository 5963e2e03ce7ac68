package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sextant/pkg/cliargs"
	"sextant/pkg/export"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"

	"github.com/urfave/cli/v2"
)

func (e env) exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write a run's scores or rows for other tools", ArgsUsage: "DIR",
		Description: "Writes what is in the run's score and record files; nothing is computed anew and the run is not changed. Formats of one file:\n" +
			"csv, md, latex, jsonl (scores), rows-jsonl, rows-parquet (every row). Layouts of a directory, for which --output names it:\n" +
			"lm-eval (results_*.json and samples_*.jsonl of lm-evaluation-harness), opencompass (predictions, results, summary).\n\n" +
			"Example: submit export outputs/20260714_101500-3f2a9c1b --format latex\n" +
			"         submit export outputs/20260714_101500-3f2a9c1b --format lm-eval -o for-the-dashboard",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: "csv", Usage: "the `FORMAT`: " + strings.Join(slices.Concat(export.Formats, export.Layouts), ", ")},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE` to write, whole or not at all, or a layout's directory",
				DefaultText: "standard output"},
		},
		Action: e.export,
	}
}

func (e env) export(c *cli.Context) error {
	format, to := c.String("format"), c.String("output")
	layout := slices.Contains(export.Layouts, format)
	switch {
	case !layout && !slices.Contains(export.Formats, format):
		return cliargs.Usagef("--format: there is no %q; there are %s", format, strings.Join(slices.Concat(export.Formats, export.Layouts), ", "))
	case layout && to == "":
		return cliargs.Usagef("--format %s makes several files: name their directory with --output", format)
	}
	dir, p, err := runOf(c)
	if err != nil {
		return err
	}
	r, at, err := exported(dir, p)
	if err != nil {
		return err
	}
	switch {
	case layout:
		return export.WriteLayout(to, format, r, at)
	case to == "":
		return export.Write(e.stdout, format, r)
	}
	return result.Commit(to, func(w io.Writer) error { return export.Write(w, format, r) })
}

// exported is a run as it is exported, and when it was scored.
func exported(dir string, p *plan.Plan) (export.Run, time.Time, error) {
	path := scoresFile(result.Dir(dir))
	scores, err := score.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return export.Run{}, time.Time{}, badInput{fmt.Errorf("the run has no scores yet: %w; submit resume %s makes them", err, relative(dir))}
	}
	if err != nil {
		return export.Run{}, time.Time{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return export.Run{}, time.Time{}, err
	}
	g, err := run.Read(dir, p)
	if err != nil {
		return export.Run{}, time.Time{}, err
	}
	rows, err := rowsOf(dir, p, g.Records)
	if err != nil {
		return export.Run{}, time.Time{}, err
	}
	return export.Run{Name: filepath.Base(dir), Plan: p, Scores: scores, Rows: rows}, info.ModTime().UTC(), nil
}

// rowsOf tells the rows of a run's tasks as they were scored. Programs are not run for it.
func rowsOf(dir string, p *plan.Plan, records map[string][]result.Record) (func(plan.Task) ([]score.Row, error), error) {
	verdicts, err := score.ReadVerdicts(dir)
	if err != nil {
		return nil, err
	}
	o := score.Options{Verdicts: verdicts}
	return func(t plan.Task) ([]score.Row, error) {
		d, ok := p.Dataset(t.Dataset)
		if !ok {
			return nil, fmt.Errorf("the plan has no dataset %q", t.Dataset)
		}
		return o.Rows(t, d, records[t.ID])
	}, nil
}
