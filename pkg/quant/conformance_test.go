//go:build conformance

package quant

import (
	"testing"
	"time"

	"sextant/pkg/model"
)

// TestPocketTable gives the perplexities of the pocket model's whole text, and holds the order of the methods at 4 and 3 bits.
func TestPocketTable(t *testing.T) {
	text := pocketDir + "/data/text/test.txt"
	t.Logf("pretrain %.6f", perplexity(t, pocketDir+"/model", text, 1000, model.Options{}))
	for _, c := range []struct{ bits, group int }{{8, 0}, {4, 128}, {4, 64}, {4, 32}, {3, 128}, {3, 64}, {3, 32}, {2, 128}, {2, 64}, {2, 32}} {
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
		if (c.bits == 4 || c.bits == 3) && (got["awq"] >= got["rtn"] || got["gptq"] >= got["rtn"]) {
			t.Errorf("%d bits, groups of %d: %v", c.bits, c.group, got)
		}
	}
}
