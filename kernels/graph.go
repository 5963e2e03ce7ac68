//go:build cgo

package kernels

/*
#include "shim.h"

#cgo noescape shim_graph_end
#cgo nocallback shim_graph_end
*/
import "C"

// Graph is a recording of operations on a stream.
type Graph struct {
	h    *handle
	p    *C.sx_graph
	s    *Stream
	uses map[*handle]struct{} // must be there when it is run
}

// owner is what operations work on: its life is a handle's.
type owner interface{ owned() *handle }

func (b *Buffer) owned() *handle {
	if b == nil {
		return nil
	}
	return b.h
}

func (w *Weight) owned() *handle {
	if w == nil {
		return nil
	}
	return w.h
}

func (kv *KV) owned() *handle {
	if kv == nil {
		return nil
	}
	return kv.h
}

func (b *Batch) owned() *handle {
	if b == nil {
		return nil
	}
	return b.h
}

// Record records what f gives to the stream instead of carrying it out: MatMul, RMSNorm, Add, SwiGLU, RopeKV, Attention, KVCopy,
// EmbedBatch, ColStats, Hessian and Round, but nothing that takes an array of the host's or gives one. Run carries it out with the values that
// tensors, caches and batches have then. Until Record returns nothing else may be made on, freed on or given to the device. ErrUnsupported
// where a launch costs nothing that could be saved. f's error is returned as it is.
func (s *Stream) Record(f func() error) (*Graph, error) {
	if err := s.call("record", func(c C.shim) C.sx_status { return C.shim_graph_begin(c) }); err != nil {
		return nil, err
	}
	g := &Graph{s: s, uses: map[*handle]struct{}{}}
	s.rec = g
	whole := false
	defer func() { // after a panic, too: the device must not go on recording
		if !whole {
			_ = g.end()
			g.Free()
		}
	}()
	if err := f(); err != nil {
		return nil, err
	}
	whole = true
	if err := g.end(); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Graph) end() error {
	g.s.rec = nil
	return g.s.call("record", func(c C.shim) C.sx_status {
		status := C.shim_graph_end(c, &g.p)
		if status == C.SX_OK {
			g.h = g.s.dev.keep(func(c C.shim) { C.shim_graph_free(c, g.p); g.p = nil })
		}
		return status
	})
}

// note remembers what a recorded operation works on.
func (s *Stream) note(of ...owner) {
	if s == nil || s.rec == nil {
		return
	}
	for _, o := range of {
		if h := o.owned(); h != nil {
			s.rec.uses[h] = struct{}{}
		}
	}
}

// Run carries the recording out, on its stream. It is refused when something that it uses was freed.
func (g *Graph) Run() error {
	if g == nil {
		return invalid("graph", "no graph")
	}
	if !g.whole() {
		return invalid("graph", "a tensor, weight, cache or batch that was recorded is freed")
	}
	return g.s.call("graph", func(c C.shim) C.sx_status { return C.shim_graph_run(c, g.p) })
}

func (g *Graph) whole() bool {
	g.s.dev.mu.Lock()
	defer g.s.dev.mu.Unlock()
	if g.s.dev.dev == nil {
		return true // that the device is closed is the better answer
	}
	for h := range g.uses {
		if h.free == nil {
			return false
		}
	}
	return true
}

// Free releases the recording.
func (g *Graph) Free() { g.h.release() }
