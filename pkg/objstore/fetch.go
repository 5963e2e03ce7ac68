package objstore

import (
	"context"
	"slices"
)

// span is blocks [from, to) of an object.
type span struct {
	o        *Object
	from, to int
}

// partBlocks is how many blocks a request asks for, at most: 8 MiB. Parts begin at multiples of it, so that processes ask for the same ones.
const partBlocks = 8 << 20 / blockSize

// queue is what is to be fetched. It is guarded by the store's lock.
type queue struct {
	urgent, later []span
	running       int           // goroutines that fetch
	changed       chan struct{} // closed, and made anew, whenever blocks have come
}

// enqueue has a span fetched.
func (s *Store) enqueue(p span, urgent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(p, urgent)
}

func (s *Store) add(p span, urgent bool) {
	if s.ctx.Err() != nil {
		return
	}
	if urgent {
		s.q.urgent = append(s.q.urgent, p)
	} else {
		s.q.later = append(s.q.later, p)
	}
	for range min(connections-s.q.running, (p.to-p.from+partBlocks-1)/partBlocks) {
		s.q.running++
		s.work.Go(s.fetcher)
	}
}

// ask puts what is missing first, but for what is under way. It gives a channel that is closed when something has come.
func (s *Store) ask(o *Object, missing []span) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.err != nil {
		return nil, o.err
	}
	if s.ctx.Err() != nil {
		return nil, context.Cause(s.ctx)
	}
	for _, m := range missing {
		for from := m.from; from < m.to; { // one part may be on its way, and others not
			to := min(m.to, (from/partBlocks+1)*partBlocks)
			if o.idle(from, to) {
				s.add(span{o, from, to}, true)
			}
			from = to
		}
	}
	return s.q.changed, nil
}

// idle tells whether this process fetches none of the blocks [from, to), nor has them in its urgent queue.
func (o *Object) idle(from, to int) bool {
	for i := from; i < to; i++ {
		if o.busy[i] {
			return false
		}
	}
	for _, p := range o.s.q.urgent {
		if p.o == o && p.from < to && from < p.to {
			return false
		}
	}
	return true
}

// fetcher fetches parts until there are none.
func (s *Store) fetcher() {
	buf := make([]byte, step)
	for {
		p, ok := s.next()
		if !ok {
			return
		}
		var err error
		mine := p.o.e.claim(p.from, p.to)
		if mine {
			if missing := p.trim(); missing.from < missing.to { // another process may have put them
				err = p.o.fetch(p.o.ctx, missing.from, missing.to, buf)
			}
			p.o.e.letGo(p.from, p.to)
		}
		s.done(p, mine, err)
	}
}

// trim leaves out what is there at both ends.
func (p span) trim() span {
	for p.from < p.to && p.o.e.has(p.from) {
		p.from++
	}
	for p.from < p.to && p.o.e.has(p.to-1) {
		p.to--
	}
	return p
}

// next takes a part off the queue; false: there is none, and the goroutine is to end.
func (s *Store) next() (span, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range []*[]span{&s.q.urgent, &s.q.later} {
		for len(*list) > 0 && s.ctx.Err() == nil {
			first := &(*list)[0]
			p, ok := first.part()
			if !ok {
				*list = (*list)[1:]
				continue
			}
			for i := p.from; i < p.to; i++ {
				p.o.busy[i] = true
			}
			return p, true
		}
	}
	s.q.running--
	return span{}, false
}

// part takes the first part off a span that is not there and that nobody here fetches.
func (p *span) part() (span, bool) {
	if p.o.err != nil || p.o.closed {
		return span{}, false
	}
	for p.from < p.to && (p.o.busy[p.from] || p.o.e.has(p.from)) {
		p.from++
	}
	end := min(p.to, (p.from/partBlocks+1)*partBlocks)
	got := span{p.o, p.from, p.from}
	for got.to < end && !p.o.busy[got.to] && !p.o.e.has(got.to) {
		got.to++
	}
	p.from = got.to
	return got, got.from < got.to
}

// done says that a part is no longer fetched, well or not, or that it is not mine to fetch: another process is at it. Who waits for that looks
// again in a while, by itself.
func (s *Store) done(p span, mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := p.from; i < p.to; i++ {
		p.o.busy[i] = false
	}
	if err != nil && p.o.err == nil {
		p.o.err = err
	}
	if mine || p.o.closed {
		s.wake()
	}
}

// wake tells those that wait that something has changed.
func (s *Store) wake() {
	close(s.q.changed)
	s.q.changed = make(chan struct{})
}

// came counts bytes that were fetched, and tells those that wait for them.
func (s *Store) came(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched += n
	s.wake()
}

// forget ends what is fetched of an object, and waits for that.
func (s *Store) forget(o *Object) {
	o.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for o.closed = true; slices.Contains(o.busy, true); {
		changed := s.q.changed
		s.mu.Unlock()
		<-changed
		s.mu.Lock()
	}
}
