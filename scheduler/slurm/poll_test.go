package slurm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sextant/scheduler"
)

const timedOut = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"

// A submission that timed out after the job was created is found by its name, and nothing is submitted again.
func TestDoubtFound(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.set("doubt", timedOut)
	refs := f.submit(s, some(2, "a"))
	if refs[0].ID != "" {
		t.Fatalf("got %v without an answer", refs)
	}
	f.unset("doubt")
	if st := f.poll(s, "a1"); st.State != scheduler.Pending || s.byName["a1"].ref().ID != "101_1" {
		t.Errorf("got %+v", st)
	}
	if again := f.submit(f.new(4), some(2, "a")); again[0].ID != "101_0" {
		t.Errorf("another process got %v", again)
	}
	if n := len(f.calls("sbatch")); n != 1 {
		t.Errorf("%d calls of sbatch", n)
	}
}

// What stays in doubt is lost only when two looks that the controller answered, a grace apart, did not find it. If it comes then, it is
// cancelled.
func TestDoubtLost(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.set("drop", timedOut)
	f.submit(s, some(2, "a"))
	f.unset("drop")
	f.set("down", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")
	for range 5 {
		f.later(time.Hour)
		if _, err := s.Poll(t.Context(), []scheduler.Ref{{Name: "a0"}}); !errors.Is(err, scheduler.ErrDown) {
			t.Fatalf("a controller that is down gives %v", err)
		}
	}
	f.unset("down")
	if st := f.poll(s, "a0"); st.State != scheduler.Pending {
		t.Errorf("after one look: %+v", st)
	}
	if st := f.poll(s, "a0"); st.State != scheduler.Pending {
		t.Errorf("after two looks, one second apart: %+v", st)
	}
	f.later(time.Minute)
	if st := f.poll(s, "a0"); st.State != scheduler.Lost || st.Reason == "" || st.Ended.IsZero() {
		t.Errorf("after the grace: %+v", st)
	}
	f.clock = s.arrays[0].Time.Add(time.Minute)
	f.set("queue", "777_0|"+s.arrays[0].Token+"|RUNNING|node1|N/A|2026-11-21T10:00:00|N/A|None\n")
	other := f.new(4)
	if st := f.poll(other, "a0"); st.State != scheduler.Lost {
		t.Errorf("another process: %+v", st)
	}
	if live, err := other.Live(t.Context()); err != nil || !slices.Equal(live, []scheduler.Ref{{Name: "a0", ID: "777_0"}}) {
		t.Errorf("live: %v %v", live, err)
	} else if err := other.Cancel(t.Context(), live); err != nil || !strings.HasSuffix(f.calls("scancel")[0], " 777") {
		t.Errorf("cancelling it: %v, %q", err, f.calls("scancel"))
	}
	f.submit(other, some(1, "b"))
	f.poll(other, "b0")
	if calls := f.calls("scancel"); calls[len(calls)-1] != "--name="+s.arrays[0].Token+" 777" {
		t.Errorf("the ghost was not cancelled: %q", calls)
	}
}

// Every state has its meaning, and what is shown in the place of a state is no end.
func TestPollStates(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.submit(s, some(1, "a"))
	token := s.arrays[0].Token
	for _, c := range []struct {
		row  string // state to reason
		want scheduler.Status
	}{
		{"PENDING||N/A|x|N/A|ReqNodeNotAvail, UnavailableNodes:node1|x", scheduler.Status{State: scheduler.Pending, Reason: "ReqNodeNotAvail, UnavailableNodes:node1|x"}},
		{"PENDING||N/A|x|N/A|BadConstraints", scheduler.Status{State: scheduler.Pending, Reason: "BadConstraints"}},
		{"COMPLETING|node[7-9],x|N/A|x|N/A|None", scheduler.Status{State: scheduler.Running, Node: "node7"}},
		{"REQUEUE_HOLD||N/A|x|N/A|JobHeldUser", scheduler.Status{State: scheduler.Pending, Reason: "requeued and held: JobHeldUser"}},
		{"STAGE_OUT|node1|N/A|x|N/A|None", scheduler.Status{State: scheduler.Running, Node: "node1"}},
		{"NEW_STATE|node1|N/A|x|N/A|None", scheduler.Status{State: scheduler.Running, Node: "node1", Reason: "Slurm says NEW_STATE"}},
		{"TIMEOUT|node1|N/A|x|2026-11-21T11:00:00|TimeLimit", scheduler.Status{State: scheduler.Failed, Cause: scheduler.TimeLimit, Node: "node1", Reason: "it reached its time limit (node1)"}},
		{"OUT_OF_MEMORY|node1|N/A|x|2026-11-21T11:00:00|x", scheduler.Status{State: scheduler.Failed, Cause: scheduler.Memory, Node: "node1", Reason: "it used more memory than it may (node1)"}},
		{"PREEMPTED|node1|N/A|x|2026-11-21T11:00:00|x", scheduler.Status{State: scheduler.Failed, Cause: scheduler.Preempted, Node: "node1", Reason: "it had to give way to another job (node1)"}},
		{"NODE_FAIL|node1|N/A|x|2026-11-21T11:00:00|x", scheduler.Status{State: scheduler.Failed, Cause: scheduler.Node, Node: "node1", Reason: "its node failed (node1)"}},
		{"BOOT_FAIL|node1|N/A|x|2026-11-21T11:00:00|x", scheduler.Status{State: scheduler.Failed, Cause: scheduler.Node, Node: "node1", Reason: "its node could not be made ready (node1)"}},
		{"CANCELLED||N/A|x|2026-11-21T11:00:00|x", scheduler.Status{State: scheduler.Cancelled, Reason: "cancelled"}},
		{"COMPLETED|node1|N/A|x|2026-11-21T11:00:00|None", scheduler.Status{State: scheduler.Done, Node: "node1"}},
	} {
		s.arrays[0].elements[0] = element{}
		f.set("queue", "101_0|"+token+"|"+c.row+"\n")
		got := f.poll(s, "a0")
		if got.Log != f.dir+"/arrays/"+token+".0.log" || got.State.Terminal() == got.Ended.IsZero() {
			t.Errorf("%s: %+v", c.row, got)
		}
		got.Log, got.Ended = "", time.Time{}
		if got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.row, got, c.want)
		}
	}
	looks := len(f.calls("squeue"))
	f.poll(s, "a0")
	if len(f.calls("squeue")) != looks {
		t.Error("a job that has ended is asked about again")
	}
}

