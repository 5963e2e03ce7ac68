package main

import (
	"path/filepath"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/run"

	"github.com/urfave/cli/v2"
)

// preview is what would be done of a plan. Tokens, seconds and hours are estimates; those of tasks, pools and jobs are of the whole plan,
// whatever is there already, and of one worker.
type preview struct {
	Version   int    `json:"version"`
	Spec      string `json:"spec"`
	Scheduler string `json:"scheduler"` // "local", "slurm" or "dlc"
	Identity  string `json:"identity"`  // of what is asked
	Digest    string `json:"digest"`    // of the plan

	Run     string `json:"run"`               // directory in which it would be done
	Exists  bool   `json:"exists"`            // it is there and would be gone on with
	Written string `json:"written,omitempty"` // where plan and scripts were written: --dry-run=DIR
	Workers int    `json:"workers"`           // jobs at once

	Variants []variantPreview `json:"variants,omitempty"` // of a plan that quantizes
	Cards    *cardsPreview    `json:"cards,omitempty"`    // of a plan that quantizes or has GPUs

	Tasks   []taskPreview   `json:"tasks"`
	Total   taskPreview     `json:"total"` // of all tasks
	Pools   []poolPreview   `json:"pools"` // jobs that share a model and a shape
	Jobs    []jobPreview    `json:"jobs"`  // longest first
	Left    leftPreview     `json:"left"`  // what is still to be done
	Cluster *clusterPreview `json:"cluster,omitempty"`
	Creates []string        `json:"creates,omitempty"` // on DLC: the commands that create the jobs
	Scripts []scriptPreview `json:"scripts,omitempty"` // with --show-scripts
}

// taskPreview is one task. Reused + New = Rows; Stale are those of New that are there, but of other data, prompts, settings or model.
type taskPreview struct {
	Task     string  `json:"task,omitempty"`
	Rows     int     `json:"rows"`
	Reused   int     `json:"reused"`
	New      int     `json:"new"`
	Stale    int     `json:"stale"`
	Shards   int     `json:"shards"`
	Cost     int     `json:"cost"`   // in OpenCompass units
	Tokens   int64   `json:"tokens"` // estimated, put through the model
	Seconds  float64 `json:"seconds"`
	GPUHours float64 `json:"gpu_hours"`
}

// poolPreview is jobs of one model and one shape.
type poolPreview struct {
	Pool     string  `json:"pool"`
	Jobs     int     `json:"jobs"`
	Left     int     `json:"left"` // jobs that still have rows to do
	NumGPUs  int     `json:"num_gpus"`
	NumProcs int     `json:"num_procs"`
	Tokens   int64   `json:"tokens"`
	Seconds  float64 `json:"seconds"`
	Load     float64 `json:"load"`               // seconds to load the model, once a worker
	Walltime string  `json:"walltime,omitempty"` // time limit of a job as Slurm gets it
}

// jobPreview is one job.
type jobPreview struct {
	Job     string   `json:"job"`
	Pool    string   `json:"pool"`
	Shards  []string `json:"shards"`
	Rows    int      `json:"rows"`
	New     int      `json:"new"`             // 0: it need not run
	After   []string `json:"after,omitempty"` // jobs that are done first
	Cost    int      `json:"cost"`
	Tokens  int64    `json:"tokens"`
	Seconds float64  `json:"seconds"`
}

// leftPreview forecasts the work that is left, with all workers at once and without waiting in a queue.
type leftPreview struct {
	Rough    bool          `json:"rough"` // a speed was not measured but guessed: right within a few times
	Jobs     int           `json:"jobs"`
	GPUHours float64       `json:"gpu_hours"` // that draining workers hold, loads included
	CPUHours float64       `json:"cpu_hours"` // of workers without a GPU
	Draining plan.Schedule `json:"draining"`  // workers that load a model once and do one job after another
	OneEach  plan.Schedule `json:"one_each"`  // a worker for every job
}

// clusterPreview is what the cluster said to sbatch --test-only.
type clusterPreview struct {
	Start string `json:"start,omitempty"` // of the first job, RFC 3339
	Text  string `json:"text,omitempty"`  // what it said
	Error string `json:"error,omitempty"`
}

// scriptPreview is a batch script.
type scriptPreview struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// dryRun prints what would be done of a plan: all of it, or a part. It changes nothing but the directory that --dry-run names, where the whole
// plan goes.
func (e env) dryRun(c *cli.Context, whole, p *plan.Plan) error {
	v, err := look(p, c.String("reuse"), c.String("dry-run"))
	if err != nil {
		return err
	}
	if p.Spec.Infer.Scheduler == "slurm" {
		v.Cluster = askCluster(c.Context, p, v.Run)
	}
	if p.Spec.Infer.Scheduler == "dlc" {
		if v.Creates, err = dlcCommands(p, v.Run, c.String("dry-run") != ""); err != nil {
			return badInput{err}
		}
	}
	if dir := c.String("dry-run"); dir != "" || c.Bool("show-scripts") {
		scripts, err := scriptsOf(c.Context, p, v.Run, dir != "")
		if err != nil {
			return badInput{err}
		}
		if dir != "" {
			if err := writeDry(v.Run, whole, scripts); err != nil {
				return err
			}
			v.Written = v.Run
		}
		if c.Bool("show-scripts") {
			for _, s := range scripts {
				v.Scripts = append(v.Scripts, scriptPreview{Name: s.Name, Text: string(s.Data)})
			}
		}
	}
	if c.Bool("json") {
		return e.printJSON(v)
	}
	return v.print(e.stdout)
}

