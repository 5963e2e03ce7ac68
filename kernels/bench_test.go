//go:build cgo

package kernels_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"sextant/kernels"
)

// benchTargets is the best build of the machine, with one thread and with all.
var benchTargets = []target{{backend: "cpu", threads: 1}, {backend: "cpu"}}

// measure runs op and gives its seconds of wall time. It also reports how many cores it really had: on a shared machine the rates are to be
// read beside it.
func measure(b *testing.B, op func()) float64 {
	before := cpuSeconds(b)
	for b.Loop() {
		op()
	}
	b.ReportMetric((cpuSeconds(b)-before)/b.Elapsed().Seconds(), "cores")
	return b.Elapsed().Seconds() / float64(b.N)
}

func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func BenchmarkMatMul(b *testing.B) {
	for _, tg := range benchTargets {
		for _, dt := range allFormats {
			for _, s := range []struct{ m, n, k int }{{1, 4096, 4096}, {128, 1024, 1024}, {128, 4096, 4096}} {
				b.Run(fmt.Sprintf("%v/threads=%d/M=%d,N=%d,K=%d", dt, tg.threads, s.m, s.n, s.k), func(b *testing.B) {
					r := tg.open(b)
					rng := seeded(1)
					m := randomMatrix(rng, dt, s.n, s.k, 128)
					m.value = nil
					w, out := r.weight(m), r.out(s.m, s.n)
					x := r.in(s.m, s.k, normal(rng, s.m*s.k))
					bytes := float64(len(m.desc.Data))
					seconds := measure(b, func() { r.must(r.st.MatMul(out, x, w, nil)) })
					b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)/seconds/1e9, "GFLOP/s")
					b.ReportMetric(bytes/seconds/1e9, "GB/s")
				})
			}
		}
	}
}

// BenchmarkAttention is a prefill of 1024 tokens and a decode of 8 sequences of 2048, with 32 heads on 8 kv heads of 128.
func BenchmarkAttention(b *testing.B) {
	const heads, kvHeads, dim, page = 32, 8, 128, 64
	for _, tg := range benchTargets {
		for _, dt := range []kernels.DType{kernels.F32, kernels.BF16} {
			for _, s := range []struct{ seqs, new, all int }{{1, 1024, 1024}, {8, 1, 2048}} {
				b.Run(fmt.Sprintf("%v/threads=%d/seqs=%d,new=%d,kv=%d", dt, tg.threads, s.seqs, s.new, s.all), func(b *testing.B) {
					r := tg.open(b)
					perSeq := (s.all + page - 1) / page
					kv, err := r.dev.NewKV(kernels.KVDesc{Layers: 1, KVHeads: kvHeads, HeadDim: dim, PageSize: page, Pages: perSeq * s.seqs, DType: dt})
					r.must(err)
					desc := kernels.BatchDesc{QStart: []int32{0}, MaxPages: perSeq}
					for i := range s.seqs {
						desc.QStart = append(desc.QStart, int32((i+1)*s.new))
						desc.KVLen = append(desc.KVLen, int32(s.all))
						for p := range perSeq {
							desc.Pages = append(desc.Pages, int32(i*perSeq+p))
						}
					}
					batch, err := r.st.NewBatch(desc)
					r.must(err)
					t := s.seqs * s.new
					q, out := r.in(t, heads*dim, normal(seeded(2), t*heads*dim)), r.out(t, heads*dim)
					a := kernels.AttentionArgs{Out: out, Q: q, KV: kv, Batch: batch, Heads: heads, Scale: 0.088}
					seconds := measure(b, func() { r.must(r.st.Attention(a)) })
					pairs := float64(s.seqs) * float64(s.new) * (float64(s.all) - float64(s.new-1)/2)
					size := 4.0
					if dt == kernels.BF16 {
						size = 2
					}
					b.ReportMetric(4*pairs*heads*dim/seconds/1e9, "GFLOP/s")
					b.ReportMetric(float64(s.seqs*s.all*kvHeads*dim*2)*size/seconds/1e9, "GB/s")
				})
			}
		}
	}
}

// BenchmarkHessian counts the multiplications and additions of one triangle, M K^2 operations.
func BenchmarkHessian(b *testing.B) {
	for _, tg := range benchTargets {
		for _, s := range []struct{ m, k int }{{2048, 2048}, {1024, 4096}} {
			b.Run(fmt.Sprintf("threads=%d/M=%d,K=%d", tg.threads, s.m, s.k), func(b *testing.B) {
				r := tg.open(b)
				h, x := r.inPlace(s.k, s.k, make([]float32, s.k*s.k)), r.in(s.m, s.k, normal(seeded(1), s.m*s.k))
				seconds := measure(b, func() { r.must(r.st.Hessian(h, x)) })
				b.ReportMetric(float64(s.m)*float64(s.k)*float64(s.k)/seconds/1e9, "GFLOP/s")
			})
		}
	}
}

func BenchmarkColStats(b *testing.B) {
	const m, k = 2048, 4096
	for _, tg := range benchTargets {
		b.Run(fmt.Sprintf("threads=%d", tg.threads), func(b *testing.B) {
			r := tg.open(b)
			var s [3]kernels.Tensor
			for i := range s {
				s[i] = r.inPlace(1, k, make([]float32, k))
			}
			x := r.in(m, k, normal(seeded(1), m*k))
			seconds := measure(b, func() { r.must(r.st.ColStats(s[0], s[1], s[2], x)) })
			b.ReportMetric(4*m*k/seconds/1e9, "GB/s")
		})
	}
}
