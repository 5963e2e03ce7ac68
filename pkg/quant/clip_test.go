package quant

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// refClip computes each group's part of each output for every token and try, of weights in which the scale is multiplied already.
func (s *site) refClip(g refGrid, k, group int, scale []float64) []float64 {
	rows := s.matrices[k].Rows
	group = min(group, s.cols)
	var limits []float64
	for r := range rows {
		for c := 0; c < s.cols; c += group {
			end := min(c+group, s.cols)
			w := s.wide[k][r*s.cols+c : r*s.cols+end]
			absmax := 0.0
			for _, v := range w {
				absmax = math.Max(absmax, math.Abs(v))
			}
			best, chosen := math.Inf(1), 0.0
			for i := range 10 {
				most := float64(float32(absmax * (1 - float64(i)/20))) // limits are of float32
				q := refRTN(g, w, 1, end-c, end-c, []float64{most})
				total := 0.0
				for t := 0; t < len(s.x); t += s.cols {
					y := 0.0
					for j := range w {
						y += (q.value(0, j) - w[j]) * s.x[t+c+j] / scale[c+j]
					}
					total += y * y
				}
				if total < best {
					best, chosen = total, most
				}
			}
			limits = append(limits, chosen)
		}
	}
	return limits
}

// TestClipIsTheReference compares limits found over Gram matrices with those of a search that computes all partial outputs.
func TestClipIsTheReference(t *testing.T) {
	for i, g := range []Grid{
		{4, false, 32, 1, false, "llmc", "f32"}, {3, false, 24, 1, true, "llmc", "f16"}, {4, false, Whole, 1, false, "gptq", "f32"},
		{4, false, 40, 1, false, "llmc", "f32"},
	} {
		s := newSite(uint64(20+i), 100, 96, 12, 5)
		scale64 := refScale(s.mean, 0.5)
		scale := make([]float32, len(scale64))
		for j := range scale {
			scale[j] = float32(scale64[j])
			scale64[j] = float64(scale[j])
		}
		in := ClipSearch{Grid: g, Gram: s.gram, Scale: scale, Products: Plain{}}
		for k, w := range s.matrices {
			columns := Dense{w.Rows, w.Cols, make([]float32, len(w.Values))}
			for j := range columns.Values {
				columns.Values[j] = w.Values[j] * scale[j%s.cols]
				s.wide[k][j] = float64(columns.Values[j])
			}
			in.Matrices = append(in.Matrices, columns)
		}
		got, err := SearchClip(in)
		if err != nil {
			t.Fatal(err)
		}
		narrowed := 0
		for k := range got {
			want := s.refClip(refOf(g), k, g.Group, scale64)
			if len(got[k]) != len(want) {
				t.Fatalf("%+v: %d limits, want %d", g, len(got[k]), len(want))
			}
			wide := len(want) / s.matrices[k].Rows
			for j := range want {
				if math.Abs(float64(got[k][j])/want[j]-1) > 1e-6 {
					t.Errorf("%+v: limit of matrix %d, output %d, group %d is %v, want %v", g, k, j/wide, j%wide, got[k][j], want[j])
				}
				lo, hi := limits(in.Matrices[k].Row(j / wide)[j%wide*min(g.Group, 96) : min((j%wide+1)*min(g.Group, 96), 96)])
				if got[k][j] < max(-lo, hi) {
					narrowed++
				}
			}
		}
		if narrowed == 0 {
			t.Errorf("%+v: no range was narrowed: the case shows nothing", g)
		}
	}
}

// TestClipHelps: what it finds is never worse than no clipping, in its own measure.
func TestClipHelps(t *testing.T) {
	for seed := range uint64(8) {
		s, g := newSite(40+seed, 80, 64, 10), Grid{3, false, 64, 1, false, "llmc", "f32"}
		limit, err := SearchClip(ClipSearch{Grid: g, Matrices: s.matrices, Gram: s.gram, Products: Plain{}})
		if err != nil {
			t.Fatal(err)
		}
		plain, err1 := Quantize(g, s.matrices[0], nil)
		clipped, err2 := Quantize(g, s.matrices[0], limit[0])
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		a, b := outputError(valuesOf(clipped), s.wide[0], s.x, 64), outputError(valuesOf(plain), s.wide[0], s.x, 64)
		if a > b*(1+1e-5) {
			t.Errorf("seed %d: error %v with clipping, %v without", seed, a, b)
		}
	}
}

func TestClipSearchRefuses(t *testing.T) {
	for want, change := range map[string]func(in *ClipSearch){
		"want some":                      func(in *ClipSearch) { in.Matrices = nil },
		"matrix 1 has 63 inputs":         func(in *ClipSearch) { in.Matrices[1] = Dense{1, 63, make([]float32, 63)} },
		"Gram matrix of 9 values":        func(in *ClipSearch) { in.Gram = in.Gram[:9] },
		"and 3 scales":                   func(in *ClipSearch) { in.Scale = make([]float32, 3) },
		"matrix 1: weight [0, 1] is NaN": func(in *ClipSearch) { in.Matrices[1].Values[1] = float32(math.NaN()) },
		"inputs from 32: ":               func(in *ClipSearch) { in.Gram[33*64+33] = float32(math.Inf(1)) },
	} {
		s := newSite(50, 10, 64, 4, 4)
		in := ClipSearch{Grid: Grid{4, false, 32, 1, false, "llmc", "f32"}, Matrices: s.matrices, Gram: s.gram, Products: Plain{}}
		change(&in)
		if _, err := SearchClip(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(fmt.Errorf("%w, want %q", err, want))
		}
	}
}
