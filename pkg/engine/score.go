package engine

import (
	"context"
	"fmt"
	"slices"
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
	var asks []ask
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
		tokens := r.Tokens[:len(r.Tokens)-1]
		asks = append(asks, ask{request: request{index: i, from: r.From, last: r.Tokens[len(tokens)]}, tokens: tokens})
	}
	return e.carry(ctx, work{asks: asks, pages: e.fullPass, begin: e.scorePass,
		emit: func(r *request) error { return emit(r.index, r.scored()) }})
}

func (e *Engine) scorePass(b *batcher, l *layout) flight {
	targets, spots := l.targets()
	wait := e.run.LogProbs(l.Pass, targets)
	done := b.advance(l)
	return func() ([]*request, error) {
		lp, err := wait()
		if err := e.ran(l, err); err != nil {
			return nil, err
		}
		for j, s := range spots {
			row, id := targets.Rows[j], targets.IDs[j]
			s.n.note(s.i, id, mark{nll: lp.LSE[row] - float64(lp.Target[j]), best: lp.Best[row] == id})
		}
		return done, nil
	}
}

// note keeps the prediction of id behind token i.
func (n *node) note(i int, id int32, m mark) {
	if i == len(n.tokens)-1 {
		if n.after == nil {
			n.after = map[int32]mark{}
		}
		n.after[id] = m
		return
	}
	if n.marks == nil {
		n.marks, n.known = make([]mark, len(n.tokens)-1), i
	}
	n.marks[i] = m
}

// scored sums up the predictions on the path to r, in the order of positions.
func (r *request) scored() Scored {
	var path []*node
	for n := r.node; n.parent != nil && n.end() >= r.from; n = n.parent {
		path = append(path, n)
	}
	slices.Reverse(path)
	out := Scored{Greedy: true}
	add := func(m mark) {
		out.NLL += m.nll
		out.Count++
		out.Greedy = out.Greedy && m.best
	}
	for i, n := range path {
		for _, m := range n.marks[min(len(n.marks), max(0, r.from-1-n.start)):] {
			add(m)
		}
		if i+1 < len(path) {
			add(n.after[path[i+1].tokens[0]])
		} else {
			add(n.after[r.last])
		}
	}
	return out
}
