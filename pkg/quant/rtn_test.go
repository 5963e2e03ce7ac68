package quant

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"sextant/pkg/qformat"
)

// TestQuantizeIsTheReference goes over bits, groups, conventions and dtypes. Its arithmetic is float64 where the reference's is, so codes,
// zeros and scales are the very same.
func TestQuantizeIsTheReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, bits := range []int{2, 3, 4, 8} {
		for _, group := range []int{1, 24, 32, 100, Whole} {
			for _, convention := range []string{"llmc", "gptq", "compressed-tensors"} {
				for _, scale := range []string{"f16", "f32"} {
					for _, symmetric := range []bool{false, true} {
						g := Grid{bits, false, group, 1, symmetric, convention, scale}
						w, wide := weights(r, 9*100)
						m, err := Quantize(g, Dense{9, 100, w}, nil)
						if err != nil {
							t.Fatal(err)
						}
						if group == 1 && convention != "llmc" { // the reference has no guard for values without a range
							continue
						}
						refRTN(refOf(g), wide, 9, 100, group, nil).same(t, fmt.Sprintf("%+v", g), m, 0, false)
					}
				}
			}
		}
	}
}

// TestQuantizeClips: values beyond the limit are taken as it.
func TestQuantizeClips(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	for _, symmetric := range []bool{false, true} {
		g := Grid{4, false, 32, 1, symmetric, "llmc", "f16"}
		w, wide := weights(r, 9*96)
		limit, limit64 := make([]float32, 9*3), make([]float64, 9*3)
		for i := range limit {
			limit[i] = float32(0.01 + 0.05*r.Float64())
			limit64[i] = float64(limit[i])
		}
		m, err := Quantize(g, Dense{9, 96, w}, limit)
		if err != nil {
			t.Fatal(err)
		}
		refRTN(refOf(g), wide, 9, 96, 32, limit64).same(t, fmt.Sprintf("symmetric %v", symmetric), m, 0, false)
	}
}

// TestQuantizeSpecialRows: what must come back of rows without a range, tiny ones, subnormals, large ones and outliers.
func TestQuantizeSpecialRows(t *testing.T) {
	row := func(f func(i int) float32) []float32 {
		x := make([]float32, 32)
		for i := range x {
			x[i] = f(i)
		}
		return x
	}
	wave := func(i int) float32 { return float32(math.Sin(float64(i))) }
	rows := map[string]struct {
		w    []float32
		most float64 // error, of the greatest |w|; -1: as large as the value, which is below the convention's floor
	}{
		"zeros":      {row(func(int) float32 { return 0 }), 0},
		"constant":   {row(func(int) float32 { return 0.5 }), 5e-4},
		"negative":   {row(func(int) float32 { return -3 }), 5e-4},
		"one side":   {row(func(i int) float32 { return 1 + 0.1*wave(i) }), 0.04},
		"tiny":       {row(func(i int) float32 { return 1e-9 * wave(i) }), -1},
		"subnormal":  {row(func(i int) float32 { return 0x1p-145 * float32(i) }), -1},
		"large":      {row(func(i int) float32 { return 1e4 * wave(i) }), 0.08},
		"an outlier": {row(func(i int) float32 { return wave(i) + 500*float32(i/31) }), 0.08},
	}
	for name, c := range rows {
		for _, convention := range []string{"llmc", "gptq", "compressed-tensors"} {
			for _, symmetric := range []bool{false, true} {
				g := Grid{4, false, 32, 1, symmetric, convention, "f16"}
				m, err := Quantize(g, Dense{1, 32, c.w}, nil)
				if err != nil {
					t.Fatalf("%s, %+v: %v", name, g, err)
				}
				most := 0.0
				for _, x := range c.w {
					most = max(most, math.Abs(float64(x)))
				}
				for i, v := range valuesOf(m) {
					limit := c.most * most
					switch {
					case c.most < 0:
						limit = most
					case symmetric && limit > 0: // half a step
						limit = 0.08 * most
					}
					if e := math.Abs(v - float64(c.w[i])); !(e <= limit) {
						t.Errorf("%s, %+v: %v becomes %v", name, g, c.w[i], v)
						break
					}
				}
			}
		}
	}
}

