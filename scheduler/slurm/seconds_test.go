package slurm

import "testing"

func TestSeconds(t *testing.T) {
	for limit, want := range map[string]int{"15": 900, "1:30": 90, "2:00:05": 7205, "1-2": 93600, "1-2:3": 93780, "1-02:03:04": 93784,
		"": 0, "x": 0, "1:2:3:4": 0, "1-": 0, "-1": 0, "UNLIMITED": 0, "1-1:1:1:1": 0} {
		if got := seconds(limit); got != want {
			t.Errorf("%q: %d seconds, want %d", limit, got, want)
		}
	}
}
