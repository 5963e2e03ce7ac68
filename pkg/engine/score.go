package engine

import (
	"context"
	"fmt"
)

// Sequence is a request to score Tokens[From:], each token given all before it. From is at least 1. The last token is only a target, so
// there may be one more than MaxSeqLen.
type Sequence struct {
	Tokens []int32
	From   int
}

// Scored is the outcome of a Sequence: the summed negative log-likelihood in nats of Count tokens, and whether each of them was the most
// likely one (ties: the lower id). With nothing to score, NLL and Count are 0.
type Scored struct {
	NLL    float64
	Count  int
	Greedy bool
}

// Score scores every request and calls emit with its number as soon as it is known, in any order. It ends at the first error of emit. A
// perplexity over a long text is Score over its windows.
func (e *Engine) Score(ctx context.Context, reqs []Sequence, emit func(i int, r Scored) error) error {
	var seqs []*sequence
	for i, r := range reqs {
		if r.From < 1 {
			return fmt.Errorf("request %d scores from token %d, and the first token has no prediction: %w", i, r.From, ErrInput)
		}
		if err := e.check(i, r.Tokens, e.o.MaxSeqLen+1); err != nil {
			return err
		}
		if r.From >= len(r.Tokens) {
			if err := emit(i, Scored{Greedy: true}); err != nil {
				return err
			}
			continue
		}
		seqs = append(seqs, &sequence{index: i, tokens: r.Tokens[:len(r.Tokens)-1], all: r.Tokens, from: r.From})
	}
	return e.carry(ctx, seqs, work{pages: e.fullPass, pass: e.scorePass, finished: func(s *sequence) bool { return s.left() == 0 },
		emit: func(s *sequence) error { return emit(s.index, s.scored()) }})
}

func (e *Engine) scorePass(b *batcher) error {
	b.refill()
	p := b.next((*sequence).counts)
	if len(p.seqs) == 0 { // all that was admitted was known
		return nil
	}
	var targets []int32
	for i, s := range p.seqs {
		for t := s.computed; t < s.computed+p.parts[i]; t++ {
			if s.counts(t) {
				targets = append(targets, s.all[t+1])
			}
		}
	}
	lp, err := e.run.LogProbs(p.batch, targets)
	if err := e.ran(p, err); err != nil {
		return err
	}
	row := 0
	for i, s := range p.seqs {
		for t := s.computed; t < s.computed+p.parts[i]; t++ {
			if s.counts(t) {
				s.setMark(t, b.o.PageSize, mark{nll: lp.LSE[row] - float64(lp.Target[row]), best: lp.Best[row] == targets[row], known: true})
				row++
			}
		}
	}
	b.advance(p)
	return nil
}

// counts says whether the prediction at position t is part of the score.
func (s *sequence) counts(t int) bool { return t >= s.from-1 }

// scored sums up, in the order of positions, and lets the parts go.
func (s *sequence) scored() Scored {
	r := Scored{Greedy: true}
	for _, m := range s.marks[s.from-1:] {
		r.NLL += m.nll
		r.Count++
		r.Greedy = r.Greedy && m.best
	}
	s.marks = nil
	return r
}
