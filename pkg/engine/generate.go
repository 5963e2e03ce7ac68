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

// generation is the generating side of a request. The tokens of its node are the end of the prompt and then those drawn.
type generation struct {
	prompt int // tokens of the prompt
	limit  int // tokens to draw at most
	seed   uint64
	sample kernels.SampleDesc
	text   *stopper
	ids    []int32
	end    string // why it ended; "" while it goes on
}

// most is the most positions it may come to hold: the last token drawn needs none.
func (g *generation) most() int { return g.prompt + g.limit - 1 }

// Generate continues every prompt and calls emit with its number as soon as it ends, in any order. It ends at the first error of emit.
func (e *Engine) Generate(ctx context.Context, reqs []Prompt, emit func(i int, g Generated) error) error {
	var asks []ask
	for i, r := range reqs {
		g, err := e.prompt(i, r)
		if err != nil {
			return err
		}
		if g.limit > 0 {
			asks = append(asks, ask{request: request{index: i}, tokens: r.Tokens, gen: g})
			continue
		}
		if err := emit(i, g.generated()); err != nil {
			return err
		}
	}
	return e.carry(ctx, work{asks: asks, pages: e.fullBatch, begin: e.generatePass,
		emit: func(r *request) error { return emit(r.index, r.node.gen.generated()) }})
}

func (e *Engine) prompt(i int, r Prompt) (*generation, error) {
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
		text: newStopper(e.o.NewDecoder(r.Tokens), r.Stop), ids: []int32{}}
	if g.limit <= 0 {
		g.end = "length"
	}
	return g, nil
}

func (e *Engine) generatePass(b *batcher, l *layout) flight {
	var drawing []*node
	var descs []kernels.SampleDesc
	var u []float64
	for i, s := range l.strands {
		if p := last(s); p.n.gen != nil && p.to == len(p.n.tokens) {
			drawing = append(drawing, p.n)
			descs = append(descs, p.n.gen.sample)
			u = append(u, uniform(p.n.gen.seed, uint64(len(p.n.gen.ids))))
			l.Out = append(l.Out, l.Desc.QStart[i+1]-1)
		}
	}
	wait := e.run.Sample(l.Pass, descs, u)
	done := b.advance(l)
	b.drawing += len(drawing)
	return func() ([]*request, error) {
		ids, err := wait()
		if err := e.ran(l, err); err != nil {
			return nil, err
		}
		b.drawing -= len(drawing)
		for i, n := range drawing {
			n.tokens = append(n.tokens, ids[i])
			if n.gen.append(ids[i], e.o.EOS); n.gen.end != "" {
				done = append(done, n.ends...)
				continue
			}
			b.active = append(b.active, n)
		}
		return done, nil
	}
}

// append takes a drawn token and decides whether generation ends with it.
func (g *generation) append(id int32, eos []int32) {
	g.ids = append(g.ids, id)
	switch {
	case slices.Contains(eos, id):
		g.end = "eos"
	case g.text.append(id):
		g.end = "stop"
	case len(g.ids) >= g.limit:
		g.end = "length"
	}
}

func (g *generation) generated() Generated {
	text, stopped := g.text.text()
	if stopped {
		g.end = "stop"
	}
	return Generated{IDs: g.ids, Text: text, Stop: g.end}
}
