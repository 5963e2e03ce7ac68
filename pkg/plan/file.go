package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// Save commits the plan as a file.
func (p *Plan) Save(path string) error { return result.CommitJSON(path, p) }

// Load reads a plan and checks that it is whole and unchanged.
func Load(path string) (*Plan, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("loading the plan: %w", err)
	}
	var p Plan
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("loading the plan %q: %w", path, err)
	}
	if p.Version != Version {
		return nil, fmt.Errorf("loading the plan %q: its format version is %d, this program knows version %d", path, p.Version, Version)
	}
	d, err := fileDigest(b, p.Digest)
	if err != nil {
		return nil, fmt.Errorf("loading the plan %q: %w", path, err)
	}
	if d != p.Digest {
		return nil, fmt.Errorf("loading the plan %q: its digest is %s, its contents have %s: it was changed by hand", path, p.Digest, d)
	}
	return &p, nil
}

// ReadIdentity reads only a plan file's identity, which stands near its beginning.
func ReadIdentity(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	d := json.NewDecoder(f)
	for {
		tok, err := d.Token()
		if err != nil {
			return "", fmt.Errorf("%q is no plan: %w", path, err)
		}
		if tok == "identity" {
			break
		}
		if tok == "spec" {
			return "", fmt.Errorf("%q is no plan: it has no identity", path)
		}
	}
	var id string
	if err := d.Decode(&id); err != nil {
		return "", fmt.Errorf("%q is no plan: %w", path, err)
	}
	return id, nil
}

// Task finds a task by its ID.
func (p *Plan) Task(id string) (Task, bool) {
	return find(p.Tasks, func(t Task) bool { return t.ID == id })
}

// Shard finds a shard by its ID.
func (p *Plan) Shard(id string) (Shard, bool) {
	return find(p.Shards, func(s Shard) bool { return s.ID == id })
}

// Job finds a job by its ID.
func (p *Plan) Job(id string) (Job, bool) {
	return find(p.Jobs, func(j Job) bool { return j.ID == id })
}

// Variant finds a variant by its ID.
func (p *Plan) Variant(id string) (Variant, bool) {
	return find(p.Variants, func(v Variant) bool { return v.ID == id })
}

// Model finds a model of the spec by its abbr.
func (p *Plan) Model(abbr string) (spec.Model, bool) {
	return find(p.Spec.Models, func(m spec.Model) bool { return m.Abbr == abbr })
}

// Dataset finds a dataset of the spec by its abbr.
func (p *Plan) Dataset(abbr string) (spec.Dataset, bool) {
	return find(p.Spec.Datasets, func(d spec.Dataset) bool { return d.Abbr == abbr })
}

func find[T any](list []T, match func(T) bool) (T, bool) {
	if i := slices.IndexFunc(list, match); i >= 0 {
		return list[i], true
	}
	var none T
	return none, false
}

// SaveJob records what an attempt of a job is asked to do: the job with the shards that still lack rows.
func SaveJob(dir result.Dir, j Job, attempt int) error {
	return result.CommitJSON(dir.Job(j.ID, attempt), j)
}

// LoadJob is what a worker does first: it finds what its attempt is asked to do, which may be fewer shards than the plan's job has.
func LoadJob(dir result.Dir, p *Plan, id string, attempt int) (Job, error) {
	b, err := os.ReadFile(dir.Job(id, attempt))
	if errors.Is(err, fs.ErrNotExist) {
		if j, ok := p.Job(id); ok {
			return j, nil
		}
		return Job{}, fmt.Errorf("the plan of %q has no job %q", dir, id)
	}
	if err != nil {
		return Job{}, err
	}
	var j Job
	if err := json.Unmarshal(b, &j); err != nil {
		return Job{}, fmt.Errorf("reading %q: %w", dir.Job(id, attempt), err)
	}
	return j, nil
}
