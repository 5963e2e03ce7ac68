package sweep

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fake is a world in memory that can end the watch at any moment, as kill -9 would. Directories, run directories and the journal outlive it.
type fake struct {
	t       *rapid.T
	rules   Rules
	now     time.Time
	dirs    map[string]*fakeDir
	runs    map[string]*fakeRun
	journal []byte
	made    int            // run directories' names given out
	times   map[string]int // by checkpoint and version: how often it was evaluated
	said    []string

	left int // moments until the watch is killed; less than 0: it is not
}

// fakeDir is a checkpoint's directory. Of its parts it needs three.
type fakeDir struct {
	parts, version, touched int
	marked                  bool
	changed                 time.Time
	bad, unplanned, failing bool // it never opens; it cannot be planned; rows of it are missing
}

type fakeRun struct {
	members []Member
	done    map[string]bool
}

var errKilled = errors.New("killed")

// moment is where the watch may be killed.
func (f *fake) moment() {
	if f.left == 0 {
		panic(errKilled)
	}
	f.left--
}

func (f *fake) Look() ([]Seen, error) {
	var seen []Seen
	for _, name := range slices.Sorted(maps.Keys(f.dirs)) {
		d := f.dirs[name]
		seen = append(seen, Seen{Name: name, Files: fmt.Sprint(d.parts, d.version, d.touched, d.marked), Changed: d.changed, Marked: d.marked})
	}
	return seen, nil
}

func (d *fakeDir) print(name string) string { return fmt.Sprint(name, " ", d.version) }

func (f *fake) Open(s Seen) (string, error) {
	d := f.dirs[s.Name]
	if d.bad || d.parts < 3 {
		return "", errors.New("it does not open")
	}
	return d.print(s.Name), nil
}

func (f *fake) Plan(take []Opened) (Planned, error) {
	f.made++
	p := Planned{Run: fmt.Sprintf("run-%d", f.made), Models: map[string]string{}, Refused: map[string]error{}}
	run := &fakeRun{done: map[string]bool{}}
	for _, o := range take {
		d := f.dirs[o.Name]
		switch {
		case d.parts < 3 || d.bad:
			f.t.Fatalf("%s is taken and not complete: %+v", o.Name, *d)
		case f.rules.Marker != "" && !d.marked:
			f.t.Fatalf("%s is taken without its marker", o.Name)
		case f.rules.Marker == "" && f.now.Sub(d.changed) < f.rules.Settle:
			f.t.Fatalf("%s is taken %s after it changed", o.Name, f.now.Sub(d.changed))
		}
		p.Models[o.Name] = "model-" + o.Name
		if d.unplanned {
			p.Refused[o.Name] = errors.New("it cannot be planned")
			continue
		}
		run.members = append(run.members, Member{Name: o.Name, Fingerprint: o.Fingerprint})
	}
	p.Place = func() error {
		f.moment()
		f.runs[p.Run] = run
		f.moment()
		return nil
	}
	return p, nil
}

// Carry evaluates what the run lacks: one row a checkpoint, which is kept.
func (f *fake) Carry(b Batch) (map[string]string, error) {
	run := f.runs[b.Run]
	if run == nil {
		return nil, ErrNothing
	}
	failed := map[string]string{}
	for _, m := range run.members {
		f.moment()
		if d := f.dirs[m.Name]; d != nil && d.failing || d == nil {
			failed[m.Name] = "it fails"
		}
		if !run.done[m.Name] {
			run.done[m.Name] = true
			f.times[m.Fingerprint]++
		}
	}
	f.moment()
	return failed, nil
}

// Add appends to the journal; a kill may leave a part of it.
func (f *fake) Add(events ...Event) error {
	for _, e := range events {
		f.moment()
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if f.left == 0 {
			f.journal = append(f.journal, line[:len(line)/2]...)
		}
		f.moment()
		f.journal = append(append(f.journal, line...), '\n')
	}
	f.moment()
	return nil
}

