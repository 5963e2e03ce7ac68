package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// openBlocks opens a checkpoint's blocks on a fresh device.
func openBlocks(t testing.TB, backend string, threads int, ck *checkpoint.Checkpoint) *Blocks {
	t.Helper()
	dev, err := kernels.Open(backend, kernels.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	b, err := OpenBlocks(context.Background(), dev, ck)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func loadBlock(t testing.TB, b *Blocks, i int) *Block {
	t.Helper()
	y, err := b.Load(i)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(y.Close)
	return y
}

func embed(t testing.TB, b *Blocks, ids []int32) []float32 {
	t.Helper()
	x, err := b.Embed(ids)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// through runs hidden states through all blocks, each with the tap.
func through(t testing.TB, b *Blocks, x []float32, seqLen int, tap func(i int, s Site, in kernels.Tensor) error) []float32 {
	t.Helper()
	x = slices.Clone(x)
	for i := range b.m.cfg.Layers {
		y := loadBlock(t, b, i)
		var f Tap
		if tap != nil {
			f = func(s Site, in kernels.Tensor) error { return tap(i, s, in) }
		}
		if err := y.Run(x, seqLen, f); err != nil {
			t.Fatal(err)
		}
		y.Close()
	}
	return x
}

// head gives the logits of hidden states by m's final norm and output matrix.
func head(t testing.TB, m *Model, x []float32) []float32 {
	t.Helper()
	at, err := m.dev.NewTensor(len(x)/m.cfg.Hidden, m.cfg.Hidden, kernels.F32)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Buf.Free()
	if err := errors.Join(m.stream.UploadF32(at, x), m.stream.RMSNorm(at, at, nil, m.norm, float32(m.cfg.NormEps))); err != nil {
		t.Fatal(err)
	}
	logits, err := m.Logits(at)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Download(logits)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBlocks holds the blocks, one by one, against the model, bit for bit, for every family.
func TestBlocks(t *testing.T) {
	for _, name := range goldenNames(t) {
		ck, g := openGolden(t, name)
		for _, backend := range []string{"ref", "cpu"} {
			m, b := load(t, backend, ck), openBlocks(t, backend, 2, ck)
			for i, ids := range g.Lists {
				x := through(t, b, embed(t, b, ids), len(ids), nil)
				sameBits(t, fmt.Sprintf("%s on %s, list %d", name, backend, i), head(t, m, x), alone(t, m, ids))
			}
		}
	}
}

// TestBlocksPacking holds that neither threads nor what shares a pass make a difference, nor cuts of a long sequence.
func TestBlocksPacking(t *testing.T) {
	ck, g := openGolden(t, "qwen3")
	one := openBlocks(t, "cpu", 1, ck)
	const seqLen, n = 8, 5
	ids := g.Lists[1][:seqLen*n]
	want := through(t, one, embed(t, one, ids), seqLen, nil)
	two := openBlocks(t, "cpu", 2, ck)
	sameBits(t, "two threads", through(t, two, embed(t, two, ids), seqLen, nil), want)
	var apart []float32
	for s := range slices.Chunk(ids, seqLen) {
		apart = append(apart, through(t, two, embed(t, two, s), seqLen, nil)...)
	}
	sameBits(t, "sequences apart", apart, want)

	long, lists := openGolden(t, "llama-linear")
	long.Config().MaxPositions = 3 * passTokens
	ids = slices.Repeat(lists.Lists[1][:40], passTokens/40+1) // 40 tokens and more beyond a pass
	b, m := openBlocks(t, "cpu", 2, long), load(t, "cpu", long)
	cuts := map[Site]int{}
	x := through(t, b, embed(t, b, ids), len(ids), func(_ int, s Site, in kernels.Tensor) error {
		if cuts[s]++; in.Rows > passTokens {
			t.Errorf("%v has %d tokens in a pass", s, in.Rows)
		}
		return nil
	})
	if cuts[SiteQKV] != 2*b.m.cfg.Layers {
		t.Errorf("%d passes of %d blocks", cuts[SiteQKV], b.m.cfg.Layers)
	}
	sameBits(t, "a sequence of two passes", head(t, m, x), alone(t, m, ids))
}

func TestPieces(t *testing.T) {
	for _, c := range []struct{ n, seqLen, passes int }{
		{0, 10, 0}, {1, 1, 1}, {128, 512, 32}, {5, 512, 2}, {3, 2048, 3}, {7, 2000, 7}, {2, 4097, 6}, {1, 2049, 2}, {5000, 1, 3},
	} {
		all := pieces(c.n, c.seqLen)
		if len(all) != c.passes {
			t.Errorf("%d sequences of %d: %d passes, want %d", c.n, c.seqLen, len(all), c.passes)
		}
		at := 0
		for _, p := range all {
			from, to := p.rows(c.seqLen)
			if from != at || to <= from || to-from > passTokens {
				t.Fatalf("%d sequences of %d: rows %d to %d behind %d", c.n, c.seqLen, from, to, at)
			}
			at = to
		}
		if at != c.n*c.seqLen {
			t.Errorf("%d sequences of %d: %d rows", c.n, c.seqLen, at)
		}
	}
}

// seen are the values that taps saw, of each site.
type seen [4][]float32

func (v *seen) tap(b *Blocks, t *testing.T) Tap {
	return func(s Site, in kernels.Tensor) error {
		values, err := b.m.Download(in)
		v[s] = append(v[s], values...)
		if in.DType != kernels.F32 {
			t.Errorf("%v: %v", s, in.DType)
		}
		return err
	}
}

// product is in [n, inputs] by the site's one weight, in float64.
func product(t *testing.T, y *Block, name string, in []float32, cols int) []float32 {
	t.Helper()
	w, err := y.Weights(name)
	if err != nil {
		t.Fatal(err)
	}
	bias, _ := y.Weights(checkpoint.BiasName(name)) // an error: there is none
	var out []float32
	for x := range slices.Chunk(in, cols) {
		for r := range len(w) / cols {
			sum := 0.0
			for c, v := range x {
				sum += float64(v) * float64(w[r*cols+c])
			}
			if bias != nil {
				sum += float64(bias[r])
			}
			out = append(out, float32(sum))
		}
	}
	return out
}

// TestTaps holds what taps see, and the parts between them, against the norms, the matrices and the block's own output.
func TestTaps(t *testing.T) {
	for _, name := range []string{"llama", "llama-bias", "qwen2", "qwen3", "internlm2-bias"} {
		ck, g := openGolden(t, name)
		b := openBlocks(t, "cpu", 2, ck)
		ids, seqLen := g.Lists[1][:36], 12
		y := loadBlock(t, b, 0)
		before := embed(t, b, ids)
		after := slices.Clone(before)
		var v seen
		if err := y.Run(after, seqLen, v.tap(b, t)); err != nil {
			t.Fatal(err)
		}
		part := map[Site][]float32{}
		for s := SiteQKV; s <= SiteDown; s++ {
			var err error
			if part[s], err = y.Part(s, v[s], seqLen); err != nil {
				t.Fatal(err)
			}
		}
		sameBits(t, name+": attention and its last matrix", part[SiteQKV], part[SiteO])
		sameBits(t, name+": the MLP and its last matrix", part[SiteGateUp], part[SiteDown])
		for i := range before {
			if mid := before[i] + part[SiteQKV][i]; mid+part[SiteGateUp][i] != after[i] {
				t.Fatalf("%s: value %d is %v, of the parts %v", name, i, after[i], mid+part[SiteGateUp][i])
			}
		}
		sites := b.m.cfg.LayerNames(0).Sites()
		for _, s := range []Site{SiteO, SiteDown} {
			if e := maxError(part[s], product(t, y, sites[s][0], v[s], y.width(s))); !(e < 1e-5) {
				t.Errorf("%s: %v differs by %g from its matrix", name, s, e)
			}
		}
		gate, up := product(t, y, sites[SiteGateUp][0], v[SiteGateUp], y.width(SiteGateUp)), product(t, y, sites[SiteGateUp][1], v[SiteGateUp], y.width(SiteGateUp))
		for i, x := range gate {
			gate[i] = float32(float64(x) / (1 + math.Exp(-float64(x))) * float64(up[i]))
		}
		if e := maxError(v[SiteDown], gate); !(e < 1e-5) {
			t.Errorf("%s: the input of down differs by %g", name, e)
		}
		norm, err := y.Weights(ck.Config().LayerNames(0).AttnNorm)
		if err != nil {
			t.Fatal(err)
		}
		if e := maxError(v[SiteQKV], normed(before, norm, ck.Config().NormEps)); !(e < 1e-5) {
			t.Errorf("%s: the input of qkv differs by %g", name, e)
		}
	}
}

// normed is RMSNorm in float64.
func normed(x, w []float32, eps float64) (out []float32) {
	for row := range slices.Chunk(x, len(w)) {
		sum := 0.0
		for _, v := range row {
			sum += float64(v) * float64(v)
		}
		for i, v := range row {
			out = append(out, float32(float64(v)/math.Sqrt(sum/float64(len(w))+eps)*float64(w[i])))
		}
	}
	return out
}

// TestStop holds that a tap ends its pass where it says, and the run by any other error.
func TestStop(t *testing.T) {
	ck, g := openGolden(t, "llama")
	b := openBlocks(t, "cpu", 2, ck)
	y := loadBlock(t, b, 1)
	x := embed(t, b, g.Lists[1])
	was := slices.Clone(x)
	for stop := SiteQKV; stop <= SiteDown; stop++ {
		var saw []Site
		err := y.Run(x, len(g.Lists[1]), func(s Site, _ kernels.Tensor) error {
			if saw = append(saw, s); s == stop {
				return fmt.Errorf("enough: %w", ErrStop)
			}
			return nil
		})
		if err != nil || len(saw) != int(stop)+1 || saw[stop] != stop {
			t.Errorf("%v: %v, error %v", stop, saw, err)
		}
		sameBits(t, "after a stop at "+stop.String(), x, was)
	}
	if err := y.Run(x, len(g.Lists[1]), func(Site, kernels.Tensor) error { return os.ErrClosed }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// TestSet holds that a block runs with what it was given, and that its own values given again change nothing.
func TestSet(t *testing.T) {
	for _, name := range []string{"llama-bias", "qwen3", "internlm2-bias"} {
		ck, g := openGolden(t, name)
		b := openBlocks(t, "cpu", 2, ck)
		ids := g.Lists[1]
		y := loadBlock(t, b, 0)
		run := func() []float32 {
			x := embed(t, b, ids)
			if err := y.Run(x, len(ids), nil); err != nil {
				t.Fatal(err)
			}
			return x
		}
		want := run()
		for _, tensor := range slices.Sorted(func(yield func(string) bool) {
			for n := range y.weights {
				if !yield(n) {
					return
				}
			}
		}) {
			own, err := y.Weights(tensor)
			if err != nil {
				t.Fatal(err)
			}
			other := slices.Clone(own)
			for i := range other {
				other[i] = 2*other[i] + 0.25
			}
			if err := y.Set(tensor, other); err != nil {
				t.Fatal(err)
			}
			now, err := y.Weights(tensor)
			if err != nil {
				t.Fatal(err)
			}
			sameBits(t, "what was set of "+tensor, now, other)
			if e := maxError(run(), want); !(e > 1e-4) {
				t.Errorf("%s: another %s makes a difference of %g", name, tensor, e)
			}
			if err := y.Set(tensor, own); err != nil {
				t.Fatal(err)
			}
			sameBits(t, name+": own values of "+tensor, run(), want)
		}
	}
}

func TestBlockRefusals(t *testing.T) {
	ck, g := openGolden(t, "llama")
	b := openBlocks(t, "cpu", 1, ck)
	y := loadBlock(t, b, 0)
	x := embed(t, b, g.Lists[1])
	stopped, stop := context.WithCancelCause(context.Background())
	stop(os.ErrDeadlineExceeded)
	ended, err := OpenBlocks(stopped, b.Device(), ck)
	if err != nil {
		t.Fatal(err)
	}
	defer ended.Close()
	for what, f := range map[string]func() error{
		"block 9: the model has 2":              func() error { _, err := b.Load(9); return err },
		"token 1 has id 64, the model's":        func() error { _, err := b.Embed([]int32{1, 64}); return err },
		"sequences of 0 tokens":                 func() error { return y.Run(x, 0, nil) },
		"sequences of 65 tokens":                func() error { return y.Run(x, 65, nil) },
		"no whole number of sequences [7":       func() error { return y.Run(x, 7, nil) },
		"block 0 has no site 4":                 func() error { _, err := y.Part(4, x, 10); return err },
		`block 0 has no tensor "x"`:             func() error { _, err := y.Weights("x"); return err },
		`block 0 has no tensor "y"`:             func() error { return y.Set("y", x) },
		"1 values for tensor \"model.layers.0.": func() error { return y.Set(ck.Config().LayerNames(0).O, x[:1]) },
		os.ErrDeadlineExceeded.Error(): func() error {
			y, err := ended.Load(0)
			if err != nil {
				return err
			}
			return y.Run(x, 10, nil)
		},
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v, want one that says %q", err, what)
		}
	}
}

// TestBlockMemory holds that a device has the weights of one block, and of a file's pages none that a block was made of.
func TestBlockMemory(t *testing.T) {
	ck := open(t, writeModel(t, 4, 1024))
	b := openBlocks(t, "cpu", 2, ck)
	before := residentFile(t)
	y := loadBlock(t, b, 0)
	if grown := residentFile(t) - before; grown > 1<<20 { // of 6 MiB
		t.Errorf("%d bytes of files more are in memory", grown)
	}
	x := embed(t, b, make([]int32, 40))
	if err := y.Run(x, 20, nil); err != nil {
		t.Fatal(err)
	}
	y.Close()
	y.Close()
	if err := y.Run(x, 20, nil); err == nil || !strings.Contains(err.Error(), "block 0 has lost tensor") {
		t.Errorf("a closed block: error %v", err)
	}
}
