package engine

import (
	"context"
	"math/rand/v2"
	"testing"

	"sextant/kernels"
)

// idle is a model that takes no time, so that what is measured is the engine.
type idle struct{}

func (idle) Reserve(int, int) error { return nil }
func (idle) Release()               {}
func (idle) LogProbs(p Pass, t kernels.Targets) func() (kernels.LogProbs, error) {
	n := len(p.Out)
	return func() (kernels.LogProbs, error) {
		return kernels.LogProbs{LSE: make([]float64, n), Target: make([]float32, len(t.IDs)), Best: make([]int32, n), BestLogit: make([]float32, n)}, nil
	}
}
func (idle) Sample(p Pass, _ []kernels.SampleDesc, _ []float64) func() ([]int32, error) {
	return func() ([]int32, error) { return make([]int32, len(p.Out)), nil }
}

// BenchmarkHost is the engine's own time a row: of a ranking as MMLU has it, all of the prompt scored and only the answer, of windows, and
// of generations.
func BenchmarkHost(b *testing.B) {
	const rows, shots, question = 1000, 600, 100
	rng := rand.New(rand.NewPCG(1, 2))
	tokens := func(n int) []int32 {
		out := make([]int32, n)
		for i := range out {
			out[i] = rng.Int32N(32000)
		}
		return out
	}
	prefix := tokens(shots)
	var whole, answers, windows []Sequence
	var prompts []Prompt
	for range rows {
		q := append(append([]int32(nil), prefix...), tokens(question)...)
		for c := range int32(4) {
			s := append(append([]int32(nil), q...), 5+c)
			whole, answers = append(whole, Sequence{s, 1}), append(answers, Sequence{s, len(q)})
		}
		windows = append(windows, Sequence{tokens(512), 1})
		prompts = append(prompts, Prompt{Tokens: q, MaxNew: 20})
	}
	for _, c := range []struct {
		name string
		run  func(*Engine) error
	}{
		{"whole", func(e *Engine) error {
			return e.Score(context.Background(), whole, func(int, Scored) error { return nil })
		}},
		{"answer", func(e *Engine) error {
			return e.Score(context.Background(), answers, func(int, Scored) error { return nil })
		}},
		{"windows", func(e *Engine) error {
			return e.Score(context.Background(), windows, func(int, Scored) error { return nil })
		}},
		{"generate", func(e *Engine) error {
			return e.Generate(context.Background(), prompts, func(int, Generated) error { return nil })
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			e, err := NewRunner(idle{}, Shape{Vocab: 32000, Context: 2048, PositionBytes: 1},
				Options{NewDecoder: func([]int32) Decoder { return &toyDecoder{} }})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := c.run(e); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*rows), "µs/row")
			b.ReportMetric(float64(e.Passes())/float64(b.N), "passes")
			b.ReportMetric(float64(e.Tokens())/float64(b.N)/float64(e.Passes())*float64(b.N), "tokens/pass")
		})
	}
}
