//go:build cgo

package kernels_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sextant/kernels"
)

// cudaRigs are open devices for all formats; without the library the test is left out.
func cudaRigs(t *testing.T) (rigs []*rig) {
	t.Helper()
	for _, tg := range cudaTargets() {
		rigs = append(rigs, tg.open(t))
	}
	if len(rigs) == 0 {
		t.Skip("SEXTANT_CUDA_LIB names no library of the cuda backend")
	}
	return rigs
}

// TestDeviceRowInvariance: a row has the same bits in all calls of up to Info.Few rows, and in all larger ones.
func TestDeviceRowInvariance(t *testing.T) {
	const rows = 200
	for _, r := range cudaRigs(t) {
		info, err := r.dev.Info()
		r.must(err)
		for _, op := range rowOps() {
			if !chosen(op.name, r.target) {
				continue
			}
			t.Run(fmt.Sprintf("%v/%s", r.target, op.name), func(t *testing.T) {
				r.within(t).reset()
				r.kept = nil
				x := normal(seeded(4), rows*op.cols)
				run := func(from, to int) []float32 { return op.run(r, to-from, x[from*op.cols:to*op.cols]) }
				whole := run(0, rows)
				few := whole
				if info.Few > 0 {
					few = nil
					for at := 0; at < rows; at += info.Few {
						few = append(few, run(at, min(at+info.Few, rows))...)
					}
				}
				crowds := [][2]int{{0, 1}, {7, 8}, {rows - 1, rows}, {5, 7}, {3, 6}, {0, 16}, {11, 28}, {1, 1 + info.Few}, {2, 3 + info.Few}, {60, 197}}
				for _, c := range crowds {
					want := whole
					if c[1]-c[0] <= info.Few {
						want = few
					}
					if err := sameBits(run(c[0], c[1]), want[c[0]*op.out:c[1]*op.out]); err != nil {
						t.Errorf("rows %v: %v", c, err)
					}
				}
				r.done()
			})
		}
	}
}

// TestDeviceAttentionInvariance: as TestAttentionInvariance and TestLongAttentionInvariance.
func TestDeviceAttentionInvariance(t *testing.T) {
	for _, r := range cudaRigs(t) {
		for _, dt := range []kernels.DType{kernels.F32, kernels.BF16, kernels.F16} {
			for _, dim := range []int{20, 64} {
				for _, window := range []int{0, 50} {
					s := attnShape{heads: 6, kvHeads: 2, dim: dim, page: 16, window: window, past: []int{0, 0, 0}, fresh: []int{150, 1, 77}, dtype: dt}
					if !chosen("attention/"+s.String(), r.target) {
						continue
					}
					t.Run(fmt.Sprintf("%v/cache %v, heads of %d, window %d", r.target, dt, dim, window), func(t *testing.T) {
						attendEveryWay(t, s, r.target)
					})
				}
			}
		}
		const n = 1300
		s := attnShape{heads: 4, kvHeads: 1, dim: 64, page: 48, past: []int{0}, fresh: []int{n}, dtype: kernels.BF16}
		if !chosen("attention/"+s.String(), r.target) {
			continue
		}
		t.Run(r.target.String()+"/long", func(t *testing.T) {
			p := newProblem(s, seeded(6))
			_, want := p.run(r.within(t), []step{{[]int{0}, []int{n}}})
			for _, cut := range []int{n - 1, n - 3, 511, 512} {
				_, got := p.run(r, []step{{[]int{0}, []int{cut}}, {[]int{cut}, []int{n}}})
				if err := sameBits(got, want[cut*s.heads*s.dim:]); err != nil {
					t.Errorf("cut at %d: %v", cut, err)
				}
			}
			r.done()
		})
	}
}

// TestDeviceLogProbIsMatMul: the logits of logprob are those of matmul for many rows into f32, bit for bit, whether it is asked of few or many.
func TestDeviceLogProbIsMatMul(t *testing.T) {
	const d, v = 96, 700
	for _, r := range cudaRigs(t) {
		for _, rows := range []int{3, 140} {
			t.Run(fmt.Sprintf("%v/%d", r.target, rows), func(t *testing.T) {
				const many = 140 // more than any device's Few
				r.within(t).reset()
				w, x := r.weight(seededMatrix(1, kernels.BF16, v, d, 0)), r.in(many, d, normal(seeded(2), many*d))
				out, targets := r.guard(kernels.F32, many, v, nil).t, make([]int32, rows)
				for i := range targets {
					targets[i] = int32(i * 5)
				}
				r.must(r.st.MatMul(out, x, w, nil))
				lp, err := r.st.LogProb(x.SliceRows(0, rows), w, kernels.Targets{IDs: targets})
				r.must(err)
				logits := r.read(out)
				for i := range rows {
					if lp.Target[i] != logits[i*v+i*5] || lp.BestLogit[i] != logits[i*v+int(lp.Best[i])] {
						t.Fatalf("row %d: target %g, best %g; matmul has %g, %g", i, lp.Target[i], lp.BestLogit[i], logits[i*v+i*5], logits[i*v+int(lp.Best[i])])
					}
				}
				r.done()
			})
		}
	}
}

