//go:build cgo

package kernels_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"sextant/kernels"
	"sextant/kernels/cpu"
)

// bf16 is v rounded to the nearest number of bf16, ties to even, by the definition of the format.
func bf16(v float32) float32 {
	if f := float64(v); v == 0 || math.IsNaN(f) || math.IsInf(f, 0) {
		return v
	}
	unit := math.Ldexp(1, max(math.Ilogb(float64(v)), -126)-7)
	r := math.RoundToEven(float64(v)/unit) * unit
	if math.Abs(r) >= 0x1p128 {
		return float32(math.Inf(1)) * v / float32(math.Abs(float64(v)))
	}
	return float32(r)
}

// rounding are the builds that round activations.
func rounding() (all []target) {
	for _, pair := range units()[1:] {
		for _, isa := range pair {
			all = append(all, target{backend: "cpu", isa: isa, threads: 2})
		}
	}
	return all
}

// TestRoundingOps: the builds that round activations give, for activations that need no rounding, what the oracle gives, within the same
// tolerance as all the others.
func TestRoundingOps(t *testing.T) {
	oracle := target{backend: "ref", act: kernels.BF16}.open(t)
	var rigs []*rig
	for _, tg := range rounding() {
		tg.act = kernels.BF16
		rigs = append(rigs, tg.open(t))
	}
	for _, c := range append(matmulCases(), logprobCases()...) {
		if !onUnits(c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			want, scale := c.run(oracle.within(t))
			oracle.done()
			for _, r := range rigs {
				c.hold(r.within(t), want, scale)
			}
		})
	}
}

// TestRounding: activations are rounded to the nearest number of bf16, ties to even; weights of other formats have theirs as they are.
func TestRounding(t *testing.T) {
	const m, n, k = 21, 35, 163
	for _, tg := range rounding() {
		r := tg.open(t)
		x := normal(seeded(1), m*k)
		for i := range 64 { // ties, up and down, and what is one beside them
			x[i] = math.Float32frombits(0x3f808000 + uint32(i)<<15 + uint32(i%3) - 1)
		}
		narrow := make([]float32, len(x))
		for i, v := range x {
			narrow[i] = bf16(v)
		}
		for _, dt := range allFormats {
			w := r.weight(seededMatrix(2, dt, n, k+1, 41))
			wide := func(v []float32) []float32 {
				full := make([]float32, m*(k+1))
				for i := range m {
					copy(full[i*(k+1):], v[i*k:(i+1)*k])
				}
				out := r.out(m, n)
				r.must(r.st.MatMul(out, r.in(m, k+1, full), w, nil))
				return r.read(out)
			}
			rounds := dt == kernels.BF16 || (dt == kernels.I8 && strings.HasPrefix(tg.isa, "amx"))
			if same := sameBits(wide(x), wide(narrow)) == nil; same != rounds {
				t.Errorf("%v %v: equal to the product of rounded activations: %v", tg, dt, same)
			}
		}
		r.done()
	}
}

// TestUnitsNotFinite: NaN and infinities among the activations spoil their own rows as arithmetic has it, and no other.
func TestUnitsNotFinite(t *testing.T) {
	const m, n, k = 37, 18, 70
	oracle := target{backend: "ref"}.open(t)
	x := smooth(seeded(1), m*k)
	x[0], x[1*k+69], x[17*k+32], x[36*k+1], x[36*k+2] = nan, inf, -inf, inf, -inf
	x[3*k+5] = math.Float32frombits(0x7f800001) // NaN of the lower bits alone
	x[4*k+5] = 3.4e38                           // beyond bf16 when rounded, within f32 as a product
	w := seededMatrix(3, kernels.BF16, n, k, 0)
	for i := range n { // a product of 3.4e38 stays finite
		w.value[i*k+5] = math.Ldexp(1, -20)
		w.desc.Data[2*(i*k+5)], w.desc.Data[2*(i*k+5)+1] = 0x80, 0x35
	}
	run := func(r *rig) []float32 {
		out := r.out(m, n)
		r.must(r.st.MatMul(out, r.in(m, k, x), r.weight(w), nil))
		return r.read(out)
	}
	want := run(oracle)
	for _, pair := range units() {
		for _, isa := range pair {
			r := target{backend: "cpu", isa: isa, threads: 1}.open(t)
			tol, got := 1e-6, run(r)
			if !strings.HasPrefix(isa, "amx-model") && isa != "amx" {
				tol = 0x1p-7
			}
			for i := range got {
				if row := i / n; row == 4 && tol > 1e-6 {
					if !math.IsInf(float64(got[i]), 1) {
						t.Errorf("%s: row 4, column %d: %g, want infinity, to which 3.4e38 is rounded", isa, i%n, got[i])
					}
				} else if !near(float64(got[i]), float64(want[i]), 60, tol) {
					t.Errorf("%s: row %d, column %d: %g, the oracle has %g", isa, row, i%n, got[i], want[i])
				}
			}
			r.done()
		}
	}
}

// TestChoiceOfBuilds: of several builds the first is taken that runs here and multiplies rightly, and info tells of one that does not.
func TestChoiceOfBuilds(t *testing.T) {
	if !cpu.Runs("amx-model") {
		t.Skip("the models of units want AVX2")
	}
	open := func(list string) (string, error) {
		t.Setenv("SEXTANT_CPU_ISA", list)
		dev, err := kernels.Open("cpu", kernels.Options{Threads: 1})
		if err != nil {
			return "", err
		}
		defer dev.Close()
		info, err := dev.Info()
		return info.Features, err
	}
	if f, err := open("amx-model,scalar"); err != nil || !strings.Contains(f, "model of amx") || strings.Contains(f, "wrong") {
		t.Errorf("amx-model: %q, %v", f, err)
	}
	if _, err := open("scalar,avx10"); err != nil {
		t.Errorf("scalar, before what is not looked at: %v", err)
	}
	if _, err := open("amx-model2,scalar"); !isInvalid(err) {
		t.Errorf("a build that there is not: %v", err)
	}
	cpu.WrongModels(true)
	defer cpu.WrongModels(false)
	if f, err := open("amx-model,scalar"); err != nil || f != "scalar, 1 thread; not amx-model, which multiplies wrongly here" {
		t.Errorf("a build that multiplies wrongly, and another: %q, %v", f, err)
	}
	for _, isa := range []string{"amx-model", "amx-bf16-model", "avx512-bf16-model"} {
		if _, err := open(isa); !errors.Is(err, kernels.ErrUnsupported) || !strings.Contains(err.Error(), isa+" multiplies wrongly here") {
			t.Errorf("%s alone, which multiplies wrongly: %v", isa, err)
		}
	}
}
