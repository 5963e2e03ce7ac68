package pipeline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"sextant/kernels"
	"sextant/pkg/bench"
	"sextant/pkg/checkpoint"
	"sextant/pkg/engine"
	"sextant/pkg/model"
)

// BenchmarkStages is the tokens a second of a 160M shape in one stage of one thread, and in two of one thread each.
func BenchmarkStages(b *testing.B) {
	dir := b.TempDir()
	if err := bench.Save(dir, "llama-160m", "bf16"); err != nil {
		b.Fatal(err)
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer ck.Close()
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
	for n := 1; n <= 2; n++ {
		cuts, _, err := model.Parts(ck, n)
		if err != nil {
			b.Fatal(err)
		}
		var all []*model.Model
		bytes := int64(0)
		for _, p := range cuts {
			dev, err := kernels.Open("cpu", kernels.Options{Threads: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer dev.Close()
			m, err := model.LoadWith(context.Background(), dev, ck, model.Options{Part: p})
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			all, bytes = append(all, m), bytes+m.PositionBytes()
		}
		p := New(all)
		defer p.Close()
		shape := engine.ShapeOf(ck.Config(), bytes)
		shape.Passes = p.Passes()
		e, err := engine.NewRunner(p, shape, engine.Options{NewDecoder: func([]int32) engine.Decoder { return silent{} }})
		if err != nil {
			b.Fatal(err)
		}
		for name, run := range map[string]func() error{
			"score": func() error {
				return e.Score(context.Background(), windows, func(int, engine.Scored) error { return nil })
			},
			"generate": func() error {
				return e.Generate(context.Background(), prompts, func(int, engine.Generated) error { return nil })
			},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
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

type silent struct{}

func (silent) Append(int32) string { return "" }
func (silent) Text() string        { return "" }
