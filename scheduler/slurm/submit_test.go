package slurm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sextant/internal/points"
	"sextant/scheduler"
)

// A name is submitted once, whoever gives it again.
func TestSubmitOnce(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	refs := f.submit(s, some(3, "a"))
	if want := []scheduler.Ref{{Name: "a0", ID: "101_0"}, {Name: "a1", ID: "101_1"}, {Name: "a2", ID: "101_2"}}; !slices.Equal(refs, want) {
		t.Errorf("got %v, want %v", refs, want)
	}
	f.submit(s, some(3, "a"))
	if again := f.submit(f.new(4), some(4, "a")); again[1].ID != "101_1" || again[3].ID != "102_0" {
		t.Errorf("another process got %v", again)
	}
	if n := len(f.calls("sbatch")); n != 2 {
		t.Errorf("%d calls of sbatch: %q", n, f.calls("sbatch"))
	}
}

// What is refused is not there: its names can be submitted again, and what came before it is told.
func TestSubmitRefused(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.set("refuse", "sbatch: error: Batch job submission failed: Invalid qos specification\n")
	jobs := some(2, "a")
	refs, err := s.Submit(t.Context(), jobs)
	if len(refs) != 0 || err == nil || strings.Contains(err.Error(), `"a0"`) || !strings.HasPrefix(err.Error(), "sbatch: there is no qos") || errors.Is(err, scheduler.ErrBusy) {
		t.Fatalf("accepted %v, error %v", refs, err)
	}
	if st := f.poll(s, "a0"); st.State != scheduler.Lost {
		t.Errorf("a refused job is %+v", st)
	}
	f.unset("refuse")
	if refs := f.submit(f.new(4), jobs); refs[0].ID != "101_0" {
		t.Errorf("submitted again: %v", refs)
	}
}

// A controller that does not answer took nothing.
func TestSubmitDown(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	f.set("refuse", "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n")
	if refs, err := s.Submit(t.Context(), some(2, "a")); len(refs) != 0 || !errors.Is(err, scheduler.ErrDown) {
		t.Fatalf("accepted %v, error %v", refs, err)
	}
	f.unset("refuse")
	f.submit(s, some(2, "a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if refs, err := s.Submit(ctx, some(1, "b")); len(refs) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: accepted %v, error %v", refs, err)
	}
	if n := len(f.calls("sbatch")); n != 2 {
		t.Errorf("%d calls of sbatch", n)
	}
}

// Nearly as many jobs are queued as a limit lets, by few sbatch, and how many that were is remembered. A limit that is lifted is found out.
func TestSubmitBusy(t *testing.T) {
	f := newFake(t)
	f.set("limit", "100")
	s := f.new(8)
	jobs := some(1000, "a")
	submit := func(least, most, sbatch int) {
		t.Helper()
		before := len(f.calls("sbatch"))
		refs, err := s.Submit(t.Context(), jobs)
		if len(refs) < least || len(refs) > most || (err == nil) != (len(refs) == len(jobs)) || err != nil && !errors.Is(err, scheduler.ErrBusy) {
			t.Fatalf("accepted %d, error %v", len(refs), err)
		}
		if n := strings.Count(f.get("queue"), "\n"); n != len(refs) {
			t.Errorf("%d are queued, %d accepted", n, len(refs))
		}
		if n := len(f.calls("sbatch")) - before; n > sbatch {
			t.Errorf("%d calls of sbatch: %d in all", n, len(f.calls("sbatch")))
		}
	}
	submit(88, 100, 8)
	for range 20 {
		f.later(time.Second)
		submit(88, 100, 0)
	}
	f.later(hold)
	submit(88, 100, 1)
	f.set("limit", "5000")
	f.later(hold)
	submit(1000, 1000, 9)
	if left, _ := filepath.Glob(f.dir + "/arrays/*.void"); len(left) > 0 {
		t.Errorf("refused arrays leave %v", left)
	}
}

// Room that is too little for many is found for few: a job that gathers, say.
func TestSubmitFewWhereThereIsLittleRoom(t *testing.T) {
	f := newFake(t)
	f.set("limit", "100")
	s := f.new(8)
	refs, err := s.Submit(t.Context(), some(1000, "a"))
	if len(refs) == 100 || !errors.Is(err, scheduler.ErrBusy) {
		t.Fatalf("accepted %d, error %v", len(refs), err)
	}
	before := len(f.calls("sbatch"))
	f.submit(s, some(100-len(refs), "b"))
	if refs, err := s.Submit(t.Context(), some(50, "c")); len(refs) > 0 || !errors.Is(err, scheduler.ErrBusy) {
		t.Errorf("accepted %d, error %v", len(refs), err)
	}
	if n := len(f.calls("sbatch")) - before; n != 1 {
		t.Errorf("%d calls of sbatch", n)
	}
}