// TestQuantizeFloat holds e4m3fn codes of a tensor, of rows and of blocks against a search for the nearest value.
func TestQuantizeFloat(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	w, wide := weights(r, 200*150)
	for _, side := range [][2]int{{Whole, Whole}, {1, Whole}, {128, 128}} {
		g := Grid{8, true, side[1], side[0], true, "llmc", "f32"}
		m, err := Quantize(g, Dense{200, 150, w}, nil)
		if err != nil || m.Check() != nil {
			t.Fatal(err, m.Check())
		}
		values := valuesOf(m)
		for y := 0; y < 200; y += min(side[0], 200) {
			for x := 0; x < 150; x += min(side[1], 150) {
				most := 0.0
				each := func(f func(i int)) {
					for r := y; r < min(y+min(side[0], 200), 200); r++ {
						for c := x; c < min(x+min(side[1], 150), 150); c++ {
							f(r*150 + c)
						}
					}
				}
				each(func(i int) { most = max(most, math.Abs(wide[i])) })
				scale := float64(float32(most / 448))
				if got := m.Scales[y/m.BlockRows*m.Wide()+x/m.Group]; float64(got) != scale {
					t.Fatalf("%v: scale of [%d, %d] is %v, want %v", side, y, x, got, scale)
				}
				each(func(i int) {
					unit := math.Max(math.Exp2(math.Floor(math.Log2(math.Abs(wide[i])/scale))-3), 0x1p-9) * scale
					if e := math.Abs(values[i] - wide[i]); e > unit/2*(1+1e-6) {
						t.Fatalf("%v: %v becomes %v, and values are %v apart there", side, wide[i], values[i], unit)
					}
				})
			}
		}
	}
	m, err := Quantize(Grid{8, true, 4, 1, true, "llmc", "f32"}, Dense{1, 8, []float32{0, 0, 0, 0, 0x1p-149, 0, 0, 0}}, nil)
	if err != nil || m.Scales[0] != 1 || m.Scales[1] <= 0 {
		t.Errorf("scales %v, %v", m.Scales, err)
	}
}

// TestBadWeights names the place.
func TestBadWeights(t *testing.T) {
	g := Grid{4, false, 2, 1, false, "llmc", "f16"}
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for want, w := range map[string]Dense{
		"weight [1, 2] is NaN":                {2, 4, []float32{0, 1, 2, 3, 4, 5, nan, 7}},
		"weight [0, 0] is -Inf":               {2, 4, []float32{inf, 1, 2, 3, 4, 5, nan, 7}},
		"a matrix [2, 4] of 7 values":         {2, 4, make([]float32, 7)},
		"a matrix [0, 4] of 0 values":         {0, 4, nil},
		"codes of 1 bits":                     {2, 4, make([]float32, 8)},
		"1 limits for 4 groups":               {2, 4, make([]float32, 8)},
		"a scale of 1 outputs and 0 inputs: ": {2, 4, make([]float32, 8)},
	} {
		g, clip := g, []float32(nil)
		switch {
		case strings.HasPrefix(want, "codes"):
			g.Bits = 1
		case strings.HasPrefix(want, "1 limits"):
			clip = []float32{1}
		case strings.HasPrefix(want, "a scale"):
			g.Group = 0
		}
		if _, err := Quantize(g, w, clip); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestThreadsDecideNothing runs every method with 1 to 5 threads.
func TestThreadsDecideNothing(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	r := rand.New(rand.NewPCG(4, 1))
	const rows, cols = 37, 320
	x := tokens(r, 400, cols)
	_, gram, mean := gramOf(x, cols)
	w, _ := weights(r, rows*cols)
	g := Grid{4, false, 32, 1, false, "llmc", "f16"}
	type results struct {
		rtn, gptq *qformat.Matrix
		scale     []float32
		best      AWQPoint
		clip      [][]float32
		out       GPTQOutcome
	}
	all := func() (v results) {
		d := Dense{rows, cols, w}
		var errs [5]error
		v.rtn, errs[0] = Quantize(g, d, nil)
		v.scale, v.best, errs[1] = SearchScale(AWQSearch{Grid: g, Steps: 20, Mean: mean, Matrices: []Dense{d}, Gram: gram, Tokens: 400, Products: Plain{}})
		v.clip, errs[2] = SearchClip(ClipSearch{Grid: g, Matrices: []Dense{d}, Gram: gram, Scale: v.scale, Products: Plain{}})
		h, err := NewHessian(gram, cols, GPTQOptions{ActOrder: true, Damp: 0.01, Block: 64, Products: Plain{}})
		errs[3] = err
		v.gptq, v.out, errs[4] = GPTQ(g, d, h)
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		return v
	}
	var want results
	for threads := 1; threads <= 5; threads++ {
		runtime.GOMAXPROCS(threads)
		if got := all(); threads == 1 {
			want = got
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%d threads have other results than 1", threads)
		}
	}
}
