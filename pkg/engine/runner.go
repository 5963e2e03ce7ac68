package engine

import (
	"errors"
	"fmt"

	"sextant/kernels"
	"sextant/pkg/model"
)

// Stage is a model, or a part of one, with its cache.
type Stage struct {
	Model *model.Model
	kv    *kernels.KV
}

// Reserve makes a new cache. ErrMemory: there is not so much memory.
func (s *Stage) Reserve(pages, pageSize int) error {
	s.Release()
	kv, err := s.Model.NewKV(pages, pageSize)
	if errors.Is(err, kernels.ErrNoMemory) {
		return fmt.Errorf("%w: %w", ErrMemory, err)
	}
	if err != nil {
		return err
	}
	s.kv = kv
	return nil
}

// Release frees the cache.
func (s *Stage) Release() {
	if s.kv != nil {
		s.kv.Free()
		s.kv = nil
	}
}

// Forward runs a pass. in, and what a part that is not the last gives, are as model.ForwardPart has them.
func (s *Stage) Forward(p Pass, in []float32) (kernels.Tensor, error) {
	if err := s.copyPages(p); err != nil {
		return kernels.Tensor{}, err
	}
	return s.Model.ForwardPart(s.kv, p.Batch, in)
}

// ForwardFrom is Forward with what the part before holds (model.Hold).
func (s *Stage) ForwardFrom(p Pass, before *model.Model) (kernels.Tensor, error) {
	if err := s.copyPages(p); err != nil {
		return kernels.Tensor{}, err
	}
	return s.Model.ForwardFrom(s.kv, p.Batch, before)
}

func (s *Stage) copyPages(p Pass) error {
	for _, c := range p.Copies {
		if err := s.Model.CopyPage(s.kv, c.Dst, c.Src, c.Positions); err != nil {
			return err
		}
	}
	return nil
}

// LogProbs is what the head says of the rows h that Forward gave; nothing where no target is wanted.
func (s *Stage) LogProbs(h kernels.Tensor, t kernels.Targets) (kernels.LogProbs, error) {
	if len(t.IDs) == 0 {
		return kernels.LogProbs{}, nil
	}
	return s.Model.LogProbs(h, t)
}

// Sample draws a token for each of the rows h.
func (s *Stage) Sample(h kernels.Tensor, d []kernels.SampleDesc, u []float64) ([]int32, error) {
	if len(d) == 0 {
		return nil, nil
	}
	return s.Model.Sample(h, d, u)
}

// modelRunner is a whole model. A pass is run as it is begun.
type modelRunner struct{ Stage }

func (r *modelRunner) LogProbs(p Pass, t kernels.Targets) func() (kernels.LogProbs, error) {
	h, err := r.Forward(p, nil)
	var lp kernels.LogProbs
	if err == nil {
		lp, err = r.Stage.LogProbs(h, t)
	}
	return func() (kernels.LogProbs, error) { return lp, err }
}

func (r *modelRunner) Sample(p Pass, d []kernels.SampleDesc, u []float64) func() ([]int32, error) {
	h, err := r.Forward(p, nil)
	var ids []int32
	if err == nil {
		ids, err = r.Stage.Sample(h, d, u)
	}
	return func() ([]int32, error) { return ids, err }
}
