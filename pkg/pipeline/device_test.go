package pipeline

import (
	"slices"
	"strconv"
	"testing"

	"sextant/internal/cudalib"
	"sextant/kernels"
	"sextant/pkg/engine"
	"sextant/pkg/model"
)

// devicePass is a pass of the tokens from..from+n of one sequence.
func devicePass(from, n int) engine.Pass {
	b := model.Batch{Desc: kernels.BatchDesc{QStart: []int32{0, int32(n)}, KVLen: []int32{int32(from + n)}, Pages: []int32{0, 1}, MaxPages: 2},
		Out: []int32{int32(n - 1)}}
	for i := range n {
		b.Tokens = append(b.Tokens, int32(7+from+i))
	}
	return engine.Pass{Batch: b}
}

// deviceScores has several passes under way, one of many tokens, then one token each, which devices record, and gives every bit of the outcomes.
func deviceScores(t *testing.T, p *Pipeline) (lse []float64, err error) {
	t.Helper()
	if err := p.Reserve(2, 16); err != nil {
		return nil, err
	}
	defer p.Release()
	waits := []func() (kernels.LogProbs, error){p.LogProbs(devicePass(0, 9), kernels.Targets{IDs: []int32{3}})}
	for at := 9; at < 13; at++ {
		waits = append(waits, p.LogProbs(devicePass(at, 1), kernels.Targets{IDs: []int32{3}}))
	}
	for _, wait := range waits {
		lp, failed := wait()
		if failed != nil {
			err = failed
			continue
		}
		lse = append(lse, lp.LSE[0], float64(lp.Target[0]))
	}
	return lse, err
}

// TestDevicePeers: hidden states that go from GPU to GPU give the bits of one stage.
func TestDevicePeers(t *testing.T) {
	cudalib.Want(t)
	t.Setenv("SEXTANT_EMU_DEVICES", "2")
	var want []float64
	for n := 1; n <= 3; n++ {
		all := partsOn(t, n, "cuda")
		for i := range n - 1 {
			if !all[i].Reaches(all[i+1]) {
				t.Errorf("part %d of %d does not reach the next", i, n)
			}
		}
		p := New(all)
		got, err := deviceScores(t, p)
		p.Close()
		if n == 1 {
			want = got
		}
		if err != nil || len(got) != 10 || !slices.Equal(got, want) {
			t.Errorf("%d stages: %v, %v, want %v", n, got, err, want)
		}
	}
}

// TestDevicePeerFaults: whatever call of the runtime fails, a pass ends with an error or with the right bits, and the next ones are well.
func TestDevicePeerFaults(t *testing.T) {
	cudalib.Want(t)
	t.Setenv("SEXTANT_EMU_DEVICES", "2")
	p := New(partsOn(t, 2, "cuda"))
	defer p.Close()
	want, err := deviceScores(t, p)
	if err != nil {
		t.Fatal(err)
	}
	for call, failed := 40, true; failed; call += 83 {
		t.Setenv("SEXTANT_EMU_FAIL", strconv.Itoa(call))
		got, err := deviceScores(t, p)
		t.Setenv("SEXTANT_EMU_FAIL", "")
		failed = err != nil
		if !failed && !slices.Equal(got, want) {
			t.Errorf("call %d: got %v, want %v", call, got, want)
		}
		if got, err := deviceScores(t, p); err != nil || !slices.Equal(got, want) {
			t.Fatalf("after call %d: got %v, %v, want %v", call, got, err, want)
		}
	}
}
