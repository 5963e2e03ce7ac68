//go:build cgo

package kernels_test

import (
	"hash/fnv"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"sextant/internal/cudalib"
	"sextant/kernels"
)

// cudaTargets are ways to use the library that SEXTANT_CUDA_LIB names, a real one or the emulated: views that vectors cannot read (odd strides
// and beginnings) and such that they can, in every format; the last two are how a model runs.
func cudaTargets() []target {
	if !cudalib.Named() {
		return nil
	}
	return only([]target{
		{backend: "cuda"},
		{backend: "cuda", aligned: true},
		{backend: "cuda", act: kernels.BF16, wide: kernels.BF16},
		{backend: "cuda", act: kernels.F16, wide: kernels.F16},
		{backend: "cuda", act: kernels.BF16, aligned: true},
		{backend: "cuda", act: kernels.F16, aligned: true},
	})
}

// Attention on tensor cores: the cache's format and the sizes of heads that have tiles.
var onTiles = regexp.MustCompile(`^attention/(bf16|f16)/.*,d(64|80|96|128|256),page`)

// chosen tells whether a device carries out a case. All do; but with -short, since an emulated one is slow, of the devices with activations of f32
// one, and one of the others, by the case's name; where attention has tiles, one of the cache's format; and all where a case is special.
func chosen(name string, tg target) bool {
	if strings.Contains(name, "rounded to") { // a device's caches round nothing
		return false
	}
	if !testing.Short() || strings.Contains(name, "NaN") || strings.Contains(name, "inf") {
		return true
	}
	n := number(name)
	if of := onTiles.FindStringSubmatch(name); of != nil {
		return tg.act.String() == of[1] && tg.aligned == (n%3 > 0)
	}
	if tg.act == kernels.F32 {
		return tg.aligned == (n%2 == 0)
	}
	return tg.aligned == (n/2%2 == 0) && (tg.act == kernels.F16) == (n/4%2 == 0)
}

// number is one of a case by its name.
func number(name string) int {
	hash := fnv.New32a()
	hash.Write([]byte(name))
	return int(hash.Sum32() >> 7)
}

// takes tells whether the i-th of n host builds carries out a case. All do; but with -short, for the sanitizers' time, two by the case's name: the
// builds are one source, compiled for other vectors.
func takes(name string, i, n int) bool {
	first := number(name)
	return !testing.Short() || i == first%n || i == (first+1)%n || strings.Contains(name, "NaN") || strings.Contains(name, "inf")
}

// only leaves those that SEXTANT_TEST_TARGETS, a regular expression, matches: an emulated device is slow.
func only(all []target) (some []target) {
	want := regexp.MustCompile(os.Getenv("SEXTANT_TEST_TARGETS"))
	for _, tg := range all {
		if want.MatchString(tg.String()) {
			some = append(some, tg)
		}
	}
	return some
}

// targets are all that run here and have activations of f32.
func targets(t *testing.T) []target {
	all := hostTargets(t)
	for _, tg := range cudaTargets() {
		if tg.act == kernels.F32 {
			all = append(all, tg)
		}
	}
	return all
}

// formats are the formats of activations and of the residual stream that some target has.
func formats() [][2]kernels.DType {
	all := [][2]kernels.DType{{kernels.F32, kernels.F32}}
	for _, tg := range cudaTargets() {
		f := [2]kernels.DType{tg.act, tg.wide}
		if f != all[len(all)-1] && f != all[0] {
			all = append(all, f)
		}
	}
	return all
}

// held is the format of tensors for values of dt: the oracle and the cpu have them as f32.
func (t target) held(dt kernels.DType) kernels.DType {
	if t.backend == "cuda" {
		return dt
	}
	return kernels.F32
}

// round gives what v becomes in the format.
func round(dt kernels.DType, v []float32) []float32 {
	if dt == kernels.F32 {
		return v
	}
	out := make([]float32, len(v))
	for i, x := range v {
		if dt == kernels.BF16 {
			out[i] = bf16(x)
		} else {
			out[i] = f16(x)
		}
	}
	return out
}

// f16 rounds to nearest even, by the definition of the format.
func f16(v float32) float32 {
	f := float64(v)
	if v == 0 || math.IsNaN(f) || math.IsInf(f, 0) {
		return v
	}
	unit := math.Ldexp(1, max(math.Ilogb(f), -14)-10)
	r := math.RoundToEven(f/unit) * unit
	if math.Abs(r) >= 65536 {
		return float32(math.Inf(int(math.Copysign(1, f))))
	}
	return float32(math.Copysign(r, f))
}

// narrowest is the format whose rounding shows in a device's results: weights and what is between two operations may be rounded to it.
func (t target) narrowest() kernels.DType {
	if t.backend != "cuda" {
		return kernels.F32
	}
	if t.act != kernels.F32 {
		return t.act
	}
	return t.wide
}

// near holds a target's value against the oracle's, which was computed of the same rounded inputs: within the tolerance in f32, or within
// the rounding of the format.
func (t target) near(got, want, scale, tol float64) bool {
	eps, floor, most := 0.0, 0.0, math.Inf(1)
	switch t.narrowest() {
	case kernels.BF16:
		eps, floor, most = 0x1p-8, 0x1p-133, 0x1.fep127
	case kernels.F16:
		eps, floor, most = 0x1p-10, 0x1p-24, 65504 // 2^-11, and as much for w where that is rounded
	}
	if eps == 0 || near(got, want, scale, tol) {
		return near(got, want, scale, tol)
	}
	if math.IsNaN(got) || math.IsNaN(want) || math.IsInf(want, 0) {
		return false
	}
	room := max(tol, eps)*(math.Abs(want)+scale) + floor
	if math.IsInf(got, 0) { // beyond what the format holds
		return math.Abs(want)+room >= most && math.Signbit(got) == math.Signbit(want)
	}
	return math.Abs(got-want) <= room
}

// moves tells of a case whether it only moves values, which rounds nothing but the inputs.
func moves(name string) bool { return strings.HasPrefix(name, "gather") }

func TestRoundingOfActivations(t *testing.T) {
	r := target{backend: "ref"}.open(t)
	for _, dt := range []kernels.DType{kernels.BF16, kernels.F16} {
		var v []float32
		for h := range 1 << 16 { // every value, and what lies halfway to the next, and a bit beside it
			x := float32(halfValue(dt, uint16(h)))
			next := float32(halfValue(dt, uint16(h+1)&0x7fff|uint16(h)&0x8000))
			half := x + (next-x)/2
			v = append(v, x, half, math.Nextafter32(half, x), math.Nextafter32(half, next))
		}
		v = append(v, 65504, 65519.99, 65520, 1e9, -1e9, 3.4e38, -3.4e38, 0x1p-25, 0x1.000002p-25, 0x1p-26, 1e-45, inf, -inf, nan)
		w, err := r.dev.NewTensor(1, len(v), dt)
		r.must(err)
		r.must(r.st.UploadF32(w, v))
		got := r.read(w)
		for i, want := range round(dt, v) {
			if got[i] != got[i] && want != want {
				continue
			}
			if math.Float32bits(got[i]) != math.Float32bits(want) {
				t.Fatalf("%v: %g becomes %g, want %g", dt, v[i], got[i], want)
			}
		}
		w.Buf.Free()
	}
}
