package quant

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"sextant/internal/points"
	"sextant/kernels"
	"sextant/pkg/calib"
	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
	"sextant/pkg/qformat"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// Job is one recipe on one checkpoint.
type Job struct {
	Checkpoint  *checkpoint.Checkpoint
	Model       string        // the model's name, for the manifest
	Recipe      spec.Quant    // validated, with its defaults
	Sample      *calib.Tokens // nil: none, which a recipe without calibration needs not
	Device      *kernels.Device
	Fingerprint string // of the outcome: recipe, model, sample. What is there under another one is made anew

	Out         string // the variant's directory; it is there, with its manifest, when everything is done
	Transformed string // that of the weights before they were rounded; "": not wanted
	Work        string // what the next attempt goes on from; on the file system of the two above, removed at the end
	// Exports are further directories, by layout: qformat's, spec.FakeQuant or spec.Transformed.
	Exports map[string]string

	Progress func(Progress) // may be nil; called by Run's goroutine, some times a second
}

// Progress is how far a quantization is.
type Progress struct {
	Block, Blocks int           // the one in hand, from 0
	Phase         string        // what is being done: "calibrating qkv"
	Part          float64       // of the block, that is done: from 0 to 1
	ETA           time.Duration // of all blocks; 0: not yet known
}

// Run carries out a job and gives the manifest of the variant's directory. Where that is there already, it makes the exports that are
// missing. Killed at any moment, it goes on at the block in hand when it is called again with the same job, and its weight files are those of
// a run that was never interrupted, bit for bit, on one kind of device. An error, that of a full disk too, leaves what is done in the work
// directory; ErrTaken: another call has gone on with it.
func Run(ctx context.Context, job Job) (result.Manifest, error) {
	r := &runner{job: job, ctx: ctx}
	m, err := r.run()
	if err != nil && r.work != nil {
		if taken := r.work.held(); errors.Is(taken, ErrTaken) {
			err = taken // the other attempt sweeps the directory: whatever went wrong may be its doing
		}
	}
	if err != nil {
		return m, fmt.Errorf("quantizing %q by %q: %w", job.Model, job.Recipe.Name, err)
	}
	return m, nil
}

// runner is a job under way.
type runner struct {
	job    Job
	ctx    context.Context
	shapes map[string]*qformat.Matrix // of the matrices that will be quantized, by their weights' names; without codes
	sites  [][4][]string              // the matrices of each block's sites
	layout string                     // of the variant's directory
	sample sample

	work    *work
	blocks  *model.Blocks // nil without calibration
	at      int           // the block in hand
	first   int           // the first one of this attempt
	started time.Time     // with the first block of this attempt
	pace    pace
	mark    time.Time // up to which the state's seconds reach
}

func (r *runner) run() (result.Manifest, error) {
	r.mark = time.Now()
	r.pace.took = map[string]float64{}
	if err := r.prepare(); err != nil {
		return result.Manifest{}, err
	}
	if m, done, err := r.done(); done || err != nil {
		return m, err
	}
	if err := r.begin(); err != nil {
		return result.Manifest{}, err
	}
	if r.blocks != nil {
		defer r.blocks.Close()
	}
	r.started = time.Now()
	for r.at = r.work.state.Done; r.at < r.layers(); r.at++ {
		if r.ctx.Err() != nil {
			return result.Manifest{}, context.Cause(r.ctx)
		}
		if err := r.block(); err != nil {
			return result.Manifest{}, fmt.Errorf("block %d: %w", r.at, err)
		}
	}
	return r.finish()
}

func (r *runner) layers() int { return r.job.Checkpoint.Config().Layers }

// prepare finds what is to be done, and everything that is wrong with it.
func (r *runner) prepare() error {
	ck, q := r.job.Checkpoint, r.job.Recipe
	if ck.Config().Quant != nil {
		return errors.New("the checkpoint is quantized already: give the one it was made from")
	}
	r.shapes = map[string]*qformat.Matrix{}
	for i := range r.layers() {
		sites := ck.Config().LayerNames(i).Sites()
		r.sites = append(r.sites, sites)
		for _, names := range sites {
			for _, name := range names {
				if err := r.describe(name); err != nil {
					return fmt.Errorf("tensor %q: %w", name, err)
				}
			}
		}
	}
	if len(r.shapes) == 0 {
		return errors.New("the recipe ignores every matrix: nothing would be quantized")
	}
	r.layout = qformat.GPTQv2
	for _, m := range r.shapes {
		if native := qformat.Native(m); native != r.layout {
			r.layout = qformat.CompressedTensors
		}
	}
	if _, err := r.config(r.layout); err != nil {
		return err
	}
	if r.calibrates() {
		s := r.job.Sample
		if s == nil || len(s.IDs) == 0 {
			return fmt.Errorf("method %q is calibrated, and there is no sample: give the recipe a calib table", q.Method)
		}
		r.sample = sample{seqs: len(s.IDs) / s.SeqLen, seqLen: s.SeqLen, hidden: ck.Config().Hidden}
	}
	return r.checkExports()
}

// describe notes the shape of a matrix that will be quantized.
func (r *runner) describe(name string) error {
	if r.job.Recipe.Ignores(name) {
		return nil
	}
	t, err := r.job.Checkpoint.View(name)
	if err != nil {
		return err
	}
	g, err := GridOf(r.job.Recipe, t.Shape[1])
	if err != nil {
		return err
	}
	m := g.shape(t.Shape[0], t.Shape[1])
	m.Act = r.activation(0)
	r.shapes[name] = m
	return nil
}

// static tells whether inputs are rounded with scales that the sample decides.
func (r *runner) static() bool {
	return r.job.Recipe.Act != "none" && r.job.Recipe.ActScale == "tensor"
}

