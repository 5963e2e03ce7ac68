package plan

import (
	"cmp"
	"fmt"
	"slices"

	"sextant/pkg/calib"
	"sextant/pkg/spec"
)

// quantizer is the version of what pkg/quant computes. It is raised when the same recipe comes to other tensors, so that no variant of an
// older program counts as one of this.
const quantizer = 1

// opened is a model whose files are at hand.
type opened struct {
	*spec.Model
	files ModelFiles
	plain Variant
}

// model surveys a model: its variants, what makes them, and their tasks.
func (v *surveyor) model(m *spec.Model, in *Inputs) {
	o := opened{Model: m, plain: Variant{ID: m.Abbr, Model: m.Abbr, Recipe: spec.Pretrain}}
	var err error
	if o.files, err = OpenModel(m); err != nil {
		v.add(fmt.Errorf("model %q: %w", m.Abbr, err))
		return
	}
	defer o.files.Checkpoint.Close()
	o.plain.Fingerprint = o.files.Fingerprint
	ck := o.files.Checkpoint
	if o.plain.Params, o.plain.WeightBytes, err = params(ck); err != nil {
		v.add(fmt.Errorf("model %q: %w", m.Abbr, err))
		return
	}
	if have := ck.Config().Quant; have != nil {
		o.plain.WeightBytes = ck.WeightBytes()
		if have.KV() != "" && m.RunCfg.NumGPUs > 0 {
			v.add(fmt.Errorf("model %q: the checkpoint asks for the cache to be rounded to %s, %s; remove kv_cache_scheme from its config.json, or set "+
				"run_cfg.num_gpus = 0", m.Abbr, have.KV(), noKV))
		}
	}
	var evaluated []Variant
	if len(v.spec.Eval.At(nil)) > 0 {
		evaluated = append(evaluated, o.plain)
	}
	in.Variants = append(in.Variants, evaluated...)
	for i := range v.spec.Quant {
		if q := &v.spec.Quant[i]; q.For(m.Abbr) && len(v.spec.Eval.At(q)) > 0 {
			evaluated = append(evaluated, v.quantized(&o, q, in)...)
		}
	}
	if len(evaluated) == 0 {
		return
	}
	roles, err := RolesOf(m)
	if err != nil {
		v.add(fmt.Errorf("model %q: %w", m.Abbr, err))
		return
	}
	tasks := v.tasks(m, &estimator{model: m, tok: o.files.Tokenizer, roles: roles, limit: contextOf(m, ck.Config())})
	for _, variant := range evaluated {
		for _, t := range tasks {
			t.Variant = variant.ID
			in.Tasks = append(in.Tasks, t)
		}
	}
}

// noKV is why KV rounding is refused there.
const noKV = "which the GPU backend cannot do"

// quantized surveys a recipe on a model. It adds the variants and the step to in, and gives those variants that are evaluated.
func (v *surveyor) quantized(o *opened, q *spec.Quant, in *Inputs) []Variant {
	all, errs := suits(q, o.files.Checkpoint)
	positions := v.spec.Eval.At(q)
	rounds := q.KV != "none" && q.KV != ""
	if plain := !slices.ContainsFunc(positions, func(at string) bool { return at != spec.Transformed }); rounds && !plain && o.RunCfg.NumGPUs > 0 {
		errs = append(errs, fmt.Errorf("kv is %q, %s: write kv = \"none\", or set the model's run_cfg.num_gpus = 0", q.KV, noKV))
	}
	sample, err := v.sample(o, q)
	if err != nil {
		errs = append(errs, err)
	}
	for _, err := range errs {
		v.add(fmt.Errorf("model %q, recipe %q: %w", o.Abbr, q.Name, err))
	}
	if len(errs) > 0 {
		return nil
	}
	packed := spec.VariantID(o.Abbr, q.Name, spec.Packed)
	in.Steps = append(in.Steps, StepInput{Variant: packed, Tokens: stepTokens(q, sample), Sample: sample})
	var evaluated []Variant
	for _, at := range append([]string{spec.Packed}, slices.DeleteFunc(slices.Clone(positions), func(at string) bool { return at == spec.Packed })...) {
		variant := Variant{ID: spec.VariantID(o.Abbr, q.Name, at), Model: o.Abbr, Recipe: q.Name, Position: at, Step: packed + "/" + Quantize,
			Params: o.plain.Params, WeightBytes: weightBytes(o.plain.WeightBytes, at, q, all)}
		if variant.Fingerprint, err = MadeFingerprint(o.plain.Fingerprint, q, sample, at); err != nil {
			v.add(fmt.Errorf("model %q, recipe %q: %w", o.Abbr, q.Name, err))
		}
		in.Variants = append(in.Variants, variant)
		if slices.Contains(positions, at) {
			evaluated = append(evaluated, variant)
		}
	}
	return evaluated
}

