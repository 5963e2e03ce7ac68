//go:build cgo

package kernels_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sextant/kernels"
)

// TestCopy: what is copied, within a device and from another one, is what was there, and its surroundings stay.
func TestCopy(t *testing.T) {
	t.Setenv("SEXTANT_EMU_DEVICES", "2")
	for _, tg := range everyTarget(t) {
		w := newWorld(t, tg)
		other := w.beside(t)
		v := normal(seeded(3), 32)
		for name, from := range map[string]*rig{"its own": w.rig, "another's": other} {
			src, dst, got := contiguous(t, from.dev), contiguous(t, w.dev), make([]float32, 32)
			w.must(from.st.UploadF32(src, v))
			w.must(from.st.Sync())
			w.must(w.st.Copy(dst.SliceRows(1, 3), src.SliceRows(2, 4)))
			w.must(w.st.Copy(dst.SliceRows(3, 3), src.SliceRows(0, 0)))
			w.must(w.st.DownloadF32(dst, got))
			if err := sameBits(got, slices.Concat(make([]float32, 8), v[16:], make([]float32, 8))); err != nil {
				t.Errorf("%v from %s: %v", tg, name, err)
			}
			if tg.backend != "cuda" {
				continue
			}
			for call := 1; call < 8; call++ { // a call of the emulated runtime that fails is an error, or makes no difference
				third := w.beside(t)
				to := contiguous(t, third.dev)
				t.Setenv("SEXTANT_EMU_FAIL", strconv.Itoa(call))
				err := third.st.Copy(to, src)
				t.Setenv("SEXTANT_EMU_FAIL", "")
				w.must(third.st.DownloadF32(to, got))
				if err == nil {
					err = sameBits(got, v)
				} else if errors.Is(err, kernels.ErrDevice) && strings.Contains(err.Error(), "fails since SEXTANT_EMU_FAIL says so") {
					err = nil
				}
				if err != nil {
					t.Errorf("%v from %s, call %d fails: %v", tg, name, call, err)
				}
			}
		}
	}
}

// beside is a second device: the next one where there is one, else the same opened again.
func (r *rig) beside(t *testing.T) *rig {
	if dev, err := kernels.Open(r.target.backend, kernels.Options{Device: 1, Threads: 1}); err == nil {
		t.Cleanup(dev.Close)
		st, err := dev.NewStream()
		r.must(err)
		return &rig{TB: t, target: r.target, dev: dev, st: st}
	}
	return r.target.open(t)
}
