package main

import (
	"fmt"
	"path/filepath"
	"time"

	"sextant/pkg/plan"
)

// calibrationFile is where a work directory keeps how fast workers were.
func calibrationFile(workDir string) string { return filepath.Join(workDir, "calibration.json") }

// times foresees how long the parts of a plan take.
type times struct {
	plan   *plan.Plan
	known  plan.Calibration
	whole  plan.Forecast
	byPool map[string]plan.PoolForecast
	limits map[string]time.Duration // by pool
}

// newTimes goes by what the work directory knows of earlier runs. A calibration that cannot be read is as none: the forecast is rough then.
func newTimes(p *plan.Plan) times {
	known, err := plan.LoadCalibration(calibrationFile(p.Spec.WorkDir))
	if err != nil {
		known = plan.Calibration{}
	}
	t := times{plan: p, known: known, whole: p.Forecast(known), byPool: map[string]plan.PoolForecast{}, limits: map[string]time.Duration{}}
	for _, f := range t.whole.Pools {
		t.byPool[f.Pool], t.limits[f.Pool] = f, t.whole.Walltime(f.Pool)
	}
	return t
}

// seconds is how long a worker of a pool takes for so many tokens, its load apart.
func (t times) seconds(pool string, tokens int64) float64 {
	if f := t.byPool[pool]; f.Rate > 0 {
		return float64(tokens) / f.Rate
	}
	return 0
}

// limit is the time limit that a job asks for: what the spec says wins over it. An attempt with more memory gets as long.
func (t times) limit(j plan.Job) time.Duration {
	j.Shrink = 0
	return t.limits[j.Pool()]
}

// left forecasts the jobs that still have rows to do, each by the share of its tokens that is left: fresh rows by shard.
func (t times) left(jobs []plan.Job, fresh map[string]int) plan.Forecast {
	rest := &plan.Plan{Spec: t.plan.Spec, Variants: t.plan.Variants, Jobs: jobs}
	for _, s := range t.plan.Shards {
		s.Tokens = s.Tokens * int64(fresh[s.ID]) / int64(s.To-s.From)
		rest.Shards = append(rest.Shards, s)
	}
	return rest.Forecast(t.known)
}

// walltime is the time limit as Slurm gets it, "" on this machine.
func (t times) walltime(j plan.Job) string {
	switch s := t.plan.Spec; {
	case s.Infer.Scheduler != "slurm":
		return ""
	case s.Slurm.Time != "":
		return s.Slurm.Time
	}
	minutes := int(t.limit(j).Minutes())
	return fmt.Sprintf("%d:%02d:00", minutes/60, minutes%60)
}
