package halves

import (
	"math"
	"math/rand/v2"
	"testing"
)

// value is what the bits of a format mean, by its definition: a sign, exponent bits with the bias 2^(exponent-1)-1, mantissa bits.
func value(h uint16, exponent, mantissa int) float64 {
	exp, frac := int(h>>mantissa)&(1<<exponent-1), float64(h&(1<<mantissa-1))
	bias := 1<<(exponent-1) - 1
	v := math.Ldexp(frac, 1-bias-mantissa)
	switch {
	case exp == 1<<exponent-1 && frac == 0:
		v = math.Inf(1)
	case exp == 1<<exponent-1:
		v = math.NaN()
	case exp > 0:
		v = math.Ldexp(frac+float64(int(1)<<mantissa), exp-bias-mantissa)
	}
	if h>>15 == 1 {
		return -v
	}
	return v
}

func same(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || a == b && math.Signbit(a) == math.Signbit(b)
}

var formats = map[string]struct {
	exponent, mantissa int
	from               func(uint16) float32
	to                 func(float32) uint16
}{"F16": {5, 10, FromF16, F16}, "BF16": {8, 7, FromBF16, BF16}}

// TestAllValues: every pattern of bits means what the format says and comes back, alone and among others.
func TestAllValues(t *testing.T) {
	for name, f := range formats {
		all := make([]float32, 1<<16)
		raw := make([]byte, 0, 2<<16)
		for h := range 1 << 16 {
			raw = append(raw, byte(h), byte(h>>8))
			got := float64(f.from(uint16(h)))
			if !same(got, value(uint16(h), f.exponent, f.mantissa)) {
				t.Fatalf("%s %#04x is %v, want %v", name, h, got, value(uint16(h), f.exponent, f.mantissa))
			}
			if back := f.to(float32(got)); back != uint16(h) && !math.IsNaN(got) || math.IsNaN(got) && !math.IsNaN(float64(f.from(back))) {
				t.Fatalf("%s %#04x comes back as %#04x", name, h, back)
			}
		}
		Widen(all, name, raw)
		for h, v := range all {
			if !same(float64(v), value(uint16(h), f.exponent, f.mantissa)) || Bytes(name) != 2 {
				t.Fatalf("%s %#04x among others is %v", name, h, v)
			}
		}
	}
}

// TestNearest: the midpoint between two neighbours goes to the even one, and what is beside it to the nearer one.
func TestNearest(t *testing.T) {
	for name, f := range formats {
		top := uint16(1<<f.exponent-1) << f.mantissa // infinity
		for h := range top {
			a, b := float64(f.from(h)), float64(f.from(h+1))
			if h+1 == top { // as if the format went on
				b = a + (a - float64(f.from(h-1)))
			}
			mid := float32((a + b) / 2)
			even := h + h&1
			for _, c := range []struct {
				x    float32
				want uint16
			}{{mid, even}, {math.Nextafter32(mid, 0), h}, {math.Nextafter32(mid, math.MaxFloat32), h + 1}} {
				if float64(mid) != (a+b)/2 { // beyond float32: not a value that can be asked for
					continue
				}
				if got := f.to(c.x); got != c.want || f.to(-c.x) != c.want|0x8000 {
					t.Fatalf("%s of %v is %#04x, want %#04x", name, c.x, got, c.want)
				}
				if Round(c.x, name) != f.from(c.want) {
					t.Fatalf("%v as %s is %v", c.x, name, Round(c.x, name))
				}
			}
		}
		if f.to(math.MaxFloat32) != top || f.to(float32(math.Inf(-1))) != top|0x8000 {
			t.Errorf("%s: values beyond the greatest are not infinite", name)
		}
	}
}

// TestNarrow: values come back as Round says, behind what was there.
func TestNarrow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	values := make([]float32, 300)
	for i := range values {
		values[i] = float32(math.Ldexp(r.NormFloat64(), r.IntN(60)-30))
	}
	for _, dtype := range []string{"F32", "F16", "BF16"} {
		raw := Narrow([]byte("xyz"), dtype, values)
		if string(raw[:3]) != "xyz" || len(raw) != 3+len(values)*Bytes(dtype) {
			t.Fatalf("%s: %d bytes", dtype, len(raw))
		}
		got := make([]float32, len(values))
		Widen(got, dtype, raw[3:])
		for i, x := range values {
			if got[i] != Round(x, dtype) {
				t.Errorf("%v as %s is %v, want %v", x, dtype, got[i], Round(x, dtype))
			}
		}
	}
}
