package slurm

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for limit, want := range map[string]int{"15": 900, "1:30": 90, "2:00:05": 7205, "1-2": 93600, "1-2:3": 93780, "1-02:03:04": 93784,
		"": 0, "x": 0, "1:2:3:4": 0, "1-": 0, "-1": 0, "UNLIMITED": 0, "1-1:1:1:1": 0} {
		if got, ok := duration(limit); got != time.Duration(want)*time.Second || ok != (want > 0) {
			t.Errorf("%q: %s, want %d s", limit, got, want)
		}
	}
}
