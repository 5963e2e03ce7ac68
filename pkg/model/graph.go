package model

import (
	"errors"

	"sextant/kernels"
)

// mostGraphs is how many recorded passes a model keeps: those that were run last.
const mostGraphs = 32

// graphKey is what a recorded pass depends on beside the values of its batch. The cache is told by its address, which a live one alone has.
type graphKey struct {
	kv             *kernels.KV
	seqs, maxPages int
}

// decode is the pass of one new token for each of some sequences. The first time it runs as any other, which also warms up what kernels
// choose; the second time it is recorded.
type decode struct {
	graph *kernels.Graph
	batch *kernels.Batch // of the recording
	h     kernels.Tensor // what it gives
	used  int            // when it was run last
}

// graphs are the recorded passes. They hold for the tensors of the model's scratch.
type graphs struct {
	of   map[graphKey]*decode
	time int
	off  bool // the device records nothing
}

func (g *graphs) drop() {
	for key, d := range g.of {
		d.free()
		delete(g.of, key)
	}
}

func (d *decode) free() {
	if d.graph != nil {
		d.graph.Free()
	}
	if d.batch != nil {
		d.batch.Free()
	}
	d.graph, d.batch = nil, nil
}

// find gives the entry of a key, and whether it was there. A new one takes the place of that which was not run for longest.
func (g *graphs) find(key graphKey) (d *decode, found bool) {
	g.time++
	if d = g.of[key]; d != nil {
		d.used = g.time
		return d, true
	}
	if len(g.of) == mostGraphs {
		var oldest graphKey
		for k, d := range g.of {
			if o := g.of[oldest]; o == nil || d.used < o.used {
				oldest = k
			}
		}
		g.of[oldest].free()
		delete(g.of, oldest)
	}
	if g.of == nil {
		g.of = map[graphKey]*decode{}
	}
	d = &decode{used: g.time}
	g.of[key] = d
	return d, false
}

// decodes tells whether b has one new token of each sequence, all of them wanted.
func (b *Batch) decodes() bool {
	if len(b.Desc.KVLen) == 0 || len(b.Tokens) != len(b.Desc.KVLen) || len(b.Out) != len(b.Tokens) {
		return false
	}
	for i, at := range b.Desc.QStart {
		if int(at) != i {
			return false
		}
	}
	return true
}

// widened is the layout with room for a power of two of pages, so that sequences may grow for long in one recording.
func widened(d kernels.BatchDesc) kernels.BatchDesc {
	most := scratchRows(d.MaxPages)
	if most == d.MaxPages || d.MaxPages == 0 {
		return d
	}
	pages := make([]int32, len(d.KVLen)*most)
	for i := range d.KVLen {
		copy(pages[i*most:], d.Pages[i*d.MaxPages:(i+1)*d.MaxPages])
	}
	d.Pages, d.MaxPages = pages, most
	return d
}

// replay runs a decoding pass from a recording, or makes one. Not done: the pass is to be run as any other.
func (m *Model) replay(kv *kernels.KV, b Batch) (h kernels.Tensor, done bool, err error) {
	if m.graphs.off || kv == nil || !b.decodes() || len(b.Desc.Pages) != len(b.Desc.KVLen)*b.Desc.MaxPages {
		return h, false, nil
	}
	desc := widened(b.Desc)
	d, found := m.graphs.find(graphKey{kv, len(desc.KVLen), desc.MaxPages})
	if !found {
		return h, false, nil
	}
	if d.graph != nil {
		err = m.stream.SetBatch(d.batch, desc)
	} else if err = m.record(d, kv, desc, len(b.Tokens)); errors.Is(err, kernels.ErrUnsupported) {
		m.graphs.drop()
		m.graphs.off = true
		return h, false, nil
	}
	if err == nil {
		err = d.graph.Run()
	}
	return d.h, true, err
}

func (m *Model) record(d *decode, kv *kernels.KV, desc kernels.BatchDesc, tokens int) error {
	batch, err := m.stream.NewBatch(desc)
	if err != nil {
		return err
	}
	graph, err := m.stream.Record(func() (err error) {
		d.h, err = m.run(kv, batch, tokens, nil)
		return err
	})
	if err != nil {
		batch.Free()
		return err
	}
	d.graph, d.batch = graph, batch
	return nil
}

// tokensOf are never nil, which would say that the batch has none.
func tokensOf(b Batch) []int32 {
	if b.Tokens == nil {
		return []int32{}
	}
	return b.Tokens
}
