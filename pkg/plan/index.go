package plan

import (
	"cmp"
	"slices"

	"sextant/pkg/spec"
)

// index says where in a plan's lists an ID stands. It is made at the first look-up and by whoever comes first of several goroutines.
type index struct {
	tasks, shards, jobs map[string]int32
}

// at gives the index, made anew when a list has grown or shrunk since.
func (p *Plan) at() *index {
	x := p.found.Load()
	if x == nil || len(x.tasks) != len(p.Tasks) || len(x.shards) != len(p.Shards) || len(x.jobs) != len(p.Jobs) {
		x = &index{tasks: positions(p.Tasks, taskID), shards: positions(p.Shards, shardID), jobs: positions(p.Jobs, jobID)}
		p.found.Store(x)
	}
	return x
}

func positions[T any](list []T, id func(*T) string) map[string]int32 {
	at := make(map[string]int32, len(list))
	for i := range list {
		at[id(&list[i])] = int32(i)
	}
	return at
}

func taskID(t *Task) string              { return t.ID }
func shardID(s *Shard) string            { return s.ID }
func jobID(j *Job) string                { return j.ID }
func variantID(v *Variant) string        { return v.ID }
func modelAbbr(m *spec.Model) string     { return m.Abbr }
func datasetAbbr(d *spec.Dataset) string { return d.Abbr }
func recipeName(q *spec.Quant) string    { return q.Name }

// Task finds a task by its ID.
func (p *Plan) Task(id string) (Task, bool) { return find(p.Tasks, p.at().tasks, id, taskID) }

// Shard finds a shard by its ID.
func (p *Plan) Shard(id string) (Shard, bool) { return find(p.Shards, p.at().shards, id, shardID) }

// Job finds a job by its ID.
func (p *Plan) Job(id string) (Job, bool) { return find(p.Jobs, p.at().jobs, id, jobID) }

// Variant finds a variant by its ID.
func (p *Plan) Variant(id string) (Variant, bool) { return find(p.Variants, nil, id, variantID) }

// Model finds a model of the spec by its abbr.
func (p *Plan) Model(abbr string) (spec.Model, bool) {
	return find(p.Spec.Models, nil, abbr, modelAbbr)
}

// Dataset finds a dataset of the spec by its abbr.
func (p *Plan) Dataset(abbr string) (spec.Dataset, bool) {
	return find(p.Spec.Datasets, nil, abbr, datasetAbbr)
}

// Recipe finds a recipe of the spec by its name.
func (p *Plan) Recipe(name string) (spec.Quant, bool) {
	return find(p.Spec.Quant, nil, name, recipeName)
}

// Evaluates says whether a variant has tasks that evaluate it: one of which only others are made, or that is only saved, has none.
func (p *Plan) Evaluates(variant string) bool {
	return slices.ContainsFunc(p.Tasks, func(t Task) bool { return t.Variant == variant && t.Kind == "" })
}

// Quantizations is the part of a plan that makes variants: its tasks, shards and jobs of that kind. It has the identity and the digest of
// the whole, of which it is the beginning.
func (p *Plan) Quantizations() *Plan {
	part := &Plan{Version: p.Version, Identity: p.Identity, Digest: p.Digest, Spec: p.Spec, Variants: p.Variants}
	made := map[string]bool{}
	for _, t := range p.Tasks {
		if made[t.ID] = t.Kind == Quantize; made[t.ID] {
			part.Tasks = append(part.Tasks, t)
		}
	}
	for _, s := range p.Shards {
		if made[s.Task] {
			part.Shards = append(part.Shards, s)
		}
	}
	for _, j := range p.Jobs {
		if j.Kind == Quantize {
			part.Jobs = append(part.Jobs, j)
		}
	}
	return part
}

// Cards is how many GPUs the plan's workers hold at once at most: stages (a model's run_cfg.num_gpus) times max_num_workers where all models
// have as many stages and there are as many jobs.
func (p *Plan) Cards() int {
	gpus := make([]int, len(p.Jobs))
	for i, j := range p.Jobs {
		gpus[i] = j.NumGPUs
	}
	slices.SortFunc(gpus, func(a, b int) int { return cmp.Compare(b, a) })
	total := 0
	for _, n := range gpus[:min(len(gpus), max(p.Spec.Infer.MaxNumWorkers, 1))] {
		total += n
	}
	return total
}

// find looks where the index says, and everywhere when that is not it: a list may have been changed in place.
func find[T any](list []T, at map[string]int32, id string, of func(*T) string) (T, bool) {
	if i, ok := at[id]; ok && int(i) < len(list) && of(&list[i]) == id {
		return list[i], true
	}
	for i := range list {
		if of(&list[i]) == id {
			return list[i], true
		}
	}
	var none T
	return none, false
}
