package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sextant/pkg/result"
)

// manifold is a spec of the pocket suite, copied so often under other names, whose models take their time to load.
func manifold(t *testing.T, copies int, load time.Duration) (spec, slurm string) {
	t.Helper()
	var names, sets strings.Builder
	for _, name := range []string{"winograd", "piqa", "siqa_ppl", "cloze", "gsm", "lambada", "text"} {
		text := readFile(t, filepath.Join("..", "..", "pkg", "dataset", "catalog", "pocket_"+name+".toml"))
		text = regexp.MustCompile(`(?m)^\[`).ReplaceAllString(text, "[dataset.")
		text = regexp.MustCompile(`path = "`).ReplaceAllString(text, `path = "$$POCKET/data/`)
		for i := range copies {
			fmt.Fprintf(&names, "%q, ", fmt.Sprint(name, i))
			fmt.Fprintf(&sets, "[[dataset]]\nabbr = %q\n%s\n", fmt.Sprint(name, i), text)
		}
	}
	return "datasets = [" + names.String() + "]\n" + sets.String(), fmt.Sprintf("env = { SEXTANT_LOAD_DELAY = %q }", load.String())
}

// span is what a run took.
type span struct {
	makespan    time.Duration // of submit, from its start to its end
	work, loads time.Duration // of all its workers together
	shards      int
	loaded      int // workers that loaded a model
}

// bound is the shortest time in which so many slots load a model each and do the work.
func (s span) bound(slots int, load time.Duration) time.Duration {
	return (time.Duration(slots)*load + s.work) / time.Duration(slots)
}

// measure runs the trial and takes from its files what it took.
func (x *trial) measure() span {
	x.t.Helper()
	begun := time.Now()
	p := x.submit()
	<-p.done
	s := span{makespan: time.Since(begun)}
	p.want(exitDone)
	ends, err := filepath.Glob(filepath.Join(x.run(), "attempts", "*", "*", "end.json"))
	if err != nil {
		x.t.Fatal(err)
	}
	for _, name := range ends {
		var e result.End
		if err := json.Unmarshal([]byte(readFile(x.t, name)), &e); err != nil {
			x.t.Fatal(err)
		}
		s.shards++
		s.work += time.Duration((e.Seconds - e.LoadSeconds) * float64(time.Second))
		s.loads += time.Duration(e.LoadSeconds * float64(time.Second))
		if e.LoadSeconds > 0 {
			s.loaded++
		}
	}
	return s
}

// TestSlurmDrain compares workers that load a model once and go on from shard to shard with a job a shard, and with the fluid bound: the time
// that slots would take that load a model once and then share the work without a gap. Without -chaos it is a small run, of which it wants that
// the models are loaded once a slot, and that what Slurm takes to begin and end jobs is all that comes to the bound.
func TestSlurmDrain(t *testing.T) {
	copies, slots, load, limit, size, slack := 1, 4, 2*time.Second, 30, 40, 10*time.Second
	if *chaosAll {
		copies, slots, load, limit, size, slack = 3, 8, 5*time.Second, 300, 100, 0
	}
	spec, slurm := manifold(t, copies, load)
	o := setup{spec: spec, slurm: slurm, limit: limit, flags: []string{"--max-num-workers", strconv.Itoa(slots), "--max-partition-size", strconv.Itoa(size)}}
	x := newTrial(t, accounted(t), o)
	s := x.measure()
	x.whole()
	bound := s.bound(slots, load)
	t.Logf("draining: %d shards in %.1fs, %d loads; work %.1fs, bound %.1fs: %.2f of it", s.shards, s.makespan.Seconds(), s.loaded, s.work.Seconds(),
		bound.Seconds(), s.makespan.Seconds()/bound.Seconds())
	if s.makespan > bound*12/10+slack {
		t.Errorf("draining took %s, the bound is %s", s.makespan, bound)
	}
	if s.loaded > slots {
		t.Errorf("the model was loaded %d times on %d slots", s.loaded, slots)
	}
	if !*chaosAll {
		return
	}
	o.flags = append(o.flags, "--one-shard-per-job")
	one := newTrial(t, accounted(t), o).measure()
	t.Logf("one shard a job: %d shards in %.1fs, %d loads; work %.1fs: %.2f of the bound, %.2f of draining", one.shards, one.makespan.Seconds(), one.loaded,
		one.work.Seconds(), one.makespan.Seconds()/one.bound(slots, load).Seconds(), one.makespan.Seconds()/s.makespan.Seconds())
	if one.makespan < s.makespan {
		t.Error("it was faster than draining")
	}
}
