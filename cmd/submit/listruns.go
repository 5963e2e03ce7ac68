package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"sextant/pkg/cliargs"
	"sextant/pkg/plan"
	"sextant/pkg/report"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"

	"github.com/urfave/cli/v2"
)

func (e env) listCommand() *cli.Command {
	return &cli.Command{
		Name: "runs", Usage: "list the runs of a work dir with their scores, the newest first", ArgsUsage: "[DIR]",
		Description: "Lists the runs in DIR (default: outputs): when each was begun, of which spec, how far it is, and what its models come to by what their\n" +
			"leaderboard goes by. It reads plans, scores and names of files, no rows: of a run without scores it counts the rows of finished\n" +
			"shards. submit status DIR tells of one run exactly.\n\n" +
			"Example: submit runs outputs\n         submit runs /share/outputs --limit 100 --json",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "limit", Value: 20, Usage: "the newest `N` runs; 0: all"},
			jsonFlag("print one JSON document"),
		},
		Action: e.listRuns,
	}
}

// defaultWorkDir is where runs are made when nothing else is said.
const defaultWorkDir = "outputs"

// foundRun is a run directory, and when it was made.
type foundRun struct {
	dir  string
	when time.Time
}

// runStamp is how a run's name begins.
const runStamp = "20060102_150405"

// foundAt tells when the run in a directory was made: as its name says, or its plan's time.
func foundAt(dir string) foundRun {
	name := filepath.Base(dir)
	if len(name) > len(runStamp) {
		if when, err := time.ParseInLocation(runStamp, name[:len(runStamp)], time.Local); err == nil {
			return foundRun{dir, when}
		}
	}
	f := foundRun{dir: dir}
	if info, err := os.Stat(result.Dir(dir).Plan()); err == nil {
		f.when = info.ModTime().Round(time.Second)
	}
	return f
}

// findRuns lists the runs in a work dir, the oldest first: directories with a plan.json, or named as runs are.
func findRuns(workDir string) ([]foundRun, error) {
	entries, err := os.ReadDir(workDir)
	if err != nil {
		return nil, fmt.Errorf("looking for runs: %w", err)
	}
	var out []foundRun
	for _, e := range entries {
		dir := filepath.Join(workDir, e.Name())
		_, wrong := time.Parse(runStamp, e.Name()[:min(len(e.Name()), len(runStamp))])
		if exists(result.Dir(dir).Plan()) || e.IsDir() && wrong == nil {
			out = append(out, foundAt(dir))
		}
	}
	slices.SortStableFunc(out, func(a, b foundRun) int { return cmp.Or(a.when.Compare(b.when), strings.Compare(a.dir, b.dir)) })
	return out, nil
}

// The states of a run in a list.
const (
	listDone       = "done"       // every row has a score
	listRunning    = "running"    // a submit works on it
	listFailed     = "failed"     // rows are missing that were given up
	listStopped    = "stopped"    // rows are missing that nobody has computed
	listUnreadable = "unreadable" // see Error
)

// runsView is what submit runs --json prints.
type runsView struct {
	Version int       `json:"version"` // raised when a field changes its meaning or goes
	Dir     string    `json:"dir"`
	Found   int       `json:"found"` // runs, listed or not
	Runs    []runLine `json:"runs"`  // the newest first
}

// runLine is a run.
type runLine struct {
	Run      string     `json:"run"`
	Dir      string     `json:"dir"`
	When     time.Time  `json:"when"`
	Spec     string     `json:"spec,omitempty"`
	Models   []string   `json:"models"` // variants
	Datasets []string   `json:"datasets"`
	State    string     `json:"state"`
	Rows     int        `json:"rows"`
	Done     int        `json:"done"`             // of them scored; of a run without scores, those of finished shards
	Submit   string     `json:"submit,omitempty"` // who works on it
	Reason   string     `json:"reason,omitempty"` // failed: the first one
	By       string     `json:"by,omitempty"`     // what the values are of
	Unit     score.Unit `json:"unit,omitempty"`
	Values   []runValue `json:"values"` // by rank
	Error    string     `json:"error,omitempty"`
}

type runValue struct {
	Model  string   `json:"model"`
	Value  *float64 `json:"value"`
	StdErr *float64 `json:"stderr"`
}

func (e env) listRuns(c *cli.Context) error {
	dir := defaultWorkDir
	if c.NArg() > 0 {
		args, err := cliargs.Positional(c, "DIR")
		if err != nil {
			return err
		}
		dir = args[0]
	}
	if c.Int("limit") < 0 {
		return cliargs.Usagef("--limit may not be less than 0; 0 lists all runs")
	}
	found, err := findRuns(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return badInput{fmt.Errorf("%w; name the work dir: submit runs DIR", err)}
	} else if err != nil {
		return badInput{err}
	}
	slices.Reverse(found)
	v := runsView{Version: jsonVersion, Dir: dir, Found: len(found)}
	if n := c.Int("limit"); n > 0 {
		found = found[:min(n, len(found))]
	}
	v.Runs = readLines(found)
	if c.Bool("json") {
		return e.printJSON(v)
	}
	if err := v.print(e.stdout); err != nil {
		return err
	}
	if left := v.Found - len(v.Runs); left > 0 {
		fmt.Fprintf(e.stderr, "%s older: --limit 0 lists all\n", count(left, "run"))
	}
	return nil
}

