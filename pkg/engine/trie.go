package engine

import (
	"container/list"
	"encoding/binary"
	"math"
	"slices"
)

// trie holds token sequences, those with a common beginning on a common path, with the keys and values of the computed ones in the pages of
// a pool and what scoring found at their positions. A node that no request of the call under way needs is idle: it stays until its pages
// are needed, the longest unused first.
type trie struct {
	pool
	root  node
	idle  list.List // of *node; a child is always before its parent
	grain int       // branches lie at multiples of it; 0: nothing is shared
	made  uint64    // private nodes so far
}

// node is a run of tokens that all sequences through it have. It has pages once it is being computed.
type node struct {
	parent   *node
	key      string
	children map[string]*node
	start    int // position of its first token
	tokens   []int32
	pages    []int32 // from that of position start on; the first may be named by the parent too
	computed int     // tokens whose keys and values are in the pages
	private  bool    // nobody shares it
	gen      *generation
	idle     *list.Element

	// What scoring found: marks[i] is the prediction of tokens[i+1] at tokens[i], from known on; after those at the last token.
	marks []mark
	known int
	after map[int32]mark

	// Of the call under way.
	open  int        // requests that end here or below
	want  int        // the first position whose prediction one of them wants
	first int        // the number of the first of them
	ends  []*request // those that end here
	plan
}

// mark is the outcome of one prediction.
type mark struct {
	nll  float64
	best bool // the token was the most likely one
}

// request is one of a call's, at the node where its tokens end.
type request struct {
	index int
	node  *node
	from  int   // scoring: the first token whose prediction counts
	last  int32 // scoring: the token after the node's, which is only predicted
}

const never = math.MaxInt

func newTrie(pages, size, grain int) *trie { return &trie{pool: newPool(pages, size), grain: grain} }

// end is the position behind the node's last.
func (n *node) end() int { return n.start + len(n.tokens) }

func (n *node) left() int { return len(n.tokens) - n.computed }

// insert gives the node where tokens end, making it and splitting others as it must.
func (t *trie) insert(tokens []int32) *node {
	at := &t.root
	if t.grain == 0 && len(tokens) > 0 {
		return t.add(at, t.privateKey(), slices.Clone(tokens))
	}
	for len(tokens) > 0 {
		key := t.key(tokens)
		n := at.children[key]
		if n == nil {
			return t.add(at, key, slices.Clone(tokens))
		}
		l := common(n.tokens, tokens)
		if l < len(n.tokens) || l < len(tokens) {
			l -= l % t.grain
		}
		if l < len(n.tokens) {
			t.split(n, l)
		}
		at, tokens = n, tokens[l:]
	}
	return at
}

// key is what tells the children of a node apart: two whose first grain tokens are equal have a common beginning.
func (t *trie) key(tokens []int32) string {
	tokens = tokens[:min(t.grain, len(tokens))]
	b := make([]byte, 0, 4*len(tokens))
	for _, id := range tokens {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return string(b)
}

// privateKey is no other node's: keys of tokens have a multiple of four bytes.
func (t *trie) privateKey() string {
	t.made++
	return string(binary.LittleEndian.AppendUint64([]byte{0}, t.made))
}

func (t *trie) add(parent *node, key string, tokens []int32) *node {
	n := &node{parent: parent, key: key, start: parent.end(), tokens: tokens, private: len(key)%4 != 0}
	if parent.children == nil {
		parent.children = map[string]*node{}
	}
	parent.children[key] = n
	return n
}

// split cuts n behind its first l tokens, which n keeps; the rest becomes its only child.
func (t *trie) split(n *node, l int) {
	rest := *n
	rest.parent, rest.start, rest.tokens, rest.key = n, n.start+l, n.tokens[l:], t.key(n.tokens[l:])
	rest.computed, rest.known, rest.idle = max(0, n.computed-l), max(0, n.known-l), nil
	for _, c := range rest.children {
		c.parent = &rest
	}
	for _, r := range rest.ends {
		r.node = &rest
	}
	n.tokens, n.computed, n.ends, n.after = n.tokens[:l:l], min(n.computed, l), nil, nil
	n.children = map[string]*node{rest.key: &rest}
	if n.pages != nil {
		t.splitPages(n, &rest)
	}
	if n.marks != nil {
		if n.known < l {
			n.after = map[int32]mark{rest.tokens[0]: n.marks[l-1]}
		}
		rest.marks, n.marks, n.known = n.marks[l:], n.marks[:l-1:l-1], min(n.known, l-1)
	}
	if n.idle != nil {
		rest.idle = t.idle.InsertBefore(&rest, n.idle)
	}
}

func (t *trie) splitPages(n, rest *node) {
	all, first := n.pages, n.start/t.size
	cut := ceilDiv(rest.start, t.size) - first
	n.pages, rest.pages = all[:cut:cut], all[rest.start/t.size-first:]
	if rest.start%t.size != 0 {
		used := 1
		if n.idle != nil {
			used = 0
		}
		t.change(rest.pages[0], 1, used)
	}
}

// claim makes r a request of the call under way that ends at n and wants the predictions from position want on.
func (t *trie) claim(n *node, r *request, want int) {
	r.node = n
	n.ends = append(n.ends, r)
	for a := n; a != nil; a = a.parent {
		if a.open == 0 {
			a.want, a.first = never, r.index
			t.wake(a)
		}
		a.open++
		a.want, a.first = min(a.want, want), min(a.first, r.index)
	}
}

func (t *trie) wake(n *node) {
	if n.idle == nil {
		return
	}
	t.idle.Remove(n.idle)
	n.idle = nil
	for _, id := range n.pages {
		t.change(id, 0, 1)
	}
}

// unclaim undoes claim. A node that nobody needs any more goes idle, a private one goes.
func (t *trie) unclaim(r *request) {
	at := slices.Index(r.node.ends, r)
	r.node.ends = slices.Delete(r.node.ends, at, at+1)
	for a := r.node; a.parent != nil; a = a.parent {
		if a.open--; a.open > 0 {
			continue
		}
		a.ends, a.plan = nil, plan{}
		if a.private {
			t.remove(a)
			continue
		}
		a.idle = t.idle.PushBack(a)
		for _, id := range a.pages {
			t.change(id, 0, -1)
		}
	}
	t.root.open--
}

// release gives the pages of n back, and with them what was computed.
func (t *trie) release(n *node) {
	used := -1
	if n.idle != nil {
		used = 0
	}
	for _, id := range n.pages {
		t.change(id, -1, used)
	}
	if at := n.start % t.size; at > 0 && len(n.pages) > 0 && t.pages[n.pages[0]].nodes > 0 { // its parent's page
		t.pages[n.pages[0]].filled = at
	}
	n.pages, n.computed, n.marks, n.known, n.after = nil, 0, nil, 0, nil
}

// remove takes n out of the trie. It has no children.
func (t *trie) remove(n *node) {
	t.release(n)
	if n.idle != nil {
		t.idle.Remove(n.idle)
		n.idle = nil
	}
	delete(n.parent.children, n.key)
}

// forget makes n and all below it uncomputed. Idle ones are removed.
func (t *trie) forget(n *node) {
	for _, c := range n.children {
		t.forget(c)
	}
	if n.idle != nil {
		t.remove(n)
		return
	}
	t.release(n)
}

// take gives a page named by a node in use, at the cost of the longest unused nodes if it must. There must be one available.
func (t *trie) take() int32 {
	for len(t.free) == 0 {
		t.remove(t.idle.Front().Value.(*node))
	}
	id := t.pop()
	t.change(id, 1, 1)
	return id
}

func common(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
