package main

import (
	"testing"

	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/scheduler"
)

// TestEveryClassHasAdvice holds that why never leaves a user alone.
func TestEveryClassHasAdvice(t *testing.T) {
	classes := []run.Class{run.ClassOpen, run.ClassEarlier, run.ClassLost, run.ClassEvicted, run.ClassStopped, "early"}
	for _, kind := range []result.FailureKind{result.FailInput, result.FailDisk, result.FailRetry, result.FailOther} {
		classes = append(classes, run.Class(kind))
	}
	for _, cause := range []scheduler.Cause{scheduler.Preempted, scheduler.Node, scheduler.TimeLimit, scheduler.Memory, scheduler.Launch} {
		classes = append(classes, run.Class(cause))
	}
	for _, class := range classes {
		if advice[class] == "" {
			t.Errorf("nothing is said about %q", class)
		}
	}
	if len(advice) != len(classes) {
		t.Errorf("%d classes, and advice of %d", len(classes), len(advice))
	}
}
