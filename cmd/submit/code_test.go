package main

import (
	"testing"

	"sextant/pkg/sandbox"
)

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
