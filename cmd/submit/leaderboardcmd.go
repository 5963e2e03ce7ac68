package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/report"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"
	"sextant/pkg/spec"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// boardPage is the page beside the other files of a leaderboard.
const boardPage = "leaderboard.html"

func (e env) leaderboardCommand() *cli.Command {
	return &cli.Command{
		Name: "leaderboard", Usage: "rank the models of runs in one table", ArgsUsage: "RUN [RUN ...]",
		Description: "Ranks the models of one run or several by their scores, which are read and not computed anew; nothing in a run is changed. A RUN is a\n" +
			"run directory, or a work dir, which stands for all runs in it. Of models with the same name that of the newest run counts; older runs\n" +
			"add the datasets that it lacks where the model is the same by its fingerprint.\n\n" +
			"Example: submit leaderboard outputs --by \"common sense\" --html\n" +
			"         submit leaderboard outputs/20260714_101500-3f2a9c1b outputs/20260801_090000-77aa01c2 --json",
		Flags: []cli.Flag{
			byFlag(),
			&cli.StringFlag{Name: "html",
				Usage: "write a page with charts to `FILE` too, with curves of checkpoints that have steps in their names; --html alone: " + boardPage},
			jsonFlag("print one JSON document"),
		},
		Action: e.leaderboard,
	}
}

// byFlag is the flag that says what a leaderboard goes by.
func byFlag() *cli.StringFlag {
	return &cli.StringFlag{Name: "by", DefaultText: "the first group, else the mean of the datasets",
		Usage: "rank by this group or dataset, or \"" + report.ByMean + "\": its `NAME`"}
}

// checkBy refuses what a spec's leaderboard cannot go by.
func checkBy(s *spec.Spec, by string) error {
	names := []string{report.ByMean}
	for _, g := range s.Groups {
		names = append(names, g.Name)
	}
	for _, d := range s.Datasets {
		names = append(names, d.Abbr)
	}
	if by == "" || slices.Contains(names, by) {
		return nil
	}
	return cliargs.Usagef("--by %q: there is no such group or dataset; there are %s", by, strings.Join(names, ", "))
}

// boardView is what submit leaderboard --json prints.
type boardView struct {
	report.Board
	Runs []string `json:"runs"` // oldest first
}

func (e env) leaderboard(c *cli.Context) error {
	if c.NArg() == 0 {
		return cliargs.Usagef("leaderboard: missing argument RUN, a run directory or a work dir")
	}
	parts, err := e.partsOf(c.Args().Slice())
	if err != nil {
		return err
	}
	all := joinParts(parts)
	board, err := report.NewBoard(all.Scores, c.String("by"))
	if err != nil {
		return badInput{err}
	}
	if c.IsSet("html") {
		file := cmp.Or(c.String("html"), boardPage)
		if err := all.page(file, board, report.Plural(len(parts), "runs")); err != nil {
			return err
		}
		fmt.Fprintf(e.stderr, "page: %s\n", relative(file))
	}
	if !c.Bool("json") {
		return e.printBoard(board)
	}
	v := boardView{Board: board}
	for _, p := range parts {
		v.Runs = append(v.Runs, p.dir)
	}
	return e.printJSON(v)
}

// partsOf reads the runs that arguments stand for, each once, oldest first.
func (e env) partsOf(args []string) ([]boardPart, error) {
	var parts []boardPart
	seen := map[string]bool{}
	for _, arg := range args {
		dirs, whole, err := dirsOf(arg)
		if err != nil {
			return nil, badInput{err}
		}
		for _, dir := range dirs {
			dir = filepath.Clean(dir)
			if seen[dir] {
				continue
			}
			seen[dir] = true
			p, err := readPart(dir)
			if err != nil && whole {
				fmt.Fprintf(e.stderr, "passed over %s: %v\n", relative(dir), err)
				continue
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil, badInput{fmt.Errorf("run %q has no scores yet: submit resume %s makes them", dir, relative(dir))}
			}
			if err != nil {
				return nil, badInput{err}
			}
			parts = append(parts, *p)
		}
	}
	slices.SortStableFunc(parts, func(a, b boardPart) int { return cmp.Or(a.when.Compare(b.when), strings.Compare(a.dir, b.dir)) })
	return parts, nil
}

