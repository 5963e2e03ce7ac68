package plan

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Forecast is what a plan will take: nothing of it is part of the plan. All times are those of workers that have begun; how long they
// wait in a queue is not in it.
type Forecast struct {
	Rough    bool           `json:"rough"`     // a speed was guessed or scaled from other workers: right within a few times
	Pools    []PoolForecast `json:"pools"`     // in order of their first jobs
	Tasks    []TaskForecast `json:"tasks"`     // in the plan's order
	Jobs     []JobForecast  `json:"jobs"`      // in the plan's order
	Tokens   int64          `json:"tokens"`    // estimated, of all tasks
	Seconds  float64        `json:"seconds"`   // of work of all workers together, loads apart
	GPUHours float64        `json:"gpu_hours"` // that draining workers hold, loads included
	CPUHours float64        `json:"cpu_hours"` // of workers without a GPU, loads included
	Draining Schedule       `json:"draining"`  // workers that load once and pull jobs of their pool, longest first
	OneEach  Schedule       `json:"one_each"`  // a worker for every job
	Fluid    float64        `json:"fluid"`     // seconds: the bound below every schedule of draining workers; of one pool (W x load + work) / W

	slots int
	lead  time.Duration  // before its time limit, at which a job is told to leave; only what is more than usual
	index map[string]int // pools by name
}

// Schedule is how long a way of working takes.
type Schedule struct {
	Workers  int     `json:"workers"`  // started in all
	Makespan float64 `json:"makespan"` // seconds from the first beginning to the last end
	Loads    float64 `json:"loads"`    // seconds spent loading, of all workers together
}

// PoolForecast is of the jobs that the same workers can do.
type PoolForecast struct {
	Pool    string  `json:"pool"`
	Variant string  `json:"variant"`
	NumGPUs int     `json:"num_gpus"`
	Jobs    int     `json:"jobs"`
	Tokens  int64   `json:"tokens"`
	Rate    float64 `json:"rate"`    // tokens a second of one worker
	Load    float64 `json:"load"`    // seconds to load the model
	Seconds float64 `json:"seconds"` // of work, loads apart
	Workers int     `json:"workers"` // started when draining with all slots
	Rough   bool    `json:"rough"`

	makes bool      // quantizations
	jobs  []float64 // seconds of each, in the plan's order
	after []int     // numbers of jobs that must have ended before one of these begins
}

// TaskForecast is of one task.
type TaskForecast struct {
	Task     string  `json:"task"`
	Tokens   int64   `json:"tokens"`
	Seconds  float64 `json:"seconds"`   // of one worker's work, loads apart
	GPUHours float64 `json:"gpu_hours"` // for that; 0 without GPUs
}

// JobForecast is of one job done by a worker of its own.
type JobForecast struct {
	Job     string  `json:"job"`
	Pool    string  `json:"pool"`
	Tokens  int64   `json:"tokens"`
	Seconds float64 `json:"seconds"` // of work
	Load    float64 `json:"load"`    // seconds before it
}

// Forecast forecasts the plan by what c knows of its workers' speeds, with max_num_workers of them at once.
func (p *Plan) Forecast(c Calibration) Forecast {
	f := Forecast{slots: max(p.Spec.Infer.MaxNumWorkers, 1), index: map[string]int{}}
	f.lead = max(time.Duration(p.Spec.Slurm.SignalLead)*time.Second-usualLead, 0)
	tasks := map[[2]string]int{} // a pool of the tasks of each kind and variant
	number := map[string]int{}
	for i, j := range p.Jobs {
		number[j.ID] = i
		pool := f.pool(p, j, c)
		tasks[[2]string{j.Kind, j.Variant}] = pool
		f.add(p, j, &f.Pools[pool])
	}
	for _, j := range p.Jobs {
		f.order(j, number)
	}
	for _, t := range p.Tasks {
		one := TaskForecast{Task: t.ID, Tokens: t.Tokens}
		if i, ok := tasks[[2]string{t.Kind, t.Variant}]; ok {
			one.Seconds = float64(t.Tokens) / f.Pools[i].Rate
			one.GPUHours = one.Seconds * float64(f.Pools[i].NumGPUs) / 3600
		}
		f.Tokens += t.Tokens
		f.Tasks = append(f.Tasks, one)
	}
	f.schedule()
	return f
}

// pool finds the pool of a job, which it makes for its first one.
func (f *Forecast) pool(p *Plan, j Job, c Calibration) int {
	name := j.Pool()
	if i, ok := f.index[name]; ok {
		return i
	}
	r := c.rate(p, j)
	f.index[name] = len(f.Pools)
	f.Pools = append(f.Pools, PoolForecast{Pool: name, Variant: j.Variant, NumGPUs: j.NumGPUs, Rate: r.tokens, Load: r.load, Rough: r.rough,
		makes: j.Kind == Quantize})
	f.Rough = f.Rough || r.rough
	return f.index[name]
}

// add takes a job in.
func (f *Forecast) add(p *Plan, j Job, pool *PoolForecast) {
	tokens := p.Tokens(j)
	seconds := float64(tokens) / pool.Rate
	pool.Jobs++
	pool.Tokens += tokens
	pool.Seconds += seconds
	pool.jobs = append(pool.jobs, seconds)
	f.Jobs = append(f.Jobs, JobForecast{Job: j.ID, Pool: pool.Pool, Tokens: tokens, Seconds: seconds, Load: pool.Load})
	f.Seconds += seconds
}

