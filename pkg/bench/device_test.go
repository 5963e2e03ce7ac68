package bench

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"sextant/internal/cudalib"
	"sextant/kernels"
)

// The works that are not usual run where they are named, and count what they did.
func TestRunNamed(t *testing.T) {
	o := quick("packed", "decode-64", "rolling-2048", "attention-2048", "attention-8192", "attention-decode")
	o.Tokens, o.Gen, o.Windows = 512, 2, 1
	r := mustRun(t, o)
	units := map[string]int{"packed": 32 * 96, "decode-64": 64 * 2, "rolling-2048": 2048, "attention-2048": 8 * 2048, "attention-decode": 64}
	if len(r.Works) != 6 {
		t.Fatalf("%+v", r.Works)
	}
	for _, w := range r.Works {
		if w.Name == "attention-8192" {
			if !strings.Contains(w.Skipped, "needs 8192 positions, and the model has 2048") {
				t.Errorf("%+v", w)
			}
			continue
		}
		checkWork(t, w, r.Peaks)
		if w.Units != units[w.Name] {
			t.Errorf("%s: %d units, want %d", w.Name, w.Units, units[w.Name])
		}
	}
	if w := r.Works[0]; w.Computed != 32*96 || w.What != "32 prompts of 96 tokens, 512 tokens a pass" {
		t.Errorf("%+v", w)
	}
}

// The cost of attention alone, by hand: what positions see, and what is held, of one layer of the tiny shape.
func TestAttentionCost(t *testing.T) {
	p := planner{m: tinySizes(t, "")}
	for _, c := range []struct {
		got  work
		want cost
	}{
		{p.prompts("", 2048), cost{4 * 4 * 16 * 8 * 2048 * 2049 / 2, 2 * 4 * 2 * 16 * 8 * 2048}},
		{p.looksBack(""), cost{4 * 4 * 16 * 64 * 2048, 2 * 4 * 2 * 16 * 64 * 2048}},
	} {
		if c.got.cost != c.want {
			t.Errorf("%s: %+v, want %+v", c.got.what, c.got.cost, c.want)
		}
	}
}

// What a device's best is measured with runs on any, and finds its sizes once.
func TestDeviceBest(t *testing.T) {
	dev, err := kernels.Open("cpu", kernels.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	d, err := newDeviceBest(dev, "f32", 1<<28)
	if err != nil {
		t.Fatal(err)
	}
	var p Peaks
	for range 2 {
		if err := d.measure(&p); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.Compute) != 1 || p.Compute[0].GFLOPs <= 0 || p.Compute[0].ISA != deviceISA || len(p.Reads) != 2 || p.Read <= 0 ||
		p.ReadBytes != 8*copyRow*int64(d.rows) || d.side < 256 || d.side > mostSide {
		t.Errorf("%+v of %+v", p, d)
	}
	if best := p.peak("i4g128"); best != p.Compute[0] {
		t.Errorf("4 bits are held against %+v", best)
	}
	if d.dtype != kernels.F32 || arithmetic("f16") != kernels.F16 || arithmetic("i4g128") != kernels.BF16 {
		t.Errorf("the device multiplies in %v", d.dtype)
	}
}

// The values that are multiplied begin anew after a prime number of them, in every format.
func TestNoise(t *testing.T) {
	v := noise(period + 10)
	if len(v) != period+10 || v[0] != v[period] || v[0] == v[1] || len(noiseBytes(kernels.BF16, period+10)) != 2*(period+10) ||
		len(noiseBytes(kernels.F32, 3)) != 12 || !bytes.Equal(noiseBytes(kernels.F32, 2), append(encode("f32", v[0]), encode("f32", v[1])...)) {
		t.Errorf("%d values: %v", len(v), v[:2])
	}
}

// On the library that SEXTANT_CUDA_LIB names, an emulated one too: the peaks are the device's, the cache is of 16 bits.
func TestRunOnDevice(t *testing.T) {
	cudalib.Want(t)
	o := quick("decode-1")
	o.Backend, o.Gen, o.Repeat = "cuda", 4, 1
	r := mustRun(t, o)
	var b bytes.Buffer
	if err := r.Table(&b); err != nil || !strings.Contains(b.String(), "on the device: a product of large matrices") {
		t.Errorf("%v\n%s", err, b.String())
	}
	text, err := json.Marshal(r.Peaks)
	if err != nil || len(r.Peaks.Compute) != 1 || r.Peaks.Compute[0].DType != "bf16" || r.Peaks.Read <= 0 || r.Works[0].Rate <= 0 {
		t.Errorf("%v %s %+v", err, text, r.Works)
	}
	t.Log(string(text))
}
