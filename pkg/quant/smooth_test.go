package quant

import (
	"math"
	"strings"
	"testing"
)

// TestSmoothScale by hand.
func TestSmoothScale(t *testing.T) {
	ws := []Dense{{2, 4, []float32{1, -4, 0, 2, -2, 3, 0, 2}}, {1, 4, []float32{0, 0, 0, -9}}}
	got, err := SmoothScale([]float32{8, 16, 100, 0}, ws, 0.5)
	want := []float64{2, 2, math.Sqrt(100 / 1e-5), 1} // sqrt(8/2), sqrt(16/4), no weights, no inputs
	for j := range want {
		if err != nil || math.Abs(float64(got[j])/want[j]-1) > 1e-6 {
			t.Errorf("scale %d is %v, want %v, %v", j, got[j], want[j], err)
		}
	}
	if got, err := SmoothScale([]float32{1e-30, 5, 1, 1}, ws, 1); err != nil || got[0] != 1e-5 || got[1] != 5 {
		t.Errorf("%v, %v: want 1e-5 at least, and |x| itself for alpha 1", got, err)
	}
	for want, f := range map[string]func() error{
		"alpha is 1.5":   func() error { _, err := SmoothScale(make([]float32, 4), ws, 1.5); return err },
		"alpha is NaN":   func() error { _, err := SmoothScale(make([]float32, 4), ws, math.NaN()); return err },
		"of 4 inputs":    func() error { _, err := SmoothScale(make([]float32, 3), ws, 0.5); return err },
		"input 1 of the": func() error { _, err := SmoothScale([]float32{1, float32(math.Inf(1)), 1, 1}, ws, 0.5); return err },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestSmoothScaleEvensOut: after it the ranges of inputs and of weights are in the relation that alpha asks for.
func TestSmoothScaleEvensOut(t *testing.T) {
	s := newSite(80, 100, 64, 12, 5)
	most := make([]float32, 64)
	for i, x := range s.x {
		most[i%64] = max(most[i%64], float32(math.Abs(x)))
	}
	scale, err := SmoothScale(most, s.matrices, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	for j := range 64 {
		w := 0.0
		for _, m := range s.matrices {
			for r := range m.Rows {
				w = max(w, math.Abs(float64(m.Values[r*64+j])))
			}
		}
		if a, b := float64(most[j]/scale[j]), w*float64(scale[j]); math.Abs(a/b-1) > 1e-5 {
			t.Errorf("input %d: |x| is up to %v and |w| up to %v", j, a, b)
		}
	}
}