// How a job failed comes from sacct, from one call for all; from scontrol where there are no accounts.
func TestPollFailed(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.submit(s, some(5, "a"))
	token := s.arrays[0].Token
	f.edit("PENDING||", "FAILED|node1|")
	f.set("accounts", strings.ReplaceAll(`101_0|102|TOKEN|FAILED|3:0|node1|2026-11-21T10:00:00|2026-11-21T10:00:05
101_1|103|TOKEN|FAILED|0:9|node1|2026-11-21T10:00:00|2026-11-21T10:00:05
101_2|104|TOKEN|FAILED|0:53|node1|2026-11-21T10:00:00|2026-11-21T10:00:05
101_3|105|another|FAILED|5:0|node1|2026-11-21T10:00:00|2026-11-21T10:00:05
101_4|106|TOKEN|NODE_FAIL|1:0|node1|2026-11-21T10:00:00|2026-11-21T10:00:05
`, "TOKEN", token))
	f.set("show", "Welcome\nJobId=105 ArrayJobId=101 ArrayTaskId=3 JobName="+token+" JobState=FAILED Reason=NonZeroExitCode ExitCode=127:0 BatchHost=node2 Command=JobState=x\n")
	status, err := s.Poll(t.Context(), s.refs())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]scheduler.Status{
		"a0": {State: scheduler.Failed, ExitCode: 3, Node: "node1"},
		"a1": {State: scheduler.Failed, Signal: 9, Node: "node1"},
		"a2": {State: scheduler.Failed, Cause: scheduler.Launch, Node: "node1"},
		"a3": {State: scheduler.Failed, ExitCode: 127, Cause: scheduler.Launch, Node: "node2"},
		"a4": {State: scheduler.Pending, Node: "node1"}, // what sacct tells is of an earlier run
	} {
		got := status[name]
		if got.State != want.State || got.ExitCode != want.ExitCode || got.Signal != want.Signal || got.Cause != want.Cause || got.Node != want.Node || got.Reason == "" {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if n := len(f.calls("sacct")); n != 1 || !strings.Contains(f.calls("sacct")[0], "-S 2026-11-21T09:00:00 -j 101_0,101_1") {
		t.Errorf("calls of sacct: %q", f.calls("sacct"))
	}
	f.later(2 * time.Minute)
	if got := f.poll(s, "a4"); got.State != scheduler.Failed || got.Reason == "" {
		t.Errorf("after the grace: %+v", got)
	}
}

// Jobs that squeue forgets are asked of sacct; by number and name, for numbers are given twice. Lost is what nobody knows for the grace.
func TestPollVanished(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.submit(s, some(4, "a"))
	token := s.arrays[0].Token
	f.poll(s, "a0")
	f.set("queue", "101_2|some-other-job|RUNNING|node1|N/A|x|N/A|None\n")
	f.set("accounts", strings.ReplaceAll(`101_0|102|TOKEN|COMPLETED|0:0|node1|2026-11-21T10:00:00|2026-11-21T10:00:05
101_1|103|TOKEN|RUNNING|0:0|node1|2026-11-21T10:00:00|Unknown
101_2|104|some-other-job|COMPLETED|0:0|node1|2026-11-21T10:00:00|2026-11-21T10:00:05
101_[0-3%2]|101|TOKEN|CANCELLED by 0|0:0|None assigned|None|2026-11-21T10:00:07
`, "TOKEN", token))
	status, err := s.Poll(t.Context(), s.refs())
	if err != nil || status["a0"].State != scheduler.Pending {
		t.Fatalf("within a second of the last look: %v %v", status, err)
	}
	f.later(lookEvery)
	if status, err = s.Poll(t.Context(), s.refs()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]scheduler.State{"a0": scheduler.Done, "a1": scheduler.Pending, "a2": scheduler.Cancelled, "a3": scheduler.Cancelled} {
		if got := status[name]; got.State != want {
			t.Errorf("%s: %+v, want %s", name, got, want)
		}
	}
	f.later(30 * time.Second)
	if got := f.poll(s, "a1"); got.State != scheduler.Pending {
		t.Errorf("within the grace: %+v", got)
	}
	f.later(30 * time.Second)
	if got := f.poll(s, "a1"); got.State != scheduler.Lost || got.Reason != "Slurm no longer knows the job" {
		t.Errorf("after the grace: %+v", got)
	}
}

// Without accounts, sacct is asked once and never again.
func TestPollNoAccounts(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.submit(s, some(2, "a"))
	f.edit("PENDING||", "FAILED|node1|")
	f.set("show", strings.ReplaceAll("JobId=101 ArrayJobId=101 ArrayTaskId=0 JobName=TOKEN JobState=FAILED ExitCode=0:9\nJobId=102 ArrayJobId=101 ArrayTaskId=1 JobName=TOKEN JobState=FAILED ExitCode=64:0\n",
		"TOKEN", s.arrays[0].Token))
	if got := f.poll(s, "a1"); got.ExitCode != 64 {
		t.Errorf("got %+v", got)
	}
	if got := f.poll(s, "a0"); got.Signal != 9 {
		t.Errorf("got %+v", got)
	}
	if n := len(f.calls("sacct")); n != 1 {
		t.Errorf("%d calls of sacct", n)
	}
}

// A torn answer, a banner, a row of all: what squeue prints is read with care.
func TestPollTorn(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.submit(s, some(3, "a"))
	token := s.arrays[0].Token
	f.poll(s, "a0")
	f.set("queue", "*** maintenance | on | friday ***\n101_0|"+token+"|COMPLETED|node1|N/A|x|2026-11-21T11:00:00|None\n101_1|"+token+"|COMPLETED|no")
	if got := f.poll(s, "a0"); got.State != scheduler.Done {
		t.Errorf("got %+v", got)
	}
	if got := f.poll(s, "a1"); got.State != scheduler.Pending {
		t.Errorf("of a torn row: %+v", got)
	}
	f.set("queue", "101|"+token+"|CANCELLED||N/A|x|2026-11-21T11:00:00|None\n")
	if got := f.poll(s, "a2"); got.State != scheduler.Cancelled {
		t.Errorf("of a row of all: %+v", got)
	}
}

// The row that is left of cancelled elements does not say which they were: those that sacct knows to have ended otherwise were not among them.
func TestPollRowOfAll(t *testing.T) {
	f := newFake(t)
	f.submit(f.new(4), some(2, "a"))
	s := f.new(4)
	token := s.arrays[0].Token
	f.set("queue", "101|"+token+"|CANCELLED||N/A|x|2026-11-21T11:00:00|None\n")
	f.set("accounts", "101_0|102|"+token+"|COMPLETED|0:0|node1|2026-11-21T10:00:00|2026-11-21T10:00:05\n")
	for name, want := range map[string]scheduler.State{"a0": scheduler.Done, "a1": scheduler.Cancelled} {
		if got := f.poll(s, name); got.State != want {
			t.Errorf("%s: %+v, want %s", name, got, want)
		}
	}
}

// What is in doubt and forgotten by squeue is asked of sacct by its name. While that does not answer, there is more time.
func TestDoubtForgotten(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.set("doubt", timedOut)
	f.submit(s, some(2, "a"))
	token := s.arrays[0].Token
	f.unset("queue")
	f.set("accounts", "101_0|102|"+token+"|COMPLETED|0:0|node1|2026-11-21T10:00:00|2026-11-21T10:00:05\n"+
		"101_1|101|"+token+"|FAILED|3:0|node1|2026-11-21T10:00:00|2026-11-21T10:00:05\n")
	sacct := f.get("sacct")
	f.set("sacct", strings.Replace(sacct, "\n", "\nexit 1\n", 1))
	s = f.new(4)
	f.poll(s, "a0")
	f.later(2 * time.Minute)
	if st := f.poll(s, "a0"); st.State != scheduler.Pending {
		t.Errorf("while sacct does not answer: %+v", st)
	}
	f.set("sacct", sacct)
	s = f.new(4)
	if a0, a1 := f.poll(s, "a0"), f.poll(s, "a1"); a0.State != scheduler.Done || a1.State != scheduler.Failed || a1.ExitCode != 3 {
		t.Errorf("%+v, %+v", a0, a1)
	}
	if calls := f.calls("sacct"); !strings.Contains(calls[0], "--name="+token) {
		t.Errorf("sacct got %q", calls)
	}
}

// A row of sacct for many names also those that have begun since: it says nothing of one that was seen running.
func TestStaleRowOfMany(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.submit(s, some(3, "a"))
	token := s.arrays[0].Token
	f.edit("101_0|"+token+"|PENDING", "101_0|"+token+"|RUNNING")
	f.poll(s, "a0")
	f.set("queue", "")
	f.set("accounts", "101_[0-2%4]|101|"+token+"|CANCELLED by 0|0:0|None assigned|None|2026-11-21T10:00:07\n")
	f.poll(s, "a0")
	if a0, a1 := f.poll(s, "a0"), f.poll(s, "a1"); a0.State.Terminal() || a1.State != scheduler.Cancelled {
		t.Errorf("%+v, %+v", a0, a1)
	}
}

// A look that its caller broke off says nothing to the next.
func TestPollBrokenOff(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	refs := f.submit(s, some(1, "a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Poll(ctx, refs); !errors.Is(err, context.Canceled) || errors.Is(err, scheduler.ErrDown) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Poll(t.Context(), refs); err != nil {
		t.Errorf("the next got %v", err)
	}
}

// Jobs whose manifest cannot be read are submitted again; what is left of them is cancelled. Other files are no manifests.
func TestDamagedManifest(t *testing.T) {
	f := newFake(t)
	f.submit(f.new(4), some(2, "a"))
	manifests, _ := filepath.Glob(f.dir + "/arrays/*.json")
	for _, damage := range []string{"", "{", `{"token":"another","lane":"another"}`, "\x00\x00"} {
		if err := os.WriteFile(manifests[0], []byte(damage), 0o644); err != nil {
			t.Fatal(err)
		}
		f.unset("calls")
		s := f.new(4)
		s.arrays[0].Time = f.clock
		f.submit(s, some(1, "b"))
		f.poll(s, "b0")
		if calls := f.calls("scancel"); !slices.Equal(calls, []string{"--name=" + s.arrays[0].Token + " 101"}) {
			t.Errorf("damaged by %q: scancel got %q", damage, calls)
		}
		if err := os.Remove(s.path(s.byName["b0"].Token, manifestSuffix)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(f.dir+"/arrays/notes.json", []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if s := f.new(4); s.byToken["notes"] != nil {
		t.Error("a file of another is taken for a manifest")
	}
}

// Room that an array leaves goes to the next of its lane at once, and a lane's to others.
func TestPollBalances(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	s.features.maxArraySize = 4
	f.submit(s, some(8, "a"))
	if calls := f.calls("scontrol"); !slices.Equal(calls, []string{"update jobid=101 ArrayTaskThrottle=4"}) {
		t.Errorf("whether jobs may be changed was found out by %q", calls)
	}
	f.unset("calls")
	first := s.arrays[0].Token
	f.edit("101_0|"+first+"|PENDING", "101_0|"+first+"|COMPLETED", "101_1|"+first+"|PENDING", "101_1|"+first+"|RUNNING")
	f.poll(s, "a0")
	if calls := f.calls("scontrol"); !slices.Equal(calls, []string{"update jobid=102 ArrayTaskThrottle=1 Dependency="}) {
		t.Errorf("scontrol got %q", calls)
	}
	f.unset("calls")
	f.poll(s, "a1")
	if calls := f.calls("scontrol"); len(calls) > 0 {
		t.Errorf("nothing has changed, and scontrol got %q", calls)
	}
}

// refs are those of all jobs, in order.
func (s *Scheduler) refs() []scheduler.Ref {
	var refs []scheduler.Ref
	for _, a := range s.arrays {
		for i := range a.Jobs {
			refs = append(refs, place{a, i}.ref())
		}
	}
	return refs
}