// look sees what the plan would do, in the directory given or else in the run that it would go on with.
func look(p *plan.Plan, reuse, dir string) (*preview, error) {
	v := &preview{Version: jsonVersion, Spec: p.Spec.Name, Scheduler: p.Spec.Infer.Scheduler, Identity: p.Identity, Digest: p.Digest,
		Workers: p.Spec.Infer.MaxNumWorkers}
	var err error
	if dir != "" {
		v.Run = dir
	} else if v.Run, v.Exists, err = findRun(p, reuse); err != nil {
		return nil, err
	}
	if v.Run, err = filepath.Abs(v.Run); err != nil {
		return nil, err
	}
	done := map[string]int{} // rows, by shard
	v.Tasks = make([]taskPreview, len(p.Tasks))
	tasks := map[string]*taskPreview{}
	for i, t := range p.Tasks {
		v.Tasks[i] = taskPreview{Task: t.ID, Rows: t.Rows, New: t.Rows, Cost: t.Cost, Tokens: t.Tokens}
		tasks[t.ID] = &v.Tasks[i]
	}
	if v.Exists || dir != "" {
		if done, err = v.cover(p); err != nil {
			return nil, err
		}
	}
	v.variants(p)
	v.jobs(p, tasks, done)
	for _, t := range v.Tasks {
		v.Total.add(t)
	}
	return v, nil
}

func (t *taskPreview) add(o taskPreview) {
	t.Rows, t.Reused, t.New, t.Stale = t.Rows+o.Rows, t.Reused+o.Reused, t.New+o.New, t.Stale+o.Stale
	t.Shards, t.Cost, t.Tokens = t.Shards+o.Shards, t.Cost+o.Cost, t.Tokens+o.Tokens
	t.Seconds, t.GPUHours = t.Seconds+o.Seconds, t.GPUHours+o.GPUHours
}

// cover fills in what the run directory has of each task, and gives the good rows of each shard.
func (v *preview) cover(p *plan.Plan) (map[string]int, error) {
	tasks, shards, err := run.Cover(v.Run, p)
	if err != nil {
		return nil, err
	}
	for i, t := range tasks {
		line := &v.Tasks[i]
		line.Reused, line.New, line.Stale = t.Done, t.Rows-t.Done, t.Stale
	}
	return shards, nil
}

// jobs lists the plan's jobs and pools, with what is foreseen of them.
func (v *preview) jobs(p *plan.Plan, tasks map[string]*taskPreview, done map[string]int) {
	shards := make(map[string]plan.Shard, len(p.Shards))
	for _, s := range p.Shards {
		shards[s.ID] = s
		tasks[s.Task].Shards++
	}
	var left []plan.Job
	fresh := map[string]int{} // rows to do, by shard
	pools := map[string]int{}
	times := newTimes(p)
	for _, j := range p.Jobs {
		line := jobPreview{Job: j.ID, Pool: j.Pool(), Shards: j.Shards, Cost: j.Cost, After: j.After}
		for _, id := range j.Shards {
			s := shards[id]
			seconds := times.seconds(line.Pool, s.Tokens)
			fresh[id] = s.To - s.From - done[id]
			line.Rows += s.To - s.From
			line.New += fresh[id]
			line.Tokens += s.Tokens
			line.Seconds += seconds
			t := tasks[s.Task]
			t.Seconds += seconds
			t.GPUHours += seconds * float64(j.NumGPUs) / time.Hour.Seconds()
		}
		i, ok := pools[line.Pool]
		if !ok {
			i = len(v.Pools)
			pools[line.Pool] = i
			v.Pools = append(v.Pools, poolPreview{Pool: line.Pool, NumGPUs: j.NumGPUs, NumProcs: j.NumProcs,
				Load: times.byPool[line.Pool].Load, Walltime: times.walltime(j)})
		}
		pool := &v.Pools[i]
		pool.Jobs++
		pool.Tokens += line.Tokens
		pool.Seconds += line.Seconds
		if line.New > 0 {
			pool.Left++
			left = append(left, j)
		}
		v.Jobs = append(v.Jobs, line)
	}
	f := times.left(left, fresh)
	v.Left = leftPreview{Rough: f.Rough, Jobs: len(left), GPUHours: f.GPUHours, CPUHours: f.CPUHours, Draining: f.Draining, OneEach: f.OneEach}
}

// findRun is the run directory that an evaluation would work in. One that is not there yet has no time in its name.
func findRun(p *plan.Plan, reuse string) (dir string, found bool, err error) {
	dir, found, err = run.Find(p.Spec.WorkDir, p, reuse)
	if err != nil {
		return "", false, badInput{err}
	}
	if !found {
		dir = filepath.Join(p.Spec.WorkDir, "DATE_TIME-"+p.Identity[:8])
	}
	return dir, found, nil
}
