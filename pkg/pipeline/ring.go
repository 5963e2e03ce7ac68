package pipeline

import (
	"fmt"

	"sextant/pkg/model"
)

// Pipeline is the whole of a model of which the first parts are this rank's, and the others are loaded by the other ranks (Opened). stages counts
// those of all ranks. Its Close is that of the host, too.
func (h *Host) Pipeline(parts []*model.Model, stages int) *Pipeline {
	p := &Pipeline{stages: stages, host: h, dead: h.dead}
	p.pending = make(chan *job, 2*p.Passes())
	p.tie(parts, h.down)
	p.ended.Go(func() { p.collect(h.up) })
	return p
}

// tie starts this rank's stages, whose jobs go on to the next rank while the next ones are computed.
func (p *Pipeline) tie(parts []*model.Model, down *link) {
	out := make(chan *job, p.Passes())
	p.ended.Go(func() { p.ship(down, out) })
	p.chain(parts, func(j *job) { out <- j }, func() { close(out) })
}

// ship sends jobs to the next rank, and outcomes from the last one to the first. An error is that of a rank that is gone: rank 0 says which.
func (p *Pipeline) ship(down *link, jobs <-chan *job) {
	for j := range jobs {
		c, hidden := parcel{Seq: j.seq, Order: j.order, LP: j.lp, IDs: j.ids, Err: toRemote(j.err)}, j.hidden
		if p.pending != nil {
			p.pending <- j // it is collect's from here on
		}
		err := down.send(c, hidden)
		p.recycle(hidden)
		if err != nil && p.host != nil {
			_ = p.host.lost(p.host.seats[0], err)
		}
	}
}

// take takes jobs from the rank before, on a rank that is not the first.
func (p *Pipeline) take(up *link) {
	defer close(p.in)
	for {
		var c parcel
		states, err := up.receive(&c, p.states(0)[:0])
		if err != nil {
			return
		}
		p.in <- &job{order: c.Order, seq: c.Seq, hidden: states, err: c.Err.err(), lp: c.LP, ids: c.IDs}
	}
}

// collect takes outcomes from the last rank.
func (p *Pipeline) collect(up *link) {
	last := p.host.seats[len(p.host.seats)-1]
	for {
		var c parcel
		if _, err := up.receive(&c, nil); err != nil {
			_ = p.host.lost(last, err)
			return
		}
		select {
		case j := <-p.pending:
			if c.Seq != j.seq {
				p.host.Fail(fmt.Errorf("internal error: %v gives the outcome of pass %d, and that of %d is next", last, c.Seq, j.seq))
				return
			}
			if j.lp, j.ids = c.LP, c.IDs; j.err == nil {
				j.err = c.Err.err()
			}
			close(j.done)
		case <-p.dead:
			return
		}
	}
}
