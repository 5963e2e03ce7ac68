package bench

import (
	"cmp"
	"fmt"

	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
)

// cost is what no implementation can do without: additions and multiplications, and bytes of weights, keys and values.
type cost struct{ ops, bytes float64 }

func (c cost) plus(d cost) cost { return cost{c.ops + d.ops, c.bytes + d.bytes} }

// sizes is what costs follow from.
type sizes struct {
	dtype       string  // of most of the matrices' bytes, "bf16"
	values      int64   // parameters
	fileBytes   int64   // of all of them
	layers      cost    // of the matrices of all layers: operations for one token, bytes for a pass
	head        cost    // of the output matrix: operations for one row
	row         float64 // bytes of one token of the embedding
	mix         float64 // operations of attention for one position seen, in one layer
	windows     []int   // of each layer; 0: none
	cachedBytes float64 // keys and values of one position in one layer, f32
}

// sizesOf reads them off a checkpoint whose matrices are quantized as they are loaded, or not ("").
func sizesOf(ck *checkpoint.Checkpoint, quantize string) (*sizes, error) {
	cfg := ck.Config()
	m := &sizes{windows: cfg.Windows, mix: 4 * float64(cfg.Heads*cfg.HeadDim), cachedBytes: 2 * 4 * float64(cfg.KVHeads*cfg.HeadDim)}
	byType := map[string]int64{}
	add := func(name string) (c cost, err error) {
		if name == "" {
			return c, nil
		}
		if q := ck.Stored(name); q != nil {
			n, bytes := int64(q.Rows)*int64(q.Cols), model.StoredBytes(q)
			m.values += n
			return cost{2 * float64(n), float64(bytes)}, nil
		}
		t, err := ck.View(name)
		if err != nil {
			return c, err
		}
		n := int64(1)
		for _, d := range t.Shape {
			n *= int64(d)
		}
		m.values += n
		m.fileBytes += t.Bytes()
		byType[t.DType] += t.Bytes()
		if len(t.Shape) > 1 {
			c = cost{2 * float64(n), float64(t.Bytes())}
		}
		return c, nil
	}
	for i := range cfg.Layers {
		n := cfg.LayerNames(i)
		for _, name := range []string{n.AttnNorm, n.QKV, n.Q, n.K, n.V, n.O, n.QNorm, n.KNorm, n.MLPNorm, n.Gate, n.Up, n.Down} {
			c, err := add(name)
			if err != nil {
				return nil, err
			}
			if c.ops > 0 && quantize != "" {
				t, _ := ck.View(name)
				n, err := model.QuantizedBytes(quantize, t.Shape[0], t.Shape[1])
				if err != nil {
					return nil, err
				}
				c.bytes = float64(n)
			}
			m.layers = m.layers.plus(c)
		}
	}
	var err error
	if m.head, err = add(cfg.HeadName()); err != nil {
		return nil, err
	}
	m.row = m.head.bytes / float64(cfg.Vocab)
	if quantize != "" {
		n, err := model.QuantizedHeadBytes(quantize, cfg.Vocab, cfg.Hidden)
		if err != nil {
			return nil, err
		}
		m.head.bytes = float64(n)
		if cfg.TieEmbeddings {
			m.row = m.head.bytes / float64(cfg.Vocab)
		}
	}
	if !cfg.TieEmbeddings {
		if _, err = add(cfg.EmbedName()); err != nil {
			return nil, err
		}
	}
	if _, err = add(cfg.NormName()); err != nil {
		return nil, err
	}
	m.dtype = cmp.Or(quantize, most(byType))
	if cfg.Quant != nil {
		m.dtype, m.fileBytes = cfg.Quant.String(), ck.WeightBytes()
	}
	return m, nil
}

// most names the dtype with the most bytes.
func most(byType map[string]int64) (dtype string) {
	best := int64(-1)
	for _, name := range DTypes() {
		if n := byType[formats[name]]; n > best {
			dtype, best = name, n
		}
	}
	return dtype
}

// span is the new positions [from, to) of a sequence.
type span struct{ from, to int }

// pass is the cost of one pass over spans, each of a sequence of its own, with the logits of so many rows.
func (m *sizes) pass(rows int, spans ...span) cost {
	c := cost{bytes: m.layers.bytes}
	for _, s := range spans {
		n := float64(s.to - s.from)
		c = c.plus(cost{m.layers.ops * n, m.row * n})
		for _, window := range m.windows {
			seen, held := s.seen(window)
			c = c.plus(cost{m.mix * seen, m.cachedBytes * held})
		}
	}
	if rows > 0 {
		c = c.plus(cost{m.head.ops * float64(rows), m.head.bytes})
	}
	return c
}

// seen is the positions that those of s attend to in all, and how many different ones they are.
func (s span) seen(window int) (all, different float64) {
	from, to := float64(s.from), float64(s.to)
	if window <= 0 || s.to <= window {
		return (to*(to+1) - from*(from+1)) / 2, to
	}
	for p := s.from; p < s.to; p++ {
		all += float64(min(p+1, window))
	}
	return all, float64(min(s.to, s.to-s.from+window-1))
}

// fits refuses sequences that the model cannot take.
func fits(cfg *checkpoint.Config, positions int) error {
	if positions > cfg.MaxPositions {
		return fmt.Errorf("it needs %d positions, and the model has %d", positions, cfg.MaxPositions)
	}
	return nil
}
