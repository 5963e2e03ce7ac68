package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"sextant/pkg/cliargs"
	"sextant/pkg/dataset"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"
	"sextant/pkg/spec"

	"github.com/urfave/cli/v2"
)

// defaultSpec is what submit takes when no file is named.
const defaultSpec = "eval.toml"

// The parts of the work that -m chooses.
const (
	modeAll   = "all"
	modeInfer = "infer"
	modeEval  = "eval"
	modeViz   = "viz"
)

// evaluate is the command itself: spec, plan, run, scores, report.
func (e env) evaluate(c *cli.Context) error {
	mode, err := modeOf(c)
	if err != nil {
		return err
	}
	p, err := e.plan(c)
	if err != nil {
		return err
	}
	e.code, e.json = c.Bool(allowCode), c.Bool("json")
	if err := e.checkCode(c.Context, p, c.Bool("detach")); err != nil {
		return err
	}
	return e.inRun(c, p, task{mode: mode})
}

// task is what is to be done of a run.
type task struct {
	mode     string
	quantize bool // only what makes variants
}

// inRun does a task in the plan's run.
func (e env) inRun(c *cli.Context, p *plan.Plan, t task) error {
	e.mute = c.Bool(noNotify)
	m := newMeter(p)
	o := run.Options{Reuse: c.String("reuse"), Existing: t.mode == modeEval || t.mode == modeViz, Detach: c.Bool("detach"), Quantize: t.quantize,
		Limit: newTimes(p).limit, Measured: m.observe}
	r, err := run.Open(p.Spec.WorkDir, p, o)
	if errors.Is(err, run.ErrNoRun) {
		return badInput{err}
	} else if err != nil {
		return err
	}
	defer r.Close()
	fmt.Fprintf(e.stderr, "plan: %s\nrun directory: %s\n", extent(len(p.Tasks), len(p.Shards), len(p.Jobs)), relative(string(r.Dir)))
	return errors.Join(e.carryOut(c, r, t), m.save())
}

// modeOf is the part of the work that was asked for.
func modeOf(c *cli.Context) (string, error) {
	mode := c.String("mode")
	if modes := []string{modeAll, modeInfer, modeEval, modeViz}; !slices.Contains(modes, mode) {
		return "", cliargs.Usagef("--mode %q: there are %s", mode, strings.Join(modes, ", "))
	}
	return mode, nil
}

// carryOut does what a run lacks, and scores it. Whom and what the spec names is told how it goes.
func (e env) carryOut(c *cli.Context, r *run.Run, t task) error {
	if t.mode == modeViz {
		return e.conclude(c.Context, r, t)
	}
	e.asides = &asides{}
	defer e.asides.flush(e.stderr)
	e.tracking = e.newTracking(r, t.mode != modeEval)
	var err error
	if t.mode != modeEval {
		e.notices = e.newNotices(r)
		err = e.infer(c.Context, r, c.Bool("debug"))
	}
	if err == nil {
		err = e.conclude(c.Context, r, t)
	}
	return e.notices.ended(c.Context, e.tracking.ended(c.Context, err))
}

// conclude tells what there is when the jobs have ended: scores, or quantized models.
func (e env) conclude(ctx context.Context, r *run.Run, t task) error {
	if t.quantize {
		whole, err := e.made(r)
		if err == nil && !whole {
			err = errIncomplete
		}
		return err
	}
	err := e.scores(ctx, r, t.mode)
	v, _ := madeOf(r)
	return errors.Join(err, v.print(e.stderr))
}

// plan reads the spec and makes the plan. Whatever is wrong with spec, data or models is found here, before anything is written.
func (e env) plan(c *cli.Context) (*plan.Plan, error) {
	path, err := specPath(c)
	if err != nil {
		return nil, err
	}
	e.lark = c.Bool("lark")
	over, err := settings(c)
	if err != nil {
		return nil, err
	}
	return e.planOf(path, over)
}

// settings are what the flags lay over a spec.
func settings(c *cli.Context) ([]spec.Override, error) {
	over := overrides(c)
	if cfg := c.String("aliyun-cfg"); cfg != "" {
		settings, err := spec.Aliyun(cfg)
		if err != nil {
			return nil, badInput{err}
		}
		over = append(settings, over...)
	}
	return over, nil
}

// planOf makes the plan of a spec file.
func (e env) planOf(path string, over []spec.Override) (*plan.Plan, error) {
	s, err := e.readSpec(path, spec.Options{Overrides: over})
	if err != nil {
		return nil, err
	}
	in, err := plan.Survey(*s)
	if err != nil {
		return nil, badInput{err}
	}
	return plan.Make(*s, in)
}

