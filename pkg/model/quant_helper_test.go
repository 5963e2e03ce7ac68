package model

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"sextant/internal/halves"
	"sextant/pkg/checkpoint"
	"sextant/pkg/qformat"
)

// recipe is how a test's model is quantized, by plain rounding to nearest.
type recipe struct {
	layout       string
	bits, group  int // group 0: a whole row
	blockRows    int // 0: one; -1: all
	float, asym  bool
	order        bool // groups of a column each in turn, as act-order leaves them
	act          qformat.Activation
	kv           string
	head, apart  bool // the output matrix too; o and down not
	staticScales bool // act.Scale differs by matrix
}

// matrix quantizes w [rows, cols].
func (r recipe) matrix(w []float32, rows, cols int) *qformat.Matrix {
	m := &qformat.Matrix{Rows: rows, Cols: cols, Bits: r.bits, Float: r.float, Symmetric: !r.asym && !r.float, Group: r.group, BlockRows: r.blockRows,
		Act: r.act, Codes: make([]byte, len(w))}
	if m.Group == 0 {
		m.Group = cols
	}
	switch m.BlockRows {
	case 0:
		m.BlockRows = 1
	case -1:
		m.BlockRows = rows
	}
	m.BlockRows = min(m.BlockRows, rows)
	wide := m.Wide()
	if r.order {
		for c := range cols {
			m.GroupOf = append(m.GroupOf, int32(c%wide))
		}
	}
	at := func(i int) int {
		c := i % cols
		if r.order {
			return i/cols/m.BlockRows*wide + c%wide
		}
		return i/cols/m.BlockRows*wide + c/m.Group
	}
	lo, hi := make([]float64, m.Tall()*wide), make([]float64, m.Tall()*wide)
	for i, v := range w {
		lo[at(i)], hi[at(i)] = min(lo[at(i)], float64(v)), max(hi[at(i)], float64(v))
	}
	top := float64(int(1)<<r.bits - 1)
	for g := range lo {
		most := max(hi[g], -lo[g], 1e-5)
		scale, zero := most/math.Floor(top/2), byte(0)
		switch {
		case r.float:
			scale = most / 448
		case r.asym:
			scale = max(hi[g]-lo[g], 1e-5) / top
			zero = byte(math.RoundToEven(-lo[g] / scale))
			m.Zeros = append(m.Zeros, zero)
		}
		m.Scales = append(m.Scales, halves.FromF16(toHalf(scale)))
	}
	for i, v := range w {
		x := float64(v) / float64(m.Scales[at(i)])
		if r.float {
			m.Codes[i] = toE4M3(x)
		} else {
			m.Codes[i] = byte(min(max(math.RoundToEven(x)+float64(m.Zero(at(i))), 0), top))
		}
	}
	return m
}

// toHalf is the binary16 next to a positive v, found by halving.
func toHalf(v float64) uint16 {
	lo, hi := uint16(0), uint16(0x7bff)
	for lo < hi {
		if mid := (lo + hi + 1) / 2; float64(halves.FromF16(mid)) <= v {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// e4m3 are the values of the codes from 0 to 126.
var e4m3 = func() []float32 {
	m := qformat.Matrix{Rows: 1, Cols: 127, Bits: 8, Float: true, Group: 127, BlockRows: 1, Scales: []float32{1}}
	for c := range 127 {
		m.Codes = append(m.Codes, byte(c))
	}
	out := make([]float32, 127)
	m.Values(out, 0)
	return out
}()

// toE4M3 is the code nearest to x, ties to the even one.
func toE4M3(x float64) byte {
	best := 0
	for c, v := range e4m3 {
		d, least := math.Abs(math.Abs(x)-float64(v)), math.Abs(math.Abs(x)-float64(e4m3[best]))
		if d < least || d == least && c%2 == 0 {
			best = c
		}
	}
	if x < 0 {
		best |= 128
	}
	return byte(best)
}

// matrices are the names of the layers' matrices.
func matrices(c *checkpoint.Config) (names []string) {
	for i := range c.Layers {
		n := c.LayerNames(i)
		for _, name := range []string{n.QKV, n.Q, n.K, n.V, n.O, n.Gate, n.Up, n.Down} {
			if name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}

// quantize writes ck quantized, and a twin of plain f32 tensors with the very values.
func (r recipe) quantize(t testing.TB, ck *checkpoint.Checkpoint) (quantized, plain *checkpoint.Checkpoint) {
	t.Helper()
	names := matrices(ck.Config())
	if r.head {
		names = append(names, ck.Config().HeadName())
	}
	ms := map[string]*qformat.Matrix{}
	var ignore []string
	var packed, values []qformat.Tensor
	for i, name := range names {
		module := strings.TrimSuffix(name, ".weight")
		src, err := ck.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if r.apart && (strings.Contains(name, "o_proj") || strings.Contains(name, "down_proj")) {
			ignore = append(ignore, module)
			continue
		}
		w := make([]float32, src.Shape[0]*src.Shape[1])
		halves.Widen(w, src.DType, src.Data)
		m := r.matrix(w, src.Shape[0], src.Shape[1])
		if r.staticScales {
			m.Act.Scale = 0.01 * float32(1+i)
		}
		tensors, err := qformat.Pack(r.layout, module, m)
		if err != nil {
			t.Fatal(err)
		}
		packed, ms[module] = append(packed, tensors...), m
		for row := range m.Rows {
			m.Values(w[row*m.Cols:], row)
		}
		values = append(values, qformat.Tensor{Name: name, DType: "F32", Shape: src.Shape, Data: floatBytes(w)})
	}
	if !r.head {
		ignore = append(ignore, strings.TrimSuffix(ck.Config().HeadName(), ".weight"))
	}
	for _, name := range ck.Names() {
		if ms[strings.TrimSuffix(name, ".weight")] == nil || !strings.HasSuffix(name, ".weight") {
			src, err := ck.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			same := qformat.Tensor{Name: name, DType: src.DType, Shape: src.Shape, Data: src.Data}
			packed, values = append(packed, same), append(values, same)
		}
	}
	config, err := qformat.Config(r.layout, ms, ignore, r.kv)
	if err != nil {
		t.Fatal(err)
	}
	return written(t, ck, packed, config), written(t, ck, values, nil)
}

func written(t testing.TB, ck *checkpoint.Checkpoint, tensors []qformat.Tensor, config map[string]any) *checkpoint.Checkpoint {
	t.Helper()
	dir := t.TempDir()
	if err := checkpoint.WriteShard(filepath.Join(dir, "model.safetensors"), tensors); err != nil {
		t.Fatal(err)
	}
	if err := ck.CopyAux(dir, config); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}
