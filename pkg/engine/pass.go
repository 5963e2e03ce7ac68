package engine

import (
	"sextant/kernels"
	"sextant/pkg/model"
)

// sequence is a request while it is worked on.
type sequence struct {
	index    int     // the caller's number
	tokens   []int32 // to be computed; scoring: all but the last, which is only predicted
	all      []int32 // scoring: all of the request's
	from     int     // scoring: the first token of all whose prediction counts
	gen      *generation
	nodes    []*node // of its leading full pages, shared or to be shared
	table    []int32 // all its pages, those of nodes first
	computed int     // positions whose keys and values are in the cache
	marks    []mark  // scoring: marks[t] is the prediction of all[t+1] at position t
}

// wanted is the first position whose prediction s needs.
func (s *sequence) wanted() int {
	if s.gen != nil {
		return len(s.tokens) - 1
	}
	return s.from - 1
}

// most is the most positions s may come to hold.
func (s *sequence) most() int {
	if s.gen != nil {
		return s.gen.prompt + s.gen.limit
	}
	return len(s.tokens)
}

// reusable is how many leading tokens may come from the cache: all for scoring, where known predictions come along; all but the last for
// generation, which must draw from it.
func (s *sequence) reusable() int {
	if s.gen != nil {
		return len(s.tokens) - 1
	}
	return len(s.tokens)
}

// inherit takes over what nodes hold.
func (s *sequence) inherit(nodes []*node, size int) {
	s.nodes = append(s.nodes[:0], nodes...)
	s.computed = len(nodes) * size
	s.table = s.table[:0]
	if s.gen == nil {
		s.marks = make([]mark, len(s.tokens))
	}
	for i, n := range nodes {
		s.table = append(s.table, n.page)
		if s.gen != nil {
			continue
		}
		for j := range size {
			s.marks[i*size+j] = n.mark(j, s.all[i*size+j+1])
		}
	}
}

// setMark records a prediction at position t, also for those who will share its page.
func (s *sequence) setMark(t, size int, m mark) {
	s.marks[t] = m
	if i := t / size; i < len(s.nodes) {
		s.nodes[i].setMark(t%size, s.all[t+1], m)
	}
}

// left is how many tokens s has that are not computed.
func (s *sequence) left() int { return len(s.tokens) - s.computed }

// batcher decides which sequences are worked on and how much of each goes into a pass.
type batcher struct {
	o       Options
	cache   *cache
	waiting []*sequence // sorted by tokens
	active  []*sequence // the oldest first
}

func (b *batcher) done() bool { return len(b.waiting) == 0 && len(b.active) == 0 }

// refill admits waiting sequences until a pass is full. One that should wait for a prefix another sequence is computing stays in its place;
// the look ahead is bounded, so that its prefix is still there when its turn comes.
func (b *batcher) refill() {
	room := b.o.TokenBudget
	for _, s := range b.active {
		room -= s.left()
	}
	i, kept := 0, 0
	for ; i < len(b.waiting) && room > 0 && len(b.active) < b.o.BatchSize && kept < 2*b.o.BatchSize; i++ {
		s := b.waiting[i]
		spare := 0
		if s.gen != nil {
			spare = len(b.active) // each of them will soon want a page
		}
		ok, pending := b.cache.admit(s, spare)
		if !ok && !pending {
			break
		}
		if pending {
			b.waiting[kept] = s
			kept++
			continue
		}
		b.active = append(b.active, s)
		room -= s.left()
	}
	copy(b.waiting[i-kept:i], b.waiting[:kept])
	b.waiting = b.waiting[i-kept:]
}

// grow makes sure that every active sequence has pages for its tokens. When there are none left, the youngest one goes back to wait; its
// tokens are kept and are computed again later, with the same outcome.
func (b *batcher) grow() {
	for i := 0; i < len(b.active); i++ {
		for !b.cache.grow(b.active[i]) {
			last := len(b.active) - 1
			s := b.active[last]
			b.cache.release(s)
			b.active = b.active[:last]
			b.waiting = append([]*sequence{s}, b.waiting...)
			if i == last {
				return
			}
		}
	}
}

// pass is one forward call: parts[i] tokens of seqs[i].
type pass struct {
	seqs  []*sequence
	parts []int
	batch model.Batch
}

// next lays out a pass: one token of every active sequence at least, and the rest of the budget to the oldest first. out says for each
// token whether its final state is wanted.
func (b *batcher) next(out func(s *sequence, position int) bool) *pass {
	p := &pass{}
	room := b.o.TokenBudget - len(b.active)
	maxPages := 1
	for _, s := range b.active {
		if s.left() == 0 {
			room++
			continue
		}
		n := 1 + min(s.left()-1, room)
		room -= n - 1
		p.seqs, p.parts = append(p.seqs, s), append(p.parts, n)
		maxPages = max(maxPages, ceilDiv(s.computed+n, b.o.PageSize))
	}
	d := kernels.BatchDesc{QStart: []int32{0}, MaxPages: maxPages, Pages: make([]int32, maxPages*len(p.seqs))}
	for i, s := range p.seqs {
		end := s.computed + p.parts[i]
		for t := s.computed; t < end; t++ {
			if out(s, t) {
				p.batch.Out = append(p.batch.Out, int32(len(p.batch.Tokens)))
			}
			p.batch.Tokens = append(p.batch.Tokens, s.tokens[t])
		}
		d.QStart = append(d.QStart, int32(len(p.batch.Tokens)))
		d.KVLen = append(d.KVLen, int32(end))
		copy(d.Pages[i*maxPages:(i+1)*maxPages], s.table)
	}
	p.batch.Desc = d
	return p
}

// advance notes what a pass computed.
func (b *batcher) advance(p *pass) {
	for i, s := range p.seqs {
		s.computed += p.parts[i]
		for j, n := range s.nodes {
			if (j+1)*b.o.PageSize <= s.computed {
				n.ready = true
			}
		}
	}
}

// retire takes the sequences for which finished is true out of the batch.
func (b *batcher) retire(finished func(*sequence) bool) []*sequence {
	var out []*sequence
	kept := b.active[:0]
	for _, s := range b.active {
		if finished(s) {
			b.cache.release(s)
			out = append(out, s)
		} else {
			kept = append(kept, s)
		}
	}
	b.active = kept
	return out
}