// readLines reads runs, as many at once as there are processors.
func readLines(found []foundRun) []runLine {
	lines := make([]runLine, len(found))
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(runtime.GOMAXPROCS(0), len(found)) {
		wg.Go(func() {
			for i := range next {
				lines[i] = readLine(found[i])
			}
		})
	}
	for i := range found {
		next <- i
	}
	close(next)
	wg.Wait()
	return lines
}

// planHead is what a list needs of a plan. Its digest is not checked, nor are jobs read: a list has to be fast.
type planHead struct {
	Version int
	Spec    struct {
		Name     string
		Datasets []struct{ Abbr string }
	}
	Variants []struct{ ID string }
	Tasks    []struct{ Rows int }
	Shards   []struct {
		ID       string
		From, To int
	}
}

func readLine(f foundRun) runLine {
	l := runLine{Run: filepath.Base(f.dir), Dir: f.dir, When: f.when, Models: []string{}, Datasets: []string{}, Values: []runValue{}}
	if err := l.read(); err != nil {
		l.State, l.Error = listUnreadable, err.Error()
	}
	return l
}

// read fills in what the run's files say.
func (l *runLine) read() error {
	p, err := readHead(l.Dir)
	if err != nil {
		return err
	}
	l.Spec = p.Spec.Name
	for _, v := range p.Variants {
		l.Models = append(l.Models, v.ID)
	}
	for _, d := range p.Spec.Datasets {
		l.Datasets = append(l.Datasets, d.Abbr)
	}
	l.Submit = run.Owner(l.Dir)
	all, err := score.Read(scoresFile(result.Dir(l.Dir)))
	if errors.Is(err, fs.ErrNotExist) {
		err = l.finished(p)
	} else if err == nil {
		err = l.scored(all)
	}
	switch {
	case err != nil:
		return err
	case l.Submit != "":
		l.State = listRunning
	case l.Done == l.Rows:
		l.State = listDone
	case l.Reason != "":
		l.State = listFailed
	default:
		l.State = listStopped
	}
	return nil
}

func readHead(dir string) (*planHead, error) {
	raw, err := os.ReadFile(result.Dir(dir).Plan())
	if err != nil {
		return nil, err
	}
	var p planHead
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("reading the plan: %w", err)
	}
	if p.Version < 1 || p.Version > plan.Version {
		return nil, fmt.Errorf("the plan's format version is %d, this program knows version %d", p.Version, plan.Version)
	}
	return &p, nil
}

// scored takes in the scores. Rows that were not computed yet have no reason worth telling.
func (l *runLine) scored(all score.Scores) error {
	for _, x := range all.Scores {
		if x.Further {
			continue
		}
		l.Rows, l.Done = l.Rows+x.N+x.Missing, l.Done+x.N
		if x.Missing > 0 && x.Reason != run.NotYet && l.Reason == "" {
			l.Reason = x.Model + "/" + x.Dataset + ": " + x.Reason
		}
	}
	if len(all.Scores) == 0 {
		return nil
	}
	b, err := report.NewBoard(all, "")
	if err != nil {
		return err
	}
	l.By, l.Unit = b.By, b.Unit
	for _, row := range b.Rows {
		l.Values = append(l.Values, runValue{row.Model, row.Value, row.StdErr})
	}
	return nil
}

// finished counts the rows of shards whose result files are there.
func (l *runLine) finished(p *planHead) error {
	for _, t := range p.Tasks {
		l.Rows += t.Rows
	}
	names, err := result.Dir(l.Dir).ResultNames()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, name := range names {
		there[name] = true
	}
	for _, s := range p.Shards {
		if there[s.ID] {
			l.Done += s.To - s.From
		}
	}
	return nil
}

// shownValues are how many models a line of the table tells of.
const shownValues = 3

func (v runsView) print(out io.Writer) error {
	if len(v.Runs) == 0 {
		_, err := fmt.Fprintf(out, "no run in %s\n", v.Dir)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "run\twhen\tspec\tmodels\tdatasets\tstate\tscores")
	for _, l := range v.Runs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			l.Run, l.When.Format("2006-01-02 15:04"), l.Spec, few(l.Models), few(l.Datasets), l.state(), l.values())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, l := range v.Runs {
		if why := cmp.Or(l.Error, l.Reason); why != "" {
			if _, err := fmt.Fprintf(out, "%s: %s\n", l.Run, why); err != nil {
				return err
			}
		}
	}
	return nil
}

// state says how far the run is.
func (l *runLine) state() string {
	switch l.State {
	case listDone:
		return fmt.Sprintf("done, %d rows", l.Rows)
	case listUnreadable:
		return listUnreadable
	case listRunning:
		return fmt.Sprintf("running, %d of %d rows: %s", l.Done, l.Rows, l.Submit)
	case listFailed:
		return fmt.Sprintf("failed, %d of %d rows", l.Done, l.Rows)
	}
	return fmt.Sprintf("%d of %d rows", l.Done, l.Rows)
}

// values are those of the first models.
func (l *runLine) values() string {
	var parts []string
	for _, x := range l.Values[:min(shownValues, len(l.Values))] {
		parts = append(parts, x.Model+" "+report.Value(l.Unit, x.Value, x.StdErr))
	}
	if more := len(l.Values) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	if len(parts) == 0 {
		return "-"
	}
	return l.By + ": " + strings.Join(parts, ", ")
}

// few names one or two things, or counts them.
func few(names []string) string {
	switch len(names) {
	case 0:
		return "-"
	case 1, 2:
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
}
