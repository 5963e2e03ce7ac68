//go:build conformance

package quant

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sextant/pkg/calib"
	"sextant/pkg/model"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

var whole = flag.Bool("table", false, "all bits and groups in TestPocketTable: some minutes")

// TestPocketTable holds the order of the methods at 4 and 3 bits on the pocket model's whole text. With -table it prints the table of
// docs/quantization.md.
func TestPocketTable(t *testing.T) {
	text := pocketDir + "/data/text/test.txt"
	cases := []struct{ bits, group int }{{4, 128}, {3, 128}}
	if *whole {
		cases = []struct{ bits, group int }{{8, 0}, {4, 128}, {4, 64}, {4, 32}, {3, 128}, {3, 64}, {3, 32}, {2, 128}, {2, 64}, {2, 32}}
	}
	for _, c := range cases {
		got := map[string]float64{}
		for _, method := range []string{"rtn", "awq", "gptq"} {
			job := pocketJob(t, method, c.bits, c.group)
			job.Sample = pocketSample(t, 64)
			began := time.Now()
			m := mustRun(t, job)
			took := time.Since(began).Seconds()
			got[method] = perplexity(t, job.Out, text, 1000, model.Options{})
			t.Logf("%-14s %.3f bits, %d bytes, %.6f, %.1f s", job.Recipe.Name, m.Bits, m.Bytes, got[method], took)
		}
		if (c.bits == 4 || c.bits == 3) && c.group == 128 && (got["awq"] >= got["rtn"] || got["gptq"] >= got["rtn"]) {
			t.Errorf("%d bits, groups of %d: %v", c.bits, c.group, got)
		}
	}
}

// TestStoriesTable holds the order of the methods on a model that others trained. Its text is what there is that is long enough: wikitext-2,
// of which the first part is measured and the rest calibrated with. No group divides the 172 inputs of its down matrices, which stay.
func TestStoriesTable(t *testing.T) {
	data := os.Getenv("SEXTANT_DATA")
	if data == "" {
		t.Fatal("SEXTANT_DATA is not set: it names the folder of the conformance data")
	}
	dir := filepath.Join(data, "stories260k", "hf")
	raw, err := os.ReadFile(filepath.Join(data, "bench", "wikitext2", "wiki.test.raw"))
	if err != nil {
		t.Fatal(err)
	}
	test, rest := filepath.Join(t.TempDir(), "test.txt"), filepath.Join(t.TempDir(), "rest.txt")
	for path, part := range map[string][]byte{test: raw[:300_000], rest: raw[600_000:]} {
		if err := os.WriteFile(path, part, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	sample, err := calib.Sample(spec.Calib{File: spec.Files{Path: rest}, Cut: "windows", Samples: 64, SeqLen: 256}, tok)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("pretrain %.6f", perplexity(t, dir, test, 300, model.Options{}))
	for _, bits := range []int{4, 3} {
		got := map[string]float64{}
		for _, method := range []string{"rtn", "awq", "gptq"} {
			no := false
			job := toyJob(t, openCheckpoint(t, dir), recipe(method, func(q *spec.Quant) {
				q.Bits, q.Group, q.Symmetric, q.Ignore = bits, 32, &no, []string{"**down_proj**"}
			}))
			job.Sample = sample
			m := mustRun(t, job)
			got[method] = perplexity(t, job.Out, test, 300, model.Options{})
			t.Logf("%-14s %.3f bits, %.6f", job.Recipe.Name, m.Bits, got[method])
		}
		if got["awq"] >= got["rtn"] || got["gptq"] >= got["rtn"] {
			t.Errorf("%d bits: %v", bits, got)
		}
	}
}
