package engine

import (
	"cmp"
	"slices"
)

// plan is what is decided of a node for one call.
type plan struct {
	kids  []*node // the children that are needed, in the order of their first requests
	order int     // place in a walk down these
	extra int     // the most pages that a path below it takes beside those of the path to it
}

// need is the pages n takes beside those of the path to it, if it has its own copy of a page that it begins in: the first to go on there
// needs none.
func (n *node) need(size int) int {
	if len(n.tokens) == 0 {
		return 0
	}
	return ceilDiv(n.end(), size) - n.start/size
}

// lay plans the nodes that are needed from n down, and gives the requests that end at nodes computed already.
func (t *trie) lay() (done []*request) {
	order := 0
	var walk func(n *node)
	walk = func(n *node) {
		n.order, n.kids, n.extra = order, nil, 0
		order++
		if n.gen != nil {
			n.extra = ceilDiv(n.gen.most(), t.size) - ceilDiv(n.end(), t.size)
		} else if n.left() == 0 {
			done = append(done, n.ends...)
		}
		for _, c := range n.children {
			if c.open > 0 {
				n.kids = append(n.kids, c)
			}
		}
		slices.SortFunc(n.kids, func(a, b *node) int { return cmp.Compare(a.first, b.first) })
		for i, c := range n.kids {
			walk(c)
			need := c.need(t.size)
			if i == 0 && t.goesOn(c) {
				need--
			}
			n.extra = max(n.extra, need+c.extra)
		}
	}
	walk(&t.root)
	return done
}

// waiting are the children of n to be computed. Others are done: a node that had to give way is computed again for the rest alone.
func (n *node) waiting() []*node {
	done := func(c *node) bool { return c.open == 0 }
	if slices.ContainsFunc(n.kids, done) {
		n.kids = slices.DeleteFunc(n.kids, done)
	}
	return n.kids
}

// refresh makes nodes uncomputed from the first position on whose prediction is wanted and not known. Nothing is running yet.
func (t *trie) refresh(n *node) {
	if n.open == 0 || n.left() > 0 {
		return
	}
	if lacks := n.lacks(); lacks < len(n.tokens) {
		if lacks -= lacks % max(t.grain, 1); lacks > 0 {
			t.split(n, lacks)
			for _, c := range n.children {
				n = c
			}
		}
		t.forget(n)
		return
	}
	for _, c := range n.children {
		t.refresh(c)
	}
}

// lacks is the first token of n at which a wanted prediction is not known; as many as there are tokens: none.
func (n *node) lacks() int {
	all := len(n.tokens)
	want := max(0, n.want-n.start)
	switch {
	case all == 0 || n.want == never:
		return all
	case want < all-1 && (n.marks == nil || want < n.known):
		return want
	}
	for _, id := range n.nexts() {
		if _, ok := n.after[id]; !ok {
			return all - 1
		}
	}
	return all
}

