package quant

import (
	"context"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sextant/kernels"
)

// benchProducts are the kernels' on this processor.
func benchProducts(b *testing.B) Products {
	dev, err := kernels.Open("cpu", kernels.Options{})
	if err != nil {
		b.Skip(err)
	}
	stream, err := dev.NewStream()
	if err != nil {
		b.Fatal(err)
	}
	p := &deviceProducts{ctx: context.Background(), dev: dev, stream: stream, did: func(float64) {}}
	b.Cleanup(func() { p.free(); stream.Free(); dev.Close() })
	return p
}

func benchDense(r *rand.Rand, rows, cols int) Dense {
	d := Dense{rows, cols, make([]float32, rows*cols)}
	for i := range d.Values {
		d.Values[i] = float32(0.02 * r.NormFloat64())
	}
	return d
}

// benchGram is diagonally dominant with correlations of rank 1, which costs less to make than tokens do and as much to work with.
func benchGram(r *rand.Rand, n int) (gram, mean []float32) {
	gram, mean = make([]float32, n*n), make([]float32, n)
	for i := range mean {
		mean[i] = float32(0.1 + r.Float64())
	}
	for i := range n {
		for j := range n {
			gram[i*n+j] = 0.5 * mean[i] * mean[j]
		}
		gram[i*n+i] += mean[i] * mean[i]
	}
	return gram, mean
}

// The four sites of a block of Llama 3.2 1B: inputs, and the outputs of the matrices.
var llama1B = []struct {
	name string
	cols int
	rows []int
	clip int // the first matrix whose range may be narrowed
}{{"qkv", 2048, []int{2048, 512, 512}, 2}, {"o", 2048, []int{2048}, 0}, {"gateup", 2048, []int{8192, 8192}, 0}, {"down", 8192, []int{2048}, 0}}

// benchCPU runs f and reports the processor time that it took, of all threads.
func benchCPU(b *testing.B, f func() error) {
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	runtime.GC()
	before := used()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((used()-before).Seconds()/float64(b.N), "cpu-s/op")
}

// BenchmarkAWQ is the search of a block, site by site: 20 ratios, then 10 ranges.
func BenchmarkAWQ(b *testing.B) {
	p, g := benchProducts(b), Grid{4, false, 128, 1, false, "llmc", "f16"}
	for _, s := range llama1B {
		b.Run(s.name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			gram, mean := benchGram(r, s.cols)
			var ws []Dense
			for _, rows := range s.rows {
				ws = append(ws, benchDense(r, rows, s.cols))
			}
			b.Run("scale", func(b *testing.B) {
				benchCPU(b, func() error {
					_, _, err := SearchScale(AWQSearch{Grid: g, Steps: 20, Mean: mean, Matrices: ws, Gram: gram, Tokens: 65536, Products: p})
					return err
				})
			})
			b.Run("clip", func(b *testing.B) {
				benchCPU(b, func() error {
					_, err := SearchClip(ClipSearch{Grid: g, Matrices: ws[s.clip:], Gram: gram, Scale: mean, Products: p})
					return err
				})
			})
		})
	}
}

// BenchmarkGPTQ is a Hessian's factor and the rounding of a matrix behind it.
func BenchmarkGPTQ(b *testing.B) {
	p, g := benchProducts(b), Grid{4, false, 128, 1, true, "gptq", "f16"}
	for _, s := range llama1B[2:] {
		b.Run(s.name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 3))
			gram, _ := benchGram(r, s.cols)
			w := benchDense(r, s.rows[0], s.cols)
			var h *Hessian
			b.Run("hessian", func(b *testing.B) {
				benchCPU(b, func() (err error) {
					h, err = NewHessian(gram, s.cols, GPTQOptions{Damp: 0.01, Block: 128, Products: p})
					return err
				})
			})
			if h != nil {
				b.Run("round", func(b *testing.B) {
					benchCPU(b, func() error { _, _, err := GPTQ(g, w, h); return err })
				})
			}
		})
	}
}
