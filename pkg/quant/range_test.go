package quant

import (
	"math"
	"strings"
	"testing"

	"sextant/pkg/spec"
)

// grid4 is 4 bits with a scale for each group of inputs, in f32.
func grid4(convention string, symmetric bool, group int) Grid {
	return Grid{Bits: 4, Group: group, BlockRows: 1, Symmetric: symmetric, Convention: convention, Scale: "f32"}
}

// TestConventions writes out by hand what each convention makes of a range.
func TestConventions(t *testing.T) {
	const tiny = 1e-5
	for _, c := range []struct {
		name        string
		g           Grid
		lo, hi      float64
		scale, zero float64
	}{
		{"llmc", grid4("llmc", false, 1), -1, 2, 3.0 / 15, 5},
		{"llmc, symmetric", grid4("llmc", true, 1), -1, 2, 2.0 / 7, 8},
		{"llmc, no range", grid4("llmc", false, 1), 0, 0, tiny / 15, 0},
		{"llmc, no range, symmetric", grid4("llmc", true, 1), 0, 0, tiny / 7, 8},
		{"llmc, about 0 within half a step", grid4("llmc", false, 1), 0.01, 0.9, 0.89 / 15, 0},
		{"llmc, all above 0", grid4("llmc", false, 1), 0.5, 1, 1.0 / 15, 0},
		{"llmc, all below 0", grid4("llmc", false, 1), -1, -0.5, 1.0 / 15, 15},
		{"llmc, one value", grid4("llmc", false, 1), 0.5, 0.5, 0.5 / 15, 0},
		{"gptq", grid4("gptq", false, 1), -1, 2, 3.0 / 15, 5},
		{"gptq, all above 0", grid4("gptq", false, 1), 1, 2, 2.0 / 15, 0},
		{"gptq, all below 0", grid4("gptq", false, 1), -2, -1, 2.0 / 15, 15},
		{"gptq, symmetric", grid4("gptq", true, 1), -1, 2, 4.0 / 15, 8},
		{"gptq, symmetric, all above 0", grid4("gptq", true, 1), 1, 2, 4.0 / 15, 8},
		{"gptq, no range", grid4("gptq", false, 1), 0, 0, 2.0 / 15, 7}, // 7.5, but for the scale's rounding
		{"gptq, no range, symmetric", grid4("gptq", true, 1), 0, 0, 2.0 / 15, 8},
		{"compressed-tensors", grid4("compressed-tensors", false, 1), 1, 3, 3.0 / 15, 0},
		{"compressed-tensors, symmetric", grid4("compressed-tensors", true, 1), -3, 2, 3 / 7.5, 8},
		{"compressed-tensors, no range", grid4("compressed-tensors", false, 1), 0, 0, 0x1p-23, 0},
		{"8 bits, symmetric", Grid{Bits: 8, Symmetric: true, Convention: "llmc", Scale: "f32"}, -127, 3, 1, 128},
		{"f16", Grid{Bits: 4, Convention: "llmc", Scale: "f16"}, -1, 2, 0x1.998p-3, 5}, // 0.2 with 11 digits
		{"bf16", Grid{Bits: 4, Convention: "llmc", Scale: "bf16"}, -1, 2, 0x1.9ap-3, 5},
		{"f16, no range", Grid{Bits: 8, Convention: "llmc", Scale: "f16"}, 0, 0, 0x1p-24, 0},
		{"f16, less than its least", Grid{Bits: 4, Symmetric: true, Convention: "gptq", Scale: "f16"}, -1e-12, 1e-12, 0x1p-24, 8},
		{"f16, epsilon", Grid{Bits: 4, Convention: "compressed-tensors", Scale: "f16"}, 0, 0, 0x1p-10, 0},
		{"f32, below its least normal", Grid{Bits: 4, Symmetric: true, Convention: "gptq", Scale: "f32"}, -0x1p-149, 0, 0x1p-149, 8},
	} {
		got, err := c.g.ranger().step(c.lo, c.hi)
		want := float64(float32(c.scale))
		if err != nil || got.scale != want || got.zero != c.zero {
			t.Errorf("%s: scale %v, zero %v, %v; want %v, %v", c.name, got.scale, got.zero, err, want, c.zero)
		}
	}
}

// TestScaleTooLarge: a half ends at 65504.
func TestScaleTooLarge(t *testing.T) {
	g := grid4("llmc", false, 2)
	g.Scale = "f16"
	w := Dense{2, 4, []float32{1, 2, 3, 4, 1, 2, 1e6, -1e6}}
	if _, err := Quantize(g, w, nil); err == nil || !strings.Contains(err.Error(), "output 1, input 2: a scale of 1.333e+05 is beyond f16: set scale_dtype") {
		t.Error(err)
	}
	g.Scale = "bf16"
	if _, err := Quantize(g, w, nil); err != nil {
		t.Error(err)
	}
}

