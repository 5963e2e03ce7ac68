package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"sextant/pkg/spec"
)

// Version is the version of plan.json.
const Version = 1

// Inputs is what Make must know of the world, as Survey finds it.
type Inputs struct {
	Variants []Variant
	Tasks    []TaskInput // one for every variant and dataset, in any order
}

// TaskInput is what the data and the tokenizer say of one task.
type TaskInput struct {
	Variant string
	Dataset string
	Rows    int    // after the limit; rolling: windows
	Labels  int    // ppl, ll: labels of a row; 0 where it does not apply
	Data    string // digest of the bytes of the files used
	Prompt  string // 6 hex digits of the prompt configuration
}

// Make plans a spec: every task cut into shards of at most MaxPartitionSize cost units (one row at least), the shards dealt into jobs, and
// the jobs ordered longest first. It is pure and deterministic.
func Make(s spec.Spec, in Inputs) (*Plan, error) {
	if s.Infer.MaxPartitionSize < 1 {
		return nil, fmt.Errorf("planning: max_partition_size is %d; it must be at least 1", s.Infer.MaxPartitionSize)
	}
	p := &Plan{Version: Version, Spec: s, Variants: in.Variants}
	tasks, err := makeTasks(&s, in)
	if err != nil {
		return nil, fmt.Errorf("planning: %w", err)
	}
	p.Tasks = tasks
	b := builder{limit: s.Infer.MaxPartitionSize, names: names{}}
	models := map[string]spec.RunCfg{}
	for _, m := range s.Models {
		models[m.Abbr] = m.RunCfg
	}
	for _, v := range in.Variants {
		b.partition(v, models[v.Model], slices.DeleteFunc(slices.Clone(tasks), func(t Task) bool { return t.Variant != v.ID }))
	}
	p.Shards, p.Jobs = b.shards, b.jobs
	order := map[string]int{}
	for i, t := range tasks {
		order[t.ID] = i
	}
	slices.SortStableFunc(p.Shards, func(a, b Shard) int {
		return cmp.Or(cmp.Compare(order[a.Task], order[b.Task]), cmp.Compare(a.From, b.From))
	})
	slices.SortStableFunc(p.Jobs, func(a, b Job) int { return cmp.Compare(b.Cost, a.Cost) })
	p.Identity = identity(p.Tasks)
	if p.Digest, err = digest(p); err != nil {
		return nil, err
	}
	return p, nil
}

// makeTasks lists the tasks: variants in their order, and for each the datasets in the spec's order.
func makeTasks(s *spec.Spec, in Inputs) ([]Task, error) {
	type key struct{ variant, dataset string }
	inputs := map[key]TaskInput{}
	for _, t := range in.Tasks {
		inputs[key{t.Variant, t.Dataset}] = t
	}
	var tasks []Task
	for _, v := range in.Variants {
		i := slices.IndexFunc(s.Models, func(m spec.Model) bool { return m.Abbr == v.Model })
		if i < 0 {
			return nil, fmt.Errorf("variant %q is of model %q, which the spec does not have", v.ID, v.Model)
		}
		for _, d := range s.Datasets {
			t, ok := inputs[key{v.ID, d.Abbr}]
			switch {
			case !ok:
				return nil, fmt.Errorf("nothing is known of task %q", v.ID+"/"+d.Abbr)
			case t.Rows < 1:
				return nil, fmt.Errorf("dataset %q has no rows for model %q", d.Abbr, v.ID)
			}
			task, err := newTask(s, &s.Models[i], &d, v, t)
			if err != nil {
				return nil, fmt.Errorf("task %q: %w", task.ID, err)
			}
			tasks = append(tasks, task)
		}
	}
	if len(tasks) == 0 {
		return nil, errors.New("the spec has no model or no dataset")
	}
	return tasks, nil
}

func newTask(s *spec.Spec, m *spec.Model, d *spec.Dataset, v Variant, in TaskInput) (t Task, err error) {
	t = Task{ID: v.ID + "/" + d.Abbr, Variant: v.ID, Dataset: d.Abbr, Rows: in.Rows, Prompt: in.Prompt}
	if t.Settings, err = settings(m, d, v.Fingerprint); err != nil {
		return t, err
	}
	if t.Digest, err = TaskDigest(m, d, t.Settings, in); err != nil {
		return t, err
	}
	t.Factor = factor(d, in.Labels, s.Infer.GenTaskCoef)
	t.Cost = t.Rows * t.Factor
	return t, nil
}

// builder collects shards and jobs and gives them names.
type builder struct {
	limit  int
	names  names
	shards []Shard
	jobs   []Job
	packed int
}

// partition cuts and packs one variant's tasks as OpenCompass's SizePartitioner does: by falling cost, a task over the limit is cut into
// even steps, each a job; a smaller one joins the open job if it fits, else it opens the next. Packed tasks stay shards of their own.
func (b *builder) partition(v Variant, run spec.RunCfg, tasks []Task) {
	slices.SortStableFunc(tasks, func(a, b Task) int { return cmp.Compare(b.Cost, a.Cost) })
	open := Job{}
	flush := func() {
		if len(open.Shards) > 0 {
			b.addJob(v, run, open)
		}
		open = Job{}
	}
	for _, t := range tasks {
		if t.Cost > b.limit {
			for _, s := range b.cut(t) {
				b.addJob(v, run, Job{Shards: []string{s.ID}, Cost: s.Cost})
			}
			continue
		}
		if open.Cost+t.Cost > b.limit {
			flush()
		}
		s := b.addShard(t, 0, t.Rows)
		open.Shards = append(open.Shards, s.ID)
		open.Cost += s.Cost
	}
	flush()
}

// cut tiles a task with steps of at most limit/factor rows, evened out.
func (b *builder) cut(t Task) []Shard {
	step := max(b.limit/t.Factor, 1)
	step = ceil(t.Rows, ceil(t.Rows, step))
	var shards []Shard
	for from := 0; from < t.Rows; from += step {
		shards = append(shards, b.addShard(t, from, min(from+step, t.Rows)))
	}
	return shards
}

func ceil(a, b int) int { return (a + b - 1) / b }

func (b *builder) addShard(t Task, from, to int) Shard {
	id := b.names.unique(fmt.Sprintf("%s--%s--%d-%d", t.Variant, t.Dataset, from, to))
	s := Shard{ID: id, Task: t.ID, From: from, To: to, Cost: (to - from) * t.Factor}
	b.shards = append(b.shards, s)
	return s
}

// addJob names a job: a job of one shard has the shard's name, a packed one "VARIANT--packed-N".
func (b *builder) addJob(v Variant, run spec.RunCfg, j Job) {
	j.ID = j.Shards[0]
	if len(j.Shards) > 1 {
		b.packed++
		j.ID = b.names.unique(fmt.Sprintf("%s--packed-%d", v.ID, b.packed))
	}
	j.Variant, j.NumGPUs, j.NumProcs = v.ID, run.NumGPUs, max(run.NumProcs, 1)
	b.jobs = append(b.jobs, j)
}
