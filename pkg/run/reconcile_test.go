package run

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sextant/pkg/plan"
)

// twoJobs is a plan of two tasks: job "pack" has a (task t) and b (task u), job "c" has c (task t); 10 rows each.
func twoJobs() *plan.Plan {
	return &plan.Plan{
		Tasks:  []plan.Task{{ID: "t", Rows: 20}, {ID: "u", Rows: 10}},
		Shards: []plan.Shard{{ID: "a", Task: "t", To: 10}, {ID: "c", Task: "t", From: 10, To: 20}, {ID: "b", Task: "u", To: 10}},
		Jobs:   []plan.Job{{ID: "pack", Shards: []string{"a", "b"}}, {ID: "c", Shards: []string{"c"}}},
	}
}

func TestReconcile(t *testing.T) {
	for name, c := range map[string]struct {
		o    Observed
		want []Action
	}{
		"nothing yet": {Observed{Slots: 4},
			[]Action{{Kind: Submit, Job: "pack", Shards: []string{"a", "b"}}, {Kind: Submit, Job: "c", Shards: []string{"c"}}}},
		"one slot": {Observed{Slots: 1},
			[]Action{{Kind: Submit, Job: "pack", Shards: []string{"a", "b"}}, {Kind: Wait, Shards: []string{"c"}}}},
		"all done": {Observed{Slots: 4, Final: map[string]bool{"a": true, "b": true, "c": true}},
			[]Action{{Kind: Rest, Shards: []string{"a", "b"}}, {Kind: Rest, Shards: []string{"c"}}}},
		"rows there, file not": {Observed{Slots: 4, Final: map[string]bool{"c": true}, Rows: map[string]int{"a": 10, "b": 9}},
			[]Action{{Kind: Commit, Shards: []string{"a"}}, {Kind: Submit, Job: "pack", Shards: []string{"b"}}, {Kind: Rest, Shards: []string{"c"}}}},
		"live": {Observed{Slots: 4, Live: map[string][]string{"pack": {"b"}}},
			[]Action{{Kind: Wait, Shards: []string{"b", "a"}}, {Kind: Submit, Job: "c", Shards: []string{"c"}}}},
		"live and all there": {Observed{Slots: 0, Live: map[string][]string{"c": {"c"}}, Rows: map[string]int{"c": 10}, Final: map[string]bool{"a": true, "b": true}},
			[]Action{{Kind: Rest, Shards: []string{"a", "b"}}, {Kind: Wait, Shards: []string{"c"}}}},
		"failed ones go last": {Observed{Slots: 4, Retry: 2, Tries: map[string]int{"a": 2}, Final: map[string]bool{"c": true}},
			[]Action{{Kind: Submit, Job: "pack", Shards: []string{"b", "a"}}, {Kind: Rest, Shards: []string{"c"}}}},
		"failed too often": {Observed{Slots: 4, Retry: 2, Tries: map[string]int{"a": 3}, Reason: map[string]string{"a": "why"}, Final: map[string]bool{"c": true}},
			[]Action{{Kind: GiveUp, Shards: []string{"a"}, Reason: "why"}, {Kind: Submit, Job: "pack", Shards: []string{"b"}}, {Kind: Rest, Shards: []string{"c"}}}},
		"doomed": {Observed{Slots: 4, Doomed: map[string]string{"t": "bad"}, Live: map[string][]string{"c": {"c"}}},
			[]Action{{Kind: GiveUp, Shards: []string{"a"}, Reason: "bad"}, {Kind: Submit, Job: "pack", Shards: []string{"b"}}, {Kind: Cancel, Job: "c", Shards: []string{"c"}}}},
		"doomed in part": {Observed{Slots: 4, Doomed: map[string]string{"t": "bad"}, Live: map[string][]string{"pack": {"a", "b"}}},
			[]Action{{Kind: Wait, Shards: []string{"a", "b"}}, {Kind: GiveUp, Shards: []string{"c"}, Reason: "bad"}}},
	} {
		if got := Reconcile(twoJobs(), c.o); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", name, got, c.want)
		}
	}
}

