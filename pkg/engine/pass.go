package engine

import (
	"fmt"

	"sextant/kernels"
	"sextant/pkg/model"
)

// Pass is one run of the model: copies of the first positions of pages, and then the batch.
type Pass struct {
	model.Batch
	Copies []Copy
}

// Copy is a page whose first positions are to be those of another.
type Copy struct{ Dst, Src, Positions int }

// part is the tokens [from, to) of a node.
type part struct {
	n        *node
	from, to int
}

// layout is a pass and what it is made of.
type layout struct {
	Pass
	strands [][]part // each a sequence to the kernels: parts of nodes one below another
	room    int      // tokens left of the budget
	first   bool     // no other pass is under way
	drawing int      // generations that have begun, in this pass and outside of it
}

// next lays out a pass: the active generations, and then what is ready, in order, as far as there is room. nil: there is no room as long as
// the `under` passes are under way. What they compute is never given up for another.
func (b *batcher) next(under int) (*layout, error) {
	l := &layout{room: b.o.TokenBudget, first: under == 0, drawing: len(b.active) + b.drawing}
	b.copies = nil
	if !b.grow(l.first) {
		return nil, nil
	}
	b.survey()
	most := min(b.o.BatchSize, ceilDiv(b.t.root.open, b.passes)) // so that there is something for each of the passes under way at once
	now := min(most, len(b.active))
	for _, n := range b.active[:now] {
		b.strand(l, n)
	}
	b.active = b.active[now:]
	for len(b.ready) > 0 && l.room > 0 && len(l.strands) < most {
		n := last(b.ready)
		if len(n.pages) == 0 {
			if len(l.strands) == 0 && l.first { // the first gets its pages at any cost but that of what comes before it
				b.reclaim(n)
			}
			if !b.admit(n, b.leave(l, n)) {
				break
			}
		}
		b.ready = b.ready[:len(b.ready)-1]
		b.strand(l, n)
	}
	if len(l.strands) == 0 && !l.first {
		return nil, nil
	}
	if len(l.strands) == 0 {
		return nil, fmt.Errorf("internal error: none of %d nodes gets its pages; %d of %d are available",
			len(b.ready), b.t.available(), len(b.t.pool.pages))
	}
	b.describe(l)
	return l, nil
}

// describe writes the pass as the kernels want it.
func (b *batcher) describe(l *layout) {
	l.Copies = b.copies
	l.Desc.QStart, l.Desc.MaxPages = []int32{0}, 1
	for _, s := range l.strands {
		end := last(s)
		l.Desc.MaxPages = max(l.Desc.MaxPages, ceilDiv(end.n.start+end.to, b.t.size))
	}
	l.Desc.Pages = make([]int32, len(l.strands)*l.Desc.MaxPages)
	for i, s := range l.strands {
		for _, p := range s {
			l.Tokens = append(l.Tokens, p.n.tokens[p.from:p.to]...)
		}
		end := last(s)
		l.Desc.QStart = append(l.Desc.QStart, int32(len(l.Tokens)))
		l.Desc.KVLen = append(l.Desc.KVLen, int32(end.n.start+end.to))
		end.n.table(l.Desc.Pages[i*l.Desc.MaxPages:(i+1)*l.Desc.MaxPages], b.t.size)
	}
}

// strand puts tokens of n into the pass. When those are its last, the first node below goes on behind them: it need not wait for them to be
// computed, for it is the same sequence.
func (b *batcher) strand(l *layout, n *node) {
	var s []part
	for {
		count := min(n.left(), l.room)
		s = append(s, part{n, n.computed, n.computed + count})
		l.room -= count
		kids := n.waiting()
		if count < n.left() || l.room == 0 || len(kids) == 0 || !b.admit(kids[0], b.leave(l, kids[0])) {
			break
		}
		n = kids[0]
	}
	l.strands = append(l.strands, s)
}

// table writes the pages of the positions up to the end of n.
func (n *node) table(pages []int32, size int) {
	end := len(pages)
	for ; n.parent != nil; n = n.parent {
		first := n.start / size
		for i := min(end, first+len(n.pages)) - 1; i >= first; i-- {
			pages[i] = n.pages[i-first]
		}
		end = min(end, first)
	}
}

// advance notes what a pass computed, and gives the requests of scoring that end there.
func (b *batcher) advance(l *layout) (done []*request) {
	for _, s := range l.strands {
		for i, p := range s {
			n := p.n
			n.computed = p.to
			switch {
			case n.left() > 0:
				b.push([]*node{n})
			case n.gen == nil:
				done = append(done, n.ends...)
				b.push(n.waiting()[min(1, len(s)-1-i):]) // the first is in the pass already where another part follows
			}
		}
	}
	return done
}

// positions calls f for every token of the pass.
func (l *layout) positions(f func(row int32, n *node, i int)) {
	row := int32(0)
	for _, s := range l.strands {
		for _, p := range s {
			for i := p.from; i < p.to; i++ {
				f(row, p.n, i)
				row++
			}
		}
	}
}

// spot is a token whose prediction of the next one is wanted.
type spot struct {
	n *node
	i int
}

// targets makes the pass give what scoring wants of it: of each target the place is told too.
func (l *layout) targets() (t kernels.Targets, spots []spot) {
	add := func(n *node, i int, ids ...int32) {
		for _, id := range ids {
			t.Rows, t.IDs = append(t.Rows, int32(len(l.Out))), append(t.IDs, id)
			spots = append(spots, spot{n, i})
		}
	}
	l.positions(func(row int32, n *node, i int) {
		before := len(spots)
		if i == len(n.tokens)-1 {
			add(n, i, n.nexts()...)
		} else if n.start+i >= n.want {
			add(n, i, n.tokens[i+1])
		}
		if len(spots) > before {
			l.Out = append(l.Out, row)
		}
	})
	return t, spots
}
