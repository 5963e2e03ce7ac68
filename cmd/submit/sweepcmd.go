package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sextant/pkg/cliargs"
	"sextant/pkg/objstore"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/spec"
	"sextant/pkg/sweep"

	"github.com/urfave/cli/v2"
)

// The files of a watch in its work directory.
const (
	sweepJournal = "watch.jsonl"
	sweepLock    = "watch.lock"
)

func (e env) sweepCommand() *cli.Command {
	return &cli.Command{
		Name: "sweep", Usage: "evaluate each checkpoint that appears in a directory, once", ArgsUsage: "SPEC --watch DIR",
		Description: "Evaluates each new complete checkpoint below --watch DIR by the spec, whose one [[models]] table is the template: its settings hold\n" +
			"for each checkpoint, its path is not used. A checkpoint is a directory in DIR with a config.json or params.json. It is complete when\n" +
			"it has the file that --marker names; without --marker when it opens (the files that the index names, with the sizes that their\n" +
			"headers say, and a tokenizer) and none of its files has changed for --settle. What is complete at one look is one run. A journal in\n" +
			"the work dir, " + sweepJournal + ", sees to it that each is evaluated once, whatever dies: the same command again goes on. After each\n" +
			"run leaderboard.{txt,md,csv,json,html} in the work dir are written anew; the table is printed at the end, which is Ctrl-C or --once.\n\n" +
			"A spec with [sweep] is run by submit SPEC, without this command.\n\n" +
			"Example: submit sweep eval.toml --watch /share/checkpoints/my-7b --marker DONE -w outputs/my-7b\n" +
			"         submit sweep eval.toml --watch /share/checkpoints/my-7b --once --slurm -p llmeval --max-num-workers 32",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "watch", Usage: "`DIR` whose subdirectories are checkpoints"},
			&cli.StringFlag{Name: "marker", Usage: "`NAME` of the file that makes a checkpoint complete"},
			&cli.DurationFlag{Name: "settle", Value: time.Minute, Usage: "without --marker: `TIME` for which no file may have changed"},
			&cli.DurationFlag{Name: "poll", Value: 30 * time.Second, Usage: "`TIME` between two looks"},
			&cli.BoolFlag{Name: "once", Usage: "evaluate what is there, and leave", DisableDefaultText: true},
			&cli.BoolFlag{Name: "again", Usage: "evaluate checkpoints again that have changed since, or that another question was asked of",
				DisableDefaultText: true},
			byFlag(),
		}, sweepFlags()...),
		Action: e.sweep,
	}
}

// noSweep are flags of an evaluation that mean nothing to a watch.
var noSweep = []string{"reuse", "mode", "dry-run", "show-scripts", "json"}

func sweepFlags() []cli.Flag {
	return slices.DeleteFunc(evaluateFlags(), func(f cli.Flag) bool { return slices.Contains(noSweep, f.Names()[0]) })
}

// checkSweep refuses flags that contradict each other, and a directory that is none.
func checkSweep(c *cli.Context) error {
	dir := c.String("watch")
	switch {
	case dir == "":
		return cliargs.Usagef("sweep watches a directory: name it with --watch DIR. A spec with [sweep] is run by submit SPEC")
	case objstore.IsAddress(dir):
		return cliargs.Usagef("--watch %s: only a directory of a file system can be watched; copy checkpoints to one, or name them in [[models]]", dir)
	case c.Bool("detach"):
		return cliargs.Usagef("--detach leaves when jobs are queued, and a watch stays to see new checkpoints; leave it out, or run the watch with " +
			"--once from cron")
	case c.IsSet("marker") && (c.String("marker") == "" || filepath.Base(c.String("marker")) != c.String("marker")):
		return cliargs.Usagef("--marker %q: write the name of a file, without a directory", c.String("marker"))
	case c.Duration("settle") < 0 || c.Duration("poll") <= 0:
		return cliargs.Usagef("--settle may not be less than 0, and --poll must be more")
	}
	if info, err := os.Stat(dir); err != nil {
		return badInput{fmt.Errorf("--watch: %w", err)}
	} else if !info.IsDir() {
		return badInput{fmt.Errorf("--watch %s: it is no directory", dir)}
	}
	return checkValues(c)
}

// sweeper is a watch at work.
type sweeper struct {
	env
	c        *cli.Context
	spec     *spec.Spec // with the template alone
	template spec.Model
	dir      string            // that is watched, absolute
	work     string            // the work directory, absolute
	names    map[string]string // of models: the checkpoint that has each
	lost     bool              // the directory was not there at the last look
	said     map[string]bool   // checkpoints that something was told of
	parts    map[string]*boardPart
}