// TestPieces: a weight that was made empty and filled row by row, in any order, is the one made whole; and what cannot be put is refused.
func TestPieces(t *testing.T) {
	for _, tg := range everyTarget(t) {
		r := tg.open(t)
		info, err := r.dev.Info()
		r.must(err)
		for _, dt := range allFormats {
			m := seededMatrix(5, dt, 21, 34, 17)
			empty := m.desc
			empty.Data, empty.Scales, empty.Zeros = nil, nil, nil
			w, err := r.dev.NewWeight(empty)
			if !info.Pieces {
				if !isInvalid(err) || !strings.Contains(err.Error(), "needs its data") {
					t.Errorf("%v: %v without data: %v", tg, dt, err)
				}
				if err := r.weight(m).Put(0, m.desc); !errors.Is(err, kernels.ErrUnsupported) {
					t.Errorf("%v: a part of %v: %v", tg, dt, err)
				}
				continue
			}
			r.must(err)
			r.made = append(r.made, w)
			for _, span := range [][2]int{{9, 21}, {0, 1}, {1, 9}, {4, 4}} {
				r.must(w.Put(span[0], rowsOf(m.desc, span[0], span[1])))
			}
			x := r.in(3, 34, normal(seeded(1), 3*34))
			out, whole := r.outWide(3, 21), r.outWide(3, 21)
			r.must(r.st.MatMul(out, x, w, nil))
			r.must(r.st.MatMul(whole, x, r.weight(m), nil))
			if err := sameBits(r.read(out), r.read(whole)); err != nil {
				t.Errorf("%v %v: %v", tg, dt, err)
			}
			other := seededMatrix(5, dt, 21, 2*34, 17).desc
			for what, err := range map[string]error{"beyond the rows": w.Put(20, rowsOf(m.desc, 0, 2)), "before them": w.Put(-1, m.desc), "other columns": w.Put(0, other),
				"no data": w.Put(0, empty)} {
				if !isInvalid(err) {
					t.Errorf("%v %v: %s: %v", tg, dt, what, err)
				}
			}
		}
		r.done()
	}
}

// rowsOf is the description of some rows of a matrix.
func rowsOf(d kernels.WeightDesc, from, to int) kernels.WeightDesc {
	part := d
	part.Rows = to - from
	bytes := len(d.Data) / d.Rows
	part.Data = d.Data[from*bytes : to*bytes]
	if n := len(d.Scales); n > 1 {
		part.Scales = d.Scales[from*n/d.Rows : to*n/d.Rows]
	}
	if n := len(d.Zeros); n > 0 {
		part.Zeros = d.Zeros[from*n/d.Rows : to*n/d.Rows]
	}
	return part
}

