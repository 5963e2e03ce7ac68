package quant

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// site is matrices that share an input, with its tokens.
type site struct {
	cols     int
	x        []float64
	gram64   []float64
	gram     []float32
	mean     []float32
	matrices []Dense
	wide     [][]float64
}

func newSite(seed uint64, tokenCount, cols int, rows ...int) *site {
	r := rand.New(rand.NewPCG(seed, 7))
	s := &site{cols: cols, x: tokens(r, tokenCount, cols)}
	s.gram64, s.gram, s.mean = gramOf(s.x, cols)
	for _, n := range rows {
		narrow, wide := weights(r, n*cols)
		s.matrices, s.wide = append(s.matrices, Dense{n, cols, narrow}), append(s.wide, wide)
	}
	return s
}

func (s *site) search(g Grid, steps int) AWQSearch {
	return AWQSearch{Grid: g, Steps: steps, Mean: s.mean, Matrices: s.matrices, Gram: s.gram, Tokens: len(s.x) / s.cols, Products: Plain{}}
}

// refScale is a point of AWQ's grid.
func refScale(mean []float32, ratio float64) []float64 {
	s := make([]float64, len(mean))
	most, least := 0.0, math.Inf(1)
	for j, m := range mean {
		s[j] = math.Max(math.Pow(float64(m), ratio), 1e-4)
		most, least = math.Max(most, s[j]), math.Min(least, s[j])
	}
	for j := range s {
		s[j] /= math.Sqrt(most * least)
	}
	return s
}

func scaled(w, s []float64) []float64 {
	y := make([]float64, len(w))
	for i := range w {
		y[i] = w[i] * s[i%len(s)]
	}
	return y
}

// refSearch computes the outputs of every token for every point of the grid.
func (s *site) refSearch(g Grid, steps int) (losses []float64, best int) {
	losses = make([]float64, steps)
	outputs := 0
	for i := range losses {
		scale := refScale(s.mean, float64(i)/float64(steps))
		for k, w := range s.wide {
			rows := s.matrices[k].Rows
			q := refRTN(refOf(g), scaled(w, scale), rows, s.cols, g.Group, nil)
			changed := make([]float64, len(w))
			for j := range changed {
				changed[j] = q.value(j/s.cols, j%s.cols) / scale[j%s.cols]
			}
			losses[i] += outputError(changed, w, s.x, s.cols)
			if i == 0 {
				outputs += rows
			}
		}
		losses[i] /= float64(outputs * len(s.x) / s.cols)
		if losses[i] < losses[best] {
			best = i
		}
	}
	return losses, best
}

// TestAWQIsTheReference compares the search over Gram matrices with one that computes all outputs: the point chosen, its scale, its loss, and
// the codes that come of it.
func TestAWQIsTheReference(t *testing.T) {
	moved := 0
	for i, g := range []Grid{
		{4, false, 32, 1, false, "llmc", "f32"}, {3, false, 64, 1, false, "llmc", "f16"}, {4, false, 48, 1, true, "gptq", "f16"},
		{4, false, Whole, 1, false, "compressed-tensors", "f32"}, {2, false, 16, 1, false, "llmc", "f32"},
	} {
		s := newSite(uint64(i), 150, 192, 24, 8, 17)
		scale, point, err := SearchScale(s.search(g, 20))
		if err != nil {
			t.Fatal(err)
		}
		losses, best := s.refSearch(g, 20)
		name := fmt.Sprintf("%+v", g)
		if point.Ratio != float64(best)/20 {
			t.Fatalf("%s: ratio %v, want %d/20: %v", name, point.Ratio, best, losses)
		}
		if best > 0 {
			moved++
		}
		if e := math.Abs(point.Loss/losses[best] - 1); e > 1e-4 {
			t.Errorf("%s: loss %v, want %v", name, point.Loss, losses[best])
		}
		if e := math.Abs(point.Plain/losses[0] - 1); e > 1e-4 {
			t.Errorf("%s: loss without a scale %v, want %v", name, point.Plain, losses[0])
		}
		want := refScale(s.mean, point.Ratio)
		for j := range want {
			if math.Abs(float64(scale[j])/want[j]-1) > 1e-6 {
				t.Fatalf("%s: scale %d is %v, want %v", name, j, scale[j], want[j])
			}
		}
		for k, w := range s.matrices {
			columns := make([]float32, len(w.Values))
			for j := range columns {
				columns[j] = w.Values[j] * scale[j%s.cols]
			}
			m, err := Quantize(g, Dense{w.Rows, w.Cols, columns}, nil)
			if err != nil {
				t.Fatal(err)
			}
			refRTN(refOf(g), scaled(s.wide[k], want), w.Rows, w.Cols, g.Group, nil).same(t, name, m, 1e-4, false)
		}
	}
	if moved < 3 {
		t.Errorf("only %d of the cases chose a scale: they show little", moved)
	}
}

