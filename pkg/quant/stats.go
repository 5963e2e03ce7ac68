package quant

import (
	"fmt"

	"sextant/kernels"
	"sextant/pkg/model"
)

// siteStats are the statistics of a site's input over the sample.
type siteStats struct {
	tokens    int
	max, mean []float32 // of |x|, for each input
	gram      []float32 // sum of x x^T, [inputs, inputs]; nil where it was not asked for
}

// tally adds up the statistics of one site on the device.
type tally struct {
	stream           *kernels.Stream
	tokens           int
	max, sum, square kernels.Tensor
	gram             kernels.Tensor // without a buffer where it is not wanted
}

func newTally(dev *kernels.Device, stream *kernels.Stream, cols int, gram bool) (*tally, error) {
	t := &tally{stream: stream}
	for _, to := range []*kernels.Tensor{&t.max, &t.sum, &t.square} {
		made, err := dev.NewTensor(1, cols, kernels.F32)
		if err != nil {
			t.free()
			return nil, err
		}
		*to = made
	}
	if !gram {
		return t, nil
	}
	made, err := dev.NewTensor(cols, cols, kernels.F32)
	if err != nil {
		t.free()
		return nil, fmt.Errorf("a Gram matrix of %d inputs: %w", cols, err)
	}
	t.gram = made
	return t, nil
}

func (t *tally) add(in kernels.Tensor) error {
	t.tokens += in.Rows
	if err := t.stream.ColStats(t.max, t.sum, t.square, in); err != nil {
		return err
	}
	if t.gram.Buf == nil {
		return nil
	}
	return t.stream.Hessian(t.gram, in)
}

// read gives the statistics to the host. The device's memory is free then.
func (t *tally) read() (*siteStats, error) {
	defer t.free()
	s := &siteStats{tokens: t.tokens, max: make([]float32, t.max.Cols), mean: make([]float32, t.max.Cols)}
	if err := t.stream.DownloadF32(t.max, s.max); err != nil {
		return nil, err
	}
	if err := t.stream.DownloadF32(t.sum, s.mean); err != nil {
		return nil, err
	}
	for i, x := range s.mean {
		s.mean[i] = float32(float64(x) / float64(t.tokens))
	}
	if t.gram.Buf == nil {
		return s, nil
	}
	s.gram = make([]float32, t.gram.Rows*t.gram.Cols)
	return s, t.stream.DownloadF32(t.gram, s.gram)
}

func (t *tally) free() {
	for _, x := range []*kernels.Tensor{&t.max, &t.sum, &t.square, &t.gram} {
		if x.Buf != nil {
			x.Buf.Free()
			*x = kernels.Tensor{}
		}
	}
}

// most is the greatest |x| of all inputs, when they are divided by scale; nil: as they are.
func (st *siteStats) most(scale []float32) float32 {
	most := float32(0)
	for i, x := range st.max {
		if scale != nil {
			x /= scale[i]
		}
		most = max(most, x)
	}
	return most
}

// visit is a pass over the sample: which sites are seen, and whether Gram matrices are wanted of them.
type visit struct {
	block *model.Block
	sites map[model.Site]bool // site -> with a Gram matrix
	last  model.Site          // behind which the pass ends, where there is no `to`
	to    string              // the file of the block's outcome; "": none
}

// gather visits sites with all tokens of the sample.
func (r *runner) gather(v visit) (map[model.Site]*tally, error) {
	all := map[model.Site]*tally{}
	ok := false
	defer func() {
		for _, t := range all {
			if !ok {
				t.free()
			}
		}
	}()
	tap := func(s model.Site, in kernels.Tensor) error {
		gram, seen := v.sites[s]
		if seen && all[s] == nil {
			t, err := newTally(r.job.Device, r.blocks.Stream(), in.Cols, gram)
			if err != nil {
				return err
			}
			all[s] = t
		}
		if seen {
			if err := all[s].add(in); err != nil {
				return err
			}
		}
		if v.to == "" && s == v.last {
			return model.ErrStop
		}
		return nil
	}
	if err := r.pass(v, tap); err != nil {
		return nil, err
	}
	ok = true
	return all, nil
}

// pass puts the sample through the block.
func (r *runner) pass(v visit, tap model.Tap) error {
	p := pass{block: v.block, tap: tap, from: r.work.hidden(r.at), to: v.to, seen: func(tokens int) { r.did(float64(tokens)) }}
	return r.sample.pass(r.ctx, p)
}

// next is the file of what the block in hand makes of the hidden states; "" for the last block.
func (r *runner) next() string {
	if r.at == r.layers()-1 {
		return ""
	}
	return r.work.hidden(r.at + 1)
}