// TestSetBatch: a batch with other values is the batch made of them; other sizes are refused.
func TestSetBatch(t *testing.T) {
	for _, tg := range everyTarget(t) {
		w := newWorld(t, tg)
		first := kernels.BatchDesc{QStart: []int32{0, 1, 2}, KVLen: []int32{6, 2}, Pages: []int32{0, 1, 2, 0}, MaxPages: 2, Tokens: []int32{1, 7}}
		other := kernels.BatchDesc{QStart: []int32{0, 1, 2}, KVLen: []int32{5, 3}, Pages: []int32{2, 0, 1, 1}, MaxPages: 2, Tokens: []int32{5, 0}}
		past := w.rope()
		past.Q, past.K, past.V = w.inPlace(4, 8, make([]float32, 32)), w.in(4, 4, normal(seeded(1), 16)), w.in(4, 4, normal(seeded(2), 16))
		w.must(w.st.RopeKV(past))
		run := func(b *kernels.Batch) []float32 {
			q, out, e := w.inPlace(2, 8, normal(seeded(3), 16)), w.out(2, 8), w.outWide(2, 8)
			k, v := w.in(2, 4, normal(seeded(4), 8)), w.in(2, 4, normal(seeded(5), 8))
			w.must(w.st.EmbedBatch(e, w.w, b))
			w.must(w.st.RopeKV(kernels.RopeArgs{Q: q, K: k, V: v, Rope: kernels.Rope{Table: w.table, Dims: 4}, KV: w.kv, Batch: b}))
			w.must(w.st.Attention(kernels.AttentionArgs{Out: out, Q: q, KV: w.kv, Batch: b, Heads: 2, Scale: 1}))
			return slices.Concat(w.read(e), w.read(out))
		}
		a, err := w.st.NewBatch(first)
		w.must(err)
		b, err := w.st.NewBatch(other)
		w.must(err)
		w.must(w.st.SetBatch(a, other))
		if err := sameBits(run(a), run(b)); err != nil {
			t.Errorf("%v: %v", tg, err)
		}
		w.must(w.st.SetBatch(a, first))
		w.must(w.st.SetBatch(b, first))
		if err := sameBits(run(a), run(b)); err != nil {
			t.Errorf("%v: set back: %v", tg, err)
		}
		change := func(f func(*kernels.BatchDesc)) error { d := other; f(&d); return w.st.SetBatch(a, d) }
		for text, err := range map[string]error{
			"other sizes":                        change(func(d *kernels.BatchDesc) { d.QStart = []int32{0, 2, 2}; d.KVLen = []int32{5, 3} }),
			"or tokens where there were none":    change(func(d *kernels.BatchDesc) { d.Tokens = nil }),
			"1 tokens for sequences that have 2": change(func(d *kernels.BatchDesc) { d.Tokens = []int32{1} }),
			"1 sequences with max_pages 2": change(func(d *kernels.BatchDesc) {
				d.QStart, d.KVLen, d.Pages, d.Tokens = []int32{0, 2}, []int32{2}, []int32{0, 1}, []int32{0, 0}
			}),
			"kv_len is 0":          change(func(d *kernels.BatchDesc) { d.KVLen = []int32{0, 3} }),
			"the batch is missing": w.st.SetBatch(nil, other),
		} {
			if !isInvalid(err) || !strings.Contains(err.Error(), text) {
				t.Errorf("%v: got %v, want one that says %q", tg, err, text)
			}
		}
		w.must(change(func(d *kernels.BatchDesc) { d.Tokens = []int32{1, 8} })) // which matrix they are rows of is known when they are used
		if err := w.st.EmbedBatch(w.outWide(2, 8), w.w, a); !isInvalid(err) || !strings.Contains(err.Error(), "tokens[1] = 8 is outside [0, 8)") {
			t.Errorf("%v: a token beyond the matrix: %v", tg, err)
		}
		if err := w.st.EmbedBatch(w.outWide(4, 8), w.w, w.batch); !isInvalid(err) || !strings.Contains(err.Error(), "the batch has no tokens") {
			t.Errorf("%v: a batch without tokens: %v", tg, err)
		}
		w.checkGuards()
	}
}

// TestGraph: a recording, run again and again with other values, gives what its operations give; and what cannot be recorded is refused.
func TestGraph(t *testing.T) {
	for _, tg := range everyTarget(t) {
		w := newWorld(t, tg)
		add := func() error { return w.st.Add(w.x, w.y) }
		if g, err := w.st.Record(add); tg.backend != "cuda" {
			if !errors.Is(err, kernels.ErrUnsupported) || g != nil {
				t.Errorf("%v: recording: %v", tg, err)
			}
			w.must(add())
			continue
		} else {
			w.must(err)
			g.Free()
		}
		w.recordings(t)
	}
	for _, r := range cudaRigs(t) {
		t.Run(r.target.String(), func(t *testing.T) { r.within(t).decodeByGraph(t) })
	}
}

func (w *world) recordings(t *testing.T) {
	again := errors.New("again")
	if _, err := w.st.Record(func() error { return again }); !errors.Is(err, again) {
		t.Errorf("the recorder's own error: %v", err)
	}
	for what, f := range map[string]func() error{
		"upload":   func() error { return w.st.UploadF32(w.x, make([]float32, 32)) },
		"download": func() error { return w.st.DownloadF32(w.x, make([]float32, 32)) },
		"copy":     func() error { return w.st.Copy(w.table.SliceRows(0, 1), w.table.SliceRows(1, 2)) },
		"embed":    func() error { return w.st.Embed(w.x, w.w, make([]int32, 4)) },
		"gather":   func() error { return w.st.Gather(w.x, w.y, make([]int32, 4)) },
		"logprob":  func() error { return errOf(w.st.LogProb(w.x, w.w, kernels.Targets{})) },
		"sample":   func() error { return errOf(w.st.Sample(w.x, make([]kernels.SampleDesc, 4), make([]float64, 4))) },
		"sync":     func() error { return w.st.Sync() },
		"batch":    func() error { return errOf(w.st.NewBatch(kernels.BatchDesc{QStart: []int32{0}})) },
		"record":   func() error { return errOf(w.st.Record(func() error { return nil })) },
	} {
		if _, err := w.st.Record(f); !isInvalid(err) || !strings.Contains(err.Error(), "cannot be recorded") {
			t.Errorf("%s in a recording: %v", what, err)
		}
	}
	w.must(w.st.Add(w.x, w.y)) // nothing is being recorded any more
	spare := w.inPlace(4, 8, make([]float32, 32))
	g, err := w.st.Record(func() error { return w.st.Add(spare, w.y) })
	w.must(err)
	spare.Buf.Free()
	if err := g.Run(); !isInvalid(err) || !strings.Contains(err.Error(), "is freed") {
		t.Errorf("a graph whose tensor is freed: %v", err)
	}
	w.guards = nil
	g.Free()
	g.Free()
	if err := g.Run(); !isInvalid(err) {
		t.Errorf("a graph that is freed: %v", err)
	}
}

