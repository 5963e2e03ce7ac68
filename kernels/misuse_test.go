//go:build cgo

package kernels_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"sextant/kernels"
)

// world is a device with one of everything, for calls that must be refused.
type world struct {
	*rig
	x, y    kernels.Tensor // [4, 8]
	w, norm *kernels.Weight
	kv      *kernels.KV
	batch   *kernels.Batch // 4 tokens of one sequence
	table   kernels.Tensor // [16, 4]
}

func newWorld(t *testing.T, tg target) *world {
	r := tg.open(t)
	w := &world{rig: r, x: r.in(4, 8, make([]float32, 32)), y: r.in(4, 8, make([]float32, 32)), table: r.in(16, 4, make([]float32, 64))}
	w.w = r.weight(randomMatrix(seeded(1), kernels.F32, 8, 8, 0))
	w.norm = r.vector(make([]float32, 8))
	var err error
	w.kv, err = r.dev.NewKV(kernels.KVDesc{Layers: 2, KVHeads: 1, HeadDim: 4, PageSize: 4, Pages: 3})
	r.must(err)
	w.batch = w.newBatch([]int32{0, 4}, []int32{6}, []int32{0, 1}, 2)
	return w
}

func (w *world) newBatch(qStart, kvLen, pages []int32, maxPages int) *kernels.Batch {
	w.Helper()
	b, err := w.st.NewBatch(kernels.BatchDesc{QStart: qStart, KVLen: kvLen, Pages: pages, MaxPages: maxPages})
	w.must(err)
	return b
}

func (w *world) rope() kernels.RopeArgs {
	return kernels.RopeArgs{Q: w.y, K: w.x.SliceCols(0, 4), V: w.x.SliceCols(4, 8), Rope: kernels.Rope{Table: w.table, Dims: 4}, KV: w.kv, Batch: w.batch}
}

func (w *world) attn() kernels.AttentionArgs {
	return kernels.AttentionArgs{Out: w.x, Q: w.y, KV: w.kv, Batch: w.batch, Heads: 2, Scale: 1}
}

func errOf[T any](_ T, err error) error { return err }

