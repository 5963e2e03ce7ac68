package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"sextant/internal/points"
	"sextant/pkg/calib"
	"sextant/pkg/plan"
	"sextant/pkg/quant"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// quantizes says whether the ticket is a quantization.
func (j *job) quantizes() bool { return j.job.Kind == plan.Quantize }

// step is a quantization of the plan.
type step struct {
	task   plan.Task
	packed plan.Variant
	model  spec.Model
	recipe spec.Quant
}

// stepOf finds out what a task is to make.
func (w *worker) stepOf(task string) (s step, err error) {
	t, ok := w.plan.Task(task)
	if !ok {
		return s, bad(fmt.Errorf("the plan has no task %q", task))
	}
	s.task = t
	if s.packed, s.model, err = w.modelOf(t.Variant); err != nil {
		return s, err
	}
	if s.recipe, ok = w.plan.Recipe(s.packed.Recipe); !ok {
		return s, bad(fmt.Errorf("variant %q is by the recipe %q, which the plan's spec lacks", s.packed.ID, s.packed.Recipe))
	}
	return s, nil
}

// directories are those that a step makes for the plan's variants, by variant: the packed one's, and the transformed one's when there is one.
func (w *worker) directories(s step) map[string]string {
	dirs := map[string]string{s.packed.ID: w.dir.Variant(s.packed.ID)}
	for _, v := range w.plan.Variants {
		if v.Step == s.task.ID && v.Position == spec.Transformed {
			dirs[v.ID] = w.dir.Variant(v.ID)
		}
	}
	return dirs
}

// quantize makes the variants of a shard's task, or finds them made, and commits the shard's result: one record, with the fingerprints of
// what lies in the directories, by which those who load it know it. What an attempt before this one has left is gone on from; what another
// at the same time does is what this one does.
func (j *job) quantize(ctx context.Context, sh plan.Shard) error {
	begun := time.Now()
	s, err := j.stepOf(sh.Task)
	if err != nil {
		return err
	}
	if err := j.discard(s); err != nil {
		return err
	}
	fresh := !exists(j.dir.VariantWork(s.packed.ID)) && !exists(j.dir.Variant(s.packed.ID))
	m, err := j.make(ctx, s)
	if err != nil {
		return err
	}
	points.Reached("worker:quantized")
	for id := range j.directories(s) {
		if err := j.dir.KeepManifest(id); err != nil {
			return err
		}
	}
	j.progress.set(func(p *result.Progress) {
		if p.Phase, p.Rows = "commit", 1; fresh { // else nothing is learnt of the speed
			p.Tokens = sh.Tokens
		}
	})
	record := result.Record{Digest: s.packed.Fingerprint}
	if record.Text, err = j.contents(s); err != nil {
		return err
	}
	h := result.Header{Task: s.task.ID, Digest: s.task.Digest, From: sh.From, To: sh.To}
	if err := result.Write(j.dir.Result(sh.ID), h, []result.Record{record}); err != nil {
		return err
	}
	points.Reached("worker:shard-done")
	j.log.Info("quantized", "variant", s.packed.ID, "recipe", s.recipe.Name, "bits", m.Bits, "bytes", m.Bytes, "seconds", time.Since(begun).Seconds(),
		"seconds_of_all_attempts", m.Seconds, "directory", j.dir.Variant(s.packed.ID))
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// discard removes a directory that is not what was to be made there, or not all of it, so that it is made again.
func (j *job) discard(s step) error {
	for _, dir := range j.directories(s) {
		if !exists(dir) {
			continue
		}
		_, err := result.CheckVariant(dir, s.packed.Fingerprint)
		switch {
		case err == nil:
			continue
		case kindOf(err) == result.FailRetry: // it could not be read
			return err
		}
		j.log.Warn("what was made before cannot be used: it is made again", "directory", dir, "reason", err)
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing what was made before: %w", err)
		}
	}
	return nil
}

// make runs the quantization.
func (j *job) make(ctx context.Context, s step) (m result.Manifest, err error) {
	begun := time.Now()
	f, err := plan.OpenModel(&s.model)
	if err != nil {
		return m, bad(fmt.Errorf("model %s: %w", s.model.Abbr, err))
	}
	defer f.Checkpoint.Close()
	job := quant.Job{Checkpoint: f.Checkpoint, Model: s.model.Abbr, Recipe: s.recipe, Fingerprint: s.packed.Fingerprint, Out: j.dir.Variant(s.packed.ID),
		Work: j.dir.VariantWork(s.packed.ID), Exports: map[string]string{}, Progress: j.told}
	if job.Sample, err = j.sample(s, f); err != nil {
		return m, err
	}
	for id, dir := range j.directories(s) {
		if id != s.packed.ID {
			job.Transformed = dir
		}
	}
	for _, layout := range s.recipe.Save {
		job.Exports[layout] = j.dir.Export(s.recipe.SavePath, s.packed.ID, layout)
	}
	dev, backend, err := j.onto().open(j.log)
	if err != nil {
		return m, fmt.Errorf("opening the backend: %w", err)
	}
	defer dev.Close()
	job.Device = dev
	j.loading = time.Since(begun)
	j.log.Info("quantizing", "variant", s.packed.ID, "method", s.recipe.Method, "backend", backend)
	return quant.Run(ctx, job)
}

