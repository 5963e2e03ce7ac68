package main

import (
	"fmt"
	"math"

	"sextant/pkg/cliargs"
	"sextant/pkg/score"

	"github.com/hashicorp/go-multierror"
	"github.com/urfave/cli/v2"
)

// The verdicts of --fail-below.
const (
	verdictPass = "pass"
	verdictFail = "fail"
)

// gateOf is the value of --fail-below; nil: it was not given.
func gateOf(c *cli.Context) (*float64, error) {
	if !c.IsSet("fail-below") {
		return nil, nil
	}
	x := c.Float64("fail-below")
	if !(x >= 0) || math.IsInf(x, 0) {
		return nil, cliargs.Usagef("--fail-below %v: it is how many points a metric may fall, 0 or more", x)
	}
	return &x, nil
}

// judge marks what fell by more than the points of the gate, and gives the lines that failed.
//
// A metric fails where its change is below -x and its interval leaves out no change: by the change alone a few rows that flip by chance would
// fail a small dataset, by the whole interval a loss would pass for want of rows. A perplexity fails where it rose by more than x percent
// likewise. A metric without a row in common fails, for it cannot be said not to have fallen.
func (v *compareView) judge(x float64) (failed []error) {
	v.FailBelow, v.Verdict = &x, verdictPass
	for i := range v.Pairs {
		p := &v.Pairs[i]
		for k := range p.Comparisons {
			c := &p.Comparisons[k]
			if c.Further || c.Change != nil && (!c.Differs || c.fell() <= x) {
				continue
			}
			c.Fails, v.Verdict = true, verdictFail
			how := "it cannot be compared"
			if c.Change != nil {
				how = fmt.Sprintf("%s %s is a fall of more than %g %s", c.change(c.Change), c.interval(), x, map[bool]string{true: "%", false: "points"}[c.Unit == score.Perplexity])
			}
			failed = append(failed, fmt.Errorf("%s (%s): %s %s: %s", p.Model.Name, p.Model.Run, c.Dataset, c.Metric, how))
		}
	}
	return failed
}

// fell is by how much a metric is worse, in points, or a perplexity in percent.
func (c comparison) fell() float64 {
	if c.Unit == score.Perplexity {
		return 100 * (*c.Change - 1)
	}
	return -*c.Change
}

// gate judges the pairs; what it returns exits with code 1.
func (e env) gate(v *compareView, x *float64) error {
	if x == nil {
		return nil
	}
	failed := v.judge(*x)
	for _, p := range v.Pairs {
		for _, d := range p.OnlyBaseline {
			fmt.Fprintf(e.stderr, "warning: %s (%s) has no %s to hold against the baseline's\n", p.Model.Name, p.Model.Run, d)
		}
	}
	return multierror.Append(nil, failed...).ErrorOrNil()
}
