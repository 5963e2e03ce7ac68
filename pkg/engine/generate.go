package engine

import (
	"context"
	"fmt"
	"slices"

	"sextant/kernels"
)

// Prompt is a request to continue Tokens by up to MaxNew tokens. Generation ends at an end-of-sequence token, at the first of the Stop
// strings in the text, at MaxNew, or where the model's context is full. The zero Sample is greedy, and a TopP of 0 is off like 1. What
// is drawn depends on Seed and the prompt alone, not on the batch.
type Prompt struct {
	Tokens []int32
	MaxNew int
	Stop   []string
	Sample kernels.SampleDesc
	Seed   uint64
}

// Generated is the outcome of a Prompt. IDs are all tokens drawn, the one that ended it included. Text is without end-of-sequence tokens and
// is cut before the stop string. Stop is "eos", "stop" or "length".
type Generated struct {
	IDs  []int32
	Text string
	Stop string
}

// generation is the generating side of a sequence.
type generation struct {
	prompt int // tokens of the prompt
	limit  int // tokens to draw at most
	seed   uint64
	sample kernels.SampleDesc
	text   *stopper
	end    string // why it ended; "" while it goes on
}

// Generate continues every prompt and calls emit with its number as soon as it ends, in any order. It ends at the first error of emit.
func (e *Engine) Generate(ctx context.Context, reqs []Prompt, emit func(i int, g Generated) error) error {
	var seqs []*sequence
	for i, r := range reqs {
		s, err := e.prompt(i, r)
		if err != nil {
			return err
		}
		if s.gen.limit > 0 {
			seqs = append(seqs, s)
			continue
		}
		if err := emit(i, s.generated()); err != nil {
			return err
		}
	}
	return e.carry(ctx, seqs, work{pages: e.fullBatch, pass: e.generatePass, finished: func(s *sequence) bool { return s.gen.end != "" },
		emit: func(s *sequence) error { return emit(s.index, s.generated()) }})
}

func (e *Engine) prompt(i int, r Prompt) (*sequence, error) {
	if len(r.Tokens) == 0 {
		return nil, fmt.Errorf("request %d has no token to continue: %w", i, ErrInput)
	}
	if e.o.NewDecoder == nil {
		return nil, fmt.Errorf("generating needs Options.NewDecoder")
	}
	if err := e.check(i, r.Tokens, e.o.MaxSeqLen); err != nil {
		return nil, err
	}
	if r.Sample.TopP <= 0 {
		r.Sample.TopP = 1 // off
	}
	g := &generation{prompt: len(r.Tokens), limit: min(r.MaxNew, e.o.MaxSeqLen-len(r.Tokens)), seed: r.Seed, sample: r.Sample,
		text: newStopper(e.o.NewDecoder(r.Tokens), r.Stop)}
	if g.limit <= 0 {
		g.end = "length"
	}
	return &sequence{index: i, tokens: slices.Clone(r.Tokens), gen: g}, nil
}

func (e *Engine) generatePass(b *batcher) error {
	b.grow()
	b.refill()
	p := b.next((*sequence).draws)
	var drawing []*sequence
	var descs []kernels.SampleDesc
	var u []float64
	for i, s := range p.seqs {
		if s.computed+p.parts[i] == len(s.tokens) {
			drawing = append(drawing, s)
			descs = append(descs, s.gen.sample)
			u = append(u, uniform(s.gen.seed, uint64(len(s.tokens)-s.gen.prompt)))
		}
	}
	ids, err := e.run.Sample(p.batch, descs, u)
	if err := e.ran(p, err); err != nil {
		return err
	}
	b.advance(p)
	for i, s := range drawing {
		s.append(ids[i], e.o.EOS)
	}
	return nil
}

// draws says whether a token is drawn from position t.
func (s *sequence) draws(t int) bool { return t == len(s.tokens)-1 }

// append takes a drawn token and decides whether generation ends with it.
func (s *sequence) append(id int32, eos []int32) {
	s.tokens = append(s.tokens, id)
	g := s.gen
	switch {
	case slices.Contains(eos, id):
		g.end = "eos"
	case g.text.append(id):
		g.end = "stop"
	case len(s.tokens)-g.prompt >= g.limit:
		g.end = "length"
	}
}

func (s *sequence) generated() Generated {
	text, stopped := s.gen.text.text()
	if stopped {
		s.gen.end = "stop"
	}
	return Generated{IDs: s.tokens[s.gen.prompt:], Text: text, Stop: s.gen.end}
}
