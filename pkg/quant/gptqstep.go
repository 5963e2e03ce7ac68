package quant

import (
	"context"
	"fmt"

	"sextant/pkg/model"
	"sextant/pkg/qformat"
)

// gptq is GPTQ on one block, site after site: each sees inputs that the rounded matrices before it made, of this block and of those before.
func (b *shaped) gptq() error {
	b.r.say("loading", 0)
	block, err := b.r.blocks.Load(b.r.at)
	if err != nil {
		return err
	}
	defer block.Close()
	products := &deviceProducts{ctx: b.r.ctx, dev: b.r.job.Device, stream: b.r.blocks.Stream(), did: b.r.did}
	defer products.free()
	for s := model.SiteQKV; s <= model.SiteDown; s++ {
		if len(b.quantized(s)) == 0 {
			continue
		}
		if err := b.gptqSite(block, s, products); err != nil {
			return fmt.Errorf("%v: %w", s, err)
		}
	}
	if b.r.next() == "" {
		return nil
	}
	b.r.say("running the rounded block", b.r.sample.tokens())
	return b.r.pass(visit{block: block, to: b.r.next()}, nil)
}

func (b *shaped) gptqSite(block *model.Block, s model.Site, products Products) error {
	b.say("calibrating", s, b.r.sample.tokens())
	tallies, err := b.r.gather(visit{block: block, sites: map[model.Site]bool{s: true}, last: s})
	if err != nil {
		return err
	}
	stats, err := tallies[s].read()
	if err != nil {
		return err
	}
	b.say("rounding", s, b.gptqCost(s))
	q := b.r.job.Recipe.GPTQ
	h, err := NewHessian(stats.gram, len(stats.mean), GPTQOptions{ActOrder: q.ActOrder, StaticGroups: *q.StaticGroups, Damp: q.Damp,
		Block: q.Block, Products: products})
	if err != nil {
		return err
	}
	stats.gram = nil
	for _, name := range b.quantized(s) {
		if b.r.ctx.Err() != nil {
			return context.Cause(b.r.ctx)
		}
		g, err := b.grid(name)
		if err != nil {
			return err
		}
		w, err := b.dense(name)
		if err != nil {
			return err
		}
		m, _, err := GPTQ(g, w, h)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		b.take(name, m, stats.most(nil))
		if err := block.Set(name, values(m)); err != nil {
			return err
		}
	}
	return nil
}

// values are those of all codes.
func values(m *qformat.Matrix) []float32 {
	out := make([]float32, m.Rows*m.Cols)
	_ = parallel(m.Rows, func(from, to int) error {
		for r := from; r < to; r++ {
			m.Values(out[r*m.Cols:(r+1)*m.Cols], r)
		}
		return nil
	})
	return out
}
