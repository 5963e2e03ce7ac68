package slurm

import (
	"testing"

	"pgregory.net/rapid"
)

func TestShares(t *testing.T) {
	for _, c := range []struct {
		workers int
		lanes   []lane
		want    []int
	}{
		{8, []lane{{weight: 100, live: 50}}, []int{8}},
		{8, []lane{{weight: 100, live: 3}}, []int{3}},
		{8, []lane{{weight: 300, live: 50}, {weight: 100, live: 50}}, []int{6, 2}},
		{8, []lane{{weight: 300, live: 2}, {weight: 100, live: 50}}, []int{2, 6}},
		{2, []lane{{weight: 1, live: 5}, {weight: 1, live: 5}, {weight: 9, live: 5}}, []int{1, 1, 0}},
		{4, []lane{{live: 5}, {live: 5}}, []int{2, 2}},
		{4, []lane{{weight: 5, live: 0}, {weight: 1, live: 9}}, []int{0, 4}},
	} {
		got := shares(c.workers, c.lanes)
		for i := range c.want {
			if got[i] != c.want[i] {
				t.Errorf("%d workers among %+v: %v, want %v", c.workers, c.lanes, got, c.want)
				break
			}
		}
	}
}

// Whatever weights, shares sum to no more than the workers, waste none, and leave no lane without one that could have it.
func TestSharesProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workers := rapid.IntRange(1, 40).Draw(t, "workers")
		var lanes []lane
		live := 0
		for range rapid.IntRange(0, 12).Draw(t, "lanes") {
			l := lane{weight: rapid.Float64().Draw(t, "weight"), live: rapid.IntRange(1, 30).Draw(t, "live")}
			lanes, live = append(lanes, l), live+l.live
		}
		sum := 0
		for i, n := range shares(workers, lanes) {
			if n < 0 || n > lanes[i].live || n == 0 && i < workers {
				t.Fatalf("lane %d of %+v has %d of %d workers", i, lanes, n, workers)
			}
			sum += n
		}
		if sum != min(workers, live) {
			t.Fatalf("%d given of %d workers for %d jobs", sum, workers, live)
		}
	})
}

// world is a cluster that starts as much as it is let, at any moment, and a scheduler that looks now and then.
type world struct {
	workers int
	arrays  []*load
	left    []int // pending elements
}

// start lets the cluster start what throttles and dependencies allow: an array begins when the earlier of its lane have ended.
func (w *world) start(t *rapid.T) {
	ended := map[string]bool{}
	for i, a := range w.arrays {
		before, ok := ended[a.lane]
		if a.waiting && (before || !ok) {
			a.waiting = false
		}
		ended[a.lane] = (before || !ok) && a.live == 0
		if a.waiting {
			continue
		}
		if n := min(w.left[i], a.throttle-a.running); n > 0 {
			a.running += n
			w.left[i] -= n
		}
	}
	total := 0
	for _, a := range w.arrays {
		total += a.running
	}
	if total > w.workers {
		t.Fatalf("%d run, %d may: %+v", total, w.workers, w.arrays)
	}
}

// finish ends some running elements.
func (w *world) finish(t *rapid.T) {
	for _, a := range w.arrays {
		n := rapid.IntRange(0, a.running).Draw(t, "ended")
		a.running -= n
		a.live -= n
		a.weight -= float64(n)
	}
}

// apply does what allot says on the look that was taken.
func (w *world) apply(seen []load, at []int) {
	for k, s := range allot(w.workers, seen) {
		a := w.arrays[at[k]]
		a.throttle = s.throttle
		a.waiting = a.waiting && !s.release
	}
}

func (w *world) look() (seen []load, at []int) {
	for i, a := range w.arrays {
		if a.live > 0 {
			seen, at = append(seen, *a), append(at, i)
		}
	}
	return seen, at
}

// However the cluster moves between looks, no more than the workers ever run; and all ends.
func TestNeverMoreThanWorkers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{workers: rapid.IntRange(1, 12).Draw(t, "workers")}
		lanes := rapid.IntRange(1, w.workers).Draw(t, "lanes")
		room := w.workers
		for i := range lanes {
			throttle := rapid.IntRange(1, room-(lanes-i-1)).Draw(t, "throttle")
			room -= throttle
			for k := range rapid.IntRange(1, 4).Draw(t, "arrays") {
				n := rapid.IntRange(1, 20).Draw(t, "elements")
				w.arrays = append(w.arrays, &load{lane: string(rune('a' + i)), weight: float64(n), live: n, throttle: throttle, waiting: k > 0})
				w.left = append(w.left, n)
			}
		}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			w.start(t)
			seen, at := w.look()
			if rapid.Bool().Draw(t, "late") {
				w.finish(t)
				w.start(t)
			}
			w.apply(seen, at)
			w.start(t)
			w.finish(t)
		}
		for range 400 {
			w.start(t)
			for _, a := range w.arrays {
				a.live -= a.running
				a.running = 0
			}
			w.apply(w.look())
		}
		if seen, _ := w.look(); len(seen) > 0 {
			t.Fatalf("these never run: %+v", seen)
		}
	})
}

// A lane's next array begins as soon as the one before leaves room, and a lane's room goes to others when it ended.
func TestAllotHandsOver(t *testing.T) {
	got := allot(8, []load{
		{lane: "a", weight: 3, live: 3, running: 3, throttle: 8},
		{lane: "a", weight: 100, live: 100, throttle: 8, waiting: true},
	})
	if got[0].throttle != 8 || got[1] != (setting{throttle: 5, release: true}) {
		t.Errorf("got %+v", got)
	}
	if got := allot(8, []load{{lane: "b", weight: 5, live: 40, running: 4, throttle: 4}}); got[0].throttle != 8 {
		t.Errorf("what others left is not used: %+v", got)
	}
	if got := allot(8, []load{{lane: "b", weight: 5, live: 40, running: 8}}); got[0].throttle != 8 {
		t.Errorf("a throttle nobody remembers is not set: %+v", got)
	}
}
