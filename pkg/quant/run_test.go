package quant

import (
	"context"
	"errors"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"sextant/internal/points"
	"sextant/pkg/calib"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// recipes are one of each way through the pipeline.
func recipes() map[string]spec.Quant {
	no := false
	return map[string]spec.Quant{
		"rtn":        recipe("rtn", nil),
		"rtn static": recipe("rtn", func(q *spec.Quant) { q.Act, q.ActScale = "int8", "tensor"; q.Bits = 8 }),
		"awq":        recipe("awq", nil),
		"awq plain":  recipe("awq", func(q *spec.Quant) { q.AWQ.Clip = &no; q.Bits = 3 }),
		"awq output": recipe("awq", func(q *spec.Quant) { q.AWQ.Objective = "output" }),
		"gptq":       recipe("gptq", nil),
		"smooth":     recipe("smoothquant", nil),
		"fp8":        recipe("fp8", nil),
		"fp8 static": recipe("fp8", func(q *spec.Quant) { q.Granularity, q.ActScale = "tensor", "tensor" }),
	}
}

func TestRunAgainIsTheSame(t *testing.T) {
	for name, q := range recipes() {
		for model, y := range toys {
			if name != "awq" && model != "gqa" || model == "wide" {
				continue
			}
			t.Run(name+"/"+model, func(t *testing.T) {
				t.Parallel()
				ck := openCheckpoint(t, y.write(t))
				job := toyJob(t, ck, q)
				m := mustRun(t, job)
				got, err := result.ReadManifest(job.Out)
				if err != nil || got.Bits != m.Bits || m.Bits < float64(q.Bits) || m.Quantized == 0 || m.Quantized > m.Parameters {
					t.Errorf("manifest %+v, returned %+v, %v", got, m, err)
				}
				other := toyJob(t, ck, q)
				other.Device = openDevice(t, 1)
				mustRun(t, other)
				sameFiles(t, filesOf(t, other.Out), filesOf(t, job.Out))
			})
		}
	}
}

// TestStoppedAnywhere stops a run behind each block and goes on with it.
func TestStoppedAnywhere(t *testing.T) {
	defer func() { points.Hook = func(string) {} }()
	for name, q := range recipes() {
		t.Run(name, func(t *testing.T) {
			ck := openCheckpoint(t, toys["bf16"].write(t))
			whole := toyJob(t, ck, q)
			mustRun(t, whole)
			job := toyJob(t, ck, q)
			stops := 0
			for {
				ctx, cancel := context.WithCancelCause(context.Background())
				stopped := errors.New("stopped")
				points.Hook = func(p string) {
					if p == "quant:block-done" {
						cancel(stopped)
					}
				}
				_, err := Run(ctx, job)
				cancel(nil)
				if err == nil {
					break
				}
				if !errors.Is(err, stopped) {
					t.Fatal(err)
				}
				if stops++; stops > 5 {
					t.Fatal("no end")
				}
			}
			if stops == 0 {
				t.Error("never stopped")
			}
			sameFiles(t, filesOf(t, job.Out), filesOf(t, whole.Out))
		})
	}
}

// TestRefused: what cannot be done is told before anything is.
func TestRefused(t *testing.T) {
	ck := openCheckpoint(t, toys["bf16"].write(t))
	done := toyJob(t, ck, recipe("rtn", nil))
	mustRun(t, done)
	long := &calib.Tokens{SeqLen: 100, IDs: make([]int32, 100)}
	for _, c := range []struct {
		want string
		set  func(j *Job)
	}{
		{"there is no sample", func(j *Job) { j.Sample = nil }},
		{"is quantized already", func(j *Job) { j.Checkpoint = openCheckpoint(t, done.Out) }},
		{"ignores every matrix", func(j *Job) { j.Recipe.Ignore = []string{"**"} }},
		{"does not divide into groups of 40", func(j *Job) { j.Recipe.Group = 40 }},
		{`method "gguf"`, func(j *Job) { j.Recipe.Method = "gguf" }},
		{"the model takes 1 to 64", func(j *Job) { j.Sample = long }},
	} {
		job := toyJob(t, ck, recipe("awq", nil))
		c.set(&job)
		if _, err := Run(context.Background(), job); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if _, err := os.Stat(job.Out); err == nil {
			t.Errorf("%s: there is an outcome", c.want)
		}
	}
}

// TestProgress: blocks come in order, within one the part that is done never falls, and where a phase ends the next one begins: what was
// foreseen of it was done. The time that is left is known before the first block is over.
func TestProgress(t *testing.T) {
	counted := 0
	for name, q := range recipes() {
		for _, model := range []string{"llama", "wide"} {
			if name != "awq" && name != "gptq" && model == "wide" { // which the others cut no matrix for
				continue
			}
			job := toyJob(t, openCheckpoint(t, toys[model].write(t)), q)
			var all []Progress
			job.Progress = func(p Progress) { all = append(all, p) }
			mustRun(t, job)
			early := false
			for i, p := range all {
				old := all[max(i-1, 0)]
				if p.Blocks != 2 || p.Block < old.Block || p.Block == old.Block && p.Part < old.Part || p.Part > 1 || p.Block == 1 && p.ETA <= 0 {
					t.Fatalf("%s, %s: progress %d: %+v after %+v", name, model, i, p, old)
				}
				early = early || p.Block == 0 && p.ETA > 0
				known := p.Block == 0 && old.Phase != "loading" && old.Phase != "embedding" // later blocks go by seconds
				if p.Phase != old.Phase && known && math.Abs(p.Part-old.Part) > 1e-9 {
					t.Errorf("%s, %s: from %+v to %+v", name, model, old, p)
				} else if known {
					counted++
				}
			}
			if last := all[len(all)-1]; !early || last.Block != 2 || last.ETA != 0 || last.Phase != "exporting" {
				t.Errorf("%s, %s: known early: %v; the last is %+v", name, model, early, last)
			}
		}
	}
	if counted < 100 {
		t.Errorf("%d steps in all", counted)
	}
}

// TestPhases: the phases that a block has are those that were foreseen.
func TestPhases(t *testing.T) {
	for name, q := range recipes() {
		for _, ignore := range []string{"", "**.v_proj", "**.{q,k,v}_proj", "**.mlp.*"} {
			if q.Ignore = nil; ignore != "" {
				q.Ignore = []string{ignore}
			}
			if ignore != "" && name != "awq" && name != "gptq" {
				continue
			}
			r := &runner{job: toyJob(t, openCheckpoint(t, toys["llama"].write(t)), q), ctx: t.Context()}
			if _, err := r.run(); err != nil {
				t.Fatal(err)
			}
			said := maps.Clone(r.pace.took)
			delete(said, "embedding")
			r.pace.end()
			r.at = 0
			b := r.shape()
			want := b.work()
			if g, w := slices.Sorted(maps.Keys(said)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) {
				t.Errorf("%s without %q: phases %q, foreseen %q", name, ignore, g, w)
			}
		}
	}
}