// decodeByGraph records a step of a layer, and runs it for one position after another.
func (r *rig) decodeByGraph(t *testing.T) {
	const seqs, dim, heads, kvHeads, vocab, hidden = 3, 16, 4, 2, 40, 64
	rng := rand.New(rand.NewPCG(1, 2))
	kv, err := r.dev.NewKV(kernels.KVDesc{Layers: 1, KVHeads: kvHeads, HeadDim: dim, PageSize: 4, Pages: 3 * seqs, DType: r.target.act})
	r.must(err)
	embed, norm := r.weight(seededMatrix(1, kernels.BF16, vocab, hidden, 0)), r.vector(smooth(rng, hidden))
	qkv, o := r.weight(seededMatrix(2, kernels.BF16, (heads+2*kvHeads)*dim, hidden, 0)), r.weight(seededMatrix(3, kernels.BF16, hidden, heads*dim, 0))
	x, h, all, a := r.inPlaceWide(seqs, hidden, make([]float32, seqs*hidden)), r.out(seqs, hidden), r.out(seqs, (heads+2*kvHeads)*dim), r.out(seqs, heads*dim)
	y := r.outWide(seqs, hidden)
	table := r.inF32(12, dim, smooth(rng, 12*dim))
	q, k, v := all.SliceCols(0, heads*dim), all.SliceCols(heads*dim, (heads+kvHeads)*dim), all.SliceCols((heads+kvHeads)*dim, all.Cols)
	desc := func(pos int32) kernels.BatchDesc {
		return kernels.BatchDesc{QStart: []int32{0, 1, 2, 3}, KVLen: []int32{pos + 1, pos + 1, pos + 1}, MaxPages: 3,
			Pages: []int32{0, 1, 2, 8, 7, 6, 3, 4, 5}, Tokens: []int32{pos, pos + 7, 39 - pos}}
	}
	batch, err := r.st.NewBatch(desc(0))
	r.must(err)
	pass := func() error {
		return errors.Join(r.st.EmbedBatch(x, embed, batch), r.st.RMSNorm(h, x, nil, norm, 1e-5), r.st.MatMul(all, h, qkv, nil),
			r.st.RopeKV(kernels.RopeArgs{Q: q, K: k, V: v, Rope: kernels.Rope{Table: table, Dims: dim}, KV: kv, Batch: batch}),
			r.st.Attention(kernels.AttentionArgs{Out: a, Q: q, KV: kv, Batch: batch, Heads: heads, Scale: 0.25}),
			r.st.MatMul(y, a, o, nil), r.st.Add(x, y), r.st.RMSNorm(h, x, nil, norm, 1e-5), r.st.SwiGLU(h, h, h),
			r.st.Round(h, h, kernels.Rounding{To: kernels.I8}))
	}
	var want [][]float32
	for pos := range int32(10) {
		r.must(r.st.SetBatch(batch, desc(pos)))
		r.must(pass())
		want = append(want, slices.Concat(r.read(h), r.read(x)))
	}
	r.must(r.st.SetBatch(batch, desc(0)))
	g, err := r.st.Record(pass)
	r.must(err)
	defer g.Free()
	for pos := range int32(10) {
		r.must(r.st.SetBatch(batch, desc(pos)))
		r.must(g.Run())
		if err := sameBits(slices.Concat(r.read(h), r.read(x)), want[pos]); err != nil {
			t.Fatalf("position %d: %v", pos, err)
		}
	}
	bad := desc(1)
	bad.Tokens[1] = vocab
	r.must(r.st.SetBatch(batch, bad))
	if err := g.Run(); !isInvalid(err) || !strings.Contains(err.Error(), "tokens[1] = 40") {
		t.Errorf("a token beyond the matrix: %v", err)
	}
	bad = desc(1)
	bad.Pages[0] = 9
	r.must(r.st.SetBatch(batch, bad))
	if err := g.Run(); !isInvalid(err) || !strings.Contains(err.Error(), "page 0: 9 is outside") {
		t.Errorf("a page beyond the cache: %v", err)
	}
	r.done()
}