// TestAWQByALossOfTheCallers gives the same point when the loss is that of the outputs.
func TestAWQByALossOfTheCallers(t *testing.T) {
	s, g := newSite(11, 120, 96, 16, 8), Grid{4, false, 32, 1, false, "llmc", "f32"}
	scale, point, err := SearchScale(s.search(g, 10))
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	by, again, err := SearchScaleBy(s.search(g, 10), func(candidates [][]float32) (total float64, err error) {
		calls++
		for k, c := range candidates {
			total += outputError(widen(c), s.wide[k], s.x, s.cols)
		}
		return total / (24 * 120), nil
	})
	if err != nil || calls != 10 || again.Ratio != point.Ratio || math.Abs(again.Loss/point.Loss-1) > 1e-4 {
		t.Errorf("%+v after %d losses, %v; want %+v", again, calls, err, point)
	}
	for j := range scale {
		if by[j] != scale[j] {
			t.Fatalf("scale %d is %v, want %v", j, by[j], scale[j])
		}
	}
	broken := errors.New("broken")
	if _, _, err := SearchScaleBy(s.search(g, 10), func([][]float32) (float64, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, point, err := SearchScaleBy(s.search(g, 10), func([][]float32) (float64, error) { return 1, nil }); err != nil || point.Ratio != 0 {
		t.Errorf("of equal losses %v was chosen, %v", point.Ratio, err)
	}
}

// TestAWQSearchRefuses says what is wrong with bad statistics and sizes.
func TestAWQSearchRefuses(t *testing.T) {
	nan := float32(math.NaN())
	for want, change := range map[string]func(in *AWQSearch){
		"want some":                       func(in *AWQSearch) { in.Matrices = nil },
		"fp8 true":                        func(in *AWQSearch) { in.Grid = Grid{8, true, Whole, 1, true, "", "f32"} },
		"matrix 1 has 95 inputs":          func(in *AWQSearch) { in.Matrices[1] = Dense{8, 95, make([]float32, 8*95)} },
		"matrix 0: weight [0, 3] is NaN":  func(in *AWQSearch) { in.Matrices[0].Values[3] = nan },
		"input 2 of the matrices is NaN":  func(in *AWQSearch) { in.Mean[2] = nan },
		"is negative: input 2":            func(in *AWQSearch) { in.Mean[2] = -1 },
		"with 5 values":                   func(in *AWQSearch) { in.Gram = in.Gram[:5] },
		"inputs is NaN at [1, 0]":         func(in *AWQSearch) { in.Gram[96] = nan },
		"a scale of 1.333e+05 is beyond ": func(in *AWQSearch) { in.Grid.Scale, in.Matrices[1].Values[0] = "f16", 2e6 },
		"codes of 9 bits":                 func(in *AWQSearch) { in.Grid.Bits = 9 },
	} {
		in := newSite(12, 10, 96, 16, 8).search(Grid{4, false, 32, 1, false, "llmc", "f32"}, 4)
		change(&in)
		if _, _, err := SearchScale(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestDeadInputs: an input that is always 0 costs nothing and breaks nothing.
func TestDeadInputs(t *testing.T) {
	s := newSite(13, 60, 64, 8)
	s.mean[5] = 0
	for i := range s.cols {
		s.gram[5*s.cols+i], s.gram[i*s.cols+5] = 0, 0
	}
	scale, point, err := SearchScale(s.search(Grid{4, false, 32, 1, false, "llmc", "f16"}, 20))
	if err != nil || !(point.Loss <= point.Plain) || odd(scale) >= 0 {
		t.Errorf("%+v, %v, %v", point, scale, err)
	}
}
