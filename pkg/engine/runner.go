package engine

import (
	"errors"
	"fmt"
	"slices"

	"sextant/kernels"
	"sextant/pkg/model"
)

// modelRunner is a model with its cache.
type modelRunner struct {
	m  *model.Model
	kv *kernels.KV
}

func (r *modelRunner) Reserve(pages, pageSize int) error {
	r.Release()
	kv, err := r.m.NewKV(pages, pageSize)
	if errors.Is(err, kernels.ErrNoMemory) {
		return fmt.Errorf("%w: %w", ErrMemory, err)
	}
	if err != nil {
		return err
	}
	r.kv = kv
	return nil
}

func (r *modelRunner) Release() {
	if r.kv != nil {
		r.kv.Free()
		r.kv = nil
	}
}

func (r *modelRunner) LogProbs(p Pass, t kernels.Targets) (kernels.LogProbs, error) {
	h, err := r.forward(p)
	if err != nil || len(t.IDs) == 0 {
		return kernels.LogProbs{}, err
	}
	return r.m.LogProbs(h, t)
}

func (r *modelRunner) Sample(p Pass, d []kernels.SampleDesc, u []float64) ([]int32, error) {
	h, err := r.forward(p)
	if err != nil || len(d) == 0 {
		return nil, err
	}
	if slices.ContainsFunc(d, func(d kernels.SampleDesc) bool { return !(d.Temperature <= 0) }) {
		return r.m.Sample(h, d, u)
	}
	lp, err := r.m.LogProbs(h, kernels.Targets{}) // the logits need not be stored to find the best
	return lp.Best, err
}

func (r *modelRunner) forward(p Pass) (kernels.Tensor, error) {
	for _, c := range p.Copies {
		if err := r.m.CopyPage(r.kv, c.Dst, c.Src, c.Positions); err != nil {
			return kernels.Tensor{}, err
		}
	}
	return r.m.Forward(r.kv, p.Batch)
}
