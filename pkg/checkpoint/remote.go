package checkpoint

import (
	"context"
)

// mapObject maps an object of an object store, and reads its table of tensors.
func (c *Checkpoint) mapObject(name string) (*mapping, error) {
	o, err := c.remote.Object(name)
	if err != nil {
		return nil, err
	}
	m := &mapping{object: o, data: o.Data()}
	m.entries, m.base, err = readTensors(o, name, o.Size())
	return m, err
}

// Need waits until data, each all or part of a tensor's bytes in the files, can be read. Those of files can at once; what an object store has not
// given yet is fetched first. The error is that of fetching, or of ctx.
func (c *Checkpoint) Need(ctx context.Context, data ...[]byte) error {
	pieces := c.pieces(data)
	if len(pieces) > 1 {
		for _, p := range pieces {
			p.m.object.Fetch(p.from, p.to)
		}
	}
	for _, p := range pieces {
		if err := p.m.object.Need(ctx, p.from, p.to); err != nil {
			return err
		}
	}
	return nil
}

// Fetch says that data will be read, in this order: what an object store has not given yet is fetched meanwhile. It does not wait. The error is that
// the node has no room for the files that they lie in.
func (c *Checkpoint) Fetch(data ...[]byte) error {
	pieces := c.pieces(data)
	for _, p := range pieces {
		if p.m.reserved.Swap(true) {
			continue
		}
		if err := p.m.object.Whole(); err != nil {
			return err
		}
	}
	for _, p := range pieces {
		p.m.object.Fetch(p.from, p.to)
	}
	return nil
}

// FetchAll is Fetch of all files. From the second call on it does nothing.
func (c *Checkpoint) FetchAll() error {
	if c.remote == nil || c.all.Swap(true) {
		return nil
	}
	var all [][]byte
	for _, m := range c.files {
		all = append(all, m.data)
	}
	return c.Fetch(all...)
}

// piece is a range of an object's bytes.
type piece struct {
	m        *mapping
	from, to int64
}

// pieces are where data lie in objects; none of those in files.
func (c *Checkpoint) pieces(data [][]byte) (all []piece) {
	if c.remote == nil {
		return nil
	}
	for _, d := range data {
		for _, m := range c.files {
			if from, ok := m.has(d); ok {
				all = append(all, piece{m, int64(from), int64(from + len(d))})
				break
			}
		}
	}
	return all
}

// nearby is how far two samples may lie apart to be fetched as one: a request costs more than these bytes.
const nearby = 64 << 10

// fetchSamples brings what the fingerprint and the checks look at, all at once: the samples of each tensor.
func (c *Checkpoint) fetchSamples() error {
	if c.remote == nil {
		return nil
	}
	var runs []piece
	for _, m := range c.files {
		for _, e := range m.entries {
			if e.unfit != "" {
				continue
			}
			for _, s := range sampled(e.end - e.begin) {
				from, to := m.base+e.begin+s[0], m.base+e.begin+s[1]
				if n := len(runs); n > 0 && runs[n-1].m == m && from >= runs[n-1].from && from-runs[n-1].to < nearby {
					runs[n-1].to = max(runs[n-1].to, to)
				} else {
					runs = append(runs, piece{m, from, to})
				}
			}
		}
	}
	for _, r := range runs {
		r.m.object.Fetch(r.from, r.to)
	}
	for _, r := range runs {
		if err := r.m.object.Need(context.Background(), r.from, r.to); err != nil {
			return err
		}
	}
	return nil
}
