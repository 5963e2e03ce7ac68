package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"text/tabwriter"

	"sextant/pkg/cliargs"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"
	"sextant/pkg/spec"
	"sextant/pkg/track"

	"github.com/urfave/cli/v2"
)

func (e env) trackCommand() *cli.Command {
	return &cli.Command{
		Name: "track", Usage: "send a run's scores to an MLflow server, later or again", ArgsUsage: "DIR",
		Description: "Brings the server up to the scores of the run in DIR: what it has already is left as it is, and no run is made twice. The server is\n" +
			"that of [track] in the run's spec, or of " + track.EnvURI + "; what logs in there is in " + track.EnvToken + ", or in\n" +
			track.EnvUser + " and " + track.EnvPassword + ".\n\n" +
			"Example: submit track outputs/20260714_101500-3f2a9c1b",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "uri", Usage: "`ADDRESS` of the server, in the place of the spec's"},
			&cli.StringFlag{Name: "experiment", Usage: "`NAME` of the experiment, in the place of the spec's"},
			jsonFlag("print one JSON document: what is on the server, and what was sent"),
		},
		Action: e.track,
	}
}

// trackView is what an MLflow server has of a run.
type trackView struct {
	Version int    `json:"version"`
	Run     string `json:"run"` // its directory
	URI     string `json:"uri"` // of the server
	track.Receipt
}

func (e env) track(c *cli.Context) error {
	dir, p, err := runOf(c)
	if err != nil {
		return err
	}
	want := spec.MLflow{}
	if m := p.Spec.Track.MLflow; m != nil {
		want = *m
	}
	if uri := c.String("uri"); uri != "" {
		if says := spec.BadMLflow(uri); says != "" {
			return cliargs.Usagef("--uri %s", says)
		}
		want.URI = uri
	}
	if name := c.String("experiment"); name != "" {
		want.Experiment = name
	}
	if owner := run.Owner(dir); owner != "" {
		return fmt.Errorf("a submit works on the run (%s) and tells its trackers at the end; wait for it", owner)
	}
	all, err := score.Read(scoresFile(result.Dir(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return badInput{fmt.Errorf("there are no scores yet: %w; submit score %s makes them of what is there", err, relative(dir))}
	} else if err != nil {
		return err
	}
	t, err := openTracking(e, dir, p)
	if err != nil {
		return err
	}
	if err := t.serve(want); err != nil {
		return badInput{err}
	}
	t.scored(&all)
	t.now.State = track.Finished
	if slices.ContainsFunc(all.Scores, func(s score.Score) bool { return s.Missing > 0 }) {
		t.now.State = track.Incomplete
	}
	receipt, err := t.tell(c.Context)
	if err != nil {
		return err
	}
	v := trackView{Version: jsonVersion, Run: dir, URI: t.server.Address(), Receipt: *receipt}
	if c.Bool("json") {
		return e.printJSON(v)
	}
	return v.print(e)
}

func (v trackView) print(e env) error {
	fmt.Fprintf(e.stdout, "experiment %s (%s) at %s\n\n", v.Experiment, v.ExperimentID, v.URI)
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "variant\trun\tstatus\tmetrics\tparams\ttags")
	for _, r := range v.Runs {
		name := r.Variant
		if name == "" {
			name = "(all)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\n", name, r.RunID, r.Status, r.Metrics, r.Params, r.Tags)
	}
	return w.Flush()
}
