package quant

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sextant/internal/halves"
	"sextant/pkg/checkpoint"
	"sextant/pkg/qformat"
	"sextant/pkg/spec"
)

// TestExports opens every export that holds a recipe, and finds the matrices of the variant's own directory in it.
func TestExports(t *testing.T) {
	symmetric := func(q *spec.Quant) { yes := true; q.Symmetric = &yes }
	block := func(q *spec.Quant) { q.Granularity = "block" }
	for _, c := range []struct {
		name, model string
		q           spec.Quant
		layouts     []string
	}{
		{"awq", "gqa", recipe("awq", nil), []string{"compressed-tensors", "awq", "gptq", "gptq_v2"}},
		{"3 bits", "gqa", recipe("rtn", func(q *spec.Quant) { q.Bits = 3 }), []string{"gptq_v2"}},
		{"gptq", "biases", recipe("gptq", func(q *spec.Quant) { q.GPTQ.ActOrder = true }), []string{"compressed-tensors", "gptq", "gptq_v2"}},
		{"symmetric", "bf16", recipe("rtn", symmetric), []string{"compressed-tensors", "awq", "gptq"}},
		{"fp8", "llama", recipe("fp8", nil), []string{"compressed-tensors"}},
		{"fp8 block", "wide", recipe("fp8", block), []string{"compressed-tensors", "fp8"}},
		{"smoothquant", "gqa", recipe("smoothquant", nil), []string{"compressed-tensors"}},
		{"fused", "internlm2", recipe("awq", nil), []string{"compressed-tensors", "awq"}},
		{"ignored", "gqa", recipe("awq", func(q *spec.Quant) { q.Ignore = []string{"model.layers.1.*", "**.k_proj"} }), []string{"compressed-tensors", "awq", "gptq"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			job := toyJob(t, openCheckpoint(t, toys[c.model].write(t)), c.q)
			job.Exports = map[string]string{}
			for _, layout := range append(c.layouts, spec.FakeQuant, spec.Transformed) {
				job.Exports[layout] = filepath.Join(t.TempDir(), "exports", layout)
			}
			mustRun(t, job)
			own := openCheckpoint(t, job.Out)
			for layout, dir := range job.Exports {
				got := openCheckpoint(t, dir)
				switch layout {
				case spec.Transformed:
					checkTransformed(t, job, got)
				case spec.FakeQuant:
					checkFake(t, own, got, job)
				default:
					checkSame(t, layout, got, own)
				}
				for _, name := range []string{"generation_config.json", "tokenizer.model", "config.json", "manifest.json"} {
					if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// matrix is a matrix of an open model, nil where it is plain.
func matrix(t testing.TB, ck *checkpoint.Checkpoint, name string) *qformat.Matrix {
	t.Helper()
	m, err := ck.Matrix(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkSame compares what two models hold: matrices by codes, scales and zeros, others by bytes.
func checkSame(t testing.TB, layout string, got, want *checkpoint.Checkpoint) {
	t.Helper()
	quantized := 0
	for i := range want.Config().Layers {
		for _, name := range blockNames(want, i) {
			w, g := (*qformat.Matrix)(nil), (*qformat.Matrix)(nil)
			if strings.Contains(name, "proj.weight") || strings.Contains(name, ".w") && !strings.Contains(name, "norm") {
				w, g = matrix(t, want, name), matrix(t, got, name)
			}
			if w == nil && g == nil {
				samePlain(t, got, want, name)
				continue
			}
			quantized++
			if w == nil || g == nil || !bytes.Equal(g.Codes, w.Codes) || !slices.Equal(g.Scales, w.Scales) || !slices.Equal(zeros(g), zeros(w)) ||
				!reflect.DeepEqual(g.Act, w.Act) {
				t.Errorf("%s: %s differs", layout, name)
			}
		}
	}
	for _, name := range []string{want.Config().EmbedName(), want.Config().NormName(), want.Config().HeadName()} {
		samePlain(t, got, want, name)
	}
	if quantized < 5 {
		t.Errorf("%s: %d quantized matrices", layout, quantized)
	}
}

func zeros(m *qformat.Matrix) (all []byte) {
	for i := range m.Scales {
		all = append(all, m.Zero(i))
	}
	return all
}

func samePlain(t testing.TB, got, want *checkpoint.Checkpoint, name string) {
	t.Helper()
	w, err := want.Tensor(name)
	if err != nil {
		return // a part of a quantized one
	}
	g, err := got.Tensor(name)
	if err != nil || g.DType != w.DType || !bytes.Equal(g.Data, w.Data) {
		t.Errorf("%s differs: %v", name, err)
	}
}

// checkFake compares plain values with those of the codes, in the checkpoint's dtype.
func checkFake(t testing.TB, own, got *checkpoint.Checkpoint, job Job) {
	t.Helper()
	if got.Config().Quant != nil {
		t.Error("fake_quant says that it is quantized")
	}
	for i := range own.Config().Layers {
		for _, sites := range own.Config().LayerNames(i).Sites() {
			for _, name := range sites {
				m := matrix(t, own, name)
				g, err := got.Tensor(name)
				if err != nil {
					t.Fatal(err)
				}
				source, err := job.Checkpoint.Tensor(name)
				if err != nil {
					t.Fatal(err)
				}
				if m != nil && (g.DType != source.DType || !bytes.Equal(g.Data, halves.Narrow(nil, source.DType, values(m)))) {
					t.Errorf("fake_quant: %s is not the values of the codes", name)
				} else if m == nil {
					samePlain(t, got, own, name)
				}
			}
		}
	}
}

// checkTransformed wants plain weights that are the checkpoint's own where the method folds nothing.
func checkTransformed(t testing.TB, job Job, got *checkpoint.Checkpoint) {
	t.Helper()
	if got.Config().Quant != nil {
		t.Error("transformed says that it is quantized")
	}
	changed := 0
	for _, name := range job.Checkpoint.Names() {
		w, err := job.Checkpoint.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		g, err := got.Tensor(name)
		if err != nil || g.DType != w.DType || !slices.Equal(g.Shape, w.Shape) {
			t.Errorf("transformed: %s: %v", name, err)
		}
		if !bytes.Equal(g.Data, w.Data) {
			changed++
		}
	}
	if folds := job.Recipe.Method == "awq" || job.Recipe.Method == "smoothquant"; folds != (changed > 0) {
		t.Errorf("%d tensors changed by %s", changed, job.Recipe.Method)
	}
}

// TestExportRefused: a layout that cannot hold the recipe ends the run before it begins.
func TestExportRefused(t *testing.T) {
	ck := openCheckpoint(t, toys["bf16"].write(t))
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "thesis.tex"), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		layout, dir, want string
		q                 spec.Quant
	}{
		{"awq", "", `export "awq": module "model.layers.0.mlp.down_proj": layout awq cannot hold`, recipe("rtn", func(q *spec.Quant) { q.Bits = 3 })},
		{"fp8", "", `export "fp8"`, recipe("gptq", nil)},
		{"gptq", "", `export "gptq"`, recipe("smoothquant", nil)},
		{"fake_quant", occupied, "move it away", recipe("rtn", nil)},
	} {
		job := toyJob(t, ck, c.q)
		if c.dir == "" {
			c.dir = filepath.Join(t.TempDir(), c.layout)
		}
		job.Exports = map[string]string{c.layout: c.dir}
		_, err := Run(context.Background(), job)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.layout, err, c.want)
		}
		if _, err := os.Stat(job.Work); err == nil {
			t.Errorf("%s: there is a work directory", c.layout)
		}
	}
}

// TestExportsLater: a finished variant gets further exports without being made again.
func TestExportsLater(t *testing.T) {
	job := toyJob(t, openCheckpoint(t, toys["gqa"].write(t)), recipe("awq", nil))
	first := mustRun(t, job)
	job.Exports = map[string]string{"awq": filepath.Join(t.TempDir(), "awq")}
	again := mustRun(t, job)
	if first.Seconds != again.Seconds {
		t.Errorf("it took %v seconds, and then %v: it was made again", first.Seconds, again.Seconds)
	}
	checkSame(t, "awq", openCheckpoint(t, job.Exports["awq"]), openCheckpoint(t, job.Out))
}