// dirsOf are the run directories that an argument stands for: itself, or, of a whole work dir, those of all runs in it.
func dirsOf(arg string) (dirs []string, whole bool, err error) {
	if exists(result.Dir(arg).Plan()) {
		return []string{arg}, false, nil
	}
	found, err := findRuns(arg)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%q is no run directory (it has no plan.json), and there is none in it", arg)
	}
	for _, f := range found {
		dirs = append(dirs, f.dir)
	}
	return dirs, true, err
}

// boardPart is a run as a leaderboard needs it.
type boardPart struct {
	foundRun
	score.Part
	of    map[string]string // by variant: its model
	steps []report.Checkpoint
}

// readPart reads a run's scores. One that has none yet wraps fs.ErrNotExist.
func readPart(dir string) (*boardPart, error) {
	all, err := score.Read(scoresFile(result.Dir(dir)))
	if err != nil {
		return nil, err
	}
	p, err := run.LoadPlan(dir)
	if err != nil {
		return nil, err
	}
	out := &boardPart{foundRun: foundAt(dir), Part: score.Part{Scores: all, Fingerprints: map[string]string{}}, of: map[string]string{},
		steps: checkpoints(p)}
	for _, v := range p.Variants {
		out.Fingerprints[v.ID], out.of[v.ID] = v.Fingerprint, v.Model
	}
	return out, nil
}

// joined are the scores of several runs.
type joined struct {
	score.Scores
	of    map[string]string            // by variant: its model
	steps map[string]report.Checkpoint // by variant, of those that have a step, in the newest run
}

func joinParts(parts []boardPart) *joined {
	out := &joined{of: map[string]string{}, steps: map[string]report.Checkpoint{}}
	var list []score.Part
	for _, p := range parts {
		list = append(list, p.Part)
		for v, m := range p.of {
			out.of[v] = m
			delete(out.steps, v)
		}
		for _, at := range p.steps {
			out.steps[at.Model] = at
		}
	}
	out.Scores = score.Join(list...)
	return out
}

// page writes the page of joined scores. It is made in a directory of its own, for what lies beside the file is not its own.
func (j *joined) page(file string, b report.Board, lead string) error {
	dir, err := os.MkdirTemp(filepath.Dir(file), ".leaderboard-")
	if err != nil {
		return fmt.Errorf("writing %q: %w", file, err)
	}
	defer os.RemoveAll(dir)
	p := report.Page{File: filepath.Base(file), Run: "leaderboard", Scores: j.Scores, Board: &b,
		Lead: fmt.Sprintf("%s, %s", report.Plural(len(b.Rows), "models"), lead)}
	for _, row := range b.Rows {
		if at, ok := j.steps[row.Model]; ok {
			p.Steps = append(p.Steps, at)
		}
	}
	if err := report.WriteHTML(dir, p); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, p.File), file); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// printBoard prints a leaderboard, on a terminal no wider than that.
func (e env) printBoard(b report.Board) error {
	columns := 0
	if f, ok := e.stdout.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			columns = n
		}
	}
	_, err := io.WriteString(e.stdout, b.Text(columns))
	return err
}

// boardLine is a model of a leaderboard in a line.
func boardLine(b report.Board, row report.BoardRow) string {
	text := fmt.Sprintf("%s: %s %s", row.Model, b.By, report.Value(b.Unit, row.Value, row.StdErr))
	if row.Rank > 0 {
		text += fmt.Sprintf(", rank %d of %d", row.Rank, len(b.Rows))
	}
	return text
}
