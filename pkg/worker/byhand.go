package worker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"sextant/pkg/calib"
	"sextant/pkg/plan"
	"sextant/pkg/quant"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// QuantizeTo makes the quantized model of a recipe in a directory, without a run. What an earlier call left when it was stopped is gone on
// from; where all is there, nothing is done. Of o it heeds Backend, Threads and Log. The recipe's exports are not made.
func QuantizeTo(ctx context.Context, m spec.Model, q spec.Quant, out string, o Options) (result.Manifest, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	packed, sample, err := packedOf(m, q)
	if err != nil {
		return result.Manifest{}, bad(err)
	}
	f, err := plan.OpenModel(&m)
	if err != nil {
		return result.Manifest{}, bad(err)
	}
	defer f.Checkpoint.Close()
	job := quant.Job{Checkpoint: f.Checkpoint, Model: m.Abbr, Recipe: q, Sample: sample, Fingerprint: packed.Fingerprint, Out: out,
		Work: filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+".work")}
	dev, backend, err := loading{backend: cmp.Or(o.Backend, AutoBackend), threads: o.Threads}.open(o.Log)
	if err != nil {
		return result.Manifest{}, fmt.Errorf("opening the backend: %w", err)
	}
	defer dev.Close()
	job.Device = dev
	block, told := -1, time.Time{}
	job.Progress = func(p quant.Progress) {
		if p.Block < p.Blocks && (p.Block != block || time.Since(told) >= tellEvery) {
			block, told = p.Block, time.Now()
			o.Log.Info("quantizing", "block", block+1, "of", p.Blocks, "part", p.Part, "phase", p.Phase, "left", p.ETA.Seconds(), "backend", backend)
		}
	}
	return quant.Run(ctx, job)
}

// tellEvery is the time between two lines about one block.
const tellEvery = 10 * time.Second

// packedOf is the variant that a recipe makes of a model, of what lies on the disk now, and what it is calibrated with.
func packedOf(m spec.Model, q spec.Quant) (plan.Variant, *calib.Tokens, error) {
	in, err := plan.Survey(spec.Spec{Models: []spec.Model{m}, Quant: []spec.Quant{q}, Eval: spec.Eval{Positions: []string{spec.Packed}}})
	if err != nil {
		return plan.Variant{}, nil, err
	}
	i := slices.IndexFunc(in.Variants, func(v plan.Variant) bool { return v.Position == spec.Packed })
	if i < 0 || len(in.Steps) != 1 {
		return plan.Variant{}, nil, fmt.Errorf("the recipe %q is not for the model %q", q.Name, m.Abbr)
	}
	return in.Variants[i], in.Steps[0].Sample, nil
}
