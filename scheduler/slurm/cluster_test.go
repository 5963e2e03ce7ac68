package slurm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sextant/internal/slurmlab"
	"sextant/scheduler"
	"sextant/scheduler/schedulertest"
)

func TestMain(m *testing.M) { os.Exit(slurmlab.Main(m)) }

// onCluster makes a scheduler on the cluster that this process is pointed at.
func onCluster(t *testing.T, dir string, workers int) *Scheduler {
	t.Helper()
	s, err := New(t.Context(), Options{Dir: filepath.Join(dir, "slurm"), Scripts: filepath.Join(dir, "scripts"), Tag: "contract",
		About: "the contract suite", Workers: workers, Ask: Ask{Partition: "llmeval"},
		PollMin: 100 * time.Millisecond, PollMax: 500 * time.Millisecond, Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sweep(s) })
	return s
}

// sweep ends what a test has left on the cluster: it would write into the test's directory while that is removed.
func sweep(s *Scheduler) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		live, err := s.Live(ctx)
		if err == nil && len(live) == 0 {
			return
		}
		_ = s.Cancel(ctx, live) // it is asked again
		time.Sleep(200 * time.Millisecond)
	}
}

// TestCluster runs the contract suite, and what is Slurm's own, on real clusters of the two kinds there are: most sites keep accounts, and
// squeue alone must do where none are kept.
func TestCluster(t *testing.T) {
	kinds := []struct {
		name    string
		options slurmlab.Options
		tests   map[string]func(*testing.T, *slurmlab.Cluster)
	}{
		{"plain", slurmlab.Options{Nodes: 2, Conf: []string{"KillWait=2"}},
			map[string]func(*testing.T, *slurmlab.Cluster){"TakesOver": testTakesOver, "GPUs": testGPUs, "CancelSome": testCancelSome}},
		{"accounts", slurmlab.Options{Nodes: 2, Accounting: true, MinJobAge: 2, Conf: []string{"KillWait=2"}},
			map[string]func(*testing.T, *slurmlab.Cluster){"TakesOver": testTakesOver, "Forgotten": testForgotten}},
	}
	slurmlab.Shared(t, kinds[0].options)
	var up sync.WaitGroup
	up.Go(func() { slurmlab.Shared(t, kinds[1].options) }) // it takes seconds
	defer up.Wait()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			cluster := slurmlab.Shared(t, kind.options)
			cluster.Setenv(t)
			contract := schedulertest.Harness{Slack: 20 * time.Second, Parallel: true}
			contract.New = func(t *testing.T, workers int) schedulertest.Scheduler { return onCluster(t, t.TempDir(), workers) }
			schedulertest.Run(t, contract)
			for name, test := range kind.tests {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t, cluster)
				})
			}
		})
	}
}

func shell(dir, name, script string) scheduler.Job {
	unique := filepath.Base(filepath.Dir(dir)) + "." + name
	return scheduler.Job{Name: unique, Args: []string{"/bin/sh", "-c", script}, Dir: dir, Log: filepath.Join(dir, name+".log")}
}

func submit(t *testing.T, s *Scheduler, jobs ...scheduler.Job) []scheduler.Ref {
	t.Helper()
	refs, err := s.Submit(t.Context(), jobs)
	if err != nil || len(refs) != len(jobs) {
		t.Fatalf("submitted %d of %d jobs: %v", len(refs), len(jobs), err)
	}
	return refs
}

// reach polls until all jobs are in a state.
func reach(t *testing.T, s *Scheduler, refs []scheduler.Ref, ok func(scheduler.State) bool) map[string]scheduler.Status {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		status, err := s.Poll(t.Context(), refs)
		if err != nil {
			t.Fatal(err)
		}
		all := true
		for _, st := range status {
			all = all && ok(st.State)
		}
		if all {
			return status
		}
		if time.Now().After(end) {
			t.Fatalf("waited too long; last seen %+v", status)
		}
	}
}

// A submitter that takes over finds what a dead one submitted, by name alone, and does not start it again.
func testTakesOver(t *testing.T, _ *slurmlab.Cluster) {
	dir := t.TempDir()
	job := shell(dir, "over", "echo ran >>ran; while [ ! -e go ]; do sleep 0.05; done")
	submit(t, onCluster(t, dir, 1), job)
	s := onCluster(t, dir, 1)
	refs := []scheduler.Ref{{Name: job.Name}}
	submit(t, s, job)
	reach(t, s, refs, func(st scheduler.State) bool { return st == scheduler.Running })
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if status := reach(t, s, refs, scheduler.State.Terminal); status[job.Name].State != scheduler.Done {
		t.Errorf("it ended as %+v", status)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "ran")); string(b) != "ran\n" {
		t.Errorf("it ran %q", b)
	}
}

