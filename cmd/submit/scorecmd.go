package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"sextant/pkg/run"
	"sextant/pkg/score"

	"github.com/urfave/cli/v2"
)

func (e env) scoreCommand() *cli.Command {
	return &cli.Command{
		Name: "score", Usage: "score a run again from its records, without inference", ArgsUsage: "DIR",
		Description: "Reads the records of the run in DIR, scores them as this version of submit does, writes scores.json, summary.* and report.html\n" +
			"anew, prints the scores, and says what is not as in the scores before. Metrics and post-processors are those of the run's plan; to use others, change\n" +
			"the spec and run submit SPEC -m eval.\n\n" +
			"Example: submit score outputs/20260714_101500-3f2a9c1b --" + allowCode,
		Flags: []cli.Flag{
			codeFlag(),
			jsonFlag("print one JSON document: the scores, and what changed"),
		},
		Action: e.score,
	}
}

// scoreView is the scores of a run that was scored again.
type scoreView struct {
	scoresView
	Changes []scoreChange `json:"changes"` // scores that are not as before
}

func (e env) score(c *cli.Context) error {
	dir, p, err := runOf(c)
	if err != nil {
		return err
	}
	e.code = c.Bool(allowCode)
	if err := e.checkCode(c.Context, p, false); err != nil {
		return err
	}
	r, err := run.Resume(dir, run.Options{GoOn: true})
	if err != nil {
		return err
	}
	defer r.Close()
	e.asides = &asides{}
	defer e.asides.flush(e.stderr)
	e.tracking = e.newTracking(r, false)
	return e.tracking.ended(c.Context, e.rescored(c, r, dir))
}

// rescored scores a run, and prints the scores and what changed.
func (e env) rescored(c *cli.Context, r *run.Run, dir string) error {
	before, err := oldScores(scoresFile(r.Dir))
	if err != nil {
		fmt.Fprintf(e.stderr, "warning: the scores before cannot be read, so nothing is compared: %v\n", err)
	}
	if !c.Bool("json") {
		err := e.scores(c.Context, r, modeEval)
		if after, readErr := score.Read(scoresFile(r.Dir)); readErr == nil && before != nil {
			e.printChanges(changes(before, &after), len(after.Scores)+len(after.Groups))
		}
		return err
	}
	all, records, err := e.rescore(c.Context, r)
	if err != nil {
		return err
	}
	if _, err := e.publish(r, all, records); err != nil {
		return err
	}
	if err := e.printJSON(scoreView{scoresView{jsonVersion, dir, all}, changes(before, &all)}); err != nil {
		return err
	}
	return e.whole(r, &all)
}

// oldScores reads scores that another version of the program may have written; nil: there are none.
func oldScores(path string) (*score.Scores, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s score.Scores
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("reading scores %q: %w", path, err)
	}
	return &s, nil
}

// scoreChange is a score that is not as it was.
type scoreChange struct {
	Model   string   `json:"model"`
	Dataset string   `json:"dataset"` // or a group
	Metric  string   `json:"metric"`
	Before  *float64 `json:"before"` // nil: there was none
	Now     *float64 `json:"now"`    // nil: there is none
	Why     string   `json:"why"`
}

type scoreKey struct {
	model, dataset, metric string
	group                  bool
}

// changes compares scores with those before, in the order of the scores.
func changes(before, now *score.Scores) []scoreChange {
	out := []scoreChange{}
	if before == nil {
		return out
	}
	old, order := byKey(before)
	fresh, each := byKey(now)
	for _, k := range each {
		s := fresh[k]
		was, ok := old[k]
		if why := whyChanged(was, s, ok); why != "" {
			out = append(out, scoreChange{k.model, k.dataset, k.metric, was.Value, s.Value, why})
		}
	}
	for _, k := range order {
		if _, ok := fresh[k]; !ok {
			out = append(out, scoreChange{k.model, k.dataset, k.metric, old[k].Value, nil, "no longer scored"})
		}
	}
	return out
}

func byKey(all *score.Scores) (map[scoreKey]score.Score, []scoreKey) {
	m := map[scoreKey]score.Score{}
	var order []scoreKey
	for i, list := range [][]score.Score{all.Scores, all.Groups} {
		for _, s := range list {
			k := scoreKey{s.Model, s.Dataset, s.Metric, i == 1}
			m[k] = s
			order = append(order, k)
		}
	}
	return m, order
}

// whyChanged says what is not the same of two scores; "": nothing that counts.
func whyChanged(was, s score.Score, had bool) string {
	var why []string
	same := was.Value == s.Value || was.Value != nil && s.Value != nil && *was.Value == *s.Value
	switch {
	case !had:
		return "new"
	case was.Hash != s.Hash && was.Prompt != s.Prompt:
		why = append(why, "another prompt")
	case was.Hash != s.Hash:
		why = append(why, "the scorer, its settings or the data changed")
	}
	if was.N != s.N || was.Missing != s.Missing {
		why = append(why, fmt.Sprintf("rows scored %d -> %d, missing %d -> %d", was.N, s.N, was.Missing, s.Missing))
	}
	if was.Note != s.Note {
		why = append(why, fmt.Sprintf("noted %q, was %q", s.Note, was.Note))
	}
	if len(why) == 0 && !same {
		why = append(why, "other records, verdicts or members")
	}
	return strings.Join(why, "; ")
}

// printChanges tells people what changed, of so many scores.
func (e env) printChanges(list []scoreChange, of int) {
	if len(list) == 0 {
		fmt.Fprintln(e.stderr, "every score is as before")
		return
	}
	fmt.Fprintf(e.stderr, "%d of %s not as before:\n", len(list), count(of, "score"))
	w := tabwriter.NewWriter(e.stderr, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "model\tdataset\tmetric\tbefore\tnow\twhy")
	for _, c := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t-> %s\t%s\n", c.Model, c.Dataset, c.Metric, twoDecimals(c.Before), twoDecimals(c.Now), c.Why)
	}
	w.Flush()
}

func twoDecimals(v *float64) string {
	if v == nil {
		return "-"
	}
	return strconv.FormatFloat(*v, 'f', 2, 64)
}
