package plan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-multierror"

	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// pocketText is text for the pocket model, as a calibration set.
func pocketText() *spec.Calib {
	c := spec.Calib{File: spec.Files{Path: "../../examples/pocket/data/text/valid.txt", Format: "text", Unit: "line"}, Samples: 4, SeqLen: 128}
	return &c
}

// quantizing is the pocket spec with one dataset and these recipes.
func quantizing(t *testing.T, recipes ...spec.Quant) spec.Spec {
	t.Helper()
	s := pocket(t)
	s.Datasets = s.Datasets[:1]
	for _, q := range recipes {
		s.Quant = append(s.Quant, q.WithDefaults())
	}
	s.Eval.Positions = []string{spec.Pretrain, spec.Packed}
	return s
}

func awq() spec.Quant { return spec.Quant{Method: "awq", Group: 32, Calib: pocketText()} }
func rtn() spec.Quant { return spec.Quant{Method: "rtn", Group: 32} }

// The variants of a spec, what makes them, and what comes after what.
func TestVariants(t *testing.T) {
	s := quantizing(t, awq(), rtn(), spec.Quant{Method: "fp8", Models: []string{"nothing"}})
	s.Eval.Positions = []string{spec.FakeQuant, spec.Transformed, spec.Pretrain}
	m := s.Models[0].Abbr
	p := planOf(t, s)
	if again := planOf(t, s); again.Digest != p.Digest {
		t.Error("the same files gave two plans")
	}
	var variants, tasks []string
	prints := map[string]bool{}
	sizes := map[string][2]float64{"": {1, 1}, spec.Transformed: {1, 1}, spec.Packed: {.2, .6}, spec.FakeQuant: {1.5, 2}} // of the model's
	for _, v := range p.Variants {
		variants = append(variants, fmt.Sprintf("%s %s %s %v", strings.TrimPrefix(v.ID, m), v.Position, strings.TrimPrefix(v.Step, m), p.Evaluates(v.ID)))
		if prints[v.Fingerprint] || len(v.Fingerprint) != 32 || v.Params != p.Variants[0].Params {
			t.Errorf("variant %+v", v)
		}
		prints[v.Fingerprint] = true
		bounds := sizes[v.Position]
		if size := float64(v.WeightBytes) / float64(p.Variants[0].WeightBytes); size < bounds[0] || size > bounds[1] {
			t.Errorf("%s takes %g of the model's bytes", v.ID, size)
		}
	}
	if want := []string{"   true", "-awq-w4g32 packed -awq-w4g32/quantize false", "-awq-w4g32-fake_quant fake_quant -awq-w4g32/quantize true",
		"-awq-w4g32-transformed transformed -awq-w4g32/quantize true", "-rtn-w4g32 packed -rtn-w4g32/quantize false",
		"-rtn-w4g32-fake_quant fake_quant -rtn-w4g32/quantize true"}; !slices.Equal(variants, want) {
		t.Errorf("variants\n%s\nwant\n%s", strings.Join(variants, "\n"), strings.Join(want, "\n"))
	}
	for _, task := range p.Tasks {
		tasks = append(tasks, strings.TrimPrefix(task.ID, m))
	}
	d := "/" + s.Datasets[0].Abbr
	if want := []string{d, "-awq-w4g32/quantize", "-awq-w4g32-fake_quant" + d, "-awq-w4g32-transformed" + d, "-rtn-w4g32/quantize",
		"-rtn-w4g32-fake_quant" + d}; !slices.Equal(tasks, want) {
		t.Errorf("tasks %q, want %q", tasks, want)
	}
	step, _ := p.Task(m + "-awq-w4g32/quantize")
	if step.Kind != Quantize || step.Variant != m+"-awq-w4g32" || step.Rows != 1 || step.Tokens != freeTokens+3*4*128 {
		t.Errorf("step %+v", step)
	}
	packed, _ := p.Variant(step.Variant)
	if same := SameRow(p, step); !same(result.Record{Digest: packed.Fingerprint}) || same(result.Record{Digest: "x"}) {
		t.Error("a quantization's record is not known by the fingerprint of what it made")
	}
	for i, want := range []string{"", step.Variant, step.Variant, step.Variant + "-transformed"} {
		if got := p.Variants[i].Stored(); got != want {
			t.Errorf("%s is stored as %q, want %q", p.Variants[i].ID, got, want)
		}
	}
	for i, j := range p.Jobs {
		v, _ := p.Variant(j.Variant)
		var after []string
		if j.Kind == "" && v.Step != "" {
			made, _, _ := strings.Cut(v.Step, "/")
			after = []string{made + "--quantize"}
		}
		if (i < 2) != (j.Kind == Quantize) || !slices.Equal(j.After, after) {
			t.Errorf("job %d: %+v, want after %q", i, j, after)
		}
	}
}

// Where only the untouched model is evaluated nothing is quantized.
func TestOnlyPretrain(t *testing.T) {
	s := quantizing(t, rtn())
	s.Eval.Positions = []string{spec.Pretrain}
	if p := planOf(t, s); len(p.Variants) != 1 || len(p.Tasks) != 1 {
		t.Errorf("%+v", p.Tasks)
	}
	s.Eval.Positions = []string{spec.Packed}
	if p := planOf(t, s); len(p.Variants) != 1 || len(p.Tasks) != 2 || p.Variants[0].Position != spec.Packed {
		t.Errorf("%+v", p.Tasks)
	}
}

