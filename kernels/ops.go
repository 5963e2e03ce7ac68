//go:build cgo

package kernels

/*
#include "shim.h"

#cgo noescape shim_kv_copy
#cgo nocallback shim_kv_copy
#cgo noescape shim_embed
#cgo nocallback shim_embed
#cgo noescape shim_embed_batch
#cgo nocallback shim_embed_batch
#cgo noescape shim_colstats
#cgo nocallback shim_colstats
#cgo noescape shim_hessian
#cgo nocallback shim_hessian
#cgo noescape shim_round
#cgo nocallback shim_round
#cgo noescape shim_gather
#cgo nocallback shim_gather
#cgo noescape shim_matmul
#cgo nocallback shim_matmul
#cgo noescape shim_rmsnorm
#cgo nocallback shim_rmsnorm
#cgo noescape shim_add
#cgo nocallback shim_add
#cgo noescape shim_swiglu
#cgo nocallback shim_swiglu
#cgo noescape shim_rope_kv
#cgo nocallback shim_rope_kv
#cgo noescape shim_attention
#cgo nocallback shim_attention
#cgo noescape shim_logprob
#cgo nocallback shim_logprob
#cgo noescape shim_sample
#cgo nocallback shim_sample
*/
import "C"

import "unsafe"

// Sync waits for everything given to the stream.
func (s *Stream) Sync() error {
	return s.call("sync", func(c C.shim) C.sx_status { return C.shim_stream_sync(c) })
}

// Embed sets out[i] = w[ids[i]].
func (s *Stream) Embed(out Tensor, w *Weight, ids []int32) error {
	return s.call("embed", func(c C.shim) C.sx_status {
		return C.shim_embed(c, cTensor(&out), cWeight(w), cInts(ids), C.int64_t(len(ids)))
	})
}

// EmbedBatch sets out[i] = w[id of the batch's token i].
func (s *Stream) EmbedBatch(out Tensor, w *Weight, b *Batch) error {
	s.note(out.Buf, w, b)
	return s.call("embed_batch", func(c C.shim) C.sx_status {
		return C.shim_embed_batch(c, cTensor(&out), cWeight(w), cBatch(b))
	})
}

// Gather sets out[i] = x[rows[i]].
func (s *Stream) Gather(out, x Tensor, rows []int32) error {
	return s.call("gather", func(c C.shim) C.sx_status {
		return C.shim_gather(c, cTensor(&out), cTensor(&x), cInts(rows), C.int64_t(len(rows)))
	})
}

// MatMul sets out[M,N] = x[M,K] w^T + bias; bias is nil or an F32 weight 1 x N.
func (s *Stream) MatMul(out, x Tensor, w, bias *Weight) error {
	s.note(out.Buf, x.Buf, w, bias)
	return s.call("matmul", func(c C.shim) C.sx_status {
		return C.shim_matmul(c, cTensor(&out), cTensor(&x), cWeight(w), cWeight(bias))
	})
}

// RMSNorm adds add to x in place when it is not nil, then sets out = x / sqrt(mean(x^2) + eps) * w (arXiv 1910.07467). out may be x when
// add is nil.
func (s *Stream) RMSNorm(out, x Tensor, add *Tensor, w *Weight, eps float32) error {
	var a C.sx_tensor
	has := C.int(0)
	s.note(out.Buf, x.Buf, w)
	if add != nil {
		a, has = cTensor(add), 1
		s.note(add.Buf)
	}
	return s.call("rmsnorm", func(c C.shim) C.sx_status {
		return C.shim_rmsnorm(c, cTensor(&out), cTensor(&x), a, has, cWeight(w), C.float(eps))
	})
}

// Add sets x += add.
func (s *Stream) Add(x, add Tensor) error {
	s.note(x.Buf, add.Buf)
	return s.call("add", func(c C.shim) C.sx_status { return C.shim_add(c, cTensor(&x), cTensor(&add)) })
}

// SwiGLU sets out = silu(gate) * up (arXiv 2002.05202); out may be gate or up.
func (s *Stream) SwiGLU(out, gate, up Tensor) error {
	s.note(out.Buf, gate.Buf, up.Buf)
	return s.call("swiglu", func(c C.shim) C.sx_status {
		return C.shim_swiglu(c, cTensor(&out), cTensor(&gate), cTensor(&up))
	})
}

// RopeKV rotates q in place (arXiv 2104.09864) and writes the rotated k and v into the cache at the batch's positions.
func (s *Stream) RopeKV(a RopeArgs) error {
	dims, ok1 := i32(a.Rope.Dims)
	layer, ok2 := i32(a.Layer)
	if !ok1 || !ok2 {
		return invalid("rope_kv", "layer %d, %d dims", a.Layer, a.Rope.Dims)
	}
	r := C.sx_rope_desc{table: cTensor(&a.Rope.Table), dims: dims}
	if a.Rope.Interleaved {
		r.interleaved = 1
	}
	s.note(a.Q.Buf, a.K.Buf, a.V.Buf, a.Rope.Table.Buf, a.KV, a.Batch)
	return s.call("rope_kv", func(c C.shim) C.sx_status {
		return C.shim_rope_kv(c, cTensor(&a.Q), cTensor(&a.K), cTensor(&a.V), r, cKV(a.KV), cBatch(a.Batch), layer)
	})
}

