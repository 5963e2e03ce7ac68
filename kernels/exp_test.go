//go:build cgo

package kernels_test

import (
	"math"
	"testing"

	"sextant/kernels/cpu"
)

// TestExp: at most 2 ulp from the true value over all of f32, subnormal results included.
func TestExp(t *testing.T) {
	var x []float32
	for bits := uint64(0); bits < 1<<32; bits += 16411 { // a prime stride through every sign, exponent and mantissa
		x = append(x, math.Float32frombits(uint32(bits)))
	}
	for v := -105.0; v < 90; v += 0.00037 {
		x = append(x, float32(v))
	}
	x = append(x, 0, float32(math.Copysign(0, -1)), 88.72283, 88.72284, -87.33655, -103.97208, -103.97209, -104, nan, inf, -inf)
	var fusedBits []float32
	for _, isa := range []string{"scalar", "avx2", "wide", "avx512"} {
		y := append([]float32(nil), x...)
		if !cpu.Exp(isa, y) {
			continue
		}
		worst := 0.0
		for i := range x {
			want := math.Exp(float64(x[i]))
			if u := ulps(y[i], want); !(u <= 2) {
				t.Fatalf("%s: exp(%g) = %g, want %g: %g ulp", isa, x[i], y[i], want, u)
			} else if u > worst {
				worst = u
			}
		}
		t.Logf("%s: at most %.3f ulp over %d values", isa, worst, len(x))
		if isa == "scalar" {
			continue
		}
		if fusedBits == nil {
			fusedBits = y
		}
		if err := sameBits(y, fusedBits); err != nil {
			t.Fatalf("%s: %v", isa, err)
		}
	}
}

// ulps is the distance of got from want in units of got's last place; 0 when both are NaN or rounding want gives got.
func ulps(got float32, want float64) float64 {
	if float32(want) == got || (want != want && got != got) {
		return 0
	}
	unit := math.Ldexp(1, -149)
	if a := math.Abs(want); a >= math.Ldexp(1, -126) {
		unit = math.Ldexp(1, math.Ilogb(a)-23)
	}
	return math.Abs(float64(got)-want) / unit
}