// MadeFingerprint digests all that decides what a variant computes: the model with its tokenizer (its ModelFiles.Fingerprint), the recipe
// without what only names, chooses or copies, the tokens it is calibrated with (nil: none), and the arithmetic of the position.
func MadeFingerprint(model string, q *spec.Quant, sample *calib.Tokens, position string) (string, error) {
	text := ""
	if sample != nil {
		text = sample.Digest
	}
	r := *q
	r.Name, r.Models, r.Save, r.SavePath, r.Calib = "", nil, nil, "", nil
	return hash(32, struct {
		Quantizer             int
		Model                 string
		Recipe                spec.Quant
		Calibration, Position string
	}{quantizer, model, r, text, position})
}

// weightBytes estimates what a variant's weights take where the model's take plain.
func weightBytes(plain int64, position string, q *spec.Quant, all []matrix) int64 {
	for _, m := range all {
		switch position {
		case spec.Packed:
			plain += packedBytes(q, m.made) - m.bytes
		case spec.FakeQuant:
			plain += 4*int64(m.made.Rows)*int64(m.made.Cols) - m.bytes
		}
	}
	return max(plain, 1)
}

// calibText is what a recipe is calibrated with, or why there is none.
type calibText struct {
	sample *calib.Tokens
	err    error
}

// sample makes a recipe's calibration sample once for all recipes and models that share it; nil: it needs none.
func (v *surveyor) sample(o *opened, q *spec.Quant) (*calib.Tokens, error) {
	if !q.NeedsText() {
		return nil, nil
	}
	if q.Calib == nil {
		return nil, fmt.Errorf("method %s is calibrated with text, and there is none: give the recipe a calib table", q.Method)
	}
	if n, most := q.Calib.SeqLen, o.files.Checkpoint.Config().MaxPositions; most > 0 && n > most {
		return nil, fmt.Errorf("calib.seq_len is %d, and the model takes %d tokens at most; lower it", n, most)
	}
	key, err := hash(32, struct {
		Calib     spec.Calib
		Tokenizer []string
	}{*q.Calib, o.files.Tokenizer.Files()})
	if err != nil {
		return nil, err
	}
	t, ok := v.texts[key]
	if !ok {
		if t.sample, t.err = calib.Sample(*q.Calib, o.files.Tokenizer); t.err != nil {
			t.err = fmt.Errorf("calib: %w", t.err)
		}
		v.texts[key] = t
	}
	return t.sample, t.err
}

// freeTokens stand for the work of a recipe that puts none through the model: it reads, rounds and writes every weight.
const freeTokens = 512

// stepTokens estimates how many tokens a quantization puts through the model: those of its text, once to see what goes into the matrices, and
// again through the block as it was made; Gram matrices take about as much as a pass. An objective that looks at whole outputs takes a pass a
// step of its grid besides.
func stepTokens(q *spec.Quant, sample *calib.Tokens) int64 {
	if sample == nil {
		return freeTokens
	}
	passes := int64(2)
	switch q.Method {
	case "gptq", "awq":
		passes = 3
		if q.AWQ.Objective == "output" {
			passes += int64(cmp.Or(q.AWQ.Grid, 1))
		}
	}
	return freeTokens + passes*int64(len(sample.IDs))
}
