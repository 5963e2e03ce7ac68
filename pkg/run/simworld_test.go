package run

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// anyKinds are the faults that random worlds draw from, with how likely they may be at most.
var anyKinds = map[string]float64{"kill": .05, "lie": .05, "node": .03, "requeue": .05, "split": .7, "preempt": .05, "time": .05, "evict": .03, "vanish": .03,
	"doubt": .2, "busy": .4, "down": .3, "ghost": 1, "polldown": .3, "stale": .5, "late": .2, "lateclaims": .2, "death": .004, "damage": .1, "reshape": 1}

// world draws a world.
func world(t *rapid.T) (simShape, simConfig, uint64) {
	shape := simShape{models: rapid.IntRange(1, 3).Draw(t, "models"), rows: rapid.IntRange(1, 12).Draw(t, "rows"), limit: rapid.IntRange(1, 40).Draw(t, "limit"),
		workers: rapid.IntRange(1, 8).Draw(t, "workers"), retry: rapid.IntRange(0, 3).Draw(t, "retry"), drain: rapid.Bool().Draw(t, "drain"), steps: rapid.Bool().Draw(t, "steps")}
	c := simConfig{nodes: rapid.IntRange(1, 4).Draw(t, "nodes"), slots: rapid.IntRange(1, 3).Draw(t, "slots"), window: rapid.SampledFrom([]int{1, 2, 5, 100}).Draw(t, "window"),
		faults: map[string]float64{}, until: rapid.SampledFrom([]int{50, 200, 600}).Draw(t, "until"), pace: rapid.IntRange(1, 6).Draw(t, "pace"), bad: map[string]string{}}
	for _, kind := range rapid.SliceOfNDistinct(rapid.SampledFrom(sortedKeys(anyKinds)), 0, 6, rapid.ID[string]).Draw(t, "faults") {
		c.faults[kind] = anyKinds[kind] * rapid.Float64Range(.1, 1).Draw(t, kind)
	}
	if c.nodes > 1 && rapid.IntRange(0, 4).Draw(t, "hole") == 0 {
		c.blackHole = 1
	}
	if rapid.IntRange(0, 4).Draw(t, "memory") == 0 {
		c.need = rapid.IntRange(1, 2).Draw(t, "need")
	}
	if rapid.IntRange(0, 3).Draw(t, "bad") == 0 {
		p := shape.plan()
		sh := rapid.SampledFrom(p.Shards).Draw(t, "bad shard")
		c.bad[sh.ID] = rapid.SampledFrom([]string{"input", "doom", "retry", "die"}).Draw(t, "badness")
	}
	return shape, c, rapid.Uint64().Draw(t, "seed")
}

// simTime is how long random worlds are tried, unless more are asked for with -rapid.checks.
const simTime = 4 * time.Second

// In random worlds every submit ends, the records are those wanted, no worker is left behind and none computes what was there.
func TestSimulated(t *testing.T) {
	begun, worlds := time.Now(), 0
	defer func() { t.Logf("%d worlds", worlds) }()
	usual := flag.Lookup("rapid.checks").Value.String() == flag.Lookup("rapid.checks").DefValue
	rapid.Check(t, func(rt *rapid.T) {
		if usual && time.Since(begun) > simTime {
			return
		}
		worlds++
		shape, c, seed := world(rt)
		var bad []string
		synctest.Test(t, func(*testing.T) { bad = live(shape, c, seed) })
		if len(bad) > 0 {
			rt.Fatalf("%s", strings.Join(bad[:min(len(bad), 5)], "\n"))
		}
	})
}

// live lets submits come and go until one ends by itself, and says what was wrong.
func live(shape simShape, c simConfig, seed uint64) []string {
	s := newSimRun(shape, c, seed)
	defer os.RemoveAll(s.work)
	for round := 0; len(s.bad) == 0; round++ {
		if round > 12 {
			s.until = 0
		}
		if s.round() {
			break
		}
	}
	if len(s.bad) == 0 {
		s.settled()
	}
	for _, p := range s.procs {
		p.kill()
	}
	return append(s.bad, s.oddly...)
}