// TestMisuse: what is wrong is refused with ErrInvalid and a text that shows it, and nothing is touched.
func TestMisuse(t *testing.T) {
	for _, tg := range everyTarget(t) {
		w, other := newWorld(t, tg), newWorld(t, tg)
		freed := w.weight(randomMatrix(seeded(1), kernels.F32, 8, 8, 0))
		freed.Free()
		st, x, y := w.st, w.x, w.y
		rope := func(f func(*kernels.RopeArgs)) error { a := w.rope(); f(&a); return st.RopeKV(a) }
		attn := func(f func(*kernels.AttentionArgs)) error { a := w.attn(); f(&a); return st.Attention(a) }
		wide := func(cols int) kernels.Tensor { return w.in(4, cols, make([]float32, 4*cols)) }
		beyond := x
		beyond.Offset += 4 * 1000
		odd := x
		odd.Offset++
		negative := x
		negative.Offset = -4
		huge := x
		huge.Rows, huge.Stride = math.MaxInt64/2, math.MaxInt64/2
		narrow := x
		narrow.Stride = 7
		whole, gone, theirs := contiguous(t, w.dev), contiguous(t, w.dev), contiguous(t, other.dev)
		gone.Buf.Free()
		foreign := contiguous(t, foreigner(t, tg))
		shifted := whole.SliceRows(0, 3)
		shifted.Offset += 64
		bad := kernels.SampleDesc{Temperature: 1, TopP: 1}
		desc := func(n int) []kernels.SampleDesc { return append(make([]kernels.SampleDesc, n-1), bad) }
		for _, c := range []struct {
			text string // in the error
			err  error
		}{
			{"out is [4, 8], x is [3, 8], w is [8, 8]", st.MatMul(x, y.SliceRows(0, 3), w.w, nil)},
			{"x is [4, 7]", st.MatMul(x, y.SliceCols(0, 7), w.w, nil)},
			{"overlaps x", st.MatMul(x, x, w.w, nil)},
			{"bias is [8, 8]", st.MatMul(x, y, w.w, w.w)},
			{"w is missing", st.MatMul(x, y, nil, nil)},
			{"w is missing", st.MatMul(x, y, freed, nil)},
			{"w is another device's", st.MatMul(x, y, other.w, nil)},
			{"another device's", st.MatMul(other.x, y, w.w, nil)},
			{"its buffer is missing", st.MatMul(kernels.Tensor{Rows: 4, Cols: 8, Stride: 8}, y, w.w, nil)},
			{"does not lie in its buffer", st.MatMul(x, beyond, w.w, nil)},
			{"does not lie in its buffer", st.MatMul(x, odd, w.w, nil)},
			{"does not lie in its buffer", st.MatMul(x, negative, w.w, nil)},
			{"does not lie in its buffer", st.MatMul(x, huge, w.w, nil)},
			{"row stride 7", st.MatMul(x, narrow, w.w, nil)},
			{"negative", st.MatMul(x, y.SliceRows(0, 5), w.w, nil)},
			{"ids[1] = 8 is outside [0, 8)", st.Embed(x.SliceRows(0, 2), w.w, []int32{0, 8})},
			{"ids[0] = -1", st.Embed(x.SliceRows(0, 1), w.w, []int32{-1})},
			{"with 3 ids", st.Embed(x, w.w, []int32{0, 1, 2})},
			{"rows[0] = 4", st.Gather(x.SliceRows(0, 1), y, []int32{4})},
			{"overlaps", st.Gather(x.SliceRows(0, 1), x, []int32{0})},
			{"w is [8, 8]", st.RMSNorm(x, y, nil, w.w, 1e-5)},
			{"w is missing", st.RMSNorm(x, y, nil, nil, 1e-5)},
			{"out overlaps x", st.RMSNorm(x, x, &y, w.norm, 1e-5)},
			{"x overlaps add", st.RMSNorm(x, y, &y, w.norm, 1e-5)},
			{"out is [4, 8], x is [3, 8]", st.RMSNorm(x, y.SliceRows(0, 3), nil, w.norm, 1e-5)},
			{"x overlaps add", st.Add(x, x)},
			{"x is [4, 8], add is [2, 8]", st.Add(x, y.SliceRows(0, 2))},
			{"out overlaps up", st.SwiGLU(x.SliceRows(1, 3), y.SliceRows(0, 2), x.SliceRows(0, 2))},
			{"gate is [4, 8], up is [4, 7]", st.SwiGLU(x, y, y.SliceCols(0, 7))},
			{"layer 2 of 2", rope(func(a *kernels.RopeArgs) { a.Layer = 2 })},
			{"layer -1 of 2", rope(func(a *kernels.RopeArgs) { a.Layer = -1 })},
			{"q has 6 columns", rope(func(a *kernels.RopeArgs) { a.Q = wide(6) })},
			{"want 4 rows", rope(func(a *kernels.RopeArgs) { a.Q = y.SliceRows(0, 3) })},
			{"want 4 rows", rope(func(a *kernels.RopeArgs) { a.K = y.SliceCols(0, 3) })},
			{"q overlaps k or v", rope(func(a *kernels.RopeArgs) { a.K = y.SliceCols(0, 4) })},
			{"rope over 3", rope(func(a *kernels.RopeArgs) { a.Rope.Dims = 3 })},
			{"rope over 6", rope(func(a *kernels.RopeArgs) { a.Rope.Dims = 6 })},
			{"rope over 2 of 4 dims with a table [16, 4]", rope(func(a *kernels.RopeArgs) { a.Rope.Dims = 2 })},
			{"the rope table has 5", rope(func(a *kernels.RopeArgs) { a.Rope.Table = w.table.SliceRows(0, 5) })},
			{"the kv cache is missing", rope(func(a *kernels.RopeArgs) { a.KV = nil })},
			{"the kv cache is another", rope(func(a *kernels.RopeArgs) { a.KV = other.kv })},
			{"the batch is missing", rope(func(a *kernels.RopeArgs) { a.Batch = nil })},
			{"the batch is another", attn(func(a *kernels.AttentionArgs) { a.Batch = other.batch })},
			{"3 heads", attn(func(a *kernels.AttentionArgs) { a.Heads = 3 })},
			{"window -1", attn(func(a *kernels.AttentionArgs) { a.Window = -1 })},
			{"out overlaps q", attn(func(a *kernels.AttentionArgs) { a.Out = a.Q })},
			{"out is [4, 4]", attn(func(a *kernels.AttentionArgs) { a.Out = x.SliceCols(0, 4) })},
			{"layer 7 of 2", attn(func(a *kernels.AttentionArgs) { a.Layer = 7 })},
			{"need 2 pages of 4, max_pages is 1", attn(func(a *kernels.AttentionArgs) { a.Batch = w.newBatch([]int32{0, 4}, []int32{6}, []int32{0}, 1) })},
			{"page 1: 3 is outside [0, 3)", attn(func(a *kernels.AttentionArgs) { a.Batch = w.newBatch([]int32{0, 4}, []int32{6}, []int32{0, 3}, 2) })},
			{"page 0: -1 is outside", attn(func(a *kernels.AttentionArgs) { a.Batch = w.newBatch([]int32{0, 4}, []int32{6}, []int32{-1, 1}, 2) })},
			{"sequence 1 shares a page", attn(func(a *kernels.AttentionArgs) {
				a.Batch = w.newBatch([]int32{0, 2, 4}, []int32{2, 3}, []int32{0, 0}, 1)
			})},
			{"sequence 0 shares a page", attn(func(a *kernels.AttentionArgs) { a.Batch = w.newBatch([]int32{0, 4}, []int32{6}, []int32{2, 2}, 2) })},
			{"q_start[0] = 1", errOf(st.NewBatch(kernels.BatchDesc{QStart: []int32{1, 4}, KVLen: []int32{6}}))},
			{"kv_len is 3", errOf(st.NewBatch(kernels.BatchDesc{QStart: []int32{0, 4}, KVLen: []int32{3}}))},
			{"q_start goes from 4 to 2", errOf(st.NewBatch(kernels.BatchDesc{QStart: []int32{0, 4, 2}, KVLen: []int32{6, 6}}))},
			{"want n+1, n and n*max_pages", errOf(st.NewBatch(kernels.BatchDesc{QStart: []int32{0, 4}, KVLen: []int32{6}, MaxPages: 1}))},
			{"0 q_start", errOf(st.NewBatch(kernels.BatchDesc{}))},
			{"5 positions", st.KVCopy(w.kv, 0, 1, 5)},
			{"page 1 to page 3", st.KVCopy(w.kv, 3, 1, 1)},
			{"page -1", st.KVCopy(w.kv, 0, -1, 1)},
			{"kv cache is another device's", st.KVCopy(other.kv, 0, 1, 1)},
			{"targets[3] = 8", errOf(st.LogProb(x, w.w, kernels.Targets{IDs: []int32{0, 1, 2, 8}}))},
			{"with 3 targets", errOf(st.LogProb(x, w.w, kernels.Targets{IDs: []int32{0, 1, 2}}))},
			{"x is [4, 4]", errOf(st.LogProb(x.SliceCols(0, 4), w.w, kernels.Targets{}))},
			{"no logits", errOf(st.LogProb(x, w.weight(f32Matrix(nil, 0, 8)), kernels.Targets{}))},
			{"1 descriptions", errOf(st.Sample(x, desc(1), []float64{0}))},
			{"u 1", errOf(st.Sample(x.SliceRows(0, 1), desc(1), []float64{1}))},
			{"row 1: u nan", errOf(st.Sample(x.SliceRows(0, 2), []kernels.SampleDesc{bad, bad}, []float64{0, math.NaN()}))},
			{"top_k -1", errOf(st.Sample(x.SliceRows(0, 1), []kernels.SampleDesc{{TopK: -1, TopP: 1}}, []float64{0}))},
			{"top_p 0", errOf(st.Sample(x.SliceRows(0, 1), []kernels.SampleDesc{{}}, []float64{0}))},
			{"no tokens", errOf(st.Sample(x.SliceRows(0, 1).SliceCols(0, 0), desc(1), []float64{0}))},
			{"max is [1, 8] of dtype 0, want [1, 4] f32", st.ColStats(x.SliceRows(0, 1), x.SliceRows(1, 2), x.SliceRows(2, 3), y.SliceCols(0, 4))},
			{"sum is [2, 8]", st.ColStats(x.SliceRows(0, 1), x.SliceRows(1, 3), x.SliceRows(3, 4), y)},
			{"overlaps max", st.ColStats(x.SliceRows(0, 1), x.SliceRows(0, 1), x.SliceRows(3, 4), y)},
			{"overlaps x", st.ColStats(x.SliceRows(0, 1), x.SliceRows(1, 2), x.SliceRows(2, 3), x.SliceRows(2, 4))},
			{"square [0, 0]: its buffer is missing", st.ColStats(x.SliceRows(0, 1), x.SliceRows(1, 2), kernels.Tensor{}, y)},
			{"h is [4, 8] of dtype 0, x is [4, 8]", st.Hessian(x, y)},
			{"overlaps x", st.Hessian(x.SliceCols(0, 4), x.SliceCols(3, 7))},
			{"out is [4, 8], x is [3, 8]", st.Round(x, y.SliceRows(0, 3), kernels.Rounding{To: kernels.I8})},
			{"out overlaps x", st.Round(x.SliceRows(0, 2), x.SliceRows(1, 3), kernels.Rounding{To: kernels.I8})},
			{"out [0, 0]: its buffer is missing", st.Round(kernels.Tensor{}, y, kernels.Rounding{To: kernels.I8})},
			{"another device's", st.Round(x, other.x, kernels.Rounding{To: kernels.F8})},
			{"rounding to dtype 0: want i8 or f8", st.Round(x, y, kernels.Rounding{})},
			{"rounding to dtype 4", st.Round(x, y, kernels.Rounding{To: kernels.I4})},
			{"scale -1", st.Round(x, y, kernels.Rounding{To: kernels.I8, Scale: -1})},
			{"scale nan", st.Round(x, y, kernels.Rounding{To: kernels.F8, Scale: nan})},
			{"scale inf", st.Round(x, y, kernels.Rounding{To: kernels.F8, Scale: inf})},
			{"groups of -1", st.Round(x, y, kernels.Rounding{To: kernels.I8, Group: -1})},
			{"rounded to 1", errOf(w.dev.NewKV(kernels.KVDesc{Layers: 1, KVHeads: 1, HeadDim: 1, PageSize: 1, Pages: 1, Round: kernels.BF16}))},
			{"rounded to 9", errOf(w.dev.NewKV(kernels.KVDesc{Layers: 1, KVHeads: 1, HeadDim: 1, PageSize: 1, Pages: 1, Round: 9}))},
			{"the batch is missing", st.EmbedBatch(x, w.w, nil)},
			{"the batch has no tokens", st.EmbedBatch(x, w.w, w.batch)},
			{"3 tokens for sequences that have 4", errOf(st.NewBatch(kernels.BatchDesc{QStart: []int32{0, 4}, KVLen: []int32{4}, Tokens: []int32{1, 2, 3}}))},
			{"no graph", (*kernels.Graph)(nil).Run()},
			{"no weight", (*kernels.Weight)(nil).Put(0, kernels.WeightDesc{})},
			{"31 values", st.UploadF32(x, make([]float32, 31))},
			{"33 values", st.DownloadF32(x, make([]float32, 33))},
			{"of a buffer of", st.UploadF32(beyond, make([]float32, 32))},
			{"a tensor [3, 8] of f32", st.Copy(whole, whole.SliceRows(0, 3))},
			{"row stride 8 to [4, 7] of f32", st.Copy(whole.SliceCols(0, 7), whole.SliceCols(1, 8))},
			{"copied onto themselves", st.Copy(whole.SliceRows(0, 3), whole.SliceRows(1, 4))},
			{"from a buffer that is missing", st.Copy(whole, kernels.Tensor{Rows: 4, Cols: 8, Stride: 8})},
			{"no buffer to copy from", st.Copy(whole, gone)},
			{"no buffer to copy from", st.Copy(whole, foreign)},
			{"of a buffer of 128 to copy from", st.Copy(whole.SliceRows(0, 3), shifted)},
			{"the buffer is another device's", st.Copy(theirs, whole)},
			{"no stream", (*kernels.Stream)(nil).Add(x, y)},
		} {
			if !isInvalid(c.err) || !strings.Contains(c.err.Error(), c.text) || !strings.HasPrefix(c.err.Error(), "kernels: ") {
				t.Errorf("%v: got %v, want one that says %q", tg, c.err, c.text)
			}
		}
		w.checkGuards()
	}
}

