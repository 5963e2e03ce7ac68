package engine

import (
	"errors"
	"fmt"
	"slices"
)

// start puts the requests of a call into the trie and plans them. done are those that need no pass.
func (e *Engine) start(w work) (b *batcher, done []*request, err error) {
	needs := make([]int, len(w.asks))
	for i := range w.asks {
		needs[i] = w.asks[i].positions()
	}
	slices.Sort(needs)
	want := w.pages(needs)
	large := e.cache != nil && len(e.cache.pool.pages) >= e.cap(want)
	if large {
		done = e.cache.plant(w.asks)
	}
	if !large || e.cache.short() {
		if done, err = e.fresh(w.asks, last(needs), want); err != nil {
			return nil, nil, err
		}
	}
	b = &batcher{o: e.o, t: e.cache, passes: e.shape.Passes}
	b.collect()
	return b, done, nil
}

// short says that the longest path does not fit. A branch inside a page takes a page more than one between two.
func (t *trie) short() bool { return t.root.extra > len(t.pool.pages) }

// cap is n pages, or as many as the memory allows.
func (e *Engine) cap(n int) int {
	if e.o.Memory > 0 && e.shape.PositionBytes > 0 {
		n = int(min(int64(n), e.o.Memory/(e.shape.PositionBytes*int64(e.o.PageSize))))
	}
	if e.most > 0 {
		n = min(n, e.most)
	}
	return n
}

// fresh puts the requests into a new cache of as many pages as are wanted.
func (e *Engine) fresh(asks []ask, longest, want int) ([]*request, error) {
	grain := 1
	if e.o.NoSharing {
		grain = 0
	}
	if e.cache != nil {
		want = max(want, len(e.cache.pool.pages)*3/2) // seldom again
	}
	e.Close()
	planned := newTrie(0, e.o.PageSize, grain)
	done := planned.plant(asks)
	if want = max(want, planned.root.extra); e.keep {
		want += want/4 + 1 // for what later calls need again
	}
	pages, err := e.reserve(longest, want)
	if err != nil {
		return nil, err
	}
	planned.pool = newPool(pages, e.o.PageSize)
	if planned.short() { // branches between pages only: then the longest path is the longest request
		planned = newTrie(pages, e.o.PageSize, e.o.PageSize)
		done = planned.plant(asks)
	}
	e.cache = planned
	return done, nil
}

// plant makes the asks requests at nodes of the trie.
func (t *trie) plant(asks []ask) (done []*request) {
	for i := range asks {
		a := &asks[i]
		if a.gen == nil {
			t.claim(t.insert(a.tokens), &a.request, a.from-1)
			continue
		}
		// What is drawn goes into a node of its own, which begins with the last token of the prompt: it must be computed to draw from.
		own := len(a.tokens) - 1
		if t.grain > 0 {
			own -= own % t.grain
		} else {
			own = 0
		}
		n := t.add(t.insert(a.tokens[:own]), t.privateKey(), slices.Clone(a.tokens[own:]))
		n.gen = a.gen
		t.claim(n, &a.request, never)
	}
	t.refresh(&t.root)
	return t.lay()
}

// reserve makes the cache's memory: of as many pages as are wanted where there is so much, else of fewer, and at least of those that the
// longest request needs.
func (e *Engine) reserve(longest, want int) (int, error) {
	least := ceilDiv(longest, e.o.PageSize)
	pageBytes := e.shape.PositionBytes * int64(e.o.PageSize)
	if e.o.Memory > 0 && int64(least)*pageBytes > e.o.Memory {
		return 0, fmt.Errorf("a sequence of %d tokens needs %d bytes of cache, and %d bytes are given: lower max_seq_len or give more memory: %w",
			longest, int64(least)*pageBytes, e.o.Memory, ErrMemory)
	}
	pages := max(least, e.cap(want))
	for {
		err := e.run.Reserve(pages, e.o.PageSize)
		if err == nil {
			return pages, nil
		}
		if !errors.Is(err, ErrMemory) || pages == least {
			return 0, fmt.Errorf("making a cache of %d pages of %d positions (%d bytes): %w", pages, e.o.PageSize, int64(pages)*pageBytes, err)
		}
		pages = max(least, pages/2)
		e.most = pages
	}
}

// fullBatch is the pages of the requests of most positions, BatchSize of them for each pass under way. needs is sorted.
func (e *Engine) fullBatch(needs []int) (pages int) {
	for _, n := range needs[max(0, len(needs)-e.o.BatchSize*e.shape.Passes):] {
		pages += ceilDiv(n, e.o.PageSize)
	}
	return pages
}

// fullPass is the pages that scoring has a use for: those of the longest request, and of a pass more than are under way at once, so that
// prefixes outlive the pass that computes them.
func (e *Engine) fullPass(needs []int) int {
	pass := ceilDiv(e.o.TokenBudget, e.o.PageSize) + 2*min(e.o.BatchSize, len(needs)) // each may begin and end in a page filled in part
	return min(e.fullBatch(needs), ceilDiv(last(needs), e.o.PageSize)+(1+e.shape.Passes)*pass)
}