// calibrates tells whether the recipe needs the sample.
func (r *runner) calibrates() bool {
	switch r.job.Recipe.Method {
	case "rtn", "fp8":
		return r.static()
	}
	return true
}

// activation is how a matrix's input is rounded, whose greatest |x| is most.
func (r *runner) activation(most float32) qformat.Activation {
	q := r.job.Recipe
	if q.Act == "none" {
		return qformat.Activation{}
	}
	a := qformat.Activation{Format: q.Act}
	switch {
	case r.static() && q.Act == "int8":
		a.Scale = max(most, 1e-5) / 127
	case r.static():
		a.Scale = max(most, 1e-5) / e4m3Most
	case q.Granularity == "block":
		a.Group = blockSide
	}
	return a
}

// config is the quantization_config of the matrices in a layout; an error says why that cannot hold them.
func (r *runner) config(layout string) (map[string]any, error) {
	modules := map[string]*qformat.Matrix{}
	for name, m := range r.shapes {
		modules[module(name)] = m
	}
	kv := r.job.Recipe.KV
	if kv == "none" {
		kv = ""
	}
	return qformat.Config(layout, modules, r.plainModules(), kv)
}

// plainModules are the layers whose matrices stay as they are.
func (r *runner) plainModules() (names []string) {
	for _, sites := range r.sites {
		for _, site := range sites {
			for _, name := range site {
				if r.shapes[name] == nil {
					names = append(names, module(name))
				}
			}
		}
	}
	c := r.job.Checkpoint.Config()
	if c.TieEmbeddings {
		return append(names, "lm_head") // which loaders make of the embedding
	}
	return append(names, module(c.HeadName()))
}

// done tells whether the outcome is there already, and completes its exports.
func (r *runner) done() (result.Manifest, bool, error) {
	m, ok, err := exists(r.job.Out, r.job.Fingerprint)
	if err != nil || !ok {
		return m, false, err
	}
	if r.job.Transformed != "" || r.job.Exports[spec.Transformed] != "" {
		_, there, err := exists(r.transformed(), r.job.Fingerprint)
		if err != nil || !there {
			return m, false, err // it is made anew with all else
		}
	}
	e := exporter{r: r, packed: r.job.Out, transformed: r.transformed(), manifest: m}
	if err := e.all(r.ctx); err != nil {
		return m, false, err
	}
	return m, true, os.RemoveAll(r.job.Work)
}

// transformed is where the plain weights are when they are finished.
func (r *runner) transformed() string {
	if r.job.Transformed != "" {
		return r.job.Transformed
	}
	return r.job.Exports[spec.Transformed]
}

// begin takes the work directory, and makes the hidden states before the first block.
func (r *runner) begin() error {
	var err error
	want := state{Fingerprint: r.job.Fingerprint, Transformed: r.transformed() != "", Streams: r.calibrates(), Blocks: r.layers()}
	if r.work, err = openWork(r.job.Work, want, r.published); err != nil {
		return err
	}
	s := &r.work.state
	r.first = s.Done
	if !r.calibrates() || s.Done == r.layers() {
		return r.work.sweep(s.Done)
	}
	if err := r.work.sweep(s.Done); err != nil {
		return err
	}
	if r.blocks, err = model.OpenBlocks(r.ctx, r.job.Device, r.job.Checkpoint); err != nil {
		return err
	}
	if _, err := os.Stat(r.work.hidden(s.Done)); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.say("embedding", 0)
	return r.sample.write(r.ctx, r.work.hidden(0), func(from, n int) ([]float32, error) {
		return r.blocks.Embed(r.job.Sample.IDs[from*r.sample.seqLen : (from+n)*r.sample.seqLen])
	})
}

// published tells whether a directory of the work has been moved to its place already.
func (r *runner) published(dir string) bool {
	if dir != transformedDir {
		return false
	}
	_, ok, err := exists(r.transformed(), r.job.Fingerprint)
	return ok && err == nil
}

// block makes one block and writes its weights.
func (r *runner) block() error {
	made, err := r.make()
	if err != nil {
		return err
	}
	if err := r.write(made, r.at+1, blockNames(r.job.Checkpoint, r.at)); err != nil {
		return err
	}
	s := &r.work.state
	s.Done = r.at + 1
	s.Seconds, r.mark = r.seconds(), time.Now()
	if err := r.work.commit(); err != nil {
		return err
	}
	points.Reached("quant:block-done")
	return r.work.sweep(s.Done)
}

// write writes the weight files of that number into the directories of the work.
func (r *runner) write(made made, number int, names []string) error {
	r.say("writing", 0)
	s := &r.work.state
	dirs := map[string]string{packedDir: r.layout}
	if s.Transformed {
		dirs[transformedDir] = plainLayout
	}
	for _, dir := range []string{packedDir, transformedDir} {
		layout, ok := dirs[dir]
		if !ok || r.published(dir) {
			continue
		}
		t := target{dir: r.work.path(dir), layout: layout, get: func(name string) (content, error) {
			return made.content(r.job.Checkpoint, name, layout == plainLayout)
		}}
		sh, quantized, err := t.shard(number, r.layers()+1, names)
		if err != nil {
			return err
		}
		s.QuantizedBytes += quantized
		s.Shards[dir] = append(s.Shards[dir], sh)
	}
	for _, name := range names {
		if m := made.matrices[name]; m != nil {
			s.Quantized += int64(m.Rows) * int64(m.Cols)
		}
		if t, err := r.job.Checkpoint.View(name); err == nil {
			r.job.Checkpoint.Release(t.Data)
		}
	}
	return nil
}

// seconds are those of all attempts.
func (r *runner) seconds() float64 { return r.work.state.Seconds + time.Since(r.mark).Seconds() }