// live starts a watch on the journal, as it is, and lets it look a few times.
func (f *fake) live(looks int) {
	defer func() {
		if p := recover(); p != nil && p != errKilled { //nolint:errorlint // it is this very value
			panic(p)
		}
	}()
	events, whole := parse(f.journal)
	f.journal = f.journal[:whole]
	r := &Rounds{Watch: NewWatch(f.rules, events), World: f, Log: f, Say: func(line string) { f.said = append(f.said, line) }}
	if _, err := r.GoOn(); err != nil {
		f.t.Fatal(err)
	}
	for range looks {
		if _, err := r.Once(f.now); err != nil {
			f.t.Fatal(err)
		}
		if b := r.Unfinished(); b != nil {
			f.t.Fatalf("batch %d has not ended", b.Number)
		}
		f.now = f.now.Add(time.Second)
	}
}

// happen changes a directory.
func (f *fake) happen(t *rapid.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name")
	d := f.dirs[name]
	if d == nil {
		if _, was := f.times[name]; was {
			return // deleted
		}
		d = &fakeDir{bad: rapid.IntRange(0, 5).Draw(t, "bad") == 0, unplanned: rapid.IntRange(0, 5).Draw(t, "unplanned") == 0,
			failing: rapid.IntRange(0, 3).Draw(t, "failing") == 0}
		f.dirs[name], f.times[name] = d, 0
	}
	switch what := rapid.SampledFrom([]string{"grow", "grow", "grow", "touch", "mark", "change", "delete"}).Draw(t, "what"); {
	case what == "grow" && d.parts < 3 && !d.marked:
		d.parts++
	case what == "mark" && d.parts == 3:
		d.marked = true
	case what == "touch":
		d.touched++
	case what == "change" && d.parts == 3:
		d.version++
	case what == "delete" && rapid.IntRange(0, 3).Draw(t, "surely") == 0:
		delete(f.dirs, name)
		return
	default:
		return
	}
	d.changed = f.now
}

// TestEachOnce lets directories grow, change and go, kills the watch at any moment and starts it again. Each complete checkpoint is evaluated
// once, and none before it is complete; Plan and Carry of the fake look after that.
func TestEachOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fake{t: t, rules: Rules{Settle: 3 * time.Second, Again: rapid.Bool().Draw(t, "again"), Question: "q"}, now: time.Unix(1e9, 0),
			dirs: map[string]*fakeDir{}, runs: map[string]*fakeRun{}, times: map[string]int{}, left: -1}
		if rapid.Bool().Draw(t, "marker") {
			f.rules.Marker = "DONE"
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			for range rapid.IntRange(0, 4).Draw(t, "changes") {
				f.happen(t)
			}
			f.now = f.now.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "seconds")) * time.Second)
			f.left = rapid.IntRange(-1, 12).Draw(t, "killed after")
			f.live(rapid.IntRange(0, 3).Draw(t, "looks"))
		}
		for _, d := range f.dirs { // at last all that is there is complete, and nobody is killed
			d.parts, d.marked, d.changed = 3, true, f.now
		}
		f.left = -1
		f.live(8)
		f.check(t)
	})
}

func (f *fake) check(t *rapid.T) {
	versions := map[string]int{} // by checkpoint: how many of its versions were evaluated
	for print, n := range f.times {
		name, _, version := strings.Cut(print, " ")
		if version && n > 0 {
			versions[name]++
		}
		if n > 1 {
			t.Errorf("%s was evaluated %d times", print, n)
		}
	}
	for name, d := range f.dirs {
		switch {
		case d.bad || d.unplanned:
			if versions[name] != 0 {
				t.Errorf("%s cannot be evaluated, and was", name)
			}
		case versions[name] == 0:
			t.Errorf("%s was never evaluated\n%s", name, f.journal)
		case f.rules.Again && f.times[d.print(name)] != 1:
			t.Errorf("%s was not evaluated as it is", name)
		case !f.rules.Again && versions[name] > 1:
			t.Errorf("%s was evaluated %d times, and --again was not given", name, versions[name])
		}
	}
}