// A scheduler made while the controller was away learns later how long arrays may be.
func TestSubmitAfterTheControllerWasAway(t *testing.T) {
	f := newFake(t)
	scontrol := f.get("scontrol")
	f.set("scontrol", "#!/bin/sh\necho 'slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)' >&2\nexit 1\n")
	s := f.new(4)
	f.set("scontrol", strings.Replace(scontrol, "= 1001", "= 7", 1))
	f.submit(s, some(20, "a"))
	if n := len(f.calls("sbatch")); n != 3 {
		t.Errorf("%d calls of sbatch: %q", n, f.calls("sbatch"))
	}
}

// A limit that others use up is asked about once in a while, with one job.
func TestSubmitNoRoom(t *testing.T) {
	f := newFake(t)
	f.set("limit", "0")
	s := f.new(8)
	for range 10 {
		if refs, err := s.Submit(t.Context(), some(64, "a")); len(refs) > 0 || !errors.Is(err, scheduler.ErrBusy) {
			t.Fatalf("accepted %d, error %v", len(refs), err)
		}
		f.later(10 * time.Second)
	}
	if n := len(f.calls("sbatch")); n > 7+3 {
		t.Errorf("%d calls of sbatch", n)
	}
	f.set("limit", "1000")
	f.later(hold)
	f.submit(s, some(64, "a"))
}

// A job whose limit is too long is told by its name, and those before it are queued.
func TestSubmitOneTooLong(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	jobs := some(5, "a")
	for i := range jobs {
		jobs[i].Limit = time.Hour
	}
	jobs[3].Limit = 1000 * time.Hour
	script := strings.Replace(f.get("sbatch"), "[ -e $F/refuse ]",
		`grep -q -e --time=60000 -e --time=1000: -e --time=41- "$script" && echo "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)" >&2 && exit 1
[ -e $F/refuse ]`, 1)
	f.set("sbatch", script)
	refs, err := s.Submit(t.Context(), jobs)
	if len(refs) != 3 || !errors.Is(err, scheduler.ErrUnsatisfiable) || !strings.Contains(err.Error(), `"a3"`) {
		t.Errorf("accepted %v, error %v", refs, err)
	}
}

// Arrays of one pool follow each other, so that no more than the workers run when nobody watches; other pools have their share.
func TestSubmitLanes(t *testing.T) {
	f := newFake(t)
	s := f.new(8)
	s.features.maxArraySize = 10
	f.submit(s, slices.Concat(some(25, "a"), some(10, "b")))
	var got []string
	for _, a := range s.arrays {
		got = append(got, a.Pool+" "+strings.Join(a.After, ":")+" "+string(rune('0'+a.Throttle)))
	}
	if want := []string{"a  6", "a 101 6", "a 101:102 5", "b  2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if calls := f.calls("sbatch"); !strings.Contains(calls[2], "--dependency=afterany:101:102") {
		t.Errorf("sbatch got %q", calls[2])
	}
	f.later(time.Minute)
	f.submit(s, some(3, "c")) // there is no room: they follow
	if a := s.arrays[4]; len(a.After) == 0 || a.Throttle > 6 {
		t.Errorf("a pool that came late has %+v", a.manifest)
	}
}

// A job that follows others begins when they have ended.
func TestSubmitAfter(t *testing.T) {
	f := newFake(t)
	s := f.new(2)
	refs := f.submit(s, some(4, "a"))
	gather := some(1, "gather")
	gather[0].After = refs
	f.submit(s, gather)
	some1 := some(1, "other")
	some1[0].After = refs[1:3]
	f.submit(s, some1)
	calls := f.calls("sbatch")
	if !strings.Contains(calls[1], "--dependency=afterany:101 ") || !strings.Contains(calls[2], "--dependency=afterany:101_1:101_2 ") {
		t.Errorf("sbatch got %q", calls[1:])
	}
	f.edit("101_0|"+s.arrays[0].Token+"|PENDING", "101_0|"+s.arrays[0].Token+"|COMPLETED")
	f.poll(s, "a1")
	for _, call := range f.calls("scontrol") {
		if strings.Contains(call, "jobid=102") {
			t.Errorf("a job that waits for others is let go: %q", call)
		}
	}
}

