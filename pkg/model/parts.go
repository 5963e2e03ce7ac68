package model

import (
	"fmt"
	"math"

	"sextant/pkg/checkpoint"
)

// Part is the layers [From, To) of a model: one stage of a pipeline. The embedding is the first part's, the final norm and the output matrix are
// the last one's; what is of other parts is not loaded. The zero Part is the whole model.
type Part struct{ From, To int }

// of is the part of a model's layers, all of them for the zero one.
func (p Part) of(c *checkpoint.Config) (Part, error) {
	if p == (Part{}) {
		p.To = c.Layers
	}
	if p.From < 0 || p.From >= p.To || p.To > c.Layers {
		return p, fmt.Errorf("there are no layers [%d, %d) of a part: the model has %d", p.From, p.To, c.Layers)
	}
	return p, nil
}

func (p Part) String() string { return fmt.Sprintf("layers %d to %d", p.From, p.To-1) }

// Part is what of the model is loaded.
func (m *Model) Part() Part { return m.part }

func (m *Model) first() bool { return m.part.From == 0 }

// Last says whether the output matrix is there.
func (m *Model) Last() bool { return m.part.To == m.cfg.Layers }

// usualSeen is how many positions a token attends to where nothing is known of the sequences: of a question with some examples.
const usualSeen = 512

// Parts cuts a model's layers into a part for each device, or as many as there are layers, so that the slowest takes as little time as can be. speeds
// are the devices', in any unit, from first to last. Costs are operations for a token: of the matrices of a layer, of attention over some hundred
// positions, and of the output matrix, as if each token's prediction were wanted. share is each part's of the weights.
func Parts(ck *checkpoint.Checkpoint, speeds []float64) (parts []Part, share []float64, err error) {
	c := ck.Config()
	costs := make([]float64, c.Layers)
	weights := make([]float64, c.Layers)
	for i := range costs {
		if weights[i], err = values(ck, matrixNames(c.LayerNames(i))...); err != nil {
			return nil, nil, fmt.Errorf("cutting the model into parts: %w", err)
		}
		seen := usualSeen
		if w := c.Windows[i]; w > 0 {
			seen = min(seen, w)
		}
		costs[i] = 2*weights[i] + 4*float64(c.Heads*c.HeadDim*seen)
	}
	head, err := values(ck, c.HeadName())
	if err != nil {
		return nil, nil, fmt.Errorf("cutting the model into parts: %w", err)
	}
	costs[c.Layers-1] += 2 * head
	weights[c.Layers-1] += head
	parts = cutCosts(costs, speeds[:min(len(speeds), c.Layers)])
	all := sum(weights)
	for _, p := range parts {
		share = append(share, sum(weights[p.From:p.To])/all)
	}
	return parts, share, nil
}

// values counts those of matrices.
func values(ck *checkpoint.Checkpoint, names ...string) (n float64, err error) {
	for _, name := range names {
		if q := ck.Stored(name); q != nil {
			n += float64(q.Rows) * float64(q.Cols)
			continue
		}
		t, err := ck.View(name)
		if err != nil {
			return 0, err
		}
		n += float64(t.Shape[0]) * float64(t.Shape[1])
	}
	return n, nil
}

// cutCosts divides costs into runs, none empty, one for each speed, so that the slowest takes as little time as can be; of equal ways the one whose first
// runs are longest.
func cutCosts(costs, speeds []float64) []Part {
	n := len(speeds)
	type way struct {
		slowest float64
		from    int // of the last run
	}
	ways := make([][]way, n+1) // ways[k][to]: of the first `to` costs in k runs
	for k := range ways {
		ways[k] = make([]way, len(costs)+1)
		for to := range ways[k] {
			ways[k][to].slowest = math.Inf(1)
			last := 0.0
			for from := to - 1; from >= 0 && k > 0; from-- {
				last += costs[from]
				if d := max(ways[k-1][from].slowest, last/speeds[k-1]); d < ways[k][to].slowest {
					ways[k][to] = way{d, from}
				}
			}
		}
		if k == 0 {
			ways[0][0].slowest = 0
		}
	}
	parts := make([]Part, n)
	to := len(costs)
	for k := n; k > 0; k-- {
		parts[k-1] = Part{ways[k][to].from, to}
		to = parts[k-1].From
	}
	return parts
}

func sum(values []float64) (s float64) {
	for _, v := range values {
		s += v
	}
	return s
}