// What another recipe, text or position makes is another variant; what only names, chooses or copies does not matter.
func TestMadeFingerprint(t *testing.T) {
	of := func(change func(q *spec.Quant)) string {
		q := awq()
		change(&q)
		s := quantizing(t, q)
		in, err := Survey(s)
		if err != nil {
			t.Fatal(err)
		}
		return in.Variants[1].Fingerprint
	}
	base := of(func(*spec.Quant) {})
	copied := filepath.Join(t.TempDir(), "copy.txt")
	b, err := os.ReadFile(pocketText().File.Path)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, copied, string(b))
	for name, change := range map[string]func(q *spec.Quant){
		"name":      func(q *spec.Quant) { q.Name = "other" },
		"models":    func(q *spec.Quant) { q.Models = []string{"*"} },
		"save":      func(q *spec.Quant) { q.Save, q.SavePath = []string{"compressed-tensors"}, "/x" },
		"same text": func(q *spec.Quant) { q.Calib.File.Path = copied },
		"default":   func(q *spec.Quant) { q.AWQ.Grid = 20 },
	} {
		if of(change) != base {
			t.Errorf("%s changes the fingerprint", name)
		}
	}
	seen := map[string]string{base: "base"}
	for name, change := range map[string]func(q *spec.Quant){
		"bits":    func(q *spec.Quant) { q.Bits = 3 },
		"group":   func(q *spec.Quant) { q.Group = 16 },
		"method":  func(q *spec.Quant) { q.Method = "gptq" },
		"kv":      func(q *spec.Quant) { q.KV = "int8" },
		"ignore":  func(q *spec.Quant) { q.Ignore = []string{"model.layers.0.*"} },
		"grid":    func(q *spec.Quant) { q.AWQ.Grid = 10 },
		"seed":    func(q *spec.Quant) { q.Calib.Seed = 1 },
		"samples": func(q *spec.Quant) { q.Calib.Samples = 3 },
		"no text": func(q *spec.Quant) { q.Method, q.Calib = "rtn", nil },
	} {
		if f := of(change); seen[f] != "" {
			t.Errorf("%s does not change the fingerprint of %s", name, seen[f])
		} else {
			seen[f] = name
		}
	}
}

// What cannot be made is told before any job, all at once.
func TestSurveyRefusesRecipes(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short.txt")
	writeFile(t, short, "Too short.\n")
	for name, c := range map[string]struct {
		change func(s *spec.Spec, q *spec.Quant)
		want   []string
	}{
		"group": {func(_ *spec.Spec, q *spec.Quant) { q.Group = 96 },
			[]string{`recipe "awq-w4g96": group is 96, which does not divide the `, `inputs of "model.layers.0.self_attn.q_proj.weight" (and those of`, `would do for all`}},
		"ignore": {func(_ *spec.Spec, q *spec.Quant) {
			q.Ignore = []string{"model.layers.0.mlp.down_prj", "lm_head", "model.layers.1.*", "layer[", "model.layers.0.mlp.up_proj.weight"}
		}, []string{`ignore has "model.layers.0.mlp.down_prj", which names no matrix of the model; did you mean "model.layers.0.mlp.down_proj"?`, `ignore has "layer["`}},
		"all ignored": {func(_ *spec.Spec, q *spec.Quant) { q.Ignore = []string{"*"} }, []string{"ignore leaves out every matrix"}},
		"no text":     {func(_ *spec.Spec, q *spec.Quant) { q.Calib = nil }, []string{"method awq is calibrated with text, and there is none"}},
		"text missing": {func(_ *spec.Spec, q *spec.Quant) { q.Calib.File.Path = "/none/x.txt" },
			[]string{`recipe "awq-w4g32": calib: `, "/none/x.txt"}},
		"text too short": {func(_ *spec.Spec, q *spec.Quant) { q.Calib.File.Path = short }, []string{"short.txt", "ask for fewer samples or give more text"}},
		"long samples":   {func(_ *spec.Spec, q *spec.Quant) { q.Calib.SeqLen = 100_000 }, []string{"calib.seq_len is 100000, and the model takes 512 tokens at most"}},
		"kv on GPUs": {func(s *spec.Spec, q *spec.Quant) { q.KV = "int8"; s.Models[0].RunCfg.NumGPUs = 1 },
			[]string{`kv is "int8", which the GPU backend cannot do: write kv = "none"`}},
		"layout": {func(_ *spec.Spec, q *spec.Quant) { q.Save, q.Bits = []string{"awq"}, 3 }, []string{"save as awq: tensor", "it holds integers of 4 bits"}},
		"quantized already": {func(s *spec.Spec, _ *spec.Quant) { s.Models[0].Path = quantizedAlready(t, s.Models[0].Path) },
			[]string{"the checkpoint is quantized already (", "recipes are for plain weights"}},
	} {
		t.Run(name, func(t *testing.T) {
			q, s := awq(), quantizing(t)
			c.change(&s, &q)
			s.Quant = []spec.Quant{q.WithDefaults()}
			_, err := Survey(s)
			var many *multierror.Error
			if !errors.As(err, &many) || !strings.Contains(err.Error(), `model "`+s.Models[0].Abbr+`", recipe "`) {
				t.Fatalf("error %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("nothing about %s in\n%v", want, err)
				}
			}
		})
	}
	// Only rounding is what the GPU backend lacks, and a quantized checkpoint is a model like others.
	q, s := awq(), quantizing(t)
	q.KV, s.Models[0].RunCfg.NumGPUs, s.Eval.Positions = "int8", 1, []string{spec.Transformed}
	s.Quant = []spec.Quant{q.WithDefaults()}
	if _, err := Survey(s); err != nil {
		t.Error(err)
	}
	s = quantizing(t)
	s.Models[0].Path = quantizedAlready(t, s.Models[0].Path)
	if p := planOf(t, s); len(p.Variants) != 1 || p.Variants[0].Position != "" {
		t.Errorf("%+v", p.Variants)
	}
}