// TestTold tells each thing once.
func TestTold(t *testing.T) {
	w := NewWatch(Rules{Settle: time.Minute, Question: "q"}, []Event{
		{Event: evBegin, Batch: 1, Run: "r", Question: "p", Members: []Member{{Name: "old", Files: "1", Fingerprint: "f"}}},
		{Event: evDone, Batch: 1, Name: "old"},
	})
	now := time.Unix(1e9, 0)
	seen := []Seen{{Name: "new", Files: "1", Changed: now}, {Name: "old", Files: "2"}}
	try, say := w.Look(now, seen)
	if len(try) != 1 || try[0].Name != "old" || len(say) != 2 {
		t.Fatalf("tries %v, says %q", try, say)
	}
	_, events, say := w.Judge([]Opened{{Seen: try[0], Fingerprint: "other"}})
	if len(events) != 0 || len(say) != 1 || !strings.Contains(say[0], "--again") {
		t.Fatalf("a changed checkpoint: %v, says %q", events, say)
	}
	if try, say := w.Look(now.Add(time.Second), seen); len(try) != 0 || len(say) != 0 {
		t.Errorf("again: tries %v, says %q", try, say)
	}
	if try, _ := w.Look(now.Add(time.Minute), seen); len(try) != 1 || try[0].Name != "new" {
		t.Errorf("settled: tries %v", try)
	}
	if status, _ := w.Standing(); status["new"] != New || status["old"] != Done {
		t.Errorf("it stands at %v", status)
	}
}

// TestGone forgets a refused checkpoint that is deleted, and keeps one that was evaluated.
func TestGone(t *testing.T) {
	w := NewWatch(Rules{}, []Event{
		{Event: evRefused, Name: "half", Files: "1"},
		{Event: evBegin, Batch: 1, Run: "r", Members: []Member{{Name: "old", Files: "1"}, {Name: "poor", Files: "1"}}},
		{Event: evDone, Batch: 1, Name: "old"}, {Event: evFailed, Batch: 1, Name: "poor", Reason: "why"},
	})
	if got := w.Troubled(); !slices.Equal(got, []string{"half", "poor"}) {
		t.Errorf("troubled are %q", got)
	}
	w.Look(time.Unix(1e9, 0), nil)
	status, reasons := w.Standing()
	if len(status) != 2 || status["old"] != Done || reasons["poor"] != "why" || !slices.Equal(w.Troubled(), []string{"poor"}) {
		t.Errorf("with nothing there: %v, troubled are %q", status, w.Troubled())
	}
}

// TestAnotherQuestion evaluates again what was asked something else, when that is wanted.
func TestAnotherQuestion(t *testing.T) {
	past := []Event{
		{Event: evBegin, Batch: 1, Run: "r", Question: "p", Members: []Member{{Name: "a", Files: "1", Fingerprint: "f"}}},
		{Event: evDone, Batch: 1, Name: "a"},
	}
	for _, again := range []bool{false, true} {
		w := NewWatch(Rules{Question: "q", Again: again}, past)
		try, say := w.Look(time.Unix(1e9, 0), []Seen{{Name: "a", Files: "1"}})
		if len(say) != 1 || (len(try) == 1) != again {
			t.Errorf("again %v: tries %v, says %q", again, try, say)
		}
		if again {
			if take, _, _ := w.Judge([]Opened{{Seen: try[0], Fingerprint: "f"}}); len(take) != 1 {
				t.Error("it is not taken")
			}
		}
	}
}

// TestMended takes up that a run was gone on with; of a checkpoint that was evaluated again since, an older run says nothing.
func TestMended(t *testing.T) {
	w := NewWatch(Rules{}, []Event{
		{Event: evBegin, Batch: 1, Run: "r", Members: []Member{{Name: "a"}, {Name: "b"}, {Name: "c"}}},
		{Event: evFailed, Batch: 1, Name: "a", Reason: "why"}, {Event: evFailed, Batch: 1, Name: "b", Reason: "why"}, {Event: evFailed, Batch: 1, Name: "c"},
		{Event: evBegin, Batch: 2, Run: "s", Members: []Member{{Name: "c"}}},
	})
	lacking := w.Lacking()
	if len(lacking) != 1 || lacking[0].Number != 1 || len(lacking[0].Members) != 2 {
		t.Fatalf("lacking are %+v", lacking)
	}
	f := &fake{left: -1}
	r := &Rounds{Watch: w, Log: f, Say: func(line string) { f.said = append(f.said, line) }}
	if err := r.Mended(lacking[0], map[string]string{"b": "still"}); err != nil {
		t.Fatal(err)
	}
	again, _ := parse(f.journal)
	w.Apply(again...) // as the next watch does
	status, reasons := w.Standing()
	if status["a"] != Done || reasons["a"] != "" || status["b"] != Failed || reasons["b"] != "why" || status["c"] != Running || len(f.said) != 1 {
		t.Errorf("they stand at %v, %v; said %q", status, reasons, f.said)
	}
}
