package bench

import (
	"context"
	"fmt"
	"math"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/engine"
)

// attender runs attention alone, in one layer: `fresh` new tokens of each of some sequences that have `past` others.
type attender struct {
	dev               *kernels.Device
	cfg               *checkpoint.Config
	dtype             kernels.DType // where the device has narrow activations
	seqs, past, fresh int
	times             int // in a run

	st    *kernels.Stream
	args  kernels.AttentionArgs
	frees []func() // nil: not set up
}

// prompts is the attention of prompts of n tokens.
func (p *planner) prompts(name string, n int) work {
	a := attender{seqs: max(1, attending/n), fresh: n}
	return p.attend(name, fmt.Sprintf("attention alone, one layer: %d prompts of %d tokens", a.seqs, n), a)
}

// looksBack is the attention of 64 sequences that are continued.
func (p *planner) looksBack(name string) work {
	a := attender{seqs: 64, past: looking - 1, fresh: 1}
	return p.attend(name, fmt.Sprintf("attention alone, one layer: a token each of %d sequences, %d positions", a.seqs, looking), a)
}

func (p *planner) attend(name, what string, a attender) work {
	a.dev, a.cfg, a.dtype, a.times = p.dev, p.cfg, arithmetic(p.m.dtype), 1
	if p.many {
		a.times = manyTimes
	}
	n := float64(a.seqs * a.times)
	seen, held := span{a.past, a.past + a.fresh}.seen(0)
	return work{name: name, what: what, unit: "tokens", units: a.seqs * a.fresh * a.times, needs: a.past + a.fresh,
		cost: cost{p.m.mix * seen * n, p.m.cachedBytes * held * n}, run: a.run, warm: a.run, close: a.close}
}

// manyTimes makes what a GPU does much longer than being told of it and telling that it is done.
const manyTimes = 32

// run attends.
func (a *attender) run(context.Context, *engine.Engine) error {
	if a.frees == nil {
		if err := a.open(); err != nil {
			return err
		}
	}
	for range a.times {
		if err := a.st.Attention(a.args); err != nil {
			return err
		}
	}
	return a.st.Sync()
}

func (a *attender) close() {
	for _, free := range a.frees {
		free()
	}
	a.frees = nil
}

// pages is how many a sequence has.
func (a *attender) pages() int { return (a.past + a.fresh + engine.UsualPage - 1) / engine.UsualPage }

// open makes the cache with random keys and values, and the queries.
func (a *attender) open() error {
	info, err := a.dev.Info()
	if err != nil {
		return err
	}
	if !info.Narrow {
		a.dtype = kernels.F32
	}
	if a.st, err = a.dev.NewStream(); err != nil {
		return err
	}
	a.frees = append(a.frees, a.st.Free)
	c, n := a.cfg, a.past+a.fresh
	kv, err := a.dev.NewKV(kernels.KVDesc{Layers: 1, KVHeads: c.KVHeads, HeadDim: c.HeadDim, PageSize: engine.UsualPage,
		Pages: a.seqs * a.pages(), DType: a.dtype})
	if err != nil {
		return err
	}
	a.frees = append(a.frees, kv.Free)
	if err := a.fill(kv, n); err != nil {
		return err
	}
	q, err := a.tensor(a.seqs*a.fresh, c.Heads*c.HeadDim, a.dtype, true)
	if err != nil {
		return err
	}
	out, err := a.tensor(a.seqs*a.fresh, c.Heads*c.HeadDim, a.dtype, false)
	if err != nil {
		return err
	}
	b, err := a.batch(0, a.seqs, a.fresh)
	a.args = kernels.AttentionArgs{Out: out, Q: q, KV: kv, Batch: b, Heads: c.Heads, Scale: float32(1 / math.Sqrt(float64(c.HeadDim)))}
	return err
}

// fill writes n positions of each sequence, the same of all.
func (a *attender) fill(kv *kernels.KV, n int) error {
	c := a.cfg
	table, err := a.tensor(n, c.HeadDim, kernels.F32, false)
	if err != nil {
		return err
	}
	turn := make([]float32, n*c.HeadDim) // by nothing: cosines of 1, sines of 0
	for i := range turn {
		if i%c.HeadDim < c.HeadDim/2 {
			turn[i] = 1
		}
	}
	var t [3]kernels.Tensor
	for i, cols := range []int{c.Heads * c.HeadDim, c.KVHeads * c.HeadDim, c.KVHeads * c.HeadDim} {
		if t[i], err = a.tensor(n, cols, a.dtype, true); err != nil {
			return err
		}
	}
	if err := a.st.UploadF32(table, turn); err != nil {
		return err
	}
	for s := range a.seqs {
		b, err := a.batch(s, s+1, n)
		if err != nil {
			return err
		}
		rope := kernels.Rope{Table: table, Dims: c.HeadDim}
		if err := a.st.RopeKV(kernels.RopeArgs{Q: t[0], K: t[1], V: t[2], Rope: rope, KV: kv, Batch: b}); err != nil {
			return err
		}
	}
	return a.st.Sync()
}

// tensor makes one, of random values or zeros.
func (a *attender) tensor(rows, cols int, dt kernels.DType, random bool) (kernels.Tensor, error) {
	t, err := a.dev.NewTensor(rows, cols, dt)
	if err != nil {
		return t, err
	}
	a.frees = append(a.frees, t.Buf.Free)
	if random {
		err = a.st.UploadF32(t, noise(rows*cols))
	}
	return t, err
}

// batch has the last `fresh` positions of the sequences [from, to) as new.
func (a *attender) batch(from, to, fresh int) (*kernels.Batch, error) {
	d := kernels.BatchDesc{QStart: []int32{0}, MaxPages: a.pages()}
	for s := from; s < to; s++ {
		d.QStart = append(d.QStart, int32((s-from+1)*fresh))
		d.KVLen = append(d.KVLen, int32(a.past+a.fresh))
		for i := range a.pages() {
			d.Pages = append(d.Pages, int32(s*a.pages()+i))
		}
	}
	b, err := a.st.NewBatch(d)
	if err == nil {
		a.frees = append(a.frees, b.Free)
	}
	return b, err
}
