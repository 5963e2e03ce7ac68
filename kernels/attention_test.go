//go:build cgo

package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"sextant/kernels"
)

// attnShape is a small attention problem: sequences with their cached lengths before and their new tokens.
type attnShape struct {
	heads, kvHeads, dim, page, window int
	past, fresh                       []int
	dtype                             kernels.DType
	interleaved                       bool
	dims                              int           // rotated; 0: all
	still                             bool          // all angles are 0
	round                             kernels.DType // of the cache; F32: none
}

func (s attnShape) String() string {
	round := ""
	if s.round != kernels.F32 {
		round = fmt.Sprintf(",rounded to %v", s.round)
	}
	return fmt.Sprintf("%v/h%d,kv%d,d%d,page%d,window%d,past%v,new%v,rope%d,%v,still=%v", s.dtype, s.heads, s.kvHeads, s.dim, s.page, s.window,
		s.past, s.fresh, s.rotated(), s.interleaved, s.still) + round
}

func (s attnShape) rotated() int {
	if s.dims > 0 {
		return s.dims
	}
	return s.dim
}

func attentionShapes() []attnShape {
	base := attnShape{heads: 4, kvHeads: 2, dim: 8, page: 16, past: []int{0}, fresh: []int{5}}
	var all []attnShape
	vary := func(f func(*attnShape)) {
		for _, dt := range []kernels.DType{kernels.F32, kernels.BF16} {
			s := base
			s.dtype = dt
			f(&s)
			all = append(all, s)
		}
	}
	for _, dim := range []int{2, 6, 16, 18, 64, 130} {
		vary(func(s *attnShape) { s.dim = dim })
	}
	for _, page := range []int{1, 5, 16, 17, 64, 256} {
		vary(func(s *attnShape) { s.page, s.past, s.fresh = page, []int{70, 0, 3}, []int{3, 140, 1} })
	}
	for _, window := range []int{1, 2, 33, 64, 65, 1000} {
		vary(func(s *attnShape) { s.window, s.past, s.fresh = window, []int{0, 129, 60}, []int{150, 1, 9} })
	}
	for _, heads := range [][2]int{{1, 1}, {3, 3}, {8, 1}, {40, 1}, {6, 2}} {
		vary(func(s *attnShape) { s.heads, s.kvHeads, s.fresh = heads[0], heads[1], []int{67} })
	}
	vary(func(s *attnShape) { s.past, s.fresh = nil, nil })
	vary(func(s *attnShape) { s.past, s.fresh = []int{0, 4, 0}, []int{0, 0, 2} })
	vary(func(s *attnShape) { s.past, s.fresh = make([]int, 40), ones(40) })
	vary(func(s *attnShape) { s.interleaved = true })
	vary(func(s *attnShape) { s.dims = 6 })
	vary(func(s *attnShape) { s.dims, s.interleaved = 2, true })
	vary(func(s *attnShape) { s.fresh = []int{700} })
	vary(func(s *attnShape) { s.past, s.fresh = []int{1100, 511, 512}, []int{1, 1, 1} })
	vary(func(s *attnShape) { s.past, s.fresh, s.window = []int{1200, 3}, []int{4, 1}, 700 })
	vary(func(s *attnShape) {
		s.heads, s.kvHeads, s.dim, s.past, s.fresh = 8, 2, 128, []int{100, 0}, []int{1, 80}
	})
	for _, n := range []int{1, 30} {
		s := base
		s.dtype, s.dim, s.past, s.fresh = kernels.F16, 64, []int{40, 3}, []int{n, 1}
		all = append(all, s)
	}
	for i, dim := range []int{64, 80, 96, 128, 256} { // that devices have tiles for
		for _, dt := range []kernels.DType{kernels.BF16, kernels.F16} {
			s := base
			s.dtype, s.dim, s.page, s.window = dt, dim, []int{16, 5, 48, 64, 17}[i], []int{0, 65, 33, 1000, 64}[i]
			s.past, s.fresh = []int{70, 0, 3}, []int{3, 90, 1}
			all = append(all, s)
			s.past, s.fresh, s.window = []int{600, 509}, []int{1, 2}, []int{0, 0, 550, 300, 0}[i]
			all = append(all, s)
		}
	}
	return all
}

