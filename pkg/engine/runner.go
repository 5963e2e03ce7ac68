package engine

import (
	"errors"
	"fmt"

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

func (r *modelRunner) LogProbs(b model.Batch, targets []int32) (kernels.LogProbs, error) {
	h, err := r.m.Forward(r.kv, b)
	if err != nil || len(targets) == 0 {
		return kernels.LogProbs{}, err
	}
	return r.m.LogProbs(h, kernels.Targets{IDs: targets})
}

func (r *modelRunner) Sample(b model.Batch, d []kernels.SampleDesc, u []float64) ([]int32, error) {
	h, err := r.m.Forward(r.kv, b)
	if err != nil || len(d) == 0 {
		return nil, err
	}
	return r.m.Sample(h, d, u)
}
