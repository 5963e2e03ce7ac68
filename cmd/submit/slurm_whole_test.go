package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"sextant/pkg/result"
	"sextant/pkg/run"
)

// calms are the scores of runs on this machine with nothing done to them, by spec and arguments.
var calms struct {
	sync.Mutex
	scores map[string][]byte
}

// calm is what the scores must be.
func (x *trial) calm() []byte {
	x.t.Helper()
	calms.Lock()
	defer calms.Unlock()
	key := fmt.Sprint(x.spec, x.limit)
	if s, ok := calms.scores[key]; ok {
		return s
	}
	work := filepath.Join(x.dir, "calm")
	args := append([]string{}, x.args[:7]...)
	args[2] = work
	p := x.begin(filepath.Join(bin, "submit"), nil, args...)
	p.want(x.exit)
	files, err := filepath.Glob(filepath.Join(work, "*", "scores.json"))
	if err != nil || len(files) != 1 {
		x.t.Fatalf("the calm run left %q (%v)", files, err)
	}
	s, err := os.ReadFile(files[0])
	if err != nil {
		x.t.Fatal(err)
	}
	if calms.scores == nil {
		calms.scores = map[string][]byte{}
	}
	calms.scores[key] = s
	return s
}

// ends runs the trial's command to its end, and wants all to be well.
func (x *trial) ends() {
	x.t.Helper()
	x.submit().want(x.exit)
	x.whole()
}

// whole wants the run to be as if nothing had happened: the scores of the calm run, byte for byte, each row accepted once and computed once,
// nothing left in the queue and nobody at work.
func (x *trial) whole() {
	x.t.Helper()
	want := x.calm()
	got, err := os.ReadFile(filepath.Join(x.run(), "scores.json"))
	if err != nil {
		x.t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		x.t.Errorf("scores differ\n%s\nwant\n%s", got, want)
	}
	x.idle()
	x.accepted()
	if x.twice {
		return
	}
	for row, n := range x.computed() {
		if n > 1 {
			x.t.Errorf("row %s was computed %d times", row, n)
		}
	}
}

// accepted wants the plan's result files to be good, and each row once in what is gathered.
func (x *trial) accepted() {
	x.t.Helper()
	r, err := run.Resume(x.run(), run.Options{})
	if err != nil {
		x.t.Fatal(err)
	}
	defer r.Close()
	g, err := r.Gather()
	if err != nil {
		x.t.Fatal(err)
	}
	for _, bad := range g.Bad {
		x.t.Errorf("a file is bad: %v", bad)
	}
	for _, task := range r.Plan.Tasks {
		times := map[int]int{}
		for _, rec := range g.Records[task.ID] {
			times[rec.Row]++
		}
		for row, n := range times {
			if n != 1 || row < 0 || row >= task.Rows {
				x.t.Errorf("%s: row %d was accepted %d times", task.ID, row, n)
			}
		}
		if lacks := g.Missing[task.ID].Rows; x.exit == exitDone && lacks > 0 {
			x.t.Errorf("%s lacks %d rows", task.ID, lacks)
		}
	}
	for _, s := range r.Plan.Shards {
		_, _, err := result.Read(r.Dir.Result(s.ID))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // its rows may be in files of another partition size
			x.t.Errorf("the result of %s: %v", s.ID, err)
		}
	}
}
