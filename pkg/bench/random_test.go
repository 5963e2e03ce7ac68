package bench

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"sextant/pkg/checkpoint"
)

// The weights in memory and those saved are the same model, whatever the dtype, and are what they should be.
func TestRandomWeights(t *testing.T) {
	for _, dtype := range DTypes() {
		ck, err := openRandom(shapes["tiny"], dtype)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "new", "model")
		if err := Save(dir, "tiny", dtype); err != nil {
			t.Fatal(err)
		}
		saved, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		a, err1 := ck.Fingerprint()
		b, err2 := saved.Fingerprint()
		if err1 != nil || err2 != nil || a != b {
			t.Errorf("%s: %q (%v) in memory, %q (%v) saved", dtype, a, err1, b, err2)
		}
		checkNormal(t, ck, dtype)
		if err := errors.Join(ck.Close(), saved.Close()); err != nil {
			t.Error(err)
		}
		if err := Save(dir, "tiny", dtype); !errors.Is(err, fs.ErrExist) {
			t.Errorf("saving twice: %v", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "sextant-bench-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// checkNormal looks at the mean and deviation of a matrix, and at a norm.
func checkNormal(t *testing.T, ck *checkpoint.Checkpoint, dtype string) {
	t.Helper()
	m, err := ck.Tensor("model.layers.1.mlp.up_proj.weight")
	if err != nil {
		t.Fatal(err)
	}
	sum, squares, n := 0.0, 0.0, float64(160*64)
	for _, v := range decode(dtype, m.Data) {
		sum += v
		squares += v * v
	}
	if mean, dev := sum/n, math.Sqrt(squares/n); math.Abs(mean) > 4*0.02/math.Sqrt(n) || math.Abs(dev/0.02-1) > 0.04 {
		t.Errorf("%s: mean %g, deviation %g", dtype, mean, dev)
	}
	norm, err := ck.Tensor("model.norm.weight")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range decode(dtype, norm.Data) {
		if v != 1 {
			t.Fatalf("%s: a norm's weight is %g", dtype, v)
		}
	}
}

// decode reads values as the formats define them; all are normal numbers.
func decode(dtype string, b []byte) (out []float64) {
	for i := 0; i < len(b); i += valueBytes(dtype) {
		switch h := uint32(binary.LittleEndian.Uint16(b[i:])); dtype {
		case "f32":
			out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))))
		case "bf16":
			out = append(out, float64(math.Float32frombits(h<<16)))
		default:
			v := math.Ldexp(1+float64(h&0x3ff)/1024, int(h>>10&31)-15)
			if h>>10&31 == 0 {
				v = 0
			}
			out = append(out, math.Copysign(v, 0.5-float64(h>>15)))
		}
	}
	return out
}

func TestEncode(t *testing.T) {
	for _, c := range []struct {
		dtype string
		v     float32
		want  []byte
	}{
		{"f32", 1, []byte{0, 0, 0x80, 0x3f}},
		{"bf16", -1, []byte{0x80, 0xbf}},
		{"bf16", math.Float32frombits(0x3f808000), []byte{0x80, 0x3f}}, // half way: to the even one
		{"bf16", math.Float32frombits(0x3f818000), []byte{0x82, 0x3f}},
		{"f16", 1, []byte{0, 0x3c}},
		{"f16", -0.5, []byte{0, 0xb8}},
		{"f16", 1e-6, []byte{0, 0}},
	} {
		if got := encode(c.dtype, c.v); string(got) != string(c.want) {
			t.Errorf("%s of %g: % x, want % x", c.dtype, c.v, got, c.want)
		}
	}
}

// No disk, no memory: nothing half written stays.
func TestSaveRefused(t *testing.T) {
	dir := t.TempDir()
	if err := Save(filepath.Join(dir, "a"), "huge", "bf16"); err == nil {
		t.Error("an unknown shape was saved")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Save(file, "tiny", "bf16"); err == nil {
		t.Error("saved into a file")
	}
}