// stepped is twoJobs where both jobs come after q, and c also after r, which comes after q; 1 row each.
func stepped() *plan.Plan {
	p := twoJobs()
	p.Tasks = append(p.Tasks, plan.Task{ID: "m-a/quantize", Rows: 1}, plan.Task{ID: "m-b/quantize", Rows: 1})
	p.Shards = append(p.Shards, plan.Shard{ID: "q", Task: "m-a/quantize", To: 1}, plan.Shard{ID: "r", Task: "m-b/quantize", To: 1})
	p.Jobs[0].After, p.Jobs[1].After = []string{"q"}, []string{"q", "r"}
	p.Jobs = append(p.Jobs, plan.Job{ID: "q", Shards: []string{"q"}}, plan.Job{ID: "r", Shards: []string{"r"}, After: []string{"q"}})
	return p
}

func TestReconcileAfter(t *testing.T) {
	const why = "m-a/quantize failed: why"
	packGivenUp := []Action{{Kind: GiveUp, Shards: []string{"a"}, Reason: why}, {Kind: GiveUp, Shards: []string{"b"}, Reason: why}}
	for name, c := range map[string]struct {
		o    Observed
		want []Action
	}{
		"nothing yet": {Observed{Slots: 4},
			[]Action{{Kind: Wait, Shards: []string{"a", "b"}}, {Kind: Wait, Shards: []string{"c"}}, {Kind: Submit, Job: "q", Shards: []string{"q"}}, {Kind: Wait, Shards: []string{"r"}}}},
		"those that wait take no slot": {Observed{Slots: 1, Final: map[string]bool{"q": true}},
			[]Action{{Kind: Submit, Job: "pack", Shards: []string{"a", "b"}}, {Kind: Wait, Shards: []string{"c"}}, {Kind: Rest, Shards: []string{"q"}}, {Kind: Wait, Shards: []string{"r"}}}},
		"in a checkpoint is not done": {Observed{Slots: 4, Rows: map[string]int{"q": 1}},
			[]Action{{Kind: Wait, Shards: []string{"a", "b"}}, {Kind: Wait, Shards: []string{"c"}}, {Kind: Commit, Shards: []string{"q"}}, {Kind: Wait, Shards: []string{"r"}}}},
		"rows that are there need nothing": {Observed{Slots: 4, Tries: map[string]int{"q": 1}, Reason: map[string]string{"q": "why"}, Final: map[string]bool{"a": true}, Rows: map[string]int{"b": 10}},
			[]Action{{Kind: Commit, Shards: []string{"b"}}, {Kind: Rest, Shards: []string{"a"}}, {Kind: GiveUp, Shards: []string{"c"}, Reason: why}, {Kind: GiveUp, Shards: []string{"q"}, Reason: "why"}, {Kind: GiveUp, Shards: []string{"r"}, Reason: why}}},
		"failed for good": {Observed{Slots: 4, Doomed: map[string]string{"m-a/quantize": "why"}},
			append(packGivenUp, Action{Kind: GiveUp, Shards: []string{"c"}, Reason: why}, Action{Kind: GiveUp, Shards: []string{"q"}, Reason: "why"}, Action{Kind: GiveUp, Shards: []string{"r"}, Reason: why})},
		"tried again": {Observed{Slots: 4, Retry: 1, Tries: map[string]int{"q": 1}, Reason: map[string]string{"q": "why"}},
			[]Action{{Kind: Wait, Shards: []string{"a", "b"}}, {Kind: Wait, Shards: []string{"c"}}, {Kind: Submit, Job: "q", Shards: []string{"q"}}, {Kind: Wait, Shards: []string{"r"}}}},
		"one of two failed": {Observed{Slots: 4, Doomed: map[string]string{"m-b/quantize": "why"}, Final: map[string]bool{"q": true}},
			[]Action{{Kind: Submit, Job: "pack", Shards: []string{"a", "b"}}, {Kind: GiveUp, Shards: []string{"c"}, Reason: "m-b/quantize failed: why"}, {Kind: Rest, Shards: []string{"q"}}, {Kind: GiveUp, Shards: []string{"r"}, Reason: "why"}}},
		"its own failure is told first": {Observed{Slots: 4, Doomed: map[string]string{"m-a/quantize": "why", "t": "bad"}},
			[]Action{{Kind: GiveUp, Shards: []string{"a"}, Reason: "bad"}, {Kind: GiveUp, Shards: []string{"b"}, Reason: why}, {Kind: GiveUp, Shards: []string{"c"}, Reason: "bad"}, {Kind: GiveUp, Shards: []string{"q"}, Reason: "why"}, {Kind: GiveUp, Shards: []string{"r"}, Reason: why}}},
		"queued ahead": {Observed{Slots: 4, Ahead: true, Live: map[string][]string{"q": {"q"}}},
			[]Action{{Kind: Submit, Job: "pack", Shards: []string{"a", "b"}}, {Kind: Wait, Shards: []string{"c"}}, {Kind: Wait, Shards: []string{"q"}}, {Kind: Submit, Job: "r", Shards: []string{"r"}}}},
		"those queued ahead are cancelled": {Observed{Slots: 4, Live: map[string][]string{"pack": {"a", "b"}}, Doomed: map[string]string{"m-a/quantize": "why"}, Final: map[string]bool{"c": true, "r": true}},
			[]Action{{Kind: Cancel, Job: "pack", Shards: []string{"a", "b"}}, {Kind: Rest, Shards: []string{"c"}}, {Kind: GiveUp, Shards: []string{"q"}, Reason: "why"}, {Kind: Rest, Shards: []string{"r"}}}},
	} {
		if got := Reconcile(stepped(), c.o); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", name, got, c.want)
		}
	}
}

