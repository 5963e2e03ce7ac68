package run

import (
	"reflect"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// TestTroubles wants each way in which a shard may end undone to have its class, whatever came before it in the journal.
func TestTroubles(t *testing.T) {
	ended := func(st scheduler.Status, faults ...Fault) []entry {
		return []entry{
			{Event: evSubmit, Job: "j", Attempt: 1, Shards: []string{"a", "b"}},
			{Event: evEnd, Job: "j", Attempt: 1, Status: &scheduler.Status{State: scheduler.Failed, Cause: scheduler.Node, Node: "old"}, Reason: "older"},
			{Event: evSubmit, Job: "j", Attempt: 2, Shards: []string{"a", "b"}},
			{Event: evEnd, Job: "j", Attempt: 2, Status: &st, Reason: "why", Faults: faults},
		}
	}
	failed := scheduler.Status{State: scheduler.Failed, ExitCode: 1, Node: "n1"}
	caused := func(c scheduler.Cause) scheduler.Status {
		return scheduler.Status{State: scheduler.Failed, Cause: c, Node: "n1"}
	}
	for name, c := range map[string]struct {
		journal []entry
		want    Class
	}{
		"bad input":       {ended(failed, Fault{Shard: "a", Kind: result.FailInput}), "input"},
		"full disk":       {ended(failed, Fault{Shard: "a", Kind: result.FailDisk}), "disk"},
		"of another":      {ended(failed, Fault{Shard: "b", Kind: result.FailInput}), "error"},
		"later":           {ended(failed, Fault{Shard: "a", Kind: result.FailRetry}), "retry"},
		"error":           {ended(failed, Fault{Shard: "a", Kind: result.FailOther}), "error"},
		"memory":          {ended(caused(scheduler.Memory), Fault{Shard: "a", Kind: result.FailOther}), "memory"},
		"time":            {ended(caused(scheduler.TimeLimit)), "time"},
		"node":            {ended(caused(scheduler.Node)), "node"},
		"gave way":        {ended(caused(scheduler.Preempted)), "preempted"},
		"never began":     {ended(caused(scheduler.Launch)), "launch"},
		"too early":       {ended(caused(early)), "early"},
		"evicted":         {ended(caused(evicted)), ClassEvicted},
		"lost":            {ended(scheduler.Status{State: scheduler.Lost}), ClassLost},
		"nothing written": {nil, ClassOpen},
	} {
		s := State{Plan: &plan.Plan{Shards: []plan.Shard{{ID: "a", Task: "t", To: 5}, {ID: "b", Task: "t", From: 5, To: 9}, {ID: "c", Task: "t", From: 9, To: 10}}},
			Shards: map[string]ShardState{"a": ShardOpen, "b": ShardDone, "c": ShardRunning}, rows: map[string]int{"a": 2}, trials: trials(c.journal)}
		list := s.Troubles()
		if len(list) != 1 || list[0].Shard != "a" || list[0].Class != c.want || list[0].Rows != 5 || list[0].Done != 2 {
			t.Errorf("%s: %+v", name, list)
			continue
		}
		if got := list[0]; c.journal != nil && (got.Attempts != 2 || got.Last.Attempt != 2 || got.Reason != "why") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestTroublesStopped wants attempts that were ended not to count, and not to hide what failed.
func TestTroublesStopped(t *testing.T) {
	failed := scheduler.Status{State: scheduler.Failed, ExitCode: 1, Node: "n1"}
	journal := []entry{
		{Event: evSubmit, Job: "j", Attempt: 1, Shards: []string{"a", "b", "c"}},
		{Event: evEnd, Job: "j", Attempt: 1, Status: &failed, Reason: "boom"},
		{Event: evSubmit, Job: "j", Attempt: 2, Shards: []string{"a", "b"}},
		{Event: evEnd, Job: "j", Attempt: 2, Reason: "stopped"},
		{Event: evSubmit, Job: "k", Attempt: 1, Shards: []string{"d"}},
		{Event: evEnd, Job: "k", Attempt: 1, Status: &scheduler.Status{State: scheduler.Cancelled}},
	}
	s := State{Plan: &plan.Plan{Shards: []plan.Shard{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}}}, trials: trials(journal),
		Shards: map[string]ShardState{"a": ShardOpen, "b": ShardFailed, "c": ShardRunning, "d": ShardOpen}}
	want := []Trouble{
		{Shard: "a", State: ShardOpen, Class: ClassStopped, Attempts: 1, Reason: "stopped"},
		{Shard: "b", State: ShardFailed, Class: "error", Attempts: 1, Last: result.Ticket{Job: "j", Attempt: 1}, Node: "n1", Reason: "boom"},
		{Shard: "c", State: ShardRunning, Class: "error", Attempts: 1, Last: result.Ticket{Job: "j", Attempt: 1}, Node: "n1", Reason: "boom"},
		{Shard: "d", State: ShardOpen, Class: ClassStopped, Reason: "stopped"},
	}
	if got := s.Troubles(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}

// TestTroublesOfTasks wants shards that were given up with others told as these are, and those whose first part failed as that.
func TestTroublesOfTasks(t *testing.T) {
	journal := []entry{
		{Event: evSubmit, Job: "j", Attempt: 1, Shards: []string{"a"}},
		{Event: evEnd, Job: "j", Attempt: 1, Status: &scheduler.Status{State: scheduler.Failed}, Faults: []Fault{{Shard: "a", Kind: result.FailInput}}},
	}
	s := State{Plan: &plan.Plan{Shards: []plan.Shard{{ID: "later", Task: "u", To: 1}, {ID: "a", Task: "t", To: 1}, {ID: "b", Task: "t", From: 1, To: 2}}},
		Shards:  map[string]ShardState{"a": ShardFailed, "b": ShardFailed, "later": ShardFailed},
		Reasons: map[string]string{"a": "bad", "b": "bad", "later": "t failed: bad"}, trials: trials(journal)}
	want := []Class{ClassEarlier, "input", "input"}
	for i, got := range s.Troubles() {
		if got.Class != want[i] || got.Reason != s.Reasons[got.Shard] {
			t.Errorf("%+v, want %s", got, want[i])
		}
	}
}
