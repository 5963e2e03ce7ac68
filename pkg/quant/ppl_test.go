package quant

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"sextant/pkg/calib"
	"sextant/pkg/checkpoint"
	"sextant/pkg/engine"
	"sextant/pkg/model"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

const pocketDir = "../../examples/pocket"

// perplexity is that of a text by GPTQ's convention: windows of 256 tokens, the tail dropped, exp of the mean of their means.
func perplexity(t testing.TB, dir, text string, windows int, o model.Options) float64 {
	t.Helper()
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	dev := openDevice(t, 0)
	m, err := model.LoadWith(context.Background(), dev, ck, o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e, err := engine.New(m, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(text)
	if err != nil {
		t.Fatal(err)
	}
	ids := tok.EncodePrompt(string(data))
	var asks []engine.Sequence
	for len(ids) >= 256 && len(asks) < windows {
		asks = append(asks, engine.Sequence{Tokens: ids[:256], From: 1})
		ids = ids[256:]
	}
	means := make([]float64, len(asks))
	err = e.Score(context.Background(), asks, func(i int, r engine.Scored) error {
		means[i] = r.NLL / float64(r.Count)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, m := range means {
		sum += m
	}
	return math.Exp(sum / float64(len(means)))
}

// pocketSample is calibration text of the pocket model: its validation text, which is not what it is tested on.
func pocketSample(t testing.TB, samples int) *calib.Tokens {
	t.Helper()
	tok, err := tokenizer.Load(filepath.Join(pocketDir, "model"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := calib.Sample(spec.Calib{File: spec.Files{Path: pocketDir + "/data/text/valid.txt"}, Cut: "windows", Samples: samples, SeqLen: 256}, tok)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pocketJob is a recipe on the pocket model.
func pocketJob(t testing.TB, method string, bits, group int) Job {
	t.Helper()
	no := false
	q := recipe(method, func(q *spec.Quant) {
		q.Bits, q.Group, q.Symmetric = bits, group, &no // gptq's default is symmetric: here all have the same codes
		if group == 0 {
			q.Granularity, q.Symmetric = "channel", nil
		}
	})
	job := toyJob(t, openCheckpoint(t, pocketDir+"/model"), q)
	return job
}

// TestPocketPerplexity: what the methods are for. (conformance_test.go has all bits, and all of the text.)
func TestPocketPerplexity(t *testing.T) {
	text, windows := pocketDir+"/data/text/test.txt", 40
	got := map[string]float64{}
	for _, method := range []string{"rtn", "awq", "gptq"} {
		job := pocketJob(t, method, 3, 128)
		job.Sample = pocketSample(t, 16)
		mustRun(t, job)
		got[method] = perplexity(t, job.Out, text, windows, model.Options{})
		if method != "awq" {
			continue
		}
		if fake := perplexity(t, job.Out, text, windows, model.Options{Dequantize: true}); math.Abs(fake/got[method]-1) > 1e-5 {
			t.Errorf("%s: packed %v, dequantized %v", method, got[method], fake)
		}
	}
	if got["awq"] >= got["rtn"] || got["gptq"] >= got["rtn"] {
		t.Errorf("perplexities at 3 bits: %v", got)
	}
}

// TestPocketGoldens: rounding to nearest gives the perplexities that a float64 program got of the same formula. Scales are the recipe's
// default, f16 below 8 bits, and the goldens' are not rounded.
func TestPocketGoldens(t *testing.T) {
	var golden struct {
		Modes map[string]struct{ PPL float64 }
	}
	data, err := os.ReadFile(pocketDir + "/golden/rtn.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ bits, group int }{{8, 0}, {4, 128}, {3, 128}, {2, 128}} {
		job := pocketJob(t, "rtn", c.bits, c.group)
		mustRun(t, job)
		want := golden.Modes[fmt.Sprintf("int%d", c.bits)].PPL
		got := perplexity(t, job.Out, pocketDir+"/data/text/test.txt", 1000, model.Options{})
		if t.Logf("%d bits: %.6f, golden %.6f", c.bits, got, want); !(math.Abs(got/want-1) <= 1e-3) {
			t.Errorf("%d bits: perplexity %v, want %v within 0.1 %%", c.bits, got, want)
		}
	}
}
