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
	text, err := v.text(o, q)
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
	in.Steps = append(in.Steps, StepInput{Variant: packed, Tokens: stepTokens(q, text.tokens)})
	var evaluated []Variant
	for _, at := range append([]string{spec.Packed}, slices.DeleteFunc(slices.Clone(positions), func(at string) bool { return at == spec.Packed })...) {
		variant := Variant{ID: spec.VariantID(o.Abbr, q.Name, at), Model: o.Abbr, Recipe: q.Name, Position: at, Step: packed + "/" + Quantize,
			Params: o.plain.Params, WeightBytes: weightBytes(o.plain.WeightBytes, at, q, all)}
		if variant.Fingerprint, err = madeFingerprint(o.plain.Fingerprint, q, text.digest, at); err != nil {
			v.add(fmt.Errorf("model %q, recipe %q: %w", o.Abbr, q.Name, err))
		}
		in.Variants = append(in.Variants, variant)
		if slices.Contains(positions, at) {
			evaluated = append(evaluated, variant)
		}
	}
	return evaluated
}

// madeFingerprint digests all that decides what a variant computes: the model with its tokenizer, the recipe without what only names, chooses
// or copies, the tokens it is calibrated with, and the arithmetic of the position.
func madeFingerprint(model string, q *spec.Quant, text, position string) (string, error) {
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

// calibText is what a recipe is calibrated with; the zero calibText: with none.
type calibText struct {
	digest string
	tokens int64
	err    error
}

// text makes a recipe's calibration sample once for all recipes and models that share it. The sample itself is for who quantizes to make
// again: what it depends on is in the digest.
func (v *surveyor) text(o *opened, q *spec.Quant) (calibText, error) {
	if !q.NeedsText() {
		return calibText{}, nil
	}
	if q.Calib == nil {
		return calibText{}, fmt.Errorf("method %s is calibrated with text, and there is none: give the recipe a calib table", q.Method)
	}
	if n, most := q.Calib.SeqLen, o.files.Checkpoint.Config().MaxPositions; most > 0 && n > most {
		return calibText{}, fmt.Errorf("calib.seq_len is %d, and the model takes %d tokens at most; lower it", n, most)
	}
	key, err := hash(32, struct {
		Calib     spec.Calib
		Tokenizer []string
	}{*q.Calib, o.files.Tokenizer.Files()})
	if err != nil {
		return calibText{}, err
	}
	if t, ok := v.texts[key]; ok {
		return t, t.err
	}
	var t calibText
	if s, err := calib.Sample(*q.Calib, o.files.Tokenizer); err != nil {
		t.err = fmt.Errorf("calib: %w", err)
	} else {
		t.digest, t.tokens = s.Digest, int64(len(s.IDs))
	}
	v.texts[key] = t
	return t, t.err
}

// freeTokens stand for the work of a recipe that puts none through the model: it reads, rounds and writes every weight.
const freeTokens = 512

// stepTokens estimates how many tokens a quantization puts through the model: those of its text, once to see what goes into the matrices, and
// again through the block as it was made; Gram matrices take about as much as a pass. An objective that looks at whole outputs takes a pass a
// step of its grid besides.
func stepTokens(q *spec.Quant, text int64) int64 {
	passes := int64(2)
	switch q.Method {
	case "gptq", "awq":
		passes = 3
		if q.AWQ.Objective == "output" {
			passes += int64(cmp.Or(q.AWQ.Grid, 1))
		}
	}
	return freeTokens + passes*text
}
