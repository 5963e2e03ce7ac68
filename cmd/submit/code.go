package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"sextant/pkg/plan"
	"sextant/pkg/sandbox"
	"sextant/pkg/score"

	"github.com/urfave/cli/v2"
)

// allowCode is the flag without which nothing that a model wrote is run.
const allowCode = "allow-code-execution"

// codeFlag is that flag, for each command that scores.
func codeFlag() *cli.BoolFlag {
	return &cli.BoolFlag{Name: allowCode, DisableDefaultText: true,
		Usage: "run the programs that models wrote, confined, to score pass@K; on the node where scores are made"}
}

// pythonName is the environment variable that names the interpreter of generated programs.
const pythonName = "SEXTANT_PYTHON"

// codeDatasets names the plan's datasets that are scored by running what the model wrote.
func codeDatasets(p *plan.Plan) []string {
	var names []string
	for _, d := range p.Spec.Datasets {
		if score.RunsCode(d) {
			names = append(names, d.Abbr)
		}
	}
	return names
}

// confined runs generated programs in the sandbox.
type confined struct {
	python sandbox.Interpreter
}

// newConfined looks whether this node confines programs, and for their interpreter. The error says what to do.
func newConfined(ctx context.Context) (*confined, error) {
	layers, why := sandbox.Probe()
	if !layers.Confined() {
		return nil, fmt.Errorf("--%s: nothing on this node confines a program, so none is run (%s). Score on a node whose kernel has user namespaces, "+
			"or Landlock (Linux 5.13) and seccomp: submit score DIR --%s there", allowCode, oneLine(why), allowCode)
	}
	python, err := sandbox.Python(ctx, cmp.Or(os.Getenv(pythonName), "python3"))
	if err != nil {
		return nil, fmt.Errorf("--%s: %w; %s=/path/to/python3 names another", allowCode, err, pythonName)
	}
	return &confined{python: python}, nil
}

// oneLine joins the lines of an error.
func oneLine(err error) string {
	if err == nil {
		return "no reason is known"
	}
	return strings.Join(strings.Split(err.Error(), "\n"), "; ")
}

// Run runs one program.
func (r *confined) Run(ctx context.Context, p score.Program) (score.Verdict, error) {
	if p.Language != "python" {
		return score.Verdict{}, fmt.Errorf("there is no interpreter for programs in %q, only for python", p.Language)
	}
	const file = "program.py"
	out, err := sandbox.Box{}.Run(ctx, sandbox.Program{
		Argv: []string{r.python.Path, "-B", file}, Files: map[string][]byte{file: []byte(p.Source)},
		Env: r.python.Env, Read: r.python.Read, Limits: sandbox.Limits{Wall: p.Limit},
	})
	if err != nil {
		return score.Verdict{}, err
	}
	v := score.Verdict{Layers: out.Layers.Names(), Passed: out.ExitCode == 0 && out.Why == "" && lastLine(out.Stdout) == p.Proof}
	if !v.Passed {
		v.Why = whyNot(out)
	}
	return v, nil
}

func lastLine(text []byte) string {
	text = bytes.TrimRight(text, "\r\n")
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}

// whyNot says in a word or two why a program did not pass.
func whyNot(out sandbox.Outcome) string {
	switch {
	case out.TimedOut:
		return "time"
	case out.Truncated, strings.HasPrefix(out.Why, "output"):
		return "output"
	case strings.HasPrefix(out.Why, "memory"):
		return "memory"
	case out.Why != "":
		return "stopped"
	}
	return "failed"
}

// refusing is a runner that runs nothing, for a reason that each row is then given.
type refusing struct{ error }

func (r refusing) Run(context.Context, score.Program) (score.Verdict, error) {
	return score.Verdict{}, r.error
}

// checkCode is asked before anything is run: with the flag, programs must be able to run where they will be scored, if that is here.
func (e env) checkCode(ctx context.Context, p *plan.Plan, detach bool) error {
	names := codeDatasets(p)
	if !e.code || len(names) == 0 || detach {
		return nil
	}
	if _, err := newConfined(ctx); err != nil {
		return badInput{err}
	}
	if p.Spec.Infer.Scheduler == "slurm" && os.Getenv("SLURM_JOB_ID") == "" {
		host, _ := os.Hostname() // a name for people
		fmt.Fprintf(e.stderr, "warning: the programs of %s run on this node, %s, when the jobs are done; if it is a login node, leave them to a job: "+
			"add --detach, or score in one: srun submit score DIR --%s\n", strings.Join(names, ", "), host, allowCode)
	}
	return nil
}

// runner gives what runs programs, and the verdicts that a run directory keeps. Both are nil where the plan has no program; the runner also
// without leave. A node that cannot run them is each row's reason: all else is scored.
func (e env) runner(ctx context.Context, p *plan.Plan, dir string) (score.Runner, *score.Verdicts, error) {
	names := codeDatasets(p)
	if len(names) == 0 {
		return nil, nil, nil
	}
	known, err := score.OpenVerdicts(dir)
	if err != nil {
		return nil, nil, err
	}
	if !e.code {
		return nil, known, nil
	}
	r, err := newConfined(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, errors.Join(context.Cause(ctx), known.Close())
		}
		return refusing{err}, known, nil
	}
	return r, known, nil
}

// hintCode tells how programs that were not run are.
func (e env) hintCode(p *plan.Plan, dir string, all *score.Scores) {
	if e.code {
		return
	}
	for _, s := range all.Scores {
		if d, ok := p.Dataset(s.Dataset); ok && s.Missing > 0 && score.RunsCode(d) && strings.Contains(s.Reason, allowCode) {
			fmt.Fprintf(e.stderr, "%s: what the model wrote is run only by leave, confined: submit score %s --%s\n", s.Dataset, relative(dir), allowCode)
			return
		}
	}
}
