package quant

import (
	"context"
	"errors"
	"testing"

	"sextant/internal/points"
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
