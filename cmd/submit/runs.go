package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sextant/pkg/cliargs"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/scheduler"

	"github.com/urfave/cli/v2"
)

// runCommands are those about a run that is there.
func (e env) runCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "resume", Usage: "go on with a run, gather and score it", ArgsUsage: "DIR",
			Description: "Does what the run in DIR still lacks, on the scheduler that it was begun on, and prints the scores: as the command that\n" +
				"began it, from the plan that is in the directory.\n\nExample: submit resume outputs/20260714_101500-3f2a9c1b",
			Flags: []cli.Flag{
				modeFlag(),
				&cli.BoolFlag{Name: "debug", Usage: "the running job's log to the terminal", DisableDefaultText: true},
				&cli.BoolFlag{Name: "detach", Usage: "leave when the jobs are queued; one more job gathers their results", DisableDefaultText: true},
				codeFlag(), muteFlag(),
				&cli.BoolFlag{Name: "go-on", Hidden: true, Usage: "failures of before count"},
				&cli.BoolFlag{Name: "quantize", Usage: "only what makes quantized models, as submit quantize", DisableDefaultText: true},
				jsonFlag("print one JSON document in the place of the table: the scores, of --quantize what was made"),
			},
			Action: e.resume,
		},
		{
			Name: "status", Usage: "tell how far a run is", ArgsUsage: "DIR",
			Description: "Reads the run's files, asks the cluster once about its jobs, and changes nothing. It may be asked while a submit works on\n" +
				"the run.\n\nExample: submit status outputs/20260714_101500-3f2a9c1b",
			Flags:  []cli.Flag{jsonFlag("print one JSON document")},
			Action: e.status,
		},
		e.whyCommand(), e.watchCommand(),
		{
			Name: "cancel", Usage: "end a run's jobs, and only those", ArgsUsage: "DIR",
			Description: "Ends the jobs of the run, also those of a submit that is gone, and returns when none is left. A submit that works on the run\n" +
				"ends too. Rows done are kept: submit resume DIR goes on from them.\n\nExample: submit cancel outputs/20260714_101500-3f2a9c1b",
			Action: e.cancel,
		},
		{
			Name: "logs", Usage: "show the log of a shard or job", ArgsUsage: "DIR [SHARD|JOB]",
			Description: "Prints the log of the last attempt. Without a shard or job it lists the jobs that were tried: the last attempt of each, and where\n" +
				"its log is.\n\n" +
				"Example: submit logs outputs/20260714_101500-3f2a9c1b\n" +
				"         submit logs outputs/20260714_101500-3f2a9c1b pocket--pocket_gsm--0-100 -f",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on printing what is added, until Ctrl-C", DisableDefaultText: true},
				&cli.IntFlag{Name: "attempt", Usage: "the `N`-th attempt", DefaultText: "the last"},
				jsonFlag("print the list, or of a shard or job its line, as one JSON document"),
			},
			Action: e.logs,
		},
	}
}

// runOf is the one argument of a command about a run: its directory, and the plan that is in it.
func runOf(c *cli.Context) (dir string, p *plan.Plan, err error) {
	args, err := cliargs.Positional(c, "DIR")
	if err != nil {
		return "", nil, err
	}
	return runAt(args[0])
}

func runAt(path string) (dir string, p *plan.Plan, err error) {
	if p, err = run.LoadPlan(path); err != nil {
		return "", nil, badInput{err}
	}
	if dir, err = filepath.Abs(path); err != nil {
		return "", nil, err
	}
	p.Spec.WorkDir = filepath.Dir(dir) // it may have been relative to another directory
	return dir, p, nil
}

func (e env) resume(c *cli.Context) error {
	mode, err := modeOf(c)
	if err != nil {
		return err
	}
	dir, p, err := runOf(c)
	if err != nil {
		return err
	}
	if c.Bool("detach") && !p.Spec.Infer.Remote() {
		return cliargs.Usagef("--detach: the run is of this machine, its workers end with submit")
	}
	if c.Bool("json") && !c.Bool("quantize") {
		if err := checkJSON(c, mode); err != nil {
			return err
		}
	}
	e.code, e.mute, e.json = c.Bool(allowCode), c.Bool(noNotify), c.Bool("json")
	if err := e.checkCode(c.Context, p, c.Bool("detach")); err != nil && !c.Bool("go-on") {
		return err
	}
	m := newMeter(p)
	o := run.Options{Detach: c.Bool("detach"), GoOn: c.Bool("go-on"), Quantize: c.Bool("quantize"), Limit: newTimes(p).limit, Measured: m.observe}
	r, err := run.Resume(dir, o)
	if err != nil {
		return err
	}
	defer r.Close()
	return errors.Join(e.carryOut(c, r, task{mode: mode, quantize: c.Bool("quantize")}), m.save())
}

// cancel asks a submit at work to end its jobs, or ends them itself, and makes sure that none is left.
func (e env) cancel(c *cli.Context) error {
	dir, p, err := runOf(c)
	if err != nil {
		return err
	}
	request := result.Dir(dir).CancelRequest()
	if err := result.CommitJSON(request, map[string]any{"pid": os.Getpid(), "time": time.Now()}); err != nil {
		return fmt.Errorf("asking for the end of the run: %w", err)
	}
	said := false
	for {
		owner := run.Owner(dir)
		if owner == "" {
			break
		}
		if !said {
			fmt.Fprintf(e.stderr, "waiting for the submit that works on the run: %s\n", owner)
			said = true
		}
		if err := sleep(c.Context, time.Second); err != nil {
			return err
		}
	}
	if !p.Spec.Infer.Remote() {
		fmt.Fprintln(e.stderr, "no worker is left: those of this machine end with their submit")
		return nil
	}
	if said {
		fmt.Fprintln(e.stderr, "it has ended its jobs and left")
	}
	s, _, err := e.cluster(c.Context, p, dir)
	if err != nil {
		return err
	}
	return e.cancelAll(c.Context, s)
}

// cancelAll cancels every job of a run until the cluster shows none.
func (e env) cancelAll(ctx context.Context, s cluster) error {
	asked := map[string]bool{}
	for {
		live, err := s.Live(ctx)
		if err != nil && !errors.Is(err, scheduler.ErrDown) {
			return err
		}
		if err == nil && len(live) == 0 {
			fmt.Fprintf(e.stderr, "%s cancelled; none is left\n", count(len(asked), "job"))
			return nil
		}
		if err == nil {
			for _, ref := range live {
				asked[ref.Name] = true
			}
			err = s.Cancel(ctx, live)
		}
		if err != nil && !errors.Is(err, scheduler.ErrDown) {
			return err
		} else if err != nil {
			fmt.Fprintf(e.stderr, "waiting: %v\n", err)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
