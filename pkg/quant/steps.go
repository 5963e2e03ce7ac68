package quant

import (
	"context"
	"fmt"

	"sextant/internal/halves"
	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
	"sextant/pkg/qformat"
)

// made is what a method made of a block: matrices, and other values of tensors that are folded into.
type made struct {
	values   map[string][]float32
	matrices map[string]*qformat.Matrix
}

// content is a tensor of the block: quantized, or, for plain weights, before it was.
func (m made) content(ck *checkpoint.Checkpoint, name string, plain bool) (content, error) {
	raw, err := ck.Tensor(name)
	if err != nil {
		return content{}, err
	}
	c := content{raw: raw, values: m.values[name]}
	if !plain {
		c.matrix = m.matrices[name]
	}
	return c, nil
}

// shaped is a block in the making.
type shaped struct {
	made
	r     *runner
	names checkpoint.LayerNames
	sites [4][]string
}

func (r *runner) shape() *shaped {
	return &shaped{made: made{values: map[string][]float32{}, matrices: map[string]*qformat.Matrix{}}, r: r,
		names: r.job.Checkpoint.Config().LayerNames(r.at), sites: r.sites[r.at]}
}

// make carries out the method on the block in hand.
func (r *runner) make() (made, error) {
	b := r.shape()
	r.pace.block(b.work())
	var err error
	switch r.job.Recipe.Method {
	case "rtn", "fp8":
		err = b.round()
	case "smoothquant":
		err = b.smooth()
	case "awq":
		err = b.awq()
	case "gptq":
		err = b.gptq()
	default:
		err = fmt.Errorf("method %q: want rtn, awq, gptq, smoothquant or fp8", r.job.Recipe.Method)
	}
	return b.made, err
}

// say begins a phase of a site.
func (b *shaped) say(phase string, s model.Site, of float64) { b.r.say(fmt.Sprint(phase, " ", s), of) }

// tensor gives the values of a tensor as they are now.
func (b *shaped) tensor(name string) ([]float32, error) {
	if v := b.values[name]; v != nil {
		return v, nil
	}
	t, err := b.r.job.Checkpoint.Tensor(name)
	if err != nil {
		return nil, err
	}
	return floatsOf(t), nil
}

// dense is a matrix as it is now.
func (b *shaped) dense(name string) (Dense, error) {
	t, err := b.r.job.Checkpoint.View(name)
	if err != nil {
		return Dense{}, err
	}
	v, err := b.tensor(name)
	return Dense{Rows: t.Shape[0], Cols: t.Shape[1], Values: v}, err
}

// quantized are the names of a site's matrices that are not ignored.
func (b *shaped) quantized(s model.Site) (names []string) {
	for _, name := range b.sites[s] {
		if b.r.shapes[name] != nil {
			names = append(names, name)
		}
	}
	return names
}

// denses are those matrices.
func (b *shaped) denses(names []string) (all []Dense, err error) {
	for _, name := range names {
		d, err := b.dense(name)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// grid is that of a matrix.
func (b *shaped) grid(name string) (Grid, error) {
	return GridOf(b.r.job.Recipe, b.r.shapes[name].Cols)
}

// take keeps a quantized matrix. Its values before are kept for plain weights alone.
func (b *shaped) take(name string, m *qformat.Matrix, most float32) {
	m.Act = b.r.activation(most)
	b.matrices[name] = m
	if !b.r.work.state.Transformed {
		delete(b.values, name)
	}
}

// quantize rounds a matrix as it is now.
func (b *shaped) quantize(name string, clip []float32, most float32) error {
	g, err := b.grid(name)
	if err != nil {
		return err
	}
	w, err := b.dense(name)
	if err != nil {
		return err
	}
	m, err := Quantize(g, w, clip)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	b.take(name, m, most)
	b.r.did(float64(w.Rows) * float64(w.Cols))
	return nil
}

// all are the sites that have quantized matrices, each with a Gram matrix or not.
func (b *shaped) all(gram func(s model.Site) bool) map[model.Site]bool {
	sites := map[model.Site]bool{}
	for s := model.SiteQKV; s <= model.SiteDown; s++ {
		if len(b.quantized(s)) > 0 {
			sites[s] = gram(s)
		}
	}
	return sites
}

// calibrate runs the block as it is in the checkpoint over the sample: statistics of its sites, and the next block's input.
func (b *shaped) calibrate(gram func(s model.Site) bool) (map[model.Site]*tally, error) {
	b.r.say("calibrating", b.r.sample.tokens())
	block, err := b.r.blocks.Load(b.r.at)
	if err != nil {
		return nil, err
	}
	defer block.Close()
	return b.r.gather(visit{block: block, sites: b.all(gram), last: model.SiteDown, to: b.r.next()})
}

// sayRounding begins the phase in which all matrices are rounded.
func (b *shaped) sayRounding() {
	all := 0.0
	for s := range b.sites {
		all += b.rounded(model.Site(s))
	}
	b.r.say("rounding", all)
}

func never(model.Site) bool { return false }

// round is rounding to nearest, with scales of the inputs where they are static.
func (b *shaped) round() error {
	var tallies map[model.Site]*tally
	if b.r.calibrates() {
		var err error
		if tallies, err = b.calibrate(never); err != nil {
			return err
		}
	}
	b.sayRounding()
	for s := range b.sites {
		most := float32(0)
		if t := tallies[model.Site(s)]; t != nil {
			stats, err := t.read()
			if err != nil {
				return err
			}
			most = stats.most(nil)
		}
		for _, name := range b.quantized(model.Site(s)) {
			if b.r.ctx.Err() != nil {
				return context.Cause(b.r.ctx)
			}
			if err := b.quantize(name, nil, most); err != nil {
				return err
			}
		}
	}
	return nil
}

// smooth is SmoothQuant: what the norms' outputs have of outliers goes into the matrices behind them, before all are rounded.
func (b *shaped) smooth() error {
	tallies, err := b.calibrate(never)
	if err != nil {
		return err
	}
	b.sayRounding()
	for s := model.SiteQKV; s <= model.SiteDown; s++ {
		names := b.quantized(s)
		if len(names) == 0 {
			continue
		}
		stats, err := tallies[s].read()
		if err != nil {
			return err
		}
		var scale []float32
		if norm := b.norm(s); norm != "" {
			ws, err := b.denses(names)
			if err != nil {
				return err
			}
			if scale, err = SmoothScale(stats.max, ws, b.r.job.Recipe.Alpha); err != nil {
				return fmt.Errorf("%v: %w", s, err)
			}
			if scale, err = b.fold(s, scale); err != nil {
				return err
			}
		}
		for _, name := range names {
			if err := b.quantize(name, nil, stats.most(scale)); err != nil {
				return err
			}
		}
	}
	return nil
}

// floatsOf gives a tensor's values.
func floatsOf(t checkpoint.Tensor) []float32 {
	size := halves.Bytes(t.DType)
	out := make([]float32, len(t.Data)/size)
	_ = parallel(len(out), func(from, to int) error {
		halves.Widen(out[from:to], t.DType, t.Data[from*size:])
		return nil
	})
	return out
}
