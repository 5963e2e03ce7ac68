package worker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"

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
	packed, err := packedOf(m, q)
	if err != nil {
		return result.Manifest{}, err
	}
	f, err := plan.OpenModel(&m)
	if err != nil {
		return result.Manifest{}, bad(err)
	}
	defer f.Checkpoint.Close()
	job := quant.Job{Checkpoint: f.Checkpoint, Model: m.Abbr, Recipe: q, Fingerprint: packed.Fingerprint, Out: out,
		Work: filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+".work")}
	if q.NeedsText() {
		if job.Sample, err = calib.Sample(*q.Calib, f.Tokenizer); err != nil {
			return result.Manifest{}, bad(err)
		}
	}
	dev, backend, err := loading{backend: cmp.Or(o.Backend, AutoBackend), threads: o.Threads}.open(o.Log)
	if err != nil {
		return result.Manifest{}, fmt.Errorf("opening the backend: %w", err)
	}
	defer dev.Close()
	job.Device = dev
	block := -1
	job.Progress = func(p quant.Progress) {
		if p.Block != block && p.Block < p.Blocks {
			block = p.Block
			o.Log.Info("quantizing", "block", block+1, "of", p.Blocks, "left", p.ETA.Seconds(), "backend", backend)
		}
	}
	return quant.Run(ctx, job)
}
