package plan

import "sextant/pkg/spec"

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
