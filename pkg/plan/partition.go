package plan

import (
	"cmp"
	"fmt"
	"slices"

	"sextant/pkg/spec"
)

// wholeRows is the most rows of a task that partition = "workers" leaves whole, and the fewest of a step.
const wholeRows = 16

// builder collects shards and jobs and gives them names.
type builder struct {
	infer  spec.Infer
	inputs map[taskKey]*TaskInput
	steps  map[string]*StepInput
	names  names
	shards []Shard
	jobs   []weighedJob
	packed int
}

// weighedJob is a job with what decides its place.
type weighedJob struct {
	Job
	work float64 // tokens x parameters
}

// build fills in a plan's shards and jobs, and its tasks' tokens.
func (b *builder) build(p *Plan) error {
	cut := b.bySize
	switch b.infer.Partition {
	case "", "size":
	case "workers":
		cut = b.byWorkers
	default:
		return fmt.Errorf("infer.partition is %q; it must be \"size\" or \"workers\"", b.infer.Partition)
	}
	made := b.quantize(p)
	for _, v := range p.Variants {
		model, _ := p.Model(v.Model)
		var tasks []*Task
		for i := range p.Tasks {
			if p.Tasks[i].Variant == v.ID && p.Tasks[i].Kind == "" {
				tasks = append(tasks, &p.Tasks[i])
			}
		}
		begin := len(b.shards)
		cut(variantRun{v, model.RunCfg, made[v.Step]}, tasks)
		order := make(map[string]int, len(tasks))
		for i, t := range tasks {
			order[t.ID] = i
		}
		slices.SortStableFunc(b.shards[begin:], func(a, b Shard) int {
			return cmp.Or(cmp.Compare(order[a.Task], order[b.Task]), cmp.Compare(a.From, b.From))
		})
	}
	p.Shards = b.shards
	slices.SortFunc(b.jobs, func(a, b weighedJob) int {
		return cmp.Or(cmp.Compare(b.Kind, a.Kind), cmp.Compare(b.work, a.work), cmp.Compare(a.ID, b.ID))
	})
	p.Jobs = make([]Job, len(b.jobs))
	for i, j := range b.jobs {
		p.Jobs[i] = j.Job
	}
	return nil
}

// quantize makes a shard and a job of each quantization, and gives the jobs' names by their tasks.
func (b *builder) quantize(p *Plan) map[string][]string {
	made := map[string][]string{}
	for i := range p.Tasks {
		t := &p.Tasks[i]
		if t.Kind != Quantize {
			continue
		}
		v, _ := p.Variant(t.Variant)
		model, _ := p.Model(v.Model)
		t.Tokens = max(b.steps[v.ID].Tokens, 1)
		s := Shard{ID: b.names.unique(v.ID + "--" + Quantize), Task: t.ID, To: 1, Cost: t.Cost, Tokens: t.Tokens}
		b.shards = append(b.shards, s)
		b.addJob(variantRun{v, model.RunCfg, nil}, s)
		b.jobs[len(b.jobs)-1].Kind = Quantize
		made[t.ID] = []string{s.ID}
	}
	return made
}

// variantRun is a variant, what its workers need and the jobs that make it.
type variantRun struct {
	Variant
	run   spec.RunCfg
	after []string
}

// bySize cuts and packs one variant's tasks as OpenCompass's SizePartitioner does: by falling cost, a task over the limit is cut, each
// shard a job; a smaller one joins the open job if it fits, else it opens the next. Packed tasks stay shards of their own.
func (b *builder) bySize(v variantRun, tasks []*Task) {
	limit := b.infer.MaxPartitionSize
	tasks = slices.Clone(tasks)
	slices.SortStableFunc(tasks, func(a, b *Task) int { return cmp.Compare(b.Cost, a.Cost) })
	var open []Shard
	cost := 0
	for _, t := range tasks {
		if t.Cost > limit {
			most := max(limit/t.Factor, 1)
			for _, s := range b.cut(t, most, ceil(t.Rows, ceil(t.Rows, most))) {
				b.addJob(v, s)
			}
			continue
		}
		if cost+t.Cost > limit {
			b.addJob(v, open...)
			open, cost = nil, 0
		}
		open = append(open, b.cut(t, t.Rows, t.Rows)...)
		cost += t.Cost
	}
	b.addJob(v, open...)
}

// byWorkers cuts one variant's tasks as OpenCompass's NumWorkerPartitioner does, and deals the shards round in turn into one job a worker.
func (b *builder) byWorkers(v variantRun, tasks []*Task) {
	workers := max(b.infer.MaxNumWorkers, 1)
	var all []Shard
	for _, t := range tasks {
		step := t.Rows
		if t.Rows > wholeRows {
			step = max(ceil(t.Rows, workers), wholeRows)
		}
		all = append(all, b.cut(t, step, step)...)
	}
	hands := make([][]Shard, min(workers, len(all)))
	for i, s := range all {
		hands[i%len(hands)] = append(hands[i%len(hands)], s)
	}
	for _, hand := range hands {
		b.addJob(v, hand...)
	}
}

// cut tiles a task with shards of at most so many rows; of step rows if they are all alike.
func (b *builder) cut(t *Task, most, step int) []Shard {
	in := b.inputs[taskKey{t.Variant, t.Dataset}]
	e := &in.Estimate
	if e.Fixed == 0 && e.PerUnit == 0 {
		e = &Estimate{Fixed: int64(t.Factor) * fractions} // nothing was measured: a unit of cost counts as a token
	}
	pieces := balance(t.Rows, most, step, e)
	prefix := t.Variant + "--" + t.Dataset + "--"
	from := 0
	begin := len(b.shards)
	for _, p := range pieces {
		s := Shard{ID: b.names.unique(fmt.Sprintf("%s%d-%d", prefix, from, p.to)), Task: t.ID, From: from, To: p.to, Cost: (p.to - from) * t.Factor}
		s.Tokens = p.tokens + e.Shared
		t.Tokens += s.Tokens
		b.shards = append(b.shards, s)
		from = p.to
	}
	return slices.Clone(b.shards[begin:])
}

// addJob names a job: a job of one shard has the shard's name, a packed one "VARIANT--packed-N".
func (b *builder) addJob(v variantRun, shards ...Shard) {
	if len(shards) == 0 {
		return
	}
	j := weighedJob{Job: Job{ID: shards[0].ID, Variant: v.ID, NumGPUs: v.run.NumGPUs, NumProcs: max(v.run.NumProcs, 1), After: v.after}}
	if len(shards) > 1 {
		b.packed++
		j.ID = b.names.unique(fmt.Sprintf("%s--packed-%d", v.ID, b.packed))
	}
	var tokens int64
	for _, s := range shards {
		j.Shards = append(j.Shards, s.ID)
		j.Cost += s.Cost
		tokens += s.Tokens
	}
	j.work = float64(tokens) * float64(max(v.Params, 1))
	b.jobs = append(b.jobs, j)
}

func ceil(a, b int) int { return (a + b - 1) / b }