// A plan whose jobs wait for each other, or for one that is not there, is given up and not waited for.
func TestReconcileNoWay(t *testing.T) {
	for name, after := range map[string][2]string{"each other": {"c", "pack"}, "itself": {"pack", ""}, "nobody": {"gone", ""}} {
		p := twoJobs()
		p.Jobs[0].After = []string{after[0]}
		if after[1] != "" {
			p.Jobs[1].After = []string{after[1]}
		}
		var given []string
		for _, a := range Reconcile(p, Observed{Slots: 4}) {
			if a.Kind == GiveUp && a.Reason != "" {
				given = append(given, a.Shards...)
			}
		}
		if !slices.Contains(given, "a") || !slices.Contains(given, "b") || slices.Contains(given, "c") != (after[1] != "") {
			t.Errorf("%s: given up %q", name, given)
		}
	}
}

// Whatever is observed: each shard is in exactly one action, one whose rows are all there is never submitted, no more is submitted than
// there are slots, and nothing that is live, done, hopeless or waits for others; and as long as there is work there is something to do.
func TestReconcileProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &plan.Plan{}
		o := Observed{Rows: map[string]int{}, Final: map[string]bool{}, Live: map[string][]string{}, Tries: map[string]int{}, Doomed: map[string]string{},
			Retry: rapid.IntRange(0, 2).Draw(t, "retry"), Slots: rapid.IntRange(-1, 3).Draw(t, "slots"), Ahead: rapid.Bool().Draw(t, "ahead"), Reason: map[string]string{}}
		after := map[string][]string{}
		for j := range rapid.IntRange(1, 5).Draw(t, "jobs") {
			job := plan.Job{ID: fmt.Sprint("j", j)}
			for i := range rapid.IntRange(1, 4).Draw(t, "shards") {
				s := plan.Shard{ID: fmt.Sprintf("s%d.%d", j, i), Task: fmt.Sprint("t", rapid.IntRange(0, 2).Draw(t, "task")), To: 3}
				p.Shards, job.Shards = append(p.Shards, s), append(job.Shards, s.ID)
				o.Rows[s.ID] = rapid.IntRange(0, 3).Draw(t, "rows")
				o.Final[s.ID] = o.Rows[s.ID] == 3 && rapid.Bool().Draw(t, "final")
				o.Tries[s.ID] = rapid.IntRange(0, 3).Draw(t, "tries")
			}
			for i := range j {
				if rapid.IntRange(0, 3).Draw(t, "after") == 0 {
					job.After = append(job.After, p.Jobs[i].ID)
				}
			}
			p.Jobs = append(p.Jobs, job)
			for _, s := range job.Shards {
				after[s] = job.After
			}
			if rapid.Bool().Draw(t, "live") {
				o.Live[job.ID] = job.Shards[:rapid.IntRange(1, len(job.Shards)).Draw(t, "asked")]
			}
		}
		for i := range 3 {
			if rapid.IntRange(0, 3).Draw(t, "doomed") == 0 {
				o.Doomed[fmt.Sprint("t", i)] = "bad"
			}
		}
		if rapid.Bool().Draw(t, "backwards") {
			slices.Reverse(p.Jobs)
		}
		whole := func(job string) bool {
			j, _ := p.Job(job)
			return !slices.ContainsFunc(j.Shards, func(s string) bool { return !o.Final[s] })
		}
		held := func(shard string) bool {
			return slices.ContainsFunc(p.Jobs, func(j plan.Job) bool { return slices.Contains(o.Live[j.ID], shard) })
		}
		var lost func(job string) bool // for good
		lost = func(job string) bool {
			j, _ := p.Job(job)
			return slices.ContainsFunc(j.Shards, func(id string) bool {
				s, _ := p.Shard(id)
				_, doomed := o.Doomed[s.Task]
				return !o.Final[id] && !held(id) && o.Rows[id] < 3 && (doomed || o.Tries[id] > o.Retry || slices.ContainsFunc(j.After, lost))
			})
		}
		seen := map[string]Kind{}
		submits, moves := 0, 0
		for _, a := range Reconcile(p, o) {
			if a.Kind != Wait && a.Kind != Rest {
				moves++
			}
			if a.Kind == Submit {
				submits++
			}
			if a.Kind == Cancel && len(o.Live[a.Job]) == 0 || a.Kind == Submit && len(o.Live[a.Job]) > 0 {
				t.Fatalf("%s of job %s", a.Kind, a.Job)
			}
			for _, id := range a.Shards {
				if k, twice := seen[id]; twice {
					t.Fatalf("shard %s: %s and %s", id, k, a.Kind)
				}
				seen[id] = a.Kind
				s, _ := p.Shard(id)
				_, doomed := o.Doomed[s.Task]
				full := o.Rows[id] == 3
				held, stuck := held(id), slices.ContainsFunc(after[id], lost)
				waits := slices.ContainsFunc(after[id], func(job string) bool { return !whole(job) && (!o.Ahead || o.Live[job] == nil) })
				switch {
				case a.Kind == Submit && (full || held || doomed || o.Tries[id] > o.Retry || waits || stuck),
					a.Kind == GiveUp && (full || held || !doomed && o.Tries[id] <= o.Retry && !stuck),
					a.Kind == Commit && (!full || held || o.Final[id]),
					a.Kind == Rest != o.Final[id]:
					t.Fatalf("shard %s: %s with rows %d, final %v, held %v, doomed %v, tries %d", id, a.Kind, o.Rows[id], o.Final[id], held, doomed, o.Tries[id])
				}
			}
		}
		if done := !slices.ContainsFunc(p.Jobs, func(j plan.Job) bool { return !whole(j.ID) }); !done && moves == 0 && len(o.Live) == 0 && o.Slots > 0 {
			t.Fatalf("nothing is live and nothing is done: %+v", Reconcile(p, o))
		}
		if len(seen) != len(p.Shards) || submits > max(o.Slots, 0) {
			t.Fatalf("%d of %d shards in actions, %d submits for %d slots", len(seen), len(p.Shards), submits, o.Slots)
		}
	})
}
