package engine

// pool hands out the pages of the key-value cache. A page is named by the nodes of the trie that have positions in it: mostly one, more
// where a node goes on in the page that another one filled in part. A page that only idle nodes name is spare: it can be had at their cost.
type pool struct {
	size  int // positions a page
	pages []page
	free  []int32 // a stack
	spare int
}

type page struct {
	nodes  int // that name it
	used   int // of them those that are not idle
	filled int // slots that have an owner, from the first on
}

func newPool(pages, size int) pool {
	p := pool{size: size, pages: make([]page, pages), free: make([]int32, pages)}
	for i := range p.free {
		p.free[i] = int32(pages - 1 - i)
	}
	return p
}

// available counts the pages that nobody uses.
func (p *pool) available() int { return len(p.free) + p.spare }

// change notes that so many more nodes name a page, and so many more of them are in use. A page that no node names any more is free.
func (p *pool) change(id int32, nodes, used int) {
	g := &p.pages[id]
	if g.spare() {
		p.spare--
	}
	g.nodes, g.used = g.nodes+nodes, g.used+used
	if g.spare() {
		p.spare++
	}
	if g.nodes == 0 {
		g.filled = 0
		p.free = append(p.free, id)
	}
}

func (g *page) spare() bool { return g.nodes > 0 && g.used == 0 }

// pop gives a free page, which the caller names.
func (p *pool) pop() int32 {
	id := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return id
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
