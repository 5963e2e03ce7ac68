package quant

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"sextant/pkg/checkpoint"
)

// pocket is the matrices of the pocket model, which are stored as bf16.
func pocket(t *testing.T) map[string]Dense {
	t.Helper()
	ck, err := checkpoint.Open("../../examples/pocket/model")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ck.Close() })
	all := map[string]Dense{}
	for _, name := range ck.Names() {
		if !strings.HasSuffix(name, "_proj.weight") {
			continue
		}
		tensor, err := ck.Tensor(name)
		if err != nil || tensor.DType != "BF16" {
			t.Fatal(name, tensor.DType, err)
		}
		d := Dense{tensor.Shape[0], tensor.Shape[1], make([]float32, len(tensor.Data)/2)}
		for i := range d.Values {
			d.Values[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(tensor.Data[2*i:])) << 16)
		}
		all[name] = d
	}
	return all
}

// TestPocketIsTheGoldensFormula: the pocket model's goldens were made in float64 by
//
//	8 bits:    s = max(max|w|, 1e-5) / 127 of each output, w' = clamp(round(w/s), -128, 127) s
//	otherwise: s = max(max - min, 1e-5) / (2^b-1) of 128 inputs, z = clamp(-round(min/s), 0, 2^b-1),
//	           w' = (clamp(round(w/s) + z, 0, 2^b-1) - z) s
//
// With scales of f32 the codes are the same, but where w/s is within f32's rounding of a half: weights of bf16 and a scale made of two of them
// make many ties.
func TestPocketIsTheGoldensFormula(t *testing.T) {
	matrices := pocket(t)
	if len(matrices) != 42 {
		t.Fatalf("%d matrices", len(matrices))
	}
	for _, bits := range []int{8, 4, 3, 2} {
		g := Grid{bits, false, 128, 1, bits == 8, "llmc", "f32"}
		if bits == 8 {
			g.Group = Whole
		}
		values, other := 0, 0
		for name, w := range matrices {
			m, err := Quantize(g, w, nil)
			if err != nil {
				t.Fatal(name, err)
			}
			got := valuesOf(m)
			for i := 0; i < len(got); i += m.Group {
				want, quotient, s := golden(widen(w.Values[i:i+m.Group]), bits)
				for j, v := range want {
					values++
					if e := math.Abs(got[i+j] - v); e > 1e-6*math.Abs(v) {
						other++
						if q := math.Abs(quotient[j] - math.Floor(quotient[j]) - 0.5); q > 1e-5 || e > s*(1+1e-6) {
							t.Fatalf("%d bits, %s: value %d is %v, want %v", bits, name, i+j, got[i+j], v)
						}
					}
				}
			}
		}
		if other*500 > values {
			t.Errorf("%d bits: %d of %d values are rounded the other way", bits, other, values)
		}
	}
}

// golden are the formula's values of one group, the quotients before rounding, and the scale.
func golden(w []float64, bits int) (values, quotients []float64, s float64) {
	lo, hi, top := w[0], w[0], math.Exp2(float64(bits))-1
	for _, v := range w {
		lo, hi = math.Min(lo, v), math.Max(hi, v)
	}
	if s = math.Max(hi-lo, 1e-5) / top; bits == 8 {
		s = math.Max(math.Max(-lo, hi), 1e-5) / 127
	}
	z := math.Min(math.Max(-math.RoundToEven(lo/s), 0), top)
	for _, v := range w {
		quotients = append(quotients, v/s)
		if bits == 8 {
			values = append(values, math.Min(math.Max(math.RoundToEven(v/s), -128), 127)*s)
		} else {
			values = append(values, (math.Min(math.Max(math.RoundToEven(v/s)+z, 0), top)-z)*s)
		}
	}
	return values, quotients, s
}