// placeholder is the name in the template's path, which is nowhere.
const placeholder = "checkpoint"

func (e env) sweep(c *cli.Context) error {
	if err := checkSweep(c); err != nil {
		return err
	}
	s, err := e.newSweeper(c)
	if err != nil {
		return err
	}
	lock, err := run.Lock(filepath.Join(s.work, sweepLock))
	if err != nil {
		return fmt.Errorf("watching %q with the work dir %q: %w", s.dir, s.work, err)
	}
	defer lock.Close()
	journal, past, err := sweep.OpenJournal(filepath.Join(s.work, sweepJournal), s.dir)
	if errors.Is(err, sweep.ErrOther) {
		return badInput{err}
	} else if err != nil {
		return err
	}
	defer journal.Close()
	question, err := questionOf(s.spec)
	if err != nil {
		return err
	}
	rules := sweep.Rules{Marker: c.String("marker"), Settle: c.Duration("settle"), Again: c.Bool("again"), Question: question}
	r := &sweep.Rounds{Watch: sweep.NewWatch(rules, past), World: s, Log: journal, Say: s.say}
	s.know(past)
	err = s.rounds(r)
	last := s.last(r)
	if err != nil && errors.Is(last, errIncomplete) {
		last = nil // what ended the watch has its own exit code
	}
	return errors.Join(err, last)
}

// newSweeper reads the spec, and checks all that can be checked without a checkpoint.
func (e env) newSweeper(c *cli.Context) (*sweeper, error) {
	path, err := specPath(c)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(c.String("watch"))
	if err != nil {
		return nil, err
	}
	e.lark, e.code, e.mute = c.Bool("lark"), c.Bool(allowCode), c.Bool(noNotify)
	over, err := settings(c)
	if err != nil {
		return nil, err
	}
	sp, err := e.readSpec(path, spec.Options{Overrides: over, Template: "/" + placeholder})
	if err != nil {
		return nil, err
	}
	if len(sp.Models) != 1 {
		return nil, badInput{fmt.Errorf("%s: [sweep] makes %d models of the template; a watch evaluates each checkpoint as one: take models out of [sweep]",
			path, len(sp.Models))}
	}
	if flag := needsSlurm(c); flag != "" && sp.Infer.Scheduler != "slurm" {
		return nil, cliargs.Usagef("--%s is for a Slurm cluster: add --slurm, or write scheduler = \"slurm\" under [infer] in the spec", flag)
	}
	if err := checkBy(sp, c.String("by")); err != nil {
		return nil, err
	}
	work, err := filepath.Abs(sp.WorkDir)
	if err != nil {
		return nil, err
	}
	sp.WorkDir = work
	if err := os.MkdirAll(work, 0o777); err != nil {
		return nil, fmt.Errorf("making the work dir: %w; choose another place with -w DIR or work_dir", err)
	}
	s := &sweeper{env: e, c: c, spec: sp, template: sp.Models[0], dir: dir, work: work, names: map[string]string{}, said: map[string]bool{},
		parts: map[string]*boardPart{}}
	s.recipes()
	if _, err := plan.Survey(s.of()); err != nil {
		return nil, badInput{err}
	}
	return s, e.checkCode(c.Context, &plan.Plan{Spec: *sp}, false)
}

// say tells a line.
func (s *sweeper) say(line string) {
	name, _, _ := strings.Cut(line, ":")
	s.said[name] = true
	fmt.Fprintln(s.stderr, line)
}

// know takes up the models' names of a journal.
func (s *sweeper) know(past []sweep.Event) {
	for _, e := range past {
		for _, m := range e.Members {
			s.names[m.Model] = m.Name
		}
	}
}

// rounds goes on with what was left, and then looks again and again.
func (s *sweeper) rounds(r *sweep.Rounds) error {
	_, others, err := sweep.Scan(s.dir, "")
	if err != nil {
		return badInput{fmt.Errorf("--watch: %w", err)}
	}
	fmt.Fprintf(s.stderr, "watching %s, work dir %s\n", relative(s.dir), relative(s.work))
	if others > 0 {
		fmt.Fprintf(s.stderr, "other directories in it, without config.json or params.json: %d\n", others)
	}
	if err := s.catchUp(r); err != nil {
		return err
	}
	b, err := r.GoOn()
	for err == nil {
		if b != nil {
			if err = s.tell(r, b); err != nil {
				break
			}
		}
		if err = context.Cause(s.c.Context); err != nil {
			break
		}
		if b, err = r.Once(time.Now()); err != nil || b != nil {
			continue // checkpoints may have come meanwhile
		}
		if s.c.Bool("once") {
			return nil
		}
		err = sleep(s.c.Context, s.c.Duration("poll"))
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, run.ErrDetached) {
		return errInterrupted
	}
	return err
}