// nexts are the tokens whose prediction at the last of n is wanted, ascending.
func (n *node) nexts() (ids []int32) {
	for _, c := range n.children {
		if c.open > 0 && c.want < n.end() {
			ids = append(ids, c.tokens[0])
		}
	}
	for _, r := range n.ends {
		if r.from > 0 {
			ids = append(ids, r.last)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// batcher decides which nodes are worked on and how much of each goes into a pass.
type batcher struct {
	o       Options
	t       *trie
	ready   []*node // to be computed, what comes before each is; the next one last
	active  []*node // generations, each with one token to be computed, that are in no pass
	drawing int     // generations that passes under way draw a token for
	passes  int     // that are to be under way at once
	opened  []*node // nodes in use that have pages
	reserve int     // pages to leave, so that any of opened can be brought to its end
	copies  []Copy  // to be made before the pass under way
}

func (b *batcher) done() bool { return len(b.ready) == 0 && len(b.active) == 0 }

// collect finds the nodes that are ready, and those that have pages.
func (b *batcher) collect() {
	b.ready, b.opened = b.ready[:0], b.opened[:0]
	b.gather(&b.t.root)
	slices.Reverse(b.ready)
}

func (b *batcher) gather(n *node) {
	for _, c := range n.kids {
		if c.open == 0 {
			continue
		}
		if len(c.pages) > 0 {
			b.opened = append(b.opened, c)
		}
		if c.left() > 0 {
			b.ready = append(b.ready, c)
			continue
		}
		b.gather(c)
	}
}

// push puts nodes, ascending and one behind another in the order, among those that are ready.
func (b *batcher) push(nodes []*node) {
	if len(nodes) == 0 {
		return
	}
	at, _ := slices.BinarySearchFunc(b.ready, nodes[0], func(a, n *node) int { return cmp.Compare(n.order, a.order) })
	nodes = slices.Clone(nodes)
	slices.Reverse(nodes)
	b.ready = slices.Insert(b.ready, at, nodes...)
}

// survey forgets opened nodes that are no longer, and finds the reserve.
func (b *batcher) survey() {
	b.reserve = 0
	b.opened = slices.DeleteFunc(b.opened, func(n *node) bool { return n.open == 0 || len(n.pages) == 0 })
	for _, n := range b.opened {
		b.reserve = max(b.reserve, n.extra)
	}
}

// leave is how many pages must stay when n gets its own, so that n and any of opened can be brought to its end. The first sequence of a pass
// beside which there is none is what they are left for.
func (b *batcher) leave(l *layout, n *node) int {
	if len(l.strands) == 0 && l.first {
		return 0
	}
	leave := max(b.reserve, n.extra)
	if n.gen != nil {
		leave += l.drawing // each of them will soon want one
	}
	return leave
}

// admit gives n pages for its tokens if then at least leave are available. Its parent is computed, or will be in the same pass and strand.
func (b *batcher) admit(n *node, leave int) bool {
	t, inPlace := b.t, b.t.inPlace(n)
	if t.available() < b.count(n)+leave {
		return false
	}
	b.reserve = max(b.reserve, n.extra)
	b.opened = append(b.opened, n)
	if at := n.start % t.size; at > 0 {
		tail := last(n.parent.pages)
		if inPlace {
			t.change(tail, 1, 1)
			n.pages = append(n.pages, tail)
		} else {
			n.pages = append(n.pages, t.take())
			b.copies = append(b.copies, Copy{Dst: int(n.pages[0]), Src: int(tail), Positions: at})
		}
	}
	b.fill(n)
	return true
}

// count is how many pages admit takes for n.
func (b *batcher) count(n *node) int {
	if b.t.inPlace(n) {
		return n.need(b.t.size) - 1
	}
	return n.need(b.t.size)
}

// inPlace says whether n may go on in the last page of its parent.
func (t *trie) inPlace(n *node) bool {
	at := n.start % t.size
	return at > 0 && t.pages[last(n.parent.pages)].filled == at
}

// goesOn says whether n, the first of its parent's children, goes on in its parent's last page or will.
func (t *trie) goesOn(n *node) bool {
	switch {
	case n.start%t.size == 0:
		return false
	case len(n.pages) > 0:
		return n.pages[0] == last(n.parent.pages)
	}
	return n.parent.left() > 0 || t.inPlace(n)
}

// fill gives n pages up to the end of its tokens; they are there.
func (b *batcher) fill(n *node) {
	for have := n.start/b.t.size + len(n.pages); have*b.t.size < n.end(); have++ {
		if len(n.pages) > 0 {
			b.t.pages[last(n.pages)].filled = b.t.size
		}
		n.pages = append(n.pages, b.t.take())
	}
	b.t.pages[last(n.pages)].filled = n.end() - (n.end()-1)/b.t.size*b.t.size
}

// reclaim makes other nodes uncomputed, those of the latest requests first, until there are pages for n. They are computed again in their
// turn, with the same outcome.
func (b *batcher) reclaim(n *node) {
	if b.t.available() >= b.count(n) {
		return
	}
	above := map[*node]bool{}
	for a := n; a != nil; a = a.parent {
		above[a] = true
	}
	slices.SortFunc(b.opened, func(x, y *node) int { return cmp.Compare(x.order, y.order) })
	for i := len(b.opened) - 1; i >= 0 && b.t.available() < b.count(n); i-- {
		if o := b.opened[i]; !above[o] && o.open > 0 {
			b.t.forget(o)
		}
	}
	b.collect()
	b.survey()
}

// grow makes sure that every active generation has a page for its next token. When there are none left, the latest one goes back to wait;
// its tokens are kept and are computed again later, with the same outcome. That is for when all of them are active: else it gives false.
func (b *batcher) grow(all bool) bool {
	for i := 0; i < len(b.active); i++ {
		n := b.active[i]
		for (n.start/b.t.size+len(n.pages))*b.t.size < n.end() {
			if b.t.available() > 0 {
				b.fill(n)
				continue
			}
			if !all {
				return false
			}
			loser := slices.MaxFunc(b.active, func(x, y *node) int { return cmp.Compare(x.order, y.order) })
			at := slices.Index(b.active, loser)
			b.t.release(loser)
			b.active = slices.Delete(b.active, at, at+1)
			b.push([]*node{loser})
			if at <= i {
				i--
			}
			if loser == n {
				break
			}
		}
	}
	return true
}

func last[T any](s []T) T { return s[len(s)-1] }
