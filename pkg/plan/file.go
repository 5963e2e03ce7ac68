package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"sextant/pkg/result"
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
		return nil, fmt.Errorf("loading the plan %q: %w", path, otherVersion(p.Version))
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

// otherVersion says what to do with a plan of another format. No row is lost with it: results are of rows and their digests.
func otherVersion(v int) error {
	if v > Version {
		return fmt.Errorf("its format version is %d, this program knows version %d: use the newer submit and worker that made it", v, Version)
	}
	return fmt.Errorf("its format version is %d, this program knows version %d: run submit on the spec again, which plans anew in the same "+
		"run directory and reuses every finished row", v, Version)
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