func ones(n int) []int {
	v := make([]int, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

func attentionCases() []opCase {
	var all []opCase
	shapes := attentionShapes()
	for _, s := range shapes {
		if s.dtype == kernels.BF16 {
			s.still = true
			shapes = append(shapes, s)
		}
	}
	for _, s := range append(shapes, roundedShapes()...) {
		tol := 3e-6
		if s.dtype == kernels.BF16 && !s.still {
			tol = 1e-3 // a key's last bit in f32 may tip its rounding to bf16; without a rotation keys are equal
		}
		if s.dtype == kernels.F16 {
			tol = 0x1p-8 // the oracle has a cache of f32
		}
		all = append(all, opCase{"attention/" + s.String(), tol, func(r *rig) ([]float32, []float64) {
			p := newProblem(s, seeded(77))
			q, out := p.run(r, p.whole())
			values := append(q, out...)
			scale := make([]float64, len(values))
			for i := range scale {
				scale[i] = 10 // of q, k and v; a softmax over products of them
			}
			return values, scale
		}})
	}
	return all
}

// problem is the inputs of an attention problem for all positions of every sequence.
type problem struct {
	attnShape
	table   []float32
	q, k, v [][]float32 // of each sequence: [past+fresh, width]
	longest int
}

func newProblem(s attnShape, rng *rand.Rand) *problem {
	p := &problem{attnShape: s}
	for i := range s.past {
		n := s.past[i] + s.fresh[i]
		p.longest = max(p.longest, n)
		p.q = append(p.q, smooth(rng, n*s.heads*s.dim))
		p.k = append(p.k, smooth(rng, n*s.kvHeads*s.dim))
		p.v = append(p.v, normal(rng, n*s.kvHeads*s.dim))
	}
	for pos := range p.longest {
		for _, f := range []func(float64) float64{math.Cos, math.Sin} {
			for i := range p.rotated() / 2 {
				if p.still {
					p.table = append(p.table, float32(f(0)))
					continue
				}
				p.table = append(p.table, float32(f(float64(pos)*math.Pow(10000, -2*float64(i)/float64(p.rotated())))))
			}
		}
	}
	return p
}

// step is the new tokens [from[s], to[s]) of each sequence in one pass.
type step struct{ from, to []int }

// whole fills the cache with the past in one pass and runs the new tokens in a second.
func (p *problem) whole() []step {
	all := make([]int, len(p.past))
	for i := range all {
		all[i] = p.past[i] + p.fresh[i]
	}
	return []step{{make([]int, len(p.past)), p.past}, {p.past, all}}
}

// run carries out the steps and gives the rotated q and the outputs of the last one.
func (p *problem) run(r *rig, steps []step) (q, out []float32) {
	r.Helper()
	perSeq := (p.longest+p.page-1)/p.page + 1
	seqs := len(p.past)
	const layers, layer = 2, 1
	dt := p.dtype
	if dt == kernels.F16 {
		dt = r.target.held(dt)
	}
	kv, err := r.dev.NewKV(kernels.KVDesc{Layers: layers, KVHeads: p.kvHeads, HeadDim: p.dim, PageSize: p.page, Pages: perSeq*seqs + 3, DType: dt, Round: p.round})
	r.must(err)
	rope := kernels.Rope{Table: r.inF32(p.longest, p.rotated(), p.table), Dims: p.rotated(), Interleaved: p.interleaved}
	for n, s := range steps {
		desc := kernels.BatchDesc{QStart: []int32{0}, MaxPages: perSeq}
		var qv, kvv, vv []float32
		for i := range seqs {
			wq, wk := p.heads*p.dim, p.kvHeads*p.dim
			qv = append(qv, p.q[i][s.from[i]*wq:s.to[i]*wq]...)
			kvv = append(kvv, p.k[i][s.from[i]*wk:s.to[i]*wk]...)
			vv = append(vv, p.v[i][s.from[i]*wk:s.to[i]*wk]...)
			desc.QStart = append(desc.QStart, desc.QStart[i]+int32(s.to[i]-s.from[i]))
			desc.KVLen = append(desc.KVLen, int32(s.to[i]))
			for j := range perSeq {
				desc.Pages = append(desc.Pages, r.page(i*perSeq+j, perSeq*seqs))
			}
		}
		t := int(desc.QStart[seqs])
		batch, err := r.st.NewBatch(desc)
		r.must(err)
		qt, ot := r.inPlace(t, p.heads*p.dim, qv), r.out(t, p.heads*p.dim)
		r.must(r.st.RopeKV(kernels.RopeArgs{Q: qt, K: r.in(t, p.kvHeads*p.dim, kvv), V: r.in(t, p.kvHeads*p.dim, vv), Rope: rope, KV: kv, Batch: batch, Layer: layer}))
		if n < len(steps)-1 { // only the cache is wanted
			batch.Free()
			continue
		}
		if r.target.backend == "ref" && r.target.act != kernels.F32 { // as the rotated q is stored
			r.must(r.st.UploadF32(qt, round(r.target.act, r.read(qt))))
		}
		r.must(r.st.Attention(kernels.AttentionArgs{Out: ot, Q: qt, KV: kv, Batch: batch, Layer: layer, Heads: p.heads, Window: p.window,
			Scale: float32(1 / math.Sqrt(float64(p.dim)))}))
		q, out = r.read(qt), r.read(ot)
		batch.Free()
	}
	kv.Free()
	return q, out
}

// page maps a page of the problem to one of the cache.
func (r *rig) page(i, n int) int32 {
	if len(r.pages) == n {
		return r.pages[i]
	}
	return int32(i)
}

// TestAttentionInvariance: what a token gets does not depend on how its sequence was cut into passes, what else was in the pass, where the
// pages lie, their size, or on threads and vector widths.
func TestAttentionInvariance(t *testing.T) {
	for _, dt := range []kernels.DType{kernels.F32, kernels.BF16} {
		for i, window := range []int{0, 50, 33, 20} {
			s := attnShape{heads: 6, kvHeads: 2, dim: 20, page: 16, window: window, past: []int{0, 0, 0}, fresh: []int{150, 1, 77}, dtype: dt}
			s.round = []kernels.DType{kernels.F32, kernels.F32, kernels.I8, kernels.F8}[i]
			for _, build := range [][]string{{"scalar"}, fused()} {
				var want []float32
				for _, isa := range build {
					for threads := 1; threads <= 3; threads++ {
						got := attendEveryWay(t, s, target{backend: "cpu", isa: isa, threads: threads})
						if want == nil {
							want = got
						}
						if err := sameBits(got, want); err != nil {
							t.Fatalf("%s, %d threads: %v", isa, threads, err)
						}
					}
				}
			}
		}
	}
}

// TestLongAttentionInvariance: a long sequence, whose chunks are shared out among threads when there is little else to do, gets the same as
// on one thread and as when many tokens go together.
func TestLongAttentionInvariance(t *testing.T) {
	const n = 1300
	for _, window := range []int{0, 600} {
		s := attnShape{heads: 4, kvHeads: 1, dim: 20, page: 48, window: window, past: []int{0}, fresh: []int{n}, dtype: kernels.BF16}
		p := newProblem(s, seeded(6))
		for _, build := range [][]string{{"scalar"}, fused()} {
			var want []float32
			for _, isa := range build {
				for threads := 1; threads <= 3; threads++ {
					if threads != 2 && isa != "avx2" && isa != "avx512" {
						continue
					}
					r := target{backend: "cpu", isa: isa, threads: threads}.open(t)
					if want == nil {
						_, want = p.run(r, []step{{[]int{0}, []int{n}}})
					}
					for _, cut := range []int{n - 1, n - 3, 511, 512} {
						_, got := p.run(r, []step{{[]int{0}, []int{cut}}, {[]int{cut}, []int{n}}})
						if err := sameBits(got, want[cut*s.heads*s.dim:]); err != nil {
							t.Fatalf("%s, %d threads, window %d, cut at %d: %v", isa, threads, window, cut, err)
						}
					}
					r.done()
					r.dev.Close()
				}
			}
		}
	}
}

// attendEveryWay gives the outputs of all tokens, after holding different ways to compute them against each other.
func attendEveryWay(t *testing.T, s attnShape, tg target) []float32 {
	t.Helper()
	r := tg.open(t)
	defer r.dev.Close()
	p := newProblem(s, seeded(5))
	_, want := p.run(r, p.whole())
	row := s.heads * s.dim
	check := func(what string, got, want []float32) {
		t.Helper()
		if err := sameBits(got, want); err != nil {
			t.Fatalf("%v, window %d: %s: %v", tg, s.window, what, err)
		}
	}
	// Other pages, in another order.
	n := ((p.longest+p.page-1)/p.page + 1) * len(p.past)
	for _, i := range seeded(3).Perm(n) {
		r.pages = append(r.pages, int32(i+2))
	}
	_, got := p.run(r, p.whole())
	check("shuffled pages", got, want)
	r.pages = nil
	// Other page sizes.
	for _, page := range []int{1, 7, 33, 64} {
		o := *p
		o.page = page
		_, got := o.run(r, o.whole())
		check(fmt.Sprintf("pages of %d", page), got, want)
	}
	// Each sequence alone, and in chunks: the last chunk's rows are the last rows.
	at := 0
	for i, n := range s.fresh {
		alone := &problem{attnShape: s, table: p.table, q: p.q[i : i+1], k: p.k[i : i+1], v: p.v[i : i+1], longest: p.longest}
		alone.past, alone.fresh = []int{0}, []int{n}
		for _, cut := range []int{0, 1, n / 3, n - 1} {
			if cut < 0 || cut >= n {
				continue
			}
			_, got := alone.run(r, []step{{[]int{0}, []int{cut}}, {[]int{cut}, []int{n}}})
			check(fmt.Sprintf("sequence %d alone, cut at %d", i, cut), got, want[(at+cut)*row:(at+n)*row])
		}
		at += n
	}
	r.done()
	return want
}

// TestAttentionIgnoresWhatItMayNotSee fills the unused slots and the future with NaN and infinities.
func TestAttentionIgnoresWhatItMayNotSee(t *testing.T) {
	s := attnShape{heads: 2, kvHeads: 1, dim: 16, page: 16, window: 9, past: []int{0}, fresh: []int{70}}
	for _, tg := range everyTarget(t) {
		clean := newProblem(s, seeded(8))
		_, want := clean.run(tg.open(t), clean.whole())
		dirty := newProblem(s, seeded(8))
		const first = 40 // tokens from here on are poisoned; so are those before, for windows past them
		for i := first * s.dim; i < len(dirty.k[0]); i++ {
			dirty.k[0][i], dirty.v[0][i] = nan, inf
		}
		_, got := dirty.run(tg.open(t), dirty.whole())
		if err := sameBits(got[:first*s.heads*s.dim], want[:first*s.heads*s.dim]); err != nil {
			t.Fatalf("%v: the future shows: %v", tg, err)
		}
		for i, v := range got[first*s.heads*s.dim:] {
			if v == v {
				t.Fatalf("%v: value %d after NaN keys is %g", tg, i, v)
			}
		}
		early := newProblem(s, seeded(8))
		for i := range 20 * s.dim {
			early.k[0][i], early.v[0][i] = nan, inf
		}
		_, got = early.run(tg.open(t), early.whole())
		from := (20 + s.window) * s.heads * s.dim
		if err := sameBits(got[from:], want[from:]); err != nil {
			t.Fatalf("%v: positions before the window show: %v", tg, err)
		}
	}
}

// TestKVCopy: attention over a copied partial page is attention over the page.
func TestKVCopy(t *testing.T) {
	for _, tg := range everyTarget(t) {
		for _, dt := range []kernels.DType{kernels.F32, kernels.BF16} {
			r := tg.open(t)
			const dim, page, n = 18, 33, 21
			kv, err := r.dev.NewKV(kernels.KVDesc{Layers: 3, KVHeads: 2, HeadDim: dim, PageSize: page, Pages: 4, DType: dt})
			r.must(err)
			rng := seeded(6)
			q, k, v := smooth(rng, n*4*dim), smooth(rng, n*2*dim), smooth(rng, n*2*dim)
			table := make([]float32, n*dim)
			attend := func(layer int, page int32, write bool) []float32 {
				b, err := r.st.NewBatch(kernels.BatchDesc{QStart: []int32{0, n}, KVLen: []int32{n}, Pages: []int32{page}, MaxPages: 1})
				r.must(err)
				qt, out := r.inPlace(n, 4*dim, q), r.out(n, 4*dim)
				if write {
					r.must(r.st.RopeKV(kernels.RopeArgs{Q: r.inPlace(n, 4*dim, q), K: r.in(n, 2*dim, k), V: r.in(n, 2*dim, v),
						Rope: kernels.Rope{Table: r.inF32(n, dim, table), Dims: dim}, KV: kv, Batch: b, Layer: layer}))
				}
				r.must(r.st.Attention(kernels.AttentionArgs{Out: out, Q: qt, KV: kv, Batch: b, Layer: layer, Heads: 4, Scale: 0.3}))
				return r.read(out)
			}
			want := [][]float32{attend(0, 1, true), attend(1, 1, false), attend(2, 1, true)}
			r.must(r.st.KVCopy(kv, 3, 1, n))
			for layer := range want {
				if err := sameBits(attend(layer, 3, false), want[layer]); err != nil {
					t.Fatalf("%v %v layer %d: %v", tg, dt, layer, err)
				}
			}
			r.must(r.st.KVCopy(kv, 0, 1, n-1)) // one position short: the last token's result must differ
			if sameBits(attend(0, 0, false), want[0]) == nil {
				t.Fatalf("%v %v: %d positions copied more than asked", tg, dt, n-1)
			}
			r.checkGuards()
		}
	}
}