// sample gives what the recipe is calibrated with, nil where that is nothing: what an attempt before has left, else what is made of the text
// now and left for those to come. Of another model or text than the plan's nothing is made: it would go by a wrong name.
func (j *job) sample(s step, f plan.ModelFiles) (*calib.Tokens, error) {
	planned := func(t *calib.Tokens) bool {
		made, err := plan.MadeFingerprint(f.Fingerprint, &s.recipe, t, spec.Packed)
		return err == nil && made == s.packed.Fingerprint
	}
	j.progress.set(func(p *result.Progress) { p.Phase = "sampling" })
	path, changed := j.dir.Sample(s.packed.ID), bad(fmt.Errorf("%q, its tokenizer or the calibration text was changed after the plan was made: "+
		"run submit again", s.model.Path))
	if !s.recipe.NeedsText() {
		if !planned(nil) {
			return nil, changed
		}
		return nil, nil
	}
	t, err := calib.Load(path)
	if err == nil && planned(t) {
		return t, nil
	}
	if t, err = calib.Sample(*s.recipe.Calib, f.Tokenizer); err != nil {
		return nil, bad(err)
	}
	if !planned(t) {
		return nil, changed
	}
	return t, t.Save(path)
}

// told takes in how far the quantization is.
func (j *job) told(p quant.Progress) {
	j.progress.set(func(r *result.Progress) {
		r.Phase, r.Block, r.Blocks, r.Part, r.Left = p.Phase, min(p.Block+1, p.Blocks), p.Blocks, p.Part, p.ETA.Seconds()
		if p.Block == p.Blocks {
			r.Part = 1
		}
		if r.Began == 0 {
			r.Began = r.Block
		}
	})
}

// contents tells the fingerprint of what lies in each directory of a step: "VARIANT FINGERPRINT", one a line, in order.
func (j *job) contents(s step) (string, error) {
	var lines []string
	for id, dir := range j.directories(s) {
		f, err := plan.OpenModel(relocated(s.model, dir))
		if err != nil {
			return "", fmt.Errorf("reading what was made: %w", err)
		}
		f.Checkpoint.Close()
		lines = append(lines, id+" "+f.Fingerprint+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}

// relocated is a model whose weights are elsewhere; its tokenizer is not.
func relocated(m spec.Model, dir string) *spec.Model {
	m.TokenizerPath = cmp.Or(m.TokenizerPath, m.Path)
	m.Path = dir
	return &m
}

// filesOf tells where a variant's weights are, and the fingerprint that they must have: of the untouched model that of the plan, else that
// which the quantization has left.
func (w *worker) filesOf(v plan.Variant, m spec.Model) (spec.Model, string, error) {
	if v.Step == "" {
		return m, v.Fingerprint, nil
	}
	s, err := w.stepOf(v.Step)
	if err != nil {
		return m, "", err
	}
	id := v.Stored()
	dir := w.dir.Variant(id)
	_, err = result.CheckVariant(dir, s.packed.Fingerprint)
	switch {
	case errors.Is(err, fs.ErrNotExist): // what another machine has made may be seen late
		return m, "", &fault{kind: result.FailRetry, err: fmt.Errorf("the quantized model is not there: %w; if it was removed, run submit again", err)}
	case err != nil:
		return m, "", bad(fmt.Errorf("the quantized model cannot be used: %w", err))
	}
	fingerprint, err := w.contentOf(s, id)
	return *relocated(m, dir), fingerprint, err
}

// contentOf reads what a quantization has said of a directory.
func (w *worker) contentOf(s step, id string) (string, error) {
	for _, sh := range w.plan.Shards {
		if sh.Task != s.task.ID {
			continue
		}
		h, records, err := result.Read(w.dir.Result(sh.ID))
		if err != nil {
			return "", bad(fmt.Errorf("the result of %s: %w", s.task.ID, err))
		}
		if h.Digest != s.task.Digest || len(records) != 1 {
			break
		}
		for line := range strings.Lines(records[0].Text) {
			if name, fingerprint, _ := strings.Cut(strings.TrimSpace(line), " "); name == id {
				return fingerprint, nil
			}
		}
	}
	return "", bad(fmt.Errorf("%s has left no word of %q: run submit again", s.task.ID, w.dir.Variant(id)))
}
