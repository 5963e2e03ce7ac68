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

// Whatever is observed: each shard is in exactly one action, one whose rows are all there is never submitted, no more is submitted than
// there are slots, and nothing that is live, done or hopeless.
func TestReconcileProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &plan.Plan{}
		o := Observed{Rows: map[string]int{}, Final: map[string]bool{}, Live: map[string][]string{}, Tries: map[string]int{}, Doomed: map[string]string{},
			Retry: rapid.IntRange(0, 2).Draw(t, "retry"), Slots: rapid.IntRange(-1, 3).Draw(t, "slots")}
		for j := range rapid.IntRange(1, 5).Draw(t, "jobs") {
			job := plan.Job{ID: fmt.Sprint("j", j)}
			for i := range rapid.IntRange(1, 4).Draw(t, "shards") {
				s := plan.Shard{ID: fmt.Sprintf("s%d.%d", j, i), Task: fmt.Sprint("t", rapid.IntRange(0, 2).Draw(t, "task")), To: 3}
				p.Shards, job.Shards = append(p.Shards, s), append(job.Shards, s.ID)
				o.Rows[s.ID] = rapid.IntRange(0, 3).Draw(t, "rows")
				o.Final[s.ID] = o.Rows[s.ID] == 3 && rapid.Bool().Draw(t, "final")
				o.Tries[s.ID] = rapid.IntRange(0, 3).Draw(t, "tries")
			}
			p.Jobs = append(p.Jobs, job)
			if rapid.Bool().Draw(t, "live") {
				o.Live[job.ID] = job.Shards[:rapid.IntRange(1, len(job.Shards)).Draw(t, "asked")]
			}
		}
		for i := range 3 {
			if rapid.IntRange(0, 3).Draw(t, "doomed") == 0 {
				o.Doomed[fmt.Sprint("t", i)] = "bad"
			}
		}
		seen := map[string]Kind{}
		submits := 0
		for _, a := range Reconcile(p, o) {
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
				held := slices.ContainsFunc(p.Jobs, func(j plan.Job) bool { return slices.Contains(o.Live[j.ID], id) })
				switch {
				case a.Kind == Submit && (full || held || doomed || o.Tries[id] > o.Retry),
					a.Kind == GiveUp && (full || held || !doomed && o.Tries[id] <= o.Retry),
					a.Kind == Commit && (!full || held || o.Final[id]),
					a.Kind == Rest != o.Final[id]:
					t.Fatalf("shard %s: %s with rows %d, final %v, held %v, doomed %v, tries %d", id, a.Kind, o.Rows[id], o.Final[id], held, doomed, o.Tries[id])
				}
			}
		}
		if len(seen) != len(p.Shards) || submits > max(o.Slots, 0) {
			t.Fatalf("%d of %d shards in actions, %d submits for %d slots", len(seen), len(p.Shards), submits, o.Slots)
		}
	})
}
