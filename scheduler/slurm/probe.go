package slurm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// ErrNoCluster says that this machine has no sbatch.
var ErrNoCluster = errors.New("there is no sbatch here: log in to a machine that submits to a Slurm cluster, or put its commands on PATH")

// defaultArraySize is Slurm's own MaxArraySize.
const defaultArraySize = 1001

// features are what differs between clusters.
type features struct {
	quotatype    bool   // sbatch has --quotatype
	maxArraySize int    // the greatest index of an array, plus one
	asked        bool   // the controller has answered
	version      string // as sbatch says it: "slurm-wlm 22.05.8"
}

// maxArraySize finds the line of scontrol show config.
var maxArraySize = regexp.MustCompile(`(?m)^MaxArraySize\s*=\s*([0-9]{1,9})\s*$`)

// versionLine finds the version among what a site may print: "slurm 23.11.4", "slurm-wlm 22.05.8".
var versionLine = regexp.MustCompile(`(?m)^slurm\S* [0-9]+\.[0-9]+\S*`)

// probe asks what cluster this is. A controller that does not answer is no error here: then the cluster is taken for a stock one.
func (c *cli) probe(ctx context.Context) (features, error) {
	f := features{maxArraySize: defaultArraySize}
	version, err := c.run(ctx, "", "sbatch", "--version")
	if err != nil {
		return f, noCluster(err)
	}
	f.version = versionLine.FindString(version)
	help, err := c.run(ctx, "", "sbatch", "--help")
	if err != nil {
		return f, explain(err)
	}
	f.quotatype = strings.Contains(help, "--quotatype")
	config, err := c.run(ctx, "", "scontrol", "show", "config")
	if ctx.Err() != nil {
		return f, context.Cause(ctx)
	}
	f.asked = !errors.Is(explain(err), scheduler.ErrDown)
	if m := maxArraySize.FindStringSubmatch(config); err == nil && m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
			f.maxArraySize = n
		}
	}
	return f, nil
}

// noCluster explains an error, which is ErrNoCluster when there is no such command.
func noCluster(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return ErrNoCluster
	}
	return explain(err)
}

// Quotatype says whether the cluster's sbatch knows --quotatype. It asks no controller. The error is ErrNoCluster where there is no sbatch.
func Quotatype(ctx context.Context) (bool, error) {
	var c cli
	help, err := c.run(ctx, "", "sbatch", "--help")
	if err != nil {
		return false, noCluster(err)
	}
	return strings.Contains(help, "--quotatype"), nil
}

// Forecast asks the cluster when one job of the biggest group would start, were it submitted now, and submits nothing. The text is what the
// cluster says of it, in one line. Start is the zero time when the cluster gives none. The error is ErrNoCluster where there is no sbatch,
// and what Slurm would say to a submission when it would refuse the job.
func Forecast(ctx context.Context, o Options, jobs []scheduler.Job) (start time.Time, text string, err error) {
	if len(jobs) == 0 {
		return start, "", errors.New("there are no jobs to forecast")
	}
	var c cli
	f, err := c.probe(ctx)
	if err != nil {
		return start, "", err
	}
	var biggest []scheduler.Job
	for _, group := range groups(jobs) {
		if len(group) > len(biggest) {
			biggest = group
		}
	}
	job, err := shared(biggest)
	if err != nil {
		return start, "", err
	}
	job.Log = ""
	script, err := o.script(job, f)
	if err != nil {
		return start, "", err
	}
	_, said, err := c.output(ctx, string(script), "sbatch", "--test-only")
	if err != nil {
		return start, "", o.Ask.explain(err)
	}
	return readForecast(said)
}

var forecast = regexp.MustCompile(`(?m)Job [0-9]+ to start at (\S+) using ([0-9]+) processors? on (.+?)\s*$`)

// readForecast reads what sbatch --test-only says on standard error.
func readForecast(said string) (start time.Time, text string, err error) {
	m := forecast.FindStringSubmatch(said)
	if m == nil {
		return start, "", fmt.Errorf("sbatch --test-only said %q; expected \"Job 1 to start at ...\"", strings.Join(strings.Fields(said), " "))
	}
	if at, err := time.ParseInLocation("2006-01-02T15:04:05", m[1], time.Local); err == nil {
		start = at
	}
	return start, fmt.Sprintf("a job would start at %s on %s, with %s CPUs", batch.OneLine(m[1]), batch.OneLine(strings.TrimPrefix(m[3], "nodes ")), m[2]), nil
}
