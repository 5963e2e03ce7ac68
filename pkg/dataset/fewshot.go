package dataset

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"sextant/pkg/spec"
)

// shots chooses in-context examples from the train split.
type shots struct {
	kind  string
	ids   []int
	k     int
	seed  uint64
	train *table
}

// openShots reads the train split as far as the examples need it, or gives nil when there are none.
func openShots(d spec.Dataset) (*shots, error) {
	f := d.FewShot
	if f.Kind == "none" {
		return nil, nil
	}
	if d.Mode == spec.Rolling {
		return nil, fmt.Errorf("few_shot: a rolling perplexity has no examples")
	}
	if d.Train == nil {
		return nil, fmt.Errorf("few_shot.kind = %q needs a [train] split to take examples from", f.Kind)
	}
	s := &shots{kind: f.Kind, ids: f.IDs, k: f.K, seed: f.Seed}
	limit := 0
	switch f.Kind {
	case "fixed":
		if len(f.IDs) == 0 {
			return nil, fmt.Errorf(`few_shot.kind = "fixed" needs ids = [...], row numbers of the train split`)
		}
		for _, id := range f.IDs {
			limit = max(limit, id+1)
		}
	case "random":
		if f.K <= 0 {
			return nil, fmt.Errorf(`few_shot.kind = "random" needs k, the number of examples`)
		}
	default:
		return nil, fmt.Errorf("few_shot.kind = %q%s", f.Kind, nearest(f.Kind, []string{"none", "fixed", "random"}))
	}
	var err error
	if s.train, err = readTable(*d.Train, limit); err != nil {
		return nil, fmt.Errorf("reading the train split: %w", err)
	}
	return s, s.check()
}

func (s *shots) check() error {
	n := len(s.train.rows)
	for _, id := range s.ids {
		if id < 0 || s.kind == "fixed" && id >= n {
			return fmt.Errorf("%s: few_shot.ids has %d, but the rows are 0 to %d", s.train.path, id, n-1)
		}
	}
	if s.kind == "random" && s.k > n {
		return fmt.Errorf("%s: few_shot.k is %d, but there are %d rows", s.train.path, s.k, n)
	}
	return nil
}

// choose gives the train rows for a test row. A random draw depends on the seed and the row's number alone, and leaves out rows
// that equal the test row.
func (s *shots) choose(row int, raw []byte) ([]int, error) {
	if s == nil {
		return nil, nil
	}
	if s.kind == "fixed" {
		return s.ids, nil
	}
	own, err := canonical(raw)
	if err != nil {
		return nil, err
	}
	// A Fisher-Yates shuffle that remembers only what it moved, drawn as far as is needed.
	src := rand.NewPCG(s.seed, uint64(row))
	moved := map[int]int{}
	at := func(i int) int {
		if j, ok := moved[i]; ok {
			return j
		}
		return i
	}
	var ids []int
	n := len(s.train.rows)
	for i := 0; i < n && len(ids) < s.k; i++ {
		j := i + int(below(src, uint64(n-i)))
		id := at(j)
		moved[j] = at(i)
		other, err := canonical(s.train.rows[id])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.train.at(id), err)
		}
		if !bytes.Equal(own, other) {
			ids = append(ids, id)
		}
	}
	if len(ids) < s.k {
		return nil, fmt.Errorf("%s: few_shot.k is %d, but only %d rows differ from the test row", s.train.path, s.k, len(ids))
	}
	return ids, nil
}

// below draws a number under n without bias.
func below(src *rand.PCG, n uint64) uint64 {
	least := -n % n // 2^64 mod n
	for {
		if v := src.Uint64(); v >= least {
			return v % n
		}
	}
}

// canonical is a row's JSON with sorted keys.
func canonical(raw []byte) ([]byte, error) {
	row, err := decode(raw)
	if err != nil {
		return nil, err
	}
	return mustJSON(row), nil
}