// order notes what a job's pool comes after: jobs of one pool are of one variant. What is not among the plan's jobs is over.
func (f *Forecast) order(j Job, number map[string]int) {
	pool := &f.Pools[f.index[j.Pool()]]
	for _, id := range j.After {
		if n, ok := number[id]; ok && !slices.Contains(pool.after, n) {
			pool.after = append(pool.after, n)
		}
	}
}

// Tokens is how many tokens the shards of a job are estimated at, which for an attempt may be fewer than the plan's job has.
func (p *Plan) Tokens(j Job) int64 {
	var n int64
	for _, id := range j.Shards {
		s, _ := p.Shard(id)
		n += s.Tokens
	}
	return n
}

// schedule plays both ways of working and adds up what they hold.
func (f *Forecast) schedule() {
	var started []int
	f.Draining, started = f.drain(f.slots)
	f.OneEach = f.oneEach(f.slots)
	for i := range f.Pools {
		pool := &f.Pools[i]
		pool.Workers = started[i]
		hours := (pool.Seconds + float64(started[i])*pool.Load) / 3600
		f.GPUHours += hours * float64(pool.NumGPUs)
		if pool.NumGPUs == 0 {
			f.CPUHours += hours
		}
	}
	f.Fluid = f.fluid()
}

// fluid is the time of work that could be cut at will: every pool is loaded by one worker at least, and by every slot that is used.
func (f *Forecast) fluid() float64 {
	slots := min(f.slots, len(f.Jobs))
	if slots == 0 {
		return 0
	}
	total, least := f.Seconds, math.Inf(1)
	for _, pool := range f.Pools {
		total += pool.Load
		least = min(least, pool.Load)
	}
	total += least * float64(max(slots-len(f.Pools), 0))
	return total / float64(slots)
}

// enough is how much longer than with all workers a pool may take with fewer: each one less is a load less.
const enough = 1.10

// Workers is how many workers a pool should get at once: of a measured kind the fewest, up to max_num_workers, that take at most a tenth
// longer than all of them would; else as many as it has jobs for. An unknown pool gets none.
func (f *Forecast) Workers(pool string) int {
	i, ok := f.index[pool]
	if !ok {
		return 0
	}
	alone := Forecast{Pools: []PoolForecast{f.Pools[i]}, index: map[string]int{pool: 0}}
	alone.Pools[0].after = nil
	for _, seconds := range f.Pools[i].jobs {
		alone.Jobs = append(alone.Jobs, JobForecast{Pool: pool, Seconds: seconds, Load: f.Pools[i].Load})
	}
	all := min(f.slots, f.Pools[i].Jobs)
	if f.Pools[i].Rough {
		return all
	}
	most, _ := alone.drain(all)
	bound := most.Makespan * enough
	w := 1
	if room := bound - f.Pools[i].Load; room > 0 { // fewer cannot do the work in that time
		w = max(1, min(all, int(f.Pools[i].Seconds/room)))
	}
	for ; w < all; w++ {
		if s, _ := alone.drain(w); s.Makespan <= bound {
			break
		}
	}
	return w
}

// The margins of a time limit. A job that meets it goes on from its rows in another attempt, but pays another load and another wait.
const (
	margin      = 3
	limitFloor  = 5 * time.Minute
	usualLead   = time.Minute // of the warning before the limit: within limitFloor
	roughFloor  = 15 * time.Minute
	roughStep   = 4 * time.Hour // of a quantization, whose searches take times that no guess from tokens tells
	longestTime = 365 * 24 * time.Hour
)

// Walltime is the time limit that a worker of a pool should ask for, in whole minutes: three times its load and its work, and 5 minutes;
// 15 minutes at least when its speed was not measured, 4 hours of a quantization. Its work is its even part of the pool's, as draining shares
// it out, or the pool's longest job if that is more. What slurm.signal_lead takes beyond a minute comes on top, for a warned job stops. An
// unknown pool gets the least.
func (f *Forecast) Walltime(pool string) time.Duration {
	i, ok := f.index[pool]
	if !ok {
		return roughFloor
	}
	q := &f.Pools[i]
	work := max(slices.Max(q.jobs), q.Seconds/float64(f.Workers(pool)))
	limit := longestTime
	if s := margin * (q.Load + work) * float64(time.Second); s < float64(longestTime) {
		limit = limitFloor + time.Duration(s)
	}
	switch {
	case q.Rough && q.makes:
		limit = max(limit, roughStep)
	case q.Rough:
		limit = max(limit, roughFloor)
	}
	return min((limit + f.lead + time.Minute - 1).Truncate(time.Minute), longestTime)
}

// String sums the forecast up in a line.
func (f *Forecast) String() string {
	rough := ""
	if f.Rough {
		rough = " (rough)"
	}
	round := func(s float64) time.Duration {
		return time.Duration(min(s, 1e9) * float64(time.Second)).Round(time.Second)
	}
	return fmt.Sprintf("%d tokens, %.2f GPU-hours, %.2f CPU worker-hours, %s with %d workers, %s with a worker a job%s",
		f.Tokens, f.GPUHours, f.CPUHours, round(f.Draining.Makespan), f.Draining.Workers, round(f.OneEach.Makespan), rough)
}
