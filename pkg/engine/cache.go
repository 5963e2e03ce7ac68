package engine

import (
	"container/list"
	"encoding/binary"
)

// cache hands out the pages of the key-value cache. A page is free, or held by one sequence alone (its last, partly filled page and what it
// generates), or belongs to a node of the trie: a full page of prompt tokens that any sequence with that prefix may hold together with
// all pages before it. A node that no sequence holds stays until its page is needed, the longest unused first.
type cache struct {
	size int       // positions a page
	free []int32   // a stack
	idle list.List // of *node: those nobody holds; a child is always before its parent
	root node
}

// node is a full page of prompt tokens after the pages of its parents.
type node struct {
	page     int32
	parent   *node
	key      string // its tokens, four bytes each
	children map[string]*node
	holders  int
	ready    bool // the keys and values are computed
	idle     *list.Element
	// What scoring found at the page's positions. inner[j] is the prediction, at position j, of the page's own token j+1; after holds the
	// predictions, at its last position, of the tokens that followed so far.
	inner []mark
	after map[int32]mark
}

// mark is the outcome of one prediction.
type mark struct {
	nll   float64
	best  bool // the token was the most likely one
	known bool
}

func newCache(pages, size int) *cache {
	c := &cache{size: size, free: make([]int32, pages)}
	for i := range c.free {
		c.free[i] = int32(pages - 1 - i)
	}
	return c
}

// available counts the pages that take can give.
func (c *cache) available() int { return len(c.free) + c.idle.Len() }

// take gives a page, dropping the longest unused node if it must.
func (c *cache) take() (int32, bool) {
	if n := len(c.free); n > 0 {
		p := c.free[n-1]
		c.free = c.free[:n-1]
		return p, true
	}
	front := c.idle.Front()
	if front == nil {
		return 0, false
	}
	n := c.idle.Remove(front).(*node)
	delete(n.parent.children, n.key)
	return n.page, true
}

func (c *cache) give(page int32) { c.free = append(c.free, page) }

func (c *cache) hold(nodes []*node) {
	for _, n := range nodes {
		if n.holders == 0 && n.idle != nil {
			c.idle.Remove(n.idle)
			n.idle = nil
		}
		n.holders++
	}
}

// drop undoes hold, the last page first, so that a child goes idle before its parent. A page that was never computed is of no use to
// anyone and is freed at once.
func (c *cache) drop(nodes []*node) {
	for i := len(nodes) - 1; i >= 0; i-- {
		n := nodes[i]
		if n.holders--; n.holders > 0 {
			continue
		}
		if n.ready {
			n.idle = c.idle.PushBack(n)
			continue
		}
		delete(n.parent.children, n.key)
		c.give(n.page)
	}
}

// add puts a new node for the tokens of one page under parent. It gives nil when parent has that child already.
func (c *cache) add(parent *node, tokens []int32, page int32) *node {
	key := pageKey(tokens)
	if parent.children[key] != nil {
		return nil
	}
	n := &node{page: page, parent: parent, key: key, holders: 1, inner: make([]mark, c.size-1)}
	if parent.children == nil {
		parent.children = map[string]*node{}
	}
	parent.children[key] = n
	return n
}

// find gives the nodes that s can begin with: computed ones whose predictions, where s wants them, are known. pending says that the next
// one is being computed for another sequence, so that s should wait for it.
func (c *cache) find(s *sequence) (path []*node, pending bool) {
	usable := s.reusable() / c.size
	at := &c.root
	for i := range usable {
		n := at.children[pageKey(s.tokens[i*c.size:(i+1)*c.size])]
		if n == nil {
			break
		}
		if !n.ready {
			return path, true
		}
		if !n.knows(s, i*c.size) {
			break
		}
		path = append(path, n)
		at = n
	}
	return path, false
}

// knows says whether every prediction that s wants from the page's positions, the first of them at start, is known.
func (n *node) knows(s *sequence, start int) bool {
	for j := max(0, s.wanted()-start); j <= len(n.inner); j++ {
		if !n.mark(j, s.all[start+j+1]).known {
			return false
		}
	}
	return true
}

func (n *node) mark(j int, next int32) mark {
	if j < len(n.inner) {
		return n.inner[j]
	}
	return n.after[next]
}

func (n *node) setMark(j int, next int32, m mark) {
	if j < len(n.inner) {
		n.inner[j] = m
		return
	}
	if n.after == nil {
		n.after = map[int32]mark{}
	}
	n.after[next] = m
}

// admit gives s its pages for the tokens it has: shared ones as far as they go, then new ones. ok is false when there are too few pages,
// keeping spare ones aside, or when s should wait for a prefix that is being computed (pending).
func (c *cache) admit(s *sequence, spare int) (ok, pending bool) {
	nodes, pending := c.find(s)
	if pending {
		return false, true
	}
	total := ceilDiv(len(s.tokens), c.size)
	c.hold(nodes)
	if c.available() < total-len(nodes)+spare {
		c.drop(nodes)
		return false, false
	}
	s.inherit(nodes, c.size)
	parent := &c.root
	if len(nodes) > 0 {
		parent = nodes[len(nodes)-1]
	}
	for i := len(nodes); i < total; i++ {
		page, _ := c.take()
		s.table = append(s.table, page)
		if parent == nil || (i+1)*c.size > len(s.tokens) {
			continue
		}
		if parent = c.add(parent, s.tokens[i*c.size:(i+1)*c.size], page); parent != nil {
			s.nodes = append(s.nodes, parent)
		}
	}
	return true, false
}

// grow gives s pages for all of its tokens, if there are any left.
func (c *cache) grow(s *sequence) bool {
	for len(s.table)*c.size < len(s.tokens) {
		page, ok := c.take()
		if !ok {
			return false
		}
		s.table = append(s.table, page)
	}
	return true
}

// release takes back all pages of s.
func (c *cache) release(s *sequence) {
	for _, page := range s.table[len(s.nodes):] {
		c.give(page)
	}
	c.drop(s.nodes)
	s.nodes, s.table, s.computed = nil, nil, 0
}

func pageKey(tokens []int32) string {
	b := make([]byte, 0, 4*len(tokens))
	for _, t := range tokens {
		b = binary.LittleEndian.AppendUint32(b, uint32(t))
	}
	return string(b)
}