func contiguous(t *testing.T, dev *kernels.Device) kernels.Tensor {
	t.Helper()
	x, err := dev.NewTensor(4, 8, kernels.F32)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// foreigner is a device of another backend.
func foreigner(t *testing.T, tg target) *kernels.Device {
	name := map[bool]string{true: "cpu", false: "ref"}[tg.backend == "ref"]
	return target{backend: name, threads: 1}.open(t).dev
}

func TestBadWeights(t *testing.T) {
	one := []float32{1}
	for _, tg := range everyTarget(t) {
		r := tg.open(t)
		for _, d := range []kernels.WeightDesc{
			{Rows: 2, Cols: 2, Data: make([]byte, 15)},
			{Rows: -1, Cols: 2},
			{Rows: 2, Cols: 2, Data: make([]byte, 16), Group: 2},
			{Rows: 1, Cols: 1, Data: make([]byte, 4), Scales: one},
			{DType: 9, Rows: 1, Cols: 1, Data: make([]byte, 4)},
			{DType: kernels.I8, Rows: 2, Cols: 2, Data: make([]byte, 4), Scales: one},
			{DType: kernels.I8, Rows: 2, Cols: 2, Data: make([]byte, 4)},
			{DType: kernels.F8, Rows: 2, Cols: 2, Data: make([]byte, 4)},
			{DType: kernels.I4, Rows: 1, Cols: 3, Group: 3, Data: make([]byte, 2), Scales: one, Zeros: one},
			{DType: kernels.I4, Rows: 1, Cols: 4, Group: 3, Data: make([]byte, 2), Scales: one, Zeros: one},
			{DType: kernels.I4, Rows: 1, Cols: 4, Data: make([]byte, 2), Scales: one, Zeros: one},
			{DType: kernels.I4, Rows: 1, Cols: 4, Group: 4, Data: make([]byte, 2), Scales: one},
			{Rows: math.MaxInt, Cols: math.MaxInt},
		} {
			if _, err := r.dev.NewWeight(d); !isInvalid(err) {
				t.Errorf("%v: %v [%d, %d]: %v", tg, d.DType, d.Rows, d.Cols, err)
			}
		}
	}
}

// TestNoMemory: what cannot be had is an error with its size.
func TestNoMemory(t *testing.T) {
	for _, tg := range everyTarget(t) {
		r := tg.open(t)
		_, err := r.dev.NewBuffer(1 << 60)
		if !errors.Is(err, kernels.ErrNoMemory) || !strings.Contains(err.Error(), "1152921504606846976 bytes") {
			t.Errorf("%v: %v", tg, err)
		}
		_, err = r.dev.NewKV(kernels.KVDesc{Layers: 100, KVHeads: 1 << 10, HeadDim: 1 << 10, PageSize: 1 << 10, Pages: 1 << 16})
		if !errors.Is(err, kernels.ErrNoMemory) || !strings.Contains(err.Error(), "65536 pages") {
			t.Errorf("%v: %v", tg, err)
		}
		for _, d := range []kernels.KVDesc{
			{Layers: 1 << 30, KVHeads: 1 << 30, HeadDim: 1 << 30, PageSize: 1 << 30, Pages: 1 << 30},
			{Layers: 1, KVHeads: 1, HeadDim: 1, PageSize: 0, Pages: 1},
			{Layers: 1, KVHeads: 1, HeadDim: 1, PageSize: 1, Pages: -1},
			{Layers: 1, KVHeads: 1, HeadDim: 1, PageSize: 1, Pages: 1, DType: kernels.F16},
			{Layers: 1 << 40, KVHeads: 1, HeadDim: 1, PageSize: 1, Pages: 1},
		} {
			if d.DType == kernels.F16 && r.target.backend == "cuda" {
				continue
			}
			if _, err := r.dev.NewKV(d); !isInvalid(err) {
				t.Errorf("%v: %+v: %v", tg, d, err)
			}
		}
		for _, shape := range [][2]int{{-1, 1}, {math.MaxInt, math.MaxInt}, {1, -1}} {
			if _, err := r.dev.NewTensor(shape[0], shape[1], kernels.F32); !isInvalid(err) {
				t.Errorf("%v: tensor %v: %v", tg, shape, err)
			}
		}
		if _, err := r.dev.NewBuffer(-1); !isInvalid(err) {
			t.Errorf("%v: %v", tg, err)
		}
	}
}

func TestOpen(t *testing.T) {
	if _, err := kernels.Open("abacus", kernels.Options{}); !isInvalid(err) || !strings.Contains(err.Error(), `"abacus"; there are cpu, cuda, ref`) {
		t.Errorf("unknown backend: %v", err)
	}
	if _, err := kernels.Open("cpu", kernels.Options{Threads: -1}); !isInvalid(err) {
		t.Errorf("-1 threads: %v", err)
	}
	t.Setenv("SEXTANT_CPU_ISA", "avx10")
	if _, err := kernels.Open("cpu", kernels.Options{}); !isInvalid(err) || !strings.Contains(err.Error(), "SEXTANT_CPU_ISA=avx10: want amx, amx-bf16, avx512-bf16, avx512, avx2 or scalar") {
		t.Errorf("unknown build: %v", err)
	}
	t.Setenv("SEXTANT_CPU_ISA", "scalar")
	d, err := kernels.Open("cpu", kernels.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	info, err := d.Info()
	if err != nil || info.Threads != 2 || info.Features != "scalar, 2 threads" || info.Name == "" || info.Memory <= 0 || info.Free <= 0 {
		t.Errorf("info %+v, %v", info, err)
	}
}

// TestLifetimes: Free twice, Free after Close, calls after either.
func TestLifetimes(t *testing.T) {
	for _, tg := range everyTarget(t) {
		w := newWorld(t, tg)
		w.batch.Free()
		w.batch.Free()
		if err := w.st.Attention(w.attn()); !isInvalid(err) {
			t.Errorf("%v: a freed batch: %v", tg, err)
		}
		w.dev.Close()
		w.dev.Close()
		w.batch.Free()
		w.kv.Free()
		w.w.Free()
		w.x.Buf.Free()
		w.st.Free()
		if err := w.st.Add(w.x, w.y); !isInvalid(err) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%v: after Close: %v", tg, err)
		}
		if _, err := w.dev.NewBuffer(1); !isInvalid(err) {
			t.Errorf("%v: after Close: %v", tg, err)
		}
		// What the closed device made is refused by another, not read.
		o := newWorld(t, tg)
		if err := o.st.MatMul(o.x, w.y, w.w, nil); !isInvalid(err) {
			t.Errorf("%v: a closed device's tensor: %v", tg, err)
		}
	}
}

// TestNothing: empty rows and empty arrays do nothing and are no error.
func TestNothing(t *testing.T) {
	for _, tg := range everyTarget(t) {
		w := newWorld(t, tg)
		x, y := w.x.SliceRows(0, 0), w.y.SliceRows(0, 0)
		empty := w.newBatch([]int32{0}, nil, nil, 0)
		a := w.attn()
		a.Out, a.Q, a.Batch = x, y, empty
		p := w.rope()
		p.Q, p.K, p.V, p.Batch = y, x.SliceCols(0, 4), x.SliceCols(4, 8), empty
		lp, err := w.st.LogProb(x, w.w, kernels.Targets{IDs: []int32{}})
		w.must(err)
		if len(lp.LSE)+len(lp.Target)+len(lp.Best)+len(lp.BestLogit) != 0 {
			t.Errorf("%v: %+v", tg, lp)
		}
		for i, err := range []error{
			w.st.MatMul(x, y, w.w, nil), w.st.Embed(x, w.w, nil), w.st.Gather(x, y, nil), w.st.RMSNorm(x, y, nil, w.norm, 1), w.st.Add(x, y),
			w.st.SwiGLU(x, y, y), w.st.Round(x, y, kernels.Rounding{To: kernels.I8}), w.st.Round(w.x.SliceCols(2, 2), w.y.SliceCols(0, 0), kernels.Rounding{To: kernels.F8}), w.st.ColStats(w.x.SliceRows(0, 1), w.x.SliceRows(1, 2), w.x.SliceRows(2, 3), y), w.st.Hessian(w.x.SliceCols(0, 4), y.SliceCols(0, 4)),
			w.st.Attention(a), w.st.RopeKV(p), w.st.KVCopy(w.kv, 0, 1, 0), w.st.UploadF32(x, nil), w.st.DownloadF32(x, nil),
			w.st.Sync(), errOf(w.st.Sample(x, nil, nil)),
		} {
			if err != nil {
				t.Errorf("%v: call %d: %v", tg, i, err)
			}
		}
		w.checkGuards()
	}
}

func TestTensorViews(t *testing.T) {
	r := target{backend: "ref"}.open(t)
	whole, err := r.dev.NewTensor(3, 4, kernels.F32)
	r.must(err)
	r.must(r.st.UploadF32(whole, []float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}))
	for _, c := range []struct {
		view kernels.Tensor
		want []float32
	}{
		{whole.SliceRows(1, 2), []float32{4, 5, 6, 7}},
		{whole.SliceCols(1, 3), []float32{1, 2, 5, 6, 9, 10}},
		{whole.SliceRows(1, 3).SliceCols(3, 4), []float32{7, 11}},
		{whole.Reshape(6, 2).SliceRows(2, 3), []float32{4, 5}},
		{whole.SliceRows(3, 3), nil},
	} {
		if err := sameBits(r.read(c.view), c.want); err != nil {
			t.Errorf("%+v: %v", c.view, err)
		}
	}
	for _, bad := range []kernels.Tensor{whole.SliceRows(2, 4), whole.SliceRows(-1, 2), whole.SliceCols(3, 2), whole.Reshape(5, 2), whole.SliceCols(0, 2).Reshape(2, 3)} {
		if err := r.st.Add(bad, bad); !isInvalid(err) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	half, err := r.dev.NewTensor(2, 2, kernels.BF16)
	r.must(err)
	r.must(r.st.UploadF32(half, []float32{1, 1.00390625, 3.0078125, nan}))
	got := make([]float32, 4)
	r.must(r.st.DownloadF32(half, got))
	if got[0] != 1 || got[1] != 1 || got[2] != 3 || got[3] == got[3] {
		t.Errorf("bf16 gives back %v", got)
	}
	if err := r.st.Add(half, half); !errors.Is(err, kernels.ErrUnsupported) {
		t.Errorf("bf16 activations on ref: %v", err)
	}
}
