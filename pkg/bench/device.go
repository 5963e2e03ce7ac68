package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"sextant/kernels"
)

// deviceISA is what a peak of a device with memory of its own is called.
const deviceISA = "matmul"

const (
	mostSide   = 8192 // of the matrices that are multiplied: 1.1 TFLOP a product
	mostCopy   = 1 << 30
	copyRow    = 8192                   // values
	slowOp     = 20 * time.Millisecond  // an operation that takes so long is large enough
	deviceTime = 200 * time.Millisecond // of a sample
)

// deviceBest measures the best of a device with memory of its own, through its backend: a product of square matrices of the format that
// activations have, and rows copied from one buffer to another. Both are as large as they are worth: a device that is emulated is slow.
type deviceBest struct {
	dev   *kernels.Device
	st    *kernels.Stream
	dtype kernels.DType
	side  int // of the product; 0: not found yet
	rows  int // of the copy
	free  int64
}

func newDeviceBest(dev *kernels.Device, dtype string, free int64) (*deviceBest, error) {
	st, err := dev.NewStream()
	return &deviceBest{dev: dev, st: st, dtype: arithmetic(dtype), free: free}, err
}

// arithmetic is the format that a device multiplies weights of a format in.
func arithmetic(dtype string) kernels.DType {
	switch dtype {
	case "f32":
		return kernels.F32
	case "f16":
		return kernels.F16
	}
	return kernels.BF16
}

// measure takes a sample of both. What it holds of the device's memory it gives back.
func (d *deviceBest) measure(p *Peaks) error {
	gflops, err := d.product()
	if err != nil {
		return fmt.Errorf("measuring the device's best product of matrices: %w", err)
	}
	p.saw(Compute{ISA: deviceISA, DType: d.dtype.String(), GFLOPs: gflops})
	gbs, bytes, err := d.copies()
	if err != nil {
		return fmt.Errorf("measuring how fast the device copies: %w", err)
	}
	p.ReadBytes = bytes
	p.read(gbs)
	return nil
}

// product finds the side in the first round, and measures it.
func (d *deviceBest) product() (gflops float64, err error) {
	for side := 256; d.side == 0; side *= 2 {
		t, err := d.multiply(side, 0)
		if err != nil {
			return 0, err
		}
		if side == mostSide || t > slowOp.Seconds() || 2*3*4*int64(side)*int64(side)*d.dtype.Bytes() > d.free {
			d.side = side
		}
	}
	t, err := d.multiply(d.side, deviceTime)
	return 2 * math.Pow(float64(d.side), 3) / t / 1e9, err
}

// multiply gives the seconds of a product of random matrices: zeros would cost a GPU less power, and be faster.
func (d *deviceBest) multiply(side int, least time.Duration) (seconds float64, err error) {
	w, err := d.dev.NewWeight(kernels.WeightDesc{DType: d.dtype, Rows: side, Cols: side, Data: noiseBytes(d.dtype, side*side)})
	if err != nil {
		return 0, err
	}
	defer w.Free()
	x, out, free, err := d.pair(side, side)
	if err != nil {
		return 0, err
	}
	defer free()
	if err := d.st.UploadF32(x, noise(side*side)); err != nil {
		return 0, err
	}
	return timed(d.st, least, func() error { return d.st.MatMul(out, x, w, nil) })
}

// copies finds the number of rows in the first round, and measures it. A value is read once and written once.
func (d *deviceBest) copies() (gbs float64, bytes int64, err error) {
	size := func(rows int) int64 { return 2 * int64(rows) * copyRow * d.dtype.Bytes() }
	for rows := 64; d.rows == 0; rows *= 2 {
		t, err := d.move(rows, 0)
		if err != nil {
			return 0, 0, err
		}
		if size(rows) >= 2*mostCopy || t > slowOp.Seconds() || 4*size(rows) > d.free {
			d.rows = rows
		}
	}
	t, err := d.move(d.rows, deviceTime)
	return float64(size(d.rows)) / t / 1e9, size(d.rows), err
}

// move gives the seconds of copying rows.
func (d *deviceBest) move(rows int, least time.Duration) (seconds float64, err error) {
	ids := make([]int32, rows)
	for i := range ids {
		ids[i] = int32(i)
	}
	from, to, free, err := d.pair(rows, copyRow)
	if err != nil {
		return 0, err
	}
	defer free()
	return timed(d.st, least, func() error { return d.st.Gather(to, from, ids) })
}

// pair makes two tensors.
func (d *deviceBest) pair(rows, cols int) (a, b kernels.Tensor, free func(), err error) {
	if a, err = d.dev.NewTensor(rows, cols, d.dtype); err != nil {
		return a, b, nil, err
	}
	if b, err = d.dev.NewTensor(rows, cols, d.dtype); err != nil {
		a.Buf.Free()
		return a, b, nil, err
	}
	return a, b, func() { a.Buf.Free(); b.Buf.Free() }, nil
}

// timed gives the seconds of f, whose operations are given to st again and again, for least, without waiting in between. The first one warms
// up.
func timed(st *kernels.Stream, least time.Duration, f func() error) (seconds float64, err error) {
	run := func(n int) (float64, error) {
		begun := time.Now()
		for range n {
			if err := f(); err != nil {
				return 0, err
			}
		}
		err := st.Sync()
		return time.Since(begun).Seconds(), err
	}
	if _, err := run(1); err != nil {
		return 0, err
	}
	for n := 1; ; n *= 2 {
		if s, err := run(n); err != nil || s >= least.Seconds() {
			return s / float64(n), err
		}
	}
}

// period is after how many values noise begins anew: a prime, so that no row is as the one before.
const period = 65521

// noise is n normal values.
func noise(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, 2))
	some := make([]float32, min(n, period))
	for i := range some {
		some[i] = float32(rng.NormFloat64())
	}
	return repeated(some, n)
}

// noiseBytes is noise in a format.
func noiseBytes(dt kernels.DType, n int) []byte {
	var some []byte
	for _, v := range noise(min(n, period)) {
		some = append(some, encode(dt.String(), v)...)
	}
	return repeated(some, n*int(dt.Bytes()))
}

// repeated is the first n of v, v, v, ...
func repeated[T any](v []T, n int) []T {
	out := make([]T, 0, n)
	for len(out) < n {
		out = append(out, v[:min(len(v), n-len(out))]...)
	}
	return out
}
