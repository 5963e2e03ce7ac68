//go:build cgo

package kernels_test

import (
	"testing"

	"sextant/kernels"
	"sextant/kernels/cpu"
)

func TestCPUPeak(t *testing.T) {
	p, err := kernels.CPUPeak(1, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", p)
	last := len(p.FMA) - 1
	if p.Threads != 1 || p.FMA[last].ISA != "scalar" || p.ReadGBs <= 0.01 {
		t.Errorf("%+v: want one thread, scalar last, and a bandwidth", p)
	}
	for i, r := range p.FMA {
		if !cpu.Runs(r.ISA) || r.GFLOPS < 0.1 || (i > 0 && r.ISA == p.FMA[0].ISA) {
			t.Errorf("%+v: want builds that run here, each once, with a rate", p.FMA)
		}
	}
}

func TestCPUPeakRefuses(t *testing.T) {
	for _, c := range []struct {
		threads int
		bytes   int64
	}{{-1, 0}, {1 << 20, 0}, {1, -1}} {
		if _, err := kernels.CPUPeak(c.threads, c.bytes); !isInvalid(err) {
			t.Errorf("CPUPeak(%d, %d): %v", c.threads, c.bytes, err)
		}
	}
	if _, err := kernels.CPUPeak(1, 1<<60); err == nil {
		t.Error("a buffer of 2^60 bytes was made")
	}
}
