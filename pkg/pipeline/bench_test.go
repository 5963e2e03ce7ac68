package pipeline

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"sextant/kernels"
	"sextant/pkg/bench"
	"sextant/pkg/checkpoint"
	"sextant/pkg/engine"
	"sextant/pkg/model"
)

// BenchmarkStages is the tokens a second of a 160M shape: in one stage of one thread, in two of one thread each, and in two of one thread and three, cut
// into equal parts and by the threads.
func BenchmarkStages(b *testing.B) {
	dir := b.TempDir()
	if err := bench.Save(dir, "llama-160m", "bf16"); err != nil {
		b.Fatal(err)
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ck.Close() })
	rng := rand.New(rand.NewPCG(1, 2))
	var windows []engine.Sequence
	var prompts []engine.Prompt
	for range 32 {
		w := make([]int32, 512)
		for i := range w {
			w[i] = rng.Int32N(32000)
		}
		windows = append(windows, engine.Sequence{Tokens: w, From: 1})
		prompts = append(prompts, engine.Prompt{Tokens: w[:32], MaxNew: 33})
	}
	for _, c := range []struct {
		name    string
		threads []int
		speeds  []float64
	}{{"1", []int{1}, []float64{1}}, {"2", []int{1, 1}, []float64{1, 1}}, {"1+3 equal", []int{1, 3}, []float64{1, 1}}, {"1+3", []int{1, 3}, []float64{1, 3}}} {
		if n := runtime.NumCPU(); slices.Max(c.threads)+len(c.threads)-1 > n {
			b.Logf("%s: there are %d processors", c.name, n)
			continue
		}
		e := stagesOf(b, ck, c.threads, c.speeds)
		for name, run := range map[string]func() error{
			"score": func() error {
				return e.Score(context.Background(), windows, func(int, engine.Scored) error { return nil })
			},
			"generate": func() error {
				return e.Generate(context.Background(), prompts, func(int, engine.Generated) error { return nil })
			},
		} {
			b.Run(name+"/"+c.name, func(b *testing.B) {
				before := e.Tokens()
				for b.Loop() {
					if err := run(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(e.Tokens()-before)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}

// stagesOf is an engine on a model in a stage for each number of threads, cut as for these speeds.
func stagesOf(b *testing.B, ck *checkpoint.Checkpoint, threads []int, speeds []float64) *engine.Engine {
	b.Helper()
	cuts, _, err := model.Parts(ck, speeds)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("threads %v: %v", threads, cuts)
	var all []*model.Model
	bytes := int64(0)
	for i, p := range cuts {
		dev, err := kernels.Open("cpu", kernels.Options{Threads: threads[i]})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(dev.Close)
		m, err := model.LoadWith(context.Background(), dev, ck, model.Options{Part: p})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(m.Close)
		all, bytes = append(all, m), bytes+m.PositionBytes()
	}
	p := New(all)
	b.Cleanup(p.Close)
	shape := engine.ShapeOf(ck.Config(), bytes)
	shape.Passes = p.Passes()
	e, err := engine.NewRunner(p, shape, engine.Options{NewDecoder: func([]int32) engine.Decoder { return silent{} }})
	if err != nil {
		b.Fatal(err)
	}
	return e
}

type silent struct{}

func (silent) Append(int32) string { return "" }
func (silent) Text() string        { return "" }
