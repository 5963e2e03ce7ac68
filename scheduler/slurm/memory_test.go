package slurm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRanOut(t *testing.T) {
	long := strings.Repeat("a line of the worker\n", 2000)
	for text, want := range map[string]bool{
		"": false,
		"slurmstepd-node1: error: StepId=175.batch exceeded memory limit (38957056 > 31457280), being killed\n":                                                 true,
		long + "slurmstepd-node1: error: Exceeded job memory limit\n":                                                                                           true,
		"slurmstepd: error: Detected 1 oom-kill event(s) in StepId=3.batch. Some of your processes may have been killed by the cgroup out-of-memory handler.\n": true,
		"slurmstepd: error: *** JOB 31 ON node1 CANCELLED AT 2026-11-21T11:00:00 ***\n":                                                                         false,
		"level=INFO msg=\"slurmstepd: error: Exceeded job memory limit\"\n":                                                                                     false,
	} {
		log := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(log, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if got := ranOut(log); got != want {
			t.Errorf("%.100q: %v, want %v", text, got, want)
		}
	}
	if ranOut(filepath.Join(t.TempDir(), "none")) {
		t.Error("a log that is not there")
	}
}
