package quant

import (
	"fmt"
	"maps"
	"os"

	"sextant/internal/points"
	"sextant/pkg/result"
)

// finish makes checkpoints of the weight files of all blocks, exports them and gives the directories their names: the variant's own last.
func (r *runner) finish() (result.Manifest, error) {
	r.at = r.layers()
	r.pace.block(nil)
	s := &r.work.state
	if err := os.MkdirAll(r.work.path(packedDir), 0o777); err != nil {
		return result.Manifest{}, err
	}
	// What follows is in no state: each attempt that comes so far does it anew.
	if err := r.write(made{}, r.layers()+1, restNames(r.job.Checkpoint)); err != nil {
		return result.Manifest{}, err
	}
	m := r.manifest()
	if s.Transformed && !r.published(transformedDir) {
		if err := r.finishTransformed(m); err != nil {
			return m, err
		}
	}
	quant, err := r.config(r.layout)
	if err != nil {
		return m, err
	}
	m.Exports = maps.Clone(r.job.Exports)
	if m, err = complete(r.job.Checkpoint, r.work.path(packedDir), s.Shards[packedDir], quant, m); err != nil {
		return m, err
	}
	r.say("exporting", 0)
	e := exporter{r: r, packed: r.work.path(packedDir), transformed: r.transformed(), manifest: m}
	if err := e.all(r.ctx); err != nil {
		return m, err
	}
	if err := r.work.held(); err != nil {
		return m, err
	}
	points.Reached("quant:finished")
	if err := publish(r.work.path(packedDir), r.job.Out); err != nil {
		return m, err
	}
	points.Reached("quant:published")
	if err := os.RemoveAll(r.job.Work); err != nil {
		return m, fmt.Errorf("removing the work directory: %w", err)
	}
	return m, nil
}

// finishTransformed publishes the plain weights.
func (r *runner) finishTransformed(m result.Manifest) error {
	m.Layout, m.Bits, m.Quantized = plainLayout, 0, 0
	dir := r.work.path(transformedDir)
	if _, err := complete(r.job.Checkpoint, dir, r.work.state.Shards[transformedDir], nil, m); err != nil {
		return err
	}
	if err := publish(dir, r.transformed()); err != nil {
		return err
	}
	points.Reached("quant:transformed-published")
	return nil
}

// manifest is what is known of the outcome.
func (r *runner) manifest() result.Manifest {
	s := &r.work.state
	m := result.Manifest{Fingerprint: r.job.Fingerprint, Model: r.job.Model, Recipe: r.job.Recipe.Name, Layout: r.layout,
		Bits: bitsOf(s.QuantizedBytes, s.Quantized), Quantized: s.Quantized, Seconds: r.seconds()}
	if r.calibrates() {
		m.Calib = r.job.Sample.Digest
	}
	for _, name := range r.job.Checkpoint.Names() {
		if t, err := r.job.Checkpoint.View(name); err == nil {
			n := int64(1)
			for _, d := range t.Shape {
				n *= int64(d)
			}
			m.Parameters += n
		}
	}
	return m
}