// readSpec reads a spec file, and says what is wrong with it, with or without its models and data.
func (e env) readSpec(path string, o spec.Options) (*spec.Spec, error) {
	var err error
	if o.Catalog, err = dataset.NewCatalog(); err != nil {
		return nil, err
	}
	s, err := spec.Load(path, o)
	if err != nil {
		return nil, badInput{err}
	}
	if err := score.Validate(s); err != nil {
		return nil, badInput{err}
	}
	if e.lark {
		if err := withLark(s); err != nil {
			return nil, badInput{err}
		}
	}
	for _, w := range s.Warnings() {
		fmt.Fprintf(e.stderr, "warning: %s\n", w)
	}
	if err := checkWorkDir(s); err != nil {
		return nil, badInput{err}
	}
	plan.UseStore(*s)
	return s, nil
}

// checkWorkDir refuses a directory in which Slurm cannot write logs: it expands % in their names, and nothing at all after a backslash.
func checkWorkDir(s *spec.Spec) error {
	dir, err := filepath.Abs(s.WorkDir)
	if err != nil || s.Infer.Scheduler != "slurm" {
		return err
	}
	if strings.ContainsAny(dir, `%\`) || strings.ContainsFunc(dir, unicode.IsControl) {
		return fmt.Errorf("work_dir %q: Slurm cannot write logs where a path has %%, a backslash or a control character; choose another with -w", dir)
	}
	return nil
}

// specPath is the file named, or ./eval.toml; without either it says what to do.
func specPath(c *cli.Context) (string, error) {
	if c.NArg() == 0 {
		if _, err := os.Stat(defaultSpec); errors.Is(err, fs.ErrNotExist) {
			return "", cliargs.Usagef("no spec named and no ./%s here. A spec names models and datasets:\n\n"+
				"    datasets = [\"siqa_ppl\", \"gsm8k_gen\"]\n    [[models]]\n    path = \"/path/to/a/checkpoint\"\n\n"+
				"To see one work at once: make quickstart, or submit examples/pocket/eval.toml in the source tree", defaultSpec)
		}
		return defaultSpec, nil
	}
	if err := noSpec(c.Args().First()); err != nil {
		return "", err
	}
	args, err := cliargs.Positional(c, "SPEC")
	if err != nil {
		return "", err
	}
	return args[0], nil
}

// infer runs what the run still lacks.
func (e env) infer(ctx context.Context, r *run.Run, debug bool) error {
	if from, err := imported(string(r.Dir)); err != nil {
		return err
	} else if from != nil {
		return badInput{fmt.Errorf("run %q was imported from %q: there is no model to go on with; submit score %s scores it",
			r.Dir, from.Source, relative(string(r.Dir)))}
	}
	sched, err := e.scheduler(ctx, r)
	if err != nil {
		return err
	}
	defer sched.Close()
	w := newWatch(e, debug)
	e.asides.through(w.progress.Say)
	if c, ok := sched.(*clusterJobs); ok {
		c.say = w.progress.Say
	}
	out, err := run.Execute(ctx, r, sched, w.observe)
	e.asides.through(nil)
	w.end()
	switch {
	case errors.Is(err, run.ErrCancelled):
		return fmt.Errorf("%w; rows done are kept, submit resume %s goes on from there", err, relative(string(r.Dir)))
	case errors.Is(err, run.ErrInterrupted):
		return errInterrupted
	case err != nil:
		return err
	}
	e.tracking.through(out)
	e.outcome(out)
	if out.Detached {
		return e.detached(ctx, r, sched, out)
	}
	return sched.Sweep(context.WithoutCancel(ctx))
}

// outcome tells what a person should know of how it went, beside the scores.
func (e env) outcome(out *run.Outcome) {
	if out.Stale > 0 {
		fmt.Fprintf(e.stderr, "%d rows that were there are stale: their data, prompt, settings or model changed; they were computed anew\n", out.Stale)
	}
	for _, bad := range out.Bad {
		fmt.Fprintf(e.stderr, "warning: %v; what it held is taken from other files or computed again\n", bad)
	}
	if len(out.Excluded) > 0 {
		fmt.Fprintf(e.stderr, "warning: these nodes failed again and again and were not used any more: %s; tell whoever runs the cluster\n",
			strings.Join(out.Excluded, ", "))
	}
	if out.Attempts == 0 && len(out.Failures) == 0 && !out.Detached {
		fmt.Fprintln(e.stderr, "nothing to do: every row has its result")
	}
}

// scores scores what is there, writes the summary and prints it.
func (e env) scores(ctx context.Context, r *run.Run, mode string) error {
	path := scoresFile(r.Dir)
	if mode == modeInfer {
		return e.complete(r)
	}
	var all score.Scores
	var records map[string][]result.Record
	var err error
	if mode == modeViz {
		if all, err = score.Read(path); errors.Is(err, fs.ErrNotExist) {
			return badInput{fmt.Errorf("there are no scores yet: %w; run without -m viz first", err)}
		}
		fill(&all, r) // a file of scores lacks what is not the same in each run
	} else {
		all, records, err = e.rescore(ctx, r)
	}
	if err != nil {
		return err
	}
	show, err := e.publish(r, all, records)
	if err != nil {
		return err
	}
	if err := e.printScores(r, all, show); err != nil {
		return err
	}
	fmt.Fprintf(e.stderr, "summary: %s\n", relative(filepath.Join(string(r.Dir), "summary.{txt,csv,md,json}")))
	fmt.Fprintf(e.stderr, "report: %s\n", relative(pageFile(string(r.Dir))))
	return e.whole(r, &all)
}

// publish tells and writes the scores, and says how to show them. records are as for writePage.
func (e env) publish(r *run.Run, all score.Scores, records map[string][]result.Record) (show func(io.Writer, score.Scores) error, err error) {
	e.notices.scored(&all)
	e.tracking.scored(&all)
	if show, err = writeSummary(r, all); err == nil {
		err = e.writePage(r, all, records)
	}
	return show, err
}

// scoresView is the scores of a run.
type scoresView struct {
	Version int          `json:"version"`
	Run     string       `json:"run"`    // its directory
	Scores  score.Scores `json:"scores"` // what is in its scores.json
}

// printScores shows scores, or prints the document of --json.
func (e env) printScores(r *run.Run, all score.Scores, show func(io.Writer, score.Scores) error) error {
	if e.json {
		return e.printJSON(scoresView{jsonVersion, string(r.Dir), all})
	}
	return show(e.stdout, all)
}

// whole is the outcome of a scoring: whether rows are missing. Of programs that were not run it says how they are.
func (e env) whole(r *run.Run, all *score.Scores) error {
	e.hintCode(r.Plan, string(r.Dir), all)
	if slices.ContainsFunc(all.Scores, func(s score.Score) bool { return s.Missing > 0 }) {
		return errIncomplete
	}
	return nil
}

// rescore scores the records that are there, which it gives by task, and writes scores.json.
func (e env) rescore(ctx context.Context, r *run.Run) (score.Scores, map[string][]result.Record, error) {
	g, err := r.Gather()
	if err != nil {
		return score.Scores{}, nil, err
	}
	all, err := e.compute(ctx, r, g)
	if err == nil {
		err = score.Write(scoresFile(r.Dir), all)
	}
	return all, g.Records, err
}

// scoresFile is where a run's scores are.
func scoresFile(dir result.Dir) string { return filepath.Join(string(dir), "scores.json") }

func (e env) compute(ctx context.Context, r *run.Run, g *run.Gathered) (all score.Scores, err error) {
	o := score.Options{Reasons: map[string]string{}, Clusters: clusters(r.Plan)}
	for task, m := range g.Missing {
		o.Reasons[task] = m.Reason
	}
	from, err := imported(string(r.Dir))
	if err != nil {
		return score.Scores{}, err
	}
	if from != nil {
		for task, t := range from.Tasks {
			o.Reasons[task] = t.Reason
		}
	}
	if o.Runner, o.Verdicts, err = e.runner(ctx, r.Plan, string(r.Dir)); err != nil {
		return score.Scores{}, err
	}
	if o.Verdicts != nil {
		defer func() { err = errors.Join(err, o.Verdicts.Close()) }()
	}
	all, err = o.Compute(ctx, r.Plan, func(task string) ([]result.Record, error) { return g.Records[task], nil })
	for i := range all.Scores {
		if s := &all.Scores[i]; from != nil {
			s.Note = strings.TrimPrefix(s.Note+", imported", ", ")
		}
	}
	fill(&all, r)
	return all, err
}

// clusters reads the column that says which rows of a dataset belong together. Data that is gone, or not what it was, gives none: the
// score's note says so.
func clusters(p *plan.Plan) func(string) ([]string, error) {
	return func(abbr string) ([]string, error) {
		d, ok := p.Dataset(abbr)
		if !ok {
			return nil, nil
		}
		set, err := dataset.Open(d, p.Spec.Infer.Limit)
		if err != nil {
			return nil, nil
		}
		digest, err := set.Digest()
		other := func(t plan.Task) bool { return t.Dataset == abbr && !strings.HasPrefix(digest, t.Data) }
		if err != nil || slices.ContainsFunc(p.Tasks, other) {
			return nil, nil
		}
		return set.Clusters()
	}
}

// complete tells what -m infer left undone.
func (e env) complete(r *run.Run) error {
	g, err := r.Gather()
	if err != nil || len(g.Missing) == 0 {
		return err
	}
	for _, t := range r.Plan.Tasks {
		if m, ok := g.Missing[t.ID]; ok {
			fmt.Fprintf(e.stderr, "%s: %d of %d rows missing: %s\n", t.ID, m.Rows, t.Rows, m.Reason)
		}
	}
	return errIncomplete
}

// relative shortens a path for people when it is below the current directory.
func relative(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
			return rel
		}
	}
	return path
}
