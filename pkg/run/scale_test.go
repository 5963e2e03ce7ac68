package run

import (
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Ten thousand jobs of one shard, done by workers that go on with each other's: the controller and the simulated cluster together take
// seconds. What grows with the square of the jobs would take minutes. Under the race detector it is a tenth of them, and nothing is timed.
func TestTenThousandJobs(t *testing.T) {
	before, rows := cpuTime(t), 5000
	if raced {
		rows = 500
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSimRun(simShape{models: 1, rows: rows, limit: 1, workers: 100, retry: 2, drain: true}, simConfig{nodes: 50, slots: 4, window: 2000, pace: 10, silent: true}, 1)
		defer os.RemoveAll(s.work)
		if n := len(s.simCluster.plan.Jobs); n != 2*rows {
			t.Fatalf("%d jobs", n)
		}
		events := 0
		s.submit(context.Background(), Options{}, func(Event) { events++ })
		if s.err != nil || len(s.out.Failures) > 0 || len(s.bad)+len(s.oddly) > 0 || len(s.left()) > 0 {
			t.Fatalf("%+v, %v, %q, %q, left %q", s.out, s.err, s.bad, s.oddly, s.left())
		}
		took := cpuTime(t) - before
		t.Logf("%d hands, %d polls, %d steps, %d events: %v of CPU", len(s.hands), s.polls, s.now, events, took)
		if took > 20*time.Second && !raced {
			t.Errorf("%v of CPU", took)
		}
		s.gathered(nil)
		before := cpuTime(t)
		s.submit(context.Background(), Options{}, nil)
		if s.err != nil || s.out.Attempts != 0 || s.out.Reused != 2*rows {
			t.Errorf("again: %+v, %v", s.out, s.err)
		}
		if took := cpuTime(t) - before; took > 5*time.Second && !raced {
			t.Errorf("%v of CPU to find that there is nothing to do", took)
		}
	})
}

// cpuTime is what this process has used.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
