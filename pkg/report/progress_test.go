package report

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a progress display whose time is moved by hand.
func clock(terminal bool) (*Progress, *bytes.Buffer, func(time.Duration)) {
	var b bytes.Buffer
	p := NewProgress(&b, terminal)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p.now = func() time.Time { return now }
	return p, &b, func(d time.Duration) { now = now.Add(d) }
}

func TestProgressLines(t *testing.T) {
	p, b, pass := clock(false)
	tasks := []Task{{Name: "m/old", Rows: 200, Done: 200}, {Name: "m/a", Rows: 240}, {Name: "m/b", Rows: 500}, {Name: "m/c", Rows: 60}}
	p.Update(tasks, 7000)
	for i := range 24 { // a report a second: 10 rows, 500 tokens
		pass(time.Second)
		tasks[1].Done += 10
		p.Update(tasks, 7000+int64(500*(i+1)))
	}
	pass(9 * time.Second)
	p.Update(tasks, 3000) // a worker ended and took its count along
	p.Say("job 3 is tried again: killed\nby signal 9")
	tasks[2].Failed = "worker: truncated \x1b[31mweights"
	tasks[3].Done = 60
	p.Update(tasks, 3000)
	p.Update(tasks, 3000)
	pass(time.Hour)
	p.End()
	want := `1/4 tasks, 200/1000 rows
1/4 tasks, 300/1000 rows, 10.0 rows/s, 500 tokens/s, ETA 1m10s
1/4 tasks, 400/1000 rows, 10.0 rows/s, 500 tokens/s, ETA 1m00s
done m/a (2/4 tasks, 440/1000 rows, 10.0 rows/s, 500 tokens/s, ETA 56s)
job 3 is tried again: killed by signal 9
FAILED m/b: worker: truncated weights
done m/c (3/4 tasks, 500/1000 rows, 1 failed, 9.09 rows/s, 364 tokens/s, ETA 55s)
3/4 tasks, 500/1000 rows, 1 failed in 1h01m
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b, want)
	}
}

func TestProgressBar(t *testing.T) {
	p, b, pass := clock(true)
	p.End() // before anything was told: nothing
	tasks := []Task{{Name: "m/a", Rows: 110}, {Name: "m/b", Rows: 890}}
	p.Update(tasks, 0)
	pass(time.Second)
	tasks[0].Done = 100
	p.Update(tasks, 5000)
	pass(50 * time.Millisecond) // too soon to draw again
	tasks[0].Done = 105
	p.Update(tasks, 5100)
	pass(950 * time.Millisecond)
	tasks[0].Done = 110
	p.Update(tasks, 6000)
	p.End()
	got := strings.NewReplacer("\r", "<", "\x1b[K", ">").Replace(b.String())
	want := "<[..............................]   0% 0/2 tasks, 0/1000 rows>" +
		"<[.........]  10% 0/2 tasks, 100/1000 rows, 100 rows/s, 5.00k tokens/s, ETA 9.0s>" +
		"<>done m/a\n" +
		"<[.........]  11% 1/2 tasks, 110/1000 rows, 55.0 rows/s, 3.00k tokens/s, ETA 16s>" +
		"<>1/2 tasks, 110/1000 rows in 2.0s\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestBarFits(t *testing.T) {
	for _, s := range []state{{}, {tasks: 999, tasksDone: 998, rows: 12345678, rowsDone: 12345670, failed: 12, rowsPerSec: 0.001, tokensPerSec: 123456789},
		{rows: 10, rowsDone: 20}} {
		for columns := range 200 {
			if got := s.bar(columns); len(got) > columns {
				t.Fatalf("%d columns: %q", columns, got)
			}
		}
	}
}

// TestSpeedForgets holds that a slow start is out of the speed after a minute.
func TestSpeedForgets(t *testing.T) {
	var m meter
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	m.add(at, 0, 0)
	if r, k := m.rates(); r != 0 || k != 0 {
		t.Errorf("a speed from nothing: %v, %v", r, k)
	}
	at = at.Add(10 * time.Minute) // loading
	m.add(at, 0, 0)
	for i := range 700 {
		at = at.Add(100 * time.Millisecond)
		m.add(at, i+1, int64(20*(i+1)))
	}
	r, k := m.rates()
	if r < 9.9 || r > 10.1 || k < 198 || k > 202 {
		t.Errorf("%v rows/s, %v tokens/s, want 10 and 200", r, k)
	}
	if len(m.samples) > 70 {
		t.Errorf("%d samples are kept", len(m.samples))
	}
}

func TestRateAndDuration(t *testing.T) {
	for v, want := range map[float64]string{0.25: "0.25", 9.99: "9.99", 9.999: "10.0", 12.34: "12.3", 456: "456", 999.4: "999", 999.6: "1.00k", 7890: "7.89k", 1.2e6: "1.20M", 3e12: "3000G"} {
		if got := rate(v); got != want {
			t.Errorf("rate %v is %q, want %q", v, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0.0s", 1234 * time.Millisecond: "1.2s", 59600 * time.Millisecond: "1m00s", 61 * time.Second: "1m01s", 3599*time.Second + 999*time.Millisecond: "60m00s", 25 * time.Hour: "25h00m"} {
		if got := round(d); got != want {
			t.Errorf("duration %v is %q, want %q", d, got, want)
		}
	}
}

func TestProgressFromManyGoroutines(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b, true)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for j := range 101 {
				p.Update([]Task{{Name: "t", Rows: 100, Done: j}}, int64(j))
				p.Say("still here")
			}
		})
	}
	wg.Wait()
	p.End()
	if n := strings.Count(b.String(), "done t\n"); n != 1 || !strings.Contains(b.String(), "1/1 tasks, 100/100 rows in") {
		t.Errorf("%d times done: %q", n, b.String())
	}
}

// TestProgressOfDone holds that a run with nothing to do has one line, and that what is not known yet counts as nothing.
func TestProgressOfDone(t *testing.T) {
	var b strings.Builder
	p := NewProgress(&b, false)
	p.Update(nil, 0)
	p.Update([]Task{{Name: "m/a", Rows: 5, Done: 5}}, 0)
	p.End()
	if want := "1/1 tasks, 5/5 rows in 0.0s\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
