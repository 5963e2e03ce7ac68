package quant

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"sextant/kernels"
	"sextant/pkg/model"
	"sextant/pkg/result"
)

// awqStep is AWQ on one block. Its inputs come from the blocks before as they were: the scaled model computes the same.
type awqStep struct {
	*shaped
	products deviceProducts
	stats    map[model.Site]*siteStats
	scale    map[model.Site][]float32 // that a site's inputs are divided by
}

func (b *shaped) awq() error {
	tallies, err := b.calibrate(b.grams)
	if err != nil {
		return err
	}
	a := &awqStep{shaped: b, stats: map[model.Site]*siteStats{}, scale: map[model.Site][]float32{},
		products: deviceProducts{ctx: b.r.ctx, dev: b.r.job.Device, stream: b.r.blocks.Stream(), did: b.r.did}}
	defer a.products.free()
	defer func() {
		for _, t := range tallies {
			t.free()
		}
	}()
	// The rows of v and up are divided by what their outputs' site finds, before they are rounded themselves.
	for _, half := range [][]model.Site{{model.SiteQKV, model.SiteO}, {model.SiteGateUp, model.SiteDown}} {
		for _, s := range half {
			if err := a.scaleSite(s, tallies[s]); err != nil {
				return fmt.Errorf("%v: %w", s, err)
			}
		}
		for _, s := range half {
			if err := a.roundSite(s); err != nil {
				return fmt.Errorf("%v: %w", s, err)
			}
			delete(a.stats, s)
		}
	}
	return nil
}

// grams tells whether a search of a site goes by its Gram matrix.
func (b *shaped) grams(s model.Site) bool {
	return b.clips(s) || b.folds(s) && b.r.job.Recipe.AWQ.Objective != "output"
}

// clips tells whether a site has matrices whose ranges are searched: all but q and k, for whose product the search's error says little.
func (b *shaped) clips(s model.Site) bool {
	return *b.r.job.Recipe.AWQ.Clip && slices.ContainsFunc(b.quantized(s), b.clipped)
}

func (b *shaped) clipped(name string) bool {
	return name != b.names.Q && name != b.names.K && name != b.names.QKV
}

// scaleSite searches a site's scale and folds it.
func (a *awqStep) scaleSite(s model.Site, t *tally) error {
	names := a.quantized(s)
	if len(names) == 0 {
		return nil
	}
	stats, err := t.read()
	if err != nil {
		return err
	}
	a.stats[s] = stats
	if !a.folds(s) {
		return nil
	}
	a.say("searching", s, a.searchCost(s))
	ws, err := a.denses(names)
	if err != nil {
		return err
	}
	g, err := a.grid(names[0])
	if err != nil {
		return err
	}
	q := a.r.job.Recipe.AWQ
	search := AWQSearch{Grid: g, Steps: q.Grid, Mean: stats.mean, Matrices: ws, Gram: stats.gram, Tokens: stats.tokens, Products: &a.products}
	var scale []float32
	if q.Objective == "output" {
		scale, err = a.byOutput(s, names, search)
	} else {
		scale, _, err = SearchScale(search)
	}
	if err != nil {
		return err
	}
	a.scale[s], err = a.fold(s, scale)
	return err
}

// roundSite searches the ranges of a site's matrices and rounds them.
func (a *awqStep) roundSite(s model.Site) error {
	names, stats := a.quantized(s), a.stats[s]
	if len(names) == 0 {
		return nil
	}
	limits := map[string][]float32{}
	if a.clips(s) {
		if err := a.clip(s, limits); err != nil {
			return err
		}
	}
	a.say("rounding", s, a.rounded(s))
	for _, name := range names {
		if err := a.quantize(name, limits[name], stats.most(a.scale[s])); err != nil {
			return err
		}
	}
	return nil
}