// Look reads the directory. One that is gone for a while is waited for.
func (s *sweeper) Look() ([]sweep.Seen, error) {
	seen, _, err := sweep.Scan(s.dir, s.c.String("marker"))
	if err != nil && !s.c.Bool("once") {
		if !s.lost {
			fmt.Fprintf(s.stderr, "waiting: %v\n", err)
		}
		s.lost = true
		return nil, nil
	}
	s.lost = false
	return seen, err
}

// Open opens a checkpoint, without its weights being loaded.
func (s *sweeper) Open(seen sweep.Seen) (string, error) {
	m := s.model(seen.Name)
	if len(m.Abbr) > longestAbbr || m.Abbr == "" || m.Abbr[0] == '.' {
		return "", fmt.Errorf("its name as a model would be %q; rename the directory: 1 to %d characters, not \".\" first", m.Abbr, longestAbbr)
	}
	if other, taken := s.names[m.Abbr]; taken && other != seen.Name {
		return "", fmt.Errorf("its name as a model would be %q, as that of %q; rename the directory", m.Abbr, other)
	}
	f, err := plan.OpenModel(&m)
	if err != nil {
		return "", err
	}
	s.names[m.Abbr] = seen.Name
	return f.Fingerprint, f.Checkpoint.Close()
}

// Plan plans a run of checkpoints. Those that cannot be planned are found one by one.
func (s *sweeper) Plan(take []sweep.Opened) (sweep.Planned, error) {
	out := sweep.Planned{Models: map[string]string{}, Refused: map[string]error{}}
	var names []string
	for _, o := range take {
		names = append(names, o.Name)
		out.Models[o.Name] = s.model(o.Name).Abbr
	}
	sp := s.of(names...)
	in, err := plan.Survey(sp)
	if err != nil {
		if _, err := plan.Survey(s.of()); err != nil {
			return out, err // the data's fault
		}
		names = slices.DeleteFunc(names, func(name string) bool {
			_, err := plan.Survey(s.of(name))
			if err != nil {
				out.Refused[name] = err
			}
			return err != nil
		})
		if len(names) == 0 {
			return out, nil
		}
		sp = s.of(names...)
		in, err = plan.Survey(sp)
	}
	if err != nil {
		return out, err
	}
	p, err := plan.Make(sp, in)
	if err != nil {
		return out, err
	}
	dir, _, err := run.Find(s.work, p, "")
	if err != nil {
		return out, err
	}
	out.Run = filepath.Base(dir)
	out.Place = func() error { return placePlan(dir, p) }
	return out, nil
}

// placePlan leaves a plan in its run directory. That may be there already: with a plan, when the same was asked without a watch; without one,
// when a watch died in here.
func placePlan(dir string, p *plan.Plan) error {
	if path := result.Dir(dir).Plan(); !exists(path) {
		return p.Save(path)
	}
	r, err := run.Open(p.Spec.WorkDir, p, run.Options{Reuse: dir})
	if err != nil {
		return err
	}
	return r.Close()
}

// Carry does what a batch's run lacks, and scores it.
func (s *sweeper) Carry(b sweep.Batch) (map[string]string, error) {
	dir := filepath.Join(s.work, b.Run)
	p, err := run.LoadPlan(dir)
	if errors.Is(err, run.ErrNoRun) {
		return nil, sweep.ErrNothing
	} else if err != nil {
		return nil, err
	}
	p.Spec.WorkDir = s.work // it may be seen at another place now
	m := newMeter(p)
	r, err := run.Resume(dir, run.Options{Limit: newTimes(p).limit, Measured: m.observe})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	fmt.Fprintf(s.stderr, "batch %d: %s, %s\nrun directory: %s\n", b.Number, count(len(b.Members), "checkpoint"),
		extent(len(p.Tasks), len(p.Shards), len(p.Jobs)), relative(dir))
	quiet := s.env
	quiet.stdout = io.Discard // the answer is the leaderboard
	err = errors.Join(quiet.carryOut(s.c, r, task{mode: modeAll}), m.save())
	s.stops.offCluster()
	if err != nil && !errors.Is(err, errIncomplete) {
		return nil, err
	}
	return failedIn(p, dir, b)
}