// quantizedAlready is a copy of a model whose config.json says that its matrices are quantized, where they are not plain.
func quantizedAlready(t *testing.T, model string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(model)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), "{", `{"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true, "version": "gemm"},`, 1)
	writeFile(t, filepath.Join(dir, "config.json"), text)
	return dir
}

// Two recipes with one text have it tokenized once.
func TestTextIsShared(t *testing.T) {
	s := quantizing(t, awq(), spec.Quant{Method: "gptq", Group: 32, Calib: pocketText()})
	v := surveyor{spec: &s, sets: map[string]*openSet{}, texts: map[string]calibText{}}
	var in Inputs
	v.model(&s.Models[0], &in)
	if v.errs.ErrorOrNil() != nil || len(v.texts) != 1 || len(in.Steps) != 2 {
		t.Errorf("%v, %d texts, %d steps", v.errs, len(v.texts), len(in.Steps))
	}
}

// recipes gives a world quantized variants: of each model one that is packed and one that is fake_quant, or only the second.
func (w *world) recipes(packed bool) {
	tasks := w.in.Tasks
	for _, v := range w.in.Variants {
		made := v
		made.ID, made.Position, made.Recipe, made.Step, made.Fingerprint = v.ID+"-q", spec.Packed, "q", v.ID+"-q/quantize", v.Fingerprint+"-q"
		fake := made
		fake.ID, fake.Position, fake.Fingerprint = made.ID+"-fake_quant", spec.FakeQuant, made.Fingerprint+"f"
		w.in.Variants = append(w.in.Variants, made, fake)
		w.in.Steps = append(w.in.Steps, StepInput{Variant: made.ID, Tokens: 1000})
		for _, t := range tasks {
			if t.Variant != v.ID {
				continue
			}
			t.Variant = fake.ID
			w.in.Tasks = append(w.in.Tasks, t)
			if t.Variant = made.ID; packed {
				w.in.Tasks = append(w.in.Tasks, t)
			}
		}
	}
}

// Cards are of as many workers as there can be at once, the largest.
func TestCards(t *testing.T) {
	w := newWorld(200, "m", "n").add(spec.Dataset{Abbr: "d", Mode: spec.Gen}, 20, 0)
	w.s.Models[0].RunCfg.NumGPUs = 8
	for workers, want := range map[int]int{1: 8, 2: 16, 3: 18, 4: 20, 100: 20} {
		w.s.Infer.MaxNumWorkers = workers
		w.s.Models[1].RunCfg.NumGPUs = 2
		if got := w.make(t).Cards(); got != want {
			t.Errorf("%d workers: %d cards, want %d", workers, got, want)
		}
	}
}

// The part that quantizes is a plan in itself, of the whole's identity.
func TestQuantizations(t *testing.T) {
	w := newWorld(200, "m", "n").add(spec.Dataset{Abbr: "d", Mode: spec.Gen}, 20, 0)
	w.recipes(true)
	p := w.make(t)
	part := p.Quantizations()
	if len(part.Tasks) != 2 || len(part.Shards) != 2 || len(part.Jobs) != 2 || part.Identity != p.Identity || part.Digest != p.Digest {
		t.Errorf("%+v", part)
	}
	if f := part.Forecast(Calibration{}); f.Tokens != 2000 || len(f.Pools) != 2 {
		t.Errorf("forecast %+v", f)
	}
	if p.Evaluates("m-q") != true || part.Evaluates("m-q") {
		t.Error("what is evaluated is not known")
	}
}

// A step that nothing is known of, and a variant that is told of without it, are refused.
func TestMakeRefusesSteps(t *testing.T) {
	w := newWorld(200, "m").add(spec.Dataset{Abbr: "d", Mode: spec.Gen}, 20, 0)
	w.recipes(false)
	w.in.Steps = nil
	if _, err := Make(w.s, w.in); err == nil || !strings.Contains(err.Error(), `nothing is known of task "m-q/quantize", which makes "m-q"`) {
		t.Error(err)
	}
}