// TestFormats rounds through f16 and bf16 at ties, at subnormals and at the ends.
func TestFormats(t *testing.T) {
	for _, c := range []struct {
		format  string
		x, want float64
	}{
		{"f16", 1 + 0x1p-11, 1}, {"f16", 1 + 3*0x1p-11, 1 + 0x1p-9}, {"f16", 1 + 0x1.00001p-11, 1 + 0x1p-10},
		{"f16", 0x1.8p-24, 0x1p-23}, {"f16", 0x1p-25, 0}, {"f16", 0x1.1p-25, 0x1p-24}, {"f16", 65519, 65504}, {"f16", 65520, 65536},
		{"bf16", 1 + 0x1p-8, 1}, {"bf16", 1 + 3*0x1p-8, 1 + 0x1p-6}, {"f32", 0.1, float64(float32(0.1))}, {"f32", 0x1p-150, 0},
	} {
		if got := formatOf[c.format].round(c.x); got != c.want {
			t.Errorf("%v in %s is %v, want %v", c.x, c.format, got, c.want)
		}
	}
}

func TestGridOf(t *testing.T) {
	yes := true
	q := spec.Quant{Method: "awq", Bits: 4, Granularity: "group", Group: 128, Convention: "llmc", ScaleDType: "f16"}
	fp8 := spec.Quant{Method: "fp8", Bits: 8, Granularity: "block", Convention: "llmc", ScaleDType: "f32"}
	with := func(q spec.Quant, f func(*spec.Quant)) spec.Quant { f(&q); return q }
	for _, c := range []struct {
		name string
		q    spec.Quant
		want Grid
		err  string
	}{
		{"group", q, Grid{Bits: 4, Group: 128, BlockRows: 1, Convention: "llmc", Scale: "f16"}, ""},
		{"channel", with(q, func(q *spec.Quant) { q.Granularity, q.Symmetric = "channel", &yes }),
			Grid{Bits: 4, Group: Whole, BlockRows: 1, Symmetric: true, Convention: "llmc", Scale: "f16"}, ""},
		{"fp8", fp8, Grid{Bits: 8, Float: true, Group: 128, BlockRows: 128, Symmetric: true, Convention: "llmc", Scale: "f32"}, ""},
		{"fp8, tensor", with(fp8, func(q *spec.Quant) { q.Granularity = "tensor" }),
			Grid{Bits: 8, Float: true, Group: Whole, BlockRows: Whole, Symmetric: true, Convention: "llmc", Scale: "f32"}, ""},
		{"a group that does not divide", with(q, func(q *spec.Quant) { q.Group = 96 }), Grid{}, "256 inputs does not divide into groups of 96"},
		{"no group", with(q, func(q *spec.Quant) { q.Group = 0 }), Grid{}, "groups of 0"},
		{"bits", with(q, func(q *spec.Quant) { q.Bits = 9 }), Grid{}, "codes of 9 bits"},
		{"convention", with(q, func(q *spec.Quant) { q.Convention = "x" }), Grid{}, `convention "x"`},
		{"dtype", with(q, func(q *spec.Quant) { q.ScaleDType = "f8" }), Grid{}, `scale dtype "f8"`},
		{"granularity", with(q, func(q *spec.Quant) { q.Granularity = "row" }), Grid{}, `granularity "row"`},
		{"integers by tensor", with(q, func(q *spec.Quant) { q.Granularity = "tensor" }), Grid{}, "only fp8"},
	} {
		got, err := GridOf(c.q, 256)
		if c.err == "" && (err != nil || got != c.want) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
	}
}

// TestE4M3 goes through all codes, the middles between them, and beyond.
func TestE4M3(t *testing.T) {
	value := func(c byte) float64 { // by the definition
		e, m := int(c>>3&15), float64(c&7)
		if e == 0 {
			return m / 8 * 0x1p-6
		}
		return math.Ldexp(1+m/8, e-7)
	}
	for c := byte(0); c < 0x7f; c++ {
		if got := e4m3(value(c)); got != c {
			t.Errorf("%v is %#x, want %#x", value(c), got, c)
		}
		if got := e4m3(-value(c)); got != c|0x80 {
			t.Errorf("%v is %#x, want %#x", -value(c), got, c|0x80)
		}
		if c == 0x7e {
			break
		}
		middle := (value(c) + value(c+1)) / 2
		for _, x := range []struct {
			x    float64
			want byte
		}{{middle, c + c&1}, {math.Nextafter(middle, 0), c}, {math.Nextafter(middle, 500), c + 1}} {
			if got := e4m3(x.x); got != x.want {
				t.Errorf("%v is %#x, want %#x", x.x, got, x.want)
			}
		}
	}
	for _, x := range []float64{449, 1e30, math.Inf(1)} {
		if e4m3(x) != 0x7e || e4m3(-x) != 0xfe {
			t.Errorf("%v is %#x", x, e4m3(x))
		}
	}
}