// clip searches the ranges of a site's matrices, as they are with its scale multiplied in.
func (a *awqStep) clip(s model.Site, limits map[string][]float32) error {
	a.say("clipping", s, a.clipCost(s))
	var names []string
	for _, name := range a.quantized(s) {
		if a.clipped(name) {
			names = append(names, name)
		}
	}
	ws, err := a.denses(names)
	if err != nil {
		return err
	}
	g, err := a.grid(names[0])
	if err != nil {
		return err
	}
	found, err := SearchClip(ClipSearch{Grid: g, Matrices: ws, Gram: a.stats[s].gram, Scale: a.scale[s], Products: &a.products})
	if err != nil {
		return err
	}
	for i, name := range names {
		limits[name] = found[i]
	}
	return nil
}

// byOutput searches a site's scale by what the whole attention or MLP computes with the rounded matrices, as the paper's code does: a forward
// of all tokens for each point.
func (a *awqStep) byOutput(s model.Site, names []string, search AWQSearch) ([]float32, error) {
	block, err := a.r.blocks.Load(a.r.at)
	if err != nil {
		return nil, err
	}
	defer block.Close()
	in, want := a.r.work.path("part-in.f32"), a.r.work.path("part-want.f32")
	defer os.Remove(in)
	defer os.Remove(want)
	cols := len(search.Mean)
	if err := a.inputs(block, s, in); err != nil {
		return nil, err
	}
	put := a.r.sample
	put.hidden = cols
	r, err := put.open(in)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	err = put.write(a.r.ctx, want, func(int, int) ([]float32, error) {
		x, err := r.next()
		if err != nil {
			return nil, err
		}
		a.r.did(float64(len(x) / cols))
		return block.Part(s, x, put.seqLen)
	})
	if err != nil {
		return nil, err
	}
	scale, _, err := SearchScaleBy(search, func(candidates [][]float32) (float64, error) {
		for i, name := range names {
			if err := block.Set(name, candidates[i]); err != nil {
				return 0, err
			}
		}
		return a.outputLoss(block, s, put, [2]string{in, want})
	})
	return scale, err
}

// inputs writes a site's input for all tokens to a file.
func (a *awqStep) inputs(block *model.Block, s model.Site, path string) error {
	var room []float32
	return result.Commit(path, func(w io.Writer) error {
		return a.r.pass(visit{block: block}, func(at model.Site, in kernels.Tensor) error {
			if at != s {
				return nil
			}
			if len(room) < in.Rows*in.Cols {
				room = make([]float32, in.Rows*in.Cols)
			}
			if err := a.r.blocks.Stream().DownloadF32(in, room[:in.Rows*in.Cols]); err != nil {
				return err
			}
			if _, err := w.Write(floatBytes(room[:in.Rows*in.Cols])); err != nil {
				return err
			}
			return model.ErrStop
		})
	})
}

// outputLoss is the mean squared difference of the part's output to the file of what it was. files are the part's input and that.
func (a *awqStep) outputLoss(block *model.Block, s model.Site, in sample, files [2]string) (float64, error) {
	out := in
	out.hidden = a.r.sample.hidden
	xs, err := in.open(files[0])
	if err != nil {
		return 0, err
	}
	defer xs.Close()
	ys, err := out.open(files[1])
	if err != nil {
		return 0, err
	}
	defer ys.Close()
	sum := 0.0
	for {
		x, err := xs.next()
		if err != nil {
			return 0, err
		}
		if x == nil {
			return sum / float64(out.values(out.seqs)), nil
		}
		if a.r.ctx.Err() != nil {
			return 0, context.Cause(a.r.ctx)
		}
		got, err := block.Part(s, x, in.seqLen)
		if err != nil {
			return 0, err
		}
		want, err := ys.next()
		if err != nil {
			return 0, err
		}
		for i, y := range want {
			d := float64(got[i]) - float64(y)
			sum += d * d
		}
		a.r.did(float64(len(x) / in.hidden))
	}
}
