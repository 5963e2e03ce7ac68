package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"sextant/internal/slurmlab"
)

// quiet is the cluster of the cases that leave its daemons alone. KillWait tells it from the clusters of other tests.
func quietCluster(t *testing.T) *slurmlab.Cluster {
	return slurmlab.Shared(t, slurmlab.Options{Nodes: 4, CredExpire: 5, Conf: []string{"KillWait=4"}})
}

// scenario is a run that comes by a point.
type scenario struct {
	setup
	before func(x *trial)             // what happens to the run first
	during func(x *trial, p *process) // and while the one that is to die is at work
	after  func(x *trial)
}

// sources lists the points that submit can come by, as they stand in the source.
func sources(t *testing.T) []string {
	t.Helper()
	says := regexp.MustCompile(`points\.Reached\("([^"]+)"\)`)
	var names []string
	for _, dir := range []string{"pkg/run", "scheduler/slurm"} {
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range says.FindAllStringSubmatch(string(text), -1) {
				names = append(names, m[1])
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// again are points that are passed many times, with the further times at which to die there.
var again = map[string][]int{
	"slurm:before-squeue": {2, 3},
	"slurm:after-squeue":  {2, 3},
	"run:ended":           {2, 4, 6},
}

// doomed is a spec of which one model's tasks cannot be done: its context is too short.
const doomed = "[[models]]\nabbr = \"short\"\npath = \"" + "$POCKET" + "/model\"\nmax_seq_len = 24\n"

// twoPools has a second model, whose workers are other ones.
const twoPools = "[[models]]\nabbr = \"second\"\npath = \"$POCKET/model\"\n"

// inDoubt are points after which it takes a minute until submit believes that the cluster has no such job.
var inDoubt = []string{"slurm:lost-written", "slurm:manifest-written", "slurm:before-sbatch", "run:met"}

// once is shell for the first submission of all.
func once(what string) string {
	return "if [[ \" $* \" == *\" --parsable \"* ]] && mkdir $dir/once 2>/dev/null; then\n" + what + "\nfi"
}

// first is a prologue that does something in the first job of all.
func first(what string) string {
	return fmt.Sprintf("prologue = %q", "if mkdir $DIR/first 2>/dev/null; then\n"+what+"\nfi")
}

// Texts of sbatch.
const (
	timedOut   = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
	tooMany    = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
	impossible = "sbatch: error: Batch job submission failed: Requested node configuration is not available"
	refused    = "sbatch: error: Batch job submission failed: Unspecified error"
)

// answers is a first sbatch that does something and then says that it did not.
func answers(does, says string) func(x *trial) {
	return func(x *trial) { x.instead("sbatch", once(fmt.Sprintf("%s\necho %q >&2\nexit 1", does, says))) }
}

func interrupts(x *trial, p *process) {
	x.until("rows", x.rows(5))
	_ = p.Process.Signal(os.Interrupt)
}

func scenarios() map[string]scenario {
	interrupted := scenario{during: interrupts}
	replanned := scenario{before: func(x *trial) {
		p := x.submit()
		x.until("rows", x.rows(5))
		_ = p.Process.Kill()
		p.want(-1)
		x.args = append(x.args, "--max-partition-size", "90")
	}}
	halfLost := scenario{before: func(x *trial) {
		x.ends()
		files := x.results()
		for _, f := range files[:len(files)/2] {
			os.Remove(f)
		}
	}}
	return map[string]scenario{
		"slurm:void-written": {before: answers("true", tooMany)},
		"slurm:id-found":     {before: answers(`$real "$@" >/dev/null`, timedOut)},
		"slurm:lost-written": {before: answers("true", timedOut)},
		"slurm:ghost-found": {before: func(x *trial) {
			answers(`$real --begin=now+30 "$@" >/dev/null`, refused)(x)
			x.submit().want(exitFailed)
		}},
		"slurm:before-sacct":  {setup: setup{slurm: first("kill -9 $$")}},
		"slurm:throttle-told": {setup: setup{spec: twoPools, slurm: `prologue = "case $SEXTANT_JOB in *.second--*) ;; *) sleep 5 ;; esac"`}},
		"run:giveup":          {setup: setup{spec: doomed, exit: exitIncomplete}},
		"run:cancelled": {
			setup: setup{spec: "[[models]]\nabbr = \"moved\"\npath = \"$DIR/model\"\n", limit: 24,
				slurm: first("mv $DIR/model/model.safetensors $DIR/aside")},
			before: func(x *trial) {
				if err := os.CopyFS(filepath.Join(x.dir, "model"), os.DirFS(filepath.Join(pocket(), "model"))); err != nil {
					x.t.Fatal(err)
				}
				x.calm()
			},
			after: func(x *trial) {
				_ = os.Rename(filepath.Join(x.dir, "aside"), filepath.Join(x.dir, "model", "model.safetensors"))
			},
		},
		"run:abandoned":     {setup: setup{slurm: first("exit 1"), flags: []string{"--one-shard-per-job"}}},
		"run:stop":          interrupted,
		"run:stopped":       interrupted,
		"run:kept":          {before: func(x *trial) { x.ends(); x.args = append(x.args, "--max-partition-size", "90") }},
		"run:closed":        replanned,
		"run:foreign":       replanned,
		"run:expelled":      replanned,
		"run:held":          {before: answers("true", tooMany)},
		"run:given-up":      {setup: setup{spec: doomed, exit: exitIncomplete}},
		"run:stop-asked":    interrupted,
		"run:committed":     halfLost,
		"run:unsatisfiable": {before: answers("true", impossible)},
		// It comes after it was given up, and takes what was to be done anew.
		"run:met": {setup: setup{env: loading("12s")}, before: answers(
			`(until [ $(ls $dir/runs/*/slurm/*.json | wc -l) -gt 1 ]; do sleep 0.2; done; sleep 1; $real "$@") </dev/null >/dev/null 2>&1 &`, timedOut)},
		// A worker that is started anew while no submit is there goes on by itself.
		"run:retaken": {setup: setup{env: loading("2s"), flags: []string{"--max-num-workers", "1"}}, before: func(x *trial) {
			p := x.submit()
			row := x.running()
			x.until("a worker", func() bool { return len(x.workers()) == 1 })
			_ = p.Process.Kill()
			p.want(-1)
			x.cluster.Run(x.t, "scontrol", "requeue", row.ID)
			x.until("a second attempt", func() bool {
				files, _ := filepath.Glob(filepath.Join(x.work, "*", "claims", "*.2"))
				return len(files) > 0
			})
		}},
		"run:commit": halfLost,
	}
}

// TestChaosDeathAtPoints kills submit at each point that stands in the source, and gives the same command again.
func TestChaosDeathAtPoints(t *testing.T) {
	t.Parallel()
	c := quietCluster(t)
	special := scenarios()
	var cases []trialCase
	for _, name := range sources(t) {
		for _, n := range append([]int{1}, again[name]...) {
			sc := special[name]
			slow := slices.Contains(inDoubt, name)
			cases = append(cases, trialCase{name: fmt.Sprintf("%s:%d", name, n), slow: slow, do: func(t *testing.T) {
				point := fmt.Sprintf("%s:%d", name, n)
				for range 4 { // some points are come by only when workers happen to end in some order
					if diesAt(newTrial(t, c, sc.setup), sc, point) {
						return
					}
				}
				t.Errorf("submit never came by %s", point)
			}})
		}
	}
	if len(cases) < 40 {
		t.Errorf("%d cases, want 40", len(cases))
	}
	each(t, 6, 4, cases)
}

// diesAt lets a submit die at a point and the same command again end the run. false: it did not come by the point, and ended well.
func diesAt(x *trial, sc scenario, point string) bool {
	t := x.t
	t.Helper()
	if sc.before != nil {
		sc.before(x)
	}
	p := x.begin("/proc/self/exe", []string{asSubmit + "=" + point}, append(slices.Clone(x.args), "--slurm")...)
	if sc.during != nil {
		sc.during(x, p)
	}
	switch code := p.end(); code {
	case -1:
	case exitDone:
		return false
	default:
		t.Fatalf("submit was to die at %s: exit code %d\n%s", point, code, &p.log)
	}
	if sc.after != nil {
		sc.after(x)
	}
	if dice(t).IntN(2) == 0 {
		time.Sleep(3 * time.Second) // much may happen until somebody comes back
	}
	x.ends()
	return true
}

// TestChaosDeathAtAnyMoment kills submit at moments that nobody chose, some runs more than once.
func TestChaosDeathAtAnyMoment(t *testing.T) {
	t.Parallel()
	c := quietCluster(t)
	var cases []trialCase
	for i := range 50 {
		cases = append(cases, trialCase{name: fmt.Sprint(i), do: func(t *testing.T) {
			x, r := newTrial(t, c, setup{}), dice(t)
			for range 1 + r.IntN(2) {
				p := x.submit()
				time.Sleep(time.Duration(r.Int64N(int64(5 * time.Second))))
				_ = p.Process.Kill()
				<-p.done
			}
			x.ends()
		}})
	}
	each(t, 2, 4, cases)
}
