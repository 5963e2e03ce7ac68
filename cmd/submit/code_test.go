package main

import (
	"testing"

	"sextant/pkg/sandbox"
	"sextant/pkg/spec"
)

func TestRunsCode(t *testing.T) {
	for metric, want := range map[string]bool{"pass@1": true, "pass@10:python/3s": true, "pass@1:exact_match": false, "exact_match": false, "": false} {
		if got := runsCode(spec.Dataset{Metric: metric}); got != want {
			t.Errorf("metric %q: %v", metric, got)
		}
		if got := runsCode(spec.Dataset{Metric: "bleu", Metrics: []string{metric}}); got != want {
			t.Errorf("further metric %q: %v", metric, got)
		}
	}
}

func TestWhyNot(t *testing.T) {
	for want, out := range map[string]sandbox.Outcome{
		"time":    {TimedOut: true, Why: "wall time over 3s"},
		"output":  {Truncated: true},
		"memory":  {Why: "memory over 1 bytes"},
		"stopped": {Why: "more than 9 files"},
		"failed":  {ExitCode: 1},
	} {
		if got := whyNot(out); got != want {
			t.Errorf("%+v: %q, want %q", out, got, want)
		}
	}
	if got := lastLine([]byte("a\nproof\r\n\n")); got != "proof" {
		t.Errorf("last line %q", got)
	}
}