// Cancelling some of an array that wait leaves the others waiting, and they are told as cancelled though Slurm keeps no record of them.
func testCancelSome(t *testing.T, c *slurmlab.Cluster) {
	dir := t.TempDir()
	s := onCluster(t, dir, 1)
	var jobs []scheduler.Job
	for i := range 6 {
		j := shell(dir, fmt.Sprint("some", i), "while [ ! -e go ]; do sleep 0.05; done")
		j.Script = "some"
		jobs = append(jobs, j)
	}
	refs := submit(t, s, jobs...)
	reach(t, s, refs[:1], func(st scheduler.State) bool { return st == scheduler.Running })
	for _, some := range [][]scheduler.Ref{refs[2:3], {refs[1], refs[4]}} {
		if err := s.Cancel(t.Context(), some); err != nil {
			t.Fatal(err)
		}
		for name, st := range reach(t, s, some, scheduler.State.Terminal) {
			if st.State != scheduler.Cancelled {
				t.Errorf("%s: %+v", name, st)
			}
		}
	}
	var left []string
	for _, r := range c.Queue(t, "--name="+s.arrays[0].Token) {
		if r.State == "RUNNING" || r.State == "PENDING" {
			left = append(left, r.ID)
		}
	}
	slices.Sort(left)
	if want := []string{refs[0].ID, refs[3].ID, refs[5].ID}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	if err := s.Cancel(t.Context(), refs); err != nil {
		t.Fatal(err)
	}
	for name, st := range reach(t, onCluster(t, dir, 1), refs, scheduler.State.Terminal) {
		if st.State != scheduler.Cancelled {
			t.Errorf("%s, asked by another process: %+v", name, st)
		}
	}
}

// A job has as many GPUs as it asks for.
func testGPUs(t *testing.T, _ *slurmlab.Cluster) {
	dir := t.TempDir()
	s := onCluster(t, dir, 3)
	var jobs []scheduler.Job
	for i, name := range []string{"none", "one", "two"} {
		j := shell(dir, name, `echo "$SLURMD_NODENAME|$CUDA_VISIBLE_DEVICES" >`+name)
		j.GPUs = i
		jobs = append(jobs, j)
	}
	status := reach(t, s, submit(t, s, jobs...), scheduler.State.Terminal)
	for _, j := range jobs {
		b, _ := os.ReadFile(filepath.Join(dir, filepath.Base(strings.TrimSuffix(j.Log, ".log"))))
		node, gpus, _ := strings.Cut(strings.TrimSpace(string(b)), "|")
		if got := len(strings.FieldsFunc(gpus, func(r rune) bool { return r == ',' })); got != j.GPUs || node != status[j.Name].Node || node == "" {
			t.Errorf("%s ran on %q with GPUs %q, status %+v", j.Name, node, gpus, status[j.Name])
		}
	}
}

// What squeue has forgotten sacct knows.
func testForgotten(t *testing.T, c *slurmlab.Cluster) {
	dir := t.TempDir()
	first := onCluster(t, dir, 3)
	refs := submit(t, first, shell(dir, "good", "touch good"), shell(dir, "bad", "touch bad; exit 3"), shell(dir, "killed", "touch killed; kill -9 $$"))
	for _, name := range []string{"good", "bad", "killed"} {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				break
			} else if time.Now().After(end) {
				t.Fatalf("%s did not run", name)
			}
		}
	}
	id, _, _ := strings.Cut(refs[0].ID, "_")
	c.Await(t, 90*time.Second, func(rows []slurmlab.Row) bool {
		for _, r := range rows {
			if id == "" || strings.HasPrefix(r.ID, id+"_") {
				return false
			}
		}
		return true
	})
	for _, a := range first.arrays { // as if it had died before it learned their numbers: sacct finds them by name
		if err := os.Remove(first.path(a.Token, idSuffix)); err != nil {
			t.Fatal(err)
		}
	}
	status := reach(t, onCluster(t, dir, 3), refs, scheduler.State.Terminal)
	wants := []scheduler.Status{{State: scheduler.Done}, {State: scheduler.Failed, ExitCode: 3}, {State: scheduler.Failed, Signal: 9}}
	for i, want := range wants {
		got := status[refs[i].Name]
		if got.State != want.State || got.ExitCode != want.ExitCode || got.Signal != want.Signal || got.Node == "" || got.Ended.IsZero() {
			t.Errorf("%s: %+v, want %+v", refs[i].Name, got, want)
		}
	}
}