// Live arrays are told of bad nodes, once. That some of their elements have ended makes scontrol complain, and is no failure.
func TestSubmitAvoids(t *testing.T) {
	f := newFake(t)
	s := f.new(4)
	s.opt.Ask.Exclude = "gpu[1-2]"
	f.submit(s, some(3, "a"))
	jobs := some(2, "b")
	jobs[0].Exclude, jobs[1].Exclude = []string{"node3"}, []string{"node3"}
	f.set("partly", "101_0-1: Job is no longer pending execution\n101_2: No error\n")
	f.submit(s, jobs[:1])
	f.submit(s, jobs[1:])
	var told []string
	for _, call := range f.calls("scontrol") {
		if strings.Contains(call, "ExcNodeList") {
			told = append(told, call)
		}
	}
	if want := []string{"update jobid=101 ExcNodeList=gpu[1-2],node3"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// Wherever a submitter dies, the next one goes on: no job is queued twice, and each is known.
func TestSubmitDeaths(t *testing.T) {
	defer func() { points.Hook = func(string) {} }()
	for _, point := range []string{"scripts-written", "list-written", "script-written", "manifest-written", "before-sbatch", "after-sbatch", "id-written",
		"before-squeue", "after-squeue", "throttle-told", "id-found", "lost-written"} {
		t.Run(point, func(t *testing.T) {
			f := newFake(t)
			jobs := slices.Concat(some(3, "a"), some(2, "b"))
			for range 3 {
				func() {
					died := false
					points.Hook = func(p string) {
						if p == "slurm:"+point && !died {
							died = true
							panic("died")
						}
					}
					defer func() { _ = recover() }()
					s := f.new(2)
					s.Submit(t.Context(), jobs) //nolint:errcheck // it may die
					f.later(2 * time.Minute)
					f.poll(s, "a0")
				}()
				f.later(2 * time.Minute)
			}
			points.Hook = func(string) {}
			s := f.new(2)
			f.submit(s, jobs)
			seen := map[string]int{}
			for _, r := range parseQueue(f.get("queue")) {
				if a := s.byToken[r.token]; a != nil && !a.lost {
					seen[a.Jobs[r.index]]++
				}
			}
			for _, j := range jobs {
				st := f.poll(s, j.Name)
				if n := seen[j.Name]; n > 1 || n == 0 && s.byName[j.Name].id != "" {
					t.Errorf("%s is queued %d times and %+v", j.Name, n, st)
				}
			}
		})
	}
}

// Ten thousand jobs, each with a script, are submitted in windows and looked at in seconds of CPU.
func TestSubmitMany(t *testing.T) {
	f := newFake(t)
	s := f.new(32)
	jobs := some(10_000, "a")
	for i := range jobs {
		jobs[i].Script = jobs[i].Name
	}
	began := cpu(t)
	refs := f.submit(s, jobs)
	submitted := cpu(t)
	for range 3 {
		f.later(time.Minute)
		if status, err := s.Poll(t.Context(), refs); err != nil || len(status) != len(jobs) {
			t.Fatalf("%d of %d: %v", len(status), len(jobs), err)
		}
	}
	polled := cpu(t)
	f.submit(f.new(32), jobs)
	t.Logf("CPU: submit %s, three polls %s, to load and find all again %s", submitted-began, polled-submitted, cpu(t)-polled)
	if cpu(t)-began > 10*time.Second {
		t.Error("that is too much")
	}
	if sbatch, squeue := len(f.calls("sbatch")), len(f.calls("squeue")); sbatch != 10 || squeue != 3 {
		t.Errorf("%d calls of sbatch, %d of squeue", sbatch, squeue)
	}
}

func cpu(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Scripts are written when they change, and not otherwise.
func TestScriptsWrittenOnce(t *testing.T) {
	f := newFake(t)
	f.submit(f.new(2), some(2, "a"))
	path := f.dir + "/scripts/a.sbatch"
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if n, err := f.new(2).writeScripts(some(2, "a")); n != 2 || err != nil {
		t.Error(n, err)
	}
	if info, err := os.Stat(path); err != nil || info.ModTime().After(old.Add(time.Second)) || info.Mode().Perm() != scriptMode {
		t.Errorf("an equal script was written again, or has another mode: %v %v", info, err)
	}
	changed := some(2, "a")
	for i := range changed {
		changed[i].Args = []string{"/bin/false"}
	}
	if n, err := f.new(2).writeScripts(changed); n != 2 || err != nil {
		t.Error(n, err)
	}
	if text := f.get("scripts/a.sbatch"); !strings.Contains(text, "/bin/false") {
		t.Errorf("a script that changed was left: %s", text)
	}
}
