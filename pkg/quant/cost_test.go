package quant

import (
	"context"
	"math/rand/v2"
	"testing"

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
	p := &deviceProducts{ctx: context.Background(), dev: dev, stream: stream}
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

// BenchmarkAWQ is the search of a block, site by site: 20 ratios, then 10 ranges.
func BenchmarkAWQ(b *testing.B) {
	p, g := benchProducts(b), Grid{4, false, 128, 1, false, "llmc", "f16"}
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range llama1B {
		gram, mean := benchGram(r, s.cols)
		var ws []Dense
		for _, rows := range s.rows {
			ws = append(ws, benchDense(r, rows, s.cols))
		}
		b.Run("scale/"+s.name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := SearchScale(AWQSearch{Grid: g, Steps: 20, Mean: mean, Matrices: ws, Gram: gram, Tokens: 65536, Products: p}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("clip/"+s.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := SearchClip(ClipSearch{Grid: g, Matrices: ws[s.clip:], Gram: gram, Scale: mean, Products: p}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGPTQ is a Hessian's factor and the rounding of the matrices behind it.
func BenchmarkGPTQ(b *testing.B) {
	p, g := benchProducts(b), Grid{4, false, 128, 1, true, "gptq", "f16"}
	r := rand.New(rand.NewPCG(1, 3))
	for _, s := range llama1B[2:] {
		gram, _ := benchGram(r, s.cols)
		w := benchDense(r, s.rows[0], s.cols)
		o := GPTQOptions{Damp: 0.01, Block: 128, Products: p}
		h, err := NewHessian(gram, s.cols, o)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("hessian/"+s.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := NewHessian(gram, s.cols, o); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("round/"+s.name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := GPTQ(g, w, h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
