package tokenizer

import "sync"

// symbol is a stretch of text during byte-pair merging; the symbols of a word form a linked list.
type symbol struct {
	start, len int32 // bytes of the text; len 0 marks a symbol merged into its left neighbour
	prev, next int32 // neighbours, -1 at the ends
	id         int32 // vocabulary id, or noID
	frozen     bool  // never merged (a user-defined symbol)
}

const noID = -1

// candidate is a pair of neighbouring symbols that may be merged.
type candidate struct {
	rank        int32 // lower is merged earlier
	left, right int32 // symbol indexes
	size        int32 // bytes of both; differs from the symbols' own once either has changed
	id          int32 // id of the merged symbol
}

// pairRanker says whether two neighbouring symbols merge, how early, and into which id.
type pairRanker interface {
	rankPair(text string, left, right *symbol) (rank, id int32, ok bool)
}

// merger runs byte-pair merging: always the pair of lowest rank, the leftmost among equals, until none is left.
// Pairs wait in a binary heap, so that a word of n symbols costs O(n log n), however long.
type merger struct {
	syms []symbol
	heap []candidate
}

var mergers = sync.Pool{New: func() any { return new(merger) }}

func newMerger() *merger { return mergers.Get().(*merger) }

func (m *merger) free() {
	const keep = 1 << 16 // symbols; what one huge text needed is not kept for all the small ones
	if cap(m.syms) <= keep {
		mergers.Put(m)
	}
}

func (m *merger) reset() { m.syms = m.syms[:0] }

func (m *merger) add(s symbol) {
	n := int32(len(m.syms))
	s.prev, s.next = n-1, -1
	if n > 0 {
		m.syms[n-1].next = n
	}
	m.syms = append(m.syms, s)
}

// run merges the symbols added since reset. What remains is walked from symbol 0 along next.
func (m *merger) run(text string, r pairRanker) {
	m.heap = m.heap[:0]
	for i := 1; i < len(m.syms); i++ {
		m.consider(text, r, int32(i-1), int32(i))
	}
	for len(m.heap) > 0 {
		c := m.pop()
		left, right := &m.syms[c.left], &m.syms[c.right]
		if left.len == 0 || right.len == 0 || left.len+right.len != c.size {
			continue // a neighbour was merged since
		}
		left.len, left.id, left.next = c.size, c.id, right.next
		if right.next >= 0 {
			m.syms[right.next].prev = c.left
		}
		right.len = 0
		m.consider(text, r, left.prev, c.left)
		m.consider(text, r, c.left, left.next)
	}
}

func (m *merger) consider(text string, r pairRanker, left, right int32) {
	if left < 0 || right < 0 {
		return
	}
	a, b := &m.syms[left], &m.syms[right]
	if a.frozen || b.frozen {
		return
	}
	if rank, id, ok := r.rankPair(text, a, b); ok {
		m.push(candidate{rank: rank, left: left, right: right, size: a.len + b.len, id: id})
	}
}

func (c *candidate) before(d *candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.left < d.left
}

func (m *merger) push(c candidate) {
	m.heap = append(m.heap, c)
	i := len(m.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !c.before(&m.heap[up]) {
			break
		}
		m.heap[i] = m.heap[up]
		i = up
	}
	m.heap[i] = c
}

func (m *merger) pop() candidate {
	h := m.heap
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	m.heap = h
	i := 0
	for {
		kid := 2*i + 1
		if kid >= len(h) {
			break
		}
		if kid+1 < len(h) && h[kid+1].before(&h[kid]) {
			kid++
		}
		if !h[kid].before(&last) {
			break
		}
		h[i] = h[kid]
		i = kid
	}
	if len(h) > 0 {
		h[i] = last
	}
	return top
}