// round is one submit and what comes before and after it. It says whether that is all.
func (s *simRun) round() bool {
	calm := s.now >= s.until
	if !calm && s.faults["damage"] > 0 {
		s.damage()
	}
	if !calm && s.faults["reshape"] > 0 && s.rng.IntN(2) == 0 && len(s.simConfig.bad) == 0 {
		s.limit = 1 + s.rng.IntN(40)
		s.simCluster.plan = s.simShape.plan()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	mode := s.rng.IntN(6)
	if calm {
		mode = 5
	}
	o := Options{GoOn: s.rng.IntN(2) == 0, Detach: mode == 0}
	events, at := 0, s.rng.IntN(30)
	s.submit(ctx, o, func(Event) {
		if events++; events != at {
			return
		}
		switch mode {
		case 1:
			cancel(nil)
		case 2:
			cancel(ErrDetached)
		case 3:
			runs, _ := runsIn(s.work)
			_ = os.WriteFile(result.Dir(runs[0]).CancelRequest(), nil, 0o666)
		}
	})
	s.look()
	return s.verdict(mode)
}

// verdict checks how a submit ended, and says whether it was by itself.
func (s *simRun) verdict(mode int) bool {
	switch {
	case s.died != "":
		for range s.rng.IntN(30) {
			s.step()
		}
		return false
	case s.err != nil:
		if !(mode == 1 && errors.Is(s.err, ErrInterrupted)) && !(mode == 3 && errors.Is(s.err, ErrCancelled)) {
			s.wrong("mode %d ended with %v", mode, s.err)
		}
	case s.out.Detached:
		if mode != 0 && mode != 2 {
			s.wrong("detached in mode %d", mode)
		}
		for range s.rng.IntN(60) {
			s.step()
		}
		return false
	}
	left := s.left()
	if s.faults["ghost"]+s.faults["doubt"]+s.faults["vanish"] == 0 && len(left) > 0 {
		s.wrong("left in the cluster: %q after %v", left, s.err)
	}
	if s.err != nil {
		return false
	}
	s.gathered(s.failed())
	for _, f := range s.out.Failures {
		sh, _ := s.simCluster.plan.Shard(f.Shard)
		doomed := false
		for id, kind := range s.simConfig.bad {
			b, _ := s.simCluster.plan.Shard(id)
			doomed = doomed || (kind == "doom" || kind == "big") && b.Task == sh.Task || kind == "input" && id == f.Shard || kind == "doom" && s.packedWith(id, f.Shard)
		}
		doomed = doomed || s.failed()[s.stepBefore(f.Shard)]
		if !doomed && s.struck[f.Shard] < s.retry+1 && s.faults["damage"]+s.faults["doubt"]+s.faults["ghost"]+s.faults["reshape"] == 0 {
			s.wrong("shard %s was given up for %q after %d faults", f.Shard, f.Reason, s.struck[f.Shard])
		}
	}
	return len(s.out.Failures) == 0 || s.now >= s.until
}

// stepBefore is the shard that a shard's job comes after, "" for one that comes after none.
func (s *simRun) stepBefore(shard string) string {
	for _, j := range s.simCluster.plan.Jobs {
		if slices.Contains(j.Shards, shard) && len(j.After) > 0 {
			return j.After[0]
		}
	}
	return ""
}

func (s *simRun) packedWith(a, b string) bool {
	return slices.ContainsFunc(s.simCluster.plan.Jobs, func(j plan.Job) bool { return slices.Contains(j.Shards, a) && slices.Contains(j.Shards, b) })
}

// settled checks what holds after all: with the faults gone everything gets done, and then there is nothing to do.
func (s *simRun) settled() {
	clear(s.simConfig.bad)
	s.need, s.blackHole, s.until, s.deadlyN = 0, 0, 0, 0
	for range 400 { // ghosts find nothing to do
		s.step()
	}
	if left := s.left(); len(left) > 0 {
		s.wrong("left long after: %q", left)
	}
	s.submit(context.Background(), Options{}, nil)
	if s.err != nil || s.out == nil || len(s.out.Failures) > 0 {
		s.wrong("a last submit: %+v, %v", s.out, s.err)
		return
	}
	s.gathered(nil)
	n := len(s.hands)
	s.submit(context.Background(), Options{}, nil)
	if s.err != nil || s.out.Attempts != 0 || len(s.hands) != n {
		s.wrong("nothing to do: %+v, %v", s.out, s.err)
	}
	files, _ := filepath.Glob(filepath.Join(s.work, "*", "results", "*"))
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), ".") {
			s.wrong("a temporary file is left: %q", f)
		}
	}
	if runs, _ := runsIn(s.work); len(runs) != 1 {
		s.wrong("runs %q", runs)
	}
}