// Attention is causal attention of each token over its sequence's cached positions; head h reads kv head h / (heads/kv_heads).
func (s *Stream) Attention(a AttentionArgs) error {
	layer, ok1 := i32(a.Layer)
	heads, ok2 := i32(a.Heads)
	window, ok3 := i32(a.Window)
	if !ok1 || !ok2 || !ok3 {
		return invalid("attention", "layer %d, %d heads, window %d", a.Layer, a.Heads, a.Window)
	}
	d := C.sx_attention_desc{layer: layer, heads: heads, window: window, scale: C.float(a.Scale)}
	s.note(a.Out.Buf, a.Q.Buf, a.KV, a.Batch)
	return s.call("attention", func(c C.shim) C.sx_status {
		return C.shim_attention(c, cTensor(&a.Out), cTensor(&a.Q), cKV(a.KV), cBatch(a.Batch), d)
	})
}

// KVCopy copies the first positions of page src to page dst, in all layers.
func (s *Stream) KVCopy(kv *KV, dst, src, positions int) error {
	d, ok1 := i32(dst)
	f, ok2 := i32(src)
	n, ok3 := i32(positions)
	if !ok1 || !ok2 || !ok3 {
		return invalid("kv_copy", "%d positions of page %d to page %d", positions, src, dst)
	}
	s.note(kv)
	return s.call("kv_copy", func(c C.shim) C.sx_status { return C.shim_kv_copy(c, cKV(kv), d, f, n) })
}

// LogProb takes the logits x w^T of each row of x and gives what LogProbs says; they are never stored whole. NaN counts as less than every
// number when the best is sought.
func (s *Stream) LogProb(x Tensor, w *Weight, t Targets) (LogProbs, error) {
	if x.Rows < 0 || (t.Rows != nil && len(t.Rows) != len(t.IDs)) || (t.Rows == nil && t.IDs != nil && len(t.IDs) != x.Rows) {
		return LogProbs{}, invalid("logprob", "x has %d rows, with %d targets in %d rows", x.Rows, len(t.IDs), len(t.Rows))
	}
	out := LogProbs{LSE: make([]float64, x.Rows), Best: make([]int32, x.Rows), BestLogit: make([]float32, x.Rows)}
	if t.IDs != nil {
		out.Target = make([]float32, len(t.IDs), len(t.IDs)+1) // never without an address: that says that there are targets
	}
	err := s.call("logprob", func(c C.shim) C.sx_status {
		return C.shim_logprob(c, cTensor(&x), cWeight(w), C.int64_t(len(t.IDs)), cInts(t.Rows), cInts(t.IDs), (*C.double)(unsafe.SliceData(out.LSE)),
			cFloats(out.Target), cInts(out.Best), cFloats(out.BestLogit))
	})
	if err != nil {
		return LogProbs{}, err
	}
	return out, nil
}

// Sample draws one token a row of logits by inversion with u[i] in [0,1) over descending probability; equal logits go by id.
func (s *Stream) Sample(logits Tensor, d []SampleDesc, u []float64) ([]int32, error) {
	if len(d) != logits.Rows || len(u) != logits.Rows {
		return nil, invalid("sample", "%d rows with %d descriptions and %d numbers", logits.Rows, len(d), len(u))
	}
	desc := make([]C.sx_sample_desc, len(d))
	for i, v := range d {
		k, ok := i32(v.TopK)
		if !ok {
			return nil, invalid("sample", "row %d: top_k %d", i, v.TopK)
		}
		desc[i] = C.sx_sample_desc{temperature: C.float(v.Temperature), top_k: k, top_p: C.float(v.TopP)}
	}
	ids := make([]int32, len(d))
	err := s.call("sample", func(c C.shim) C.sx_status {
		return C.shim_sample(c, cTensor(&logits), unsafe.SliceData(desc), (*C.double)(unsafe.SliceData(u)), cInts(ids))
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// ColStats adds the statistics of calibration over the rows of x [M, K] to three F32 tensors [1, K]: max = the greatest of max and |x|,
// sum += |x|, square += x^2 (AWQ, arXiv 2306.00978; SmoothQuant, arXiv 2211.10438). A NaN in a column makes all three of it NaN.
func (s *Stream) ColStats(max, sum, square, x Tensor) error {
	s.note(max.Buf, sum.Buf, square.Buf, x.Buf)
	return s.call("colstats", func(c C.shim) C.sx_status {
		return C.shim_colstats(c, cTensor(&max), cTensor(&sum), cTensor(&square), cTensor(&x))
	})
}

// Hessian adds x^T x of x [M, K] to h [K, K], of F32 (GPTQ, arXiv 2210.17323, without its factor 2). What it adds is symmetric to the bit and
// does not depend on the thread count; rows cut into calls otherwise may give other last bits, on the cpu not so at multiples of 512 rows.
func (s *Stream) Hessian(h, x Tensor) error {
	s.note(h.Buf, x.Buf)
	return s.call("hessian", func(c C.shim) C.sx_status { return C.shim_hessian(c, cTensor(&h), cTensor(&x)) })
}

// Round sets out to x [M, K], of which it may be the tensor itself, rounded to what 8 bits hold, symmetrically: the fake quantization of
// activations. s is r.Scale, or a/127 for I8 and a/448 for F8, where a is the greatest |x| of the row or group; I8: out = q s, with q the integer
// nearest to x/s, ties to even, in [-127, 127]; F8: the same with q the number of e4m3fn nearest to it, in [-448, 448]. Each step is rounded to f32,
// so that all backends agree bit for bit. Where s = 0 the result is 0. A NaN or an infinity makes all of its row or group NaN; with r.Scale NaN
// stays what it is and infinities become the greatest q s.
func (s *Stream) Round(out, x Tensor, r Rounding) error {
	s.note(out.Buf, x.Buf)
	return s.call("round", func(c C.shim) C.sx_status {
		return C.shim_round(c, cTensor(&out), cTensor(&x), C.sx_round_desc{to: C.sx_dtype(r.To), scale: C.float(r.Scale), group: C.int64_t(r.Group)})
	})
}
