package main

import (
	"bytes"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sextant/internal/points"
	"sextant/internal/slurmlab"
)

var (
	chaosAll  = flag.Bool("chaos", false, "every case of the chaos tests, not a sample of them")
	chaosSeed = flag.Uint64("chaos-seed", 1, "what chooses the sample and the moments of the chaos tests")
)

// asSubmit makes the test binary submit, with a death at a point: "POINT:N" is where it kills itself, when it comes by for the N-th time.
const asSubmit = "SEXTANT_TEST_POINT"

// submitWithPoints is submit with a death at a point.
func submitWithPoints() int {
	where := os.Getenv(asSubmit)
	os.Unsetenv(asSubmit) // it is not for what submit starts
	at := strings.LastIndexByte(where, ':')
	left, err := strconv.Atoi(where[at+1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s=%q: %v\n", asSubmit, where, err)
		return exitFailed
	}
	points.Hook = func(name string) {
		if name != where[:at] {
			return
		}
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	return command(os.Args)
}

// dice are a test's own, of the seed.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	h := fnv.New64a()
	h.Write([]byte(t.Name()))
	t.Logf("-chaos-seed=%d", *chaosSeed)
	return rand.New(rand.NewPCG(*chaosSeed, h.Sum64()))
}

// trialCase is one thing that is done to a run.
type trialCase struct {
	name string
	slow bool // half a minute and more: not in the sample
	do   func(t *testing.T)
}

// slots bounds how many cases of all tests are at work at once.
var slots = make(chan struct{}, 6)

// each does the cases, several at once: their runs wait for Slurm most of the time. Without -chaos it does n of those that are not slow.
func each(t *testing.T, n, atOnce int, cases []trialCase) {
	t.Helper()
	if !*chaosAll {
		var quick []trialCase
		for _, c := range cases {
			if !c.slow {
				quick = append(quick, c)
			}
		}
		slices.SortFunc(quick, func(a, b trialCase) int { return strings.Compare(a.name, b.name) })
		r := dice(t)
		r.Shuffle(len(quick), func(i, j int) { quick[i], quick[j] = quick[j], quick[i] })
		cases = quick[:min(n, len(quick))]
	}
	queue := make(chan trialCase)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for c := range queue {
				slots <- struct{}{}
				t.Run(c.name, c.do)
				<-slots
			}
		})
	}
	for _, c := range cases {
		queue <- c
	}
	close(queue)
	wg.Wait()
}

// setup is what differs between trials.
type setup struct {
	spec  string   // appended to the spec
	slurm string   // further lines of its [slurm]
	flags []string // further arguments of submit
	env   []string
	limit int // rows of a dataset; 0: 12
	exit  int // of the calm run
	twice bool
}

// trial is one run on a cluster, to which something is done.
type trial struct {
	session
	setup
	cluster *slurmlab.Cluster
	dir     string // spec, replaced commands, marks
}

func newTrial(t *testing.T, c *slurmlab.Cluster, o setup) *trial {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(filepath.Dir(c.Dir)), "sextant-chaos")
	if err != nil {
		t.Fatal(err)
	}
	x := &trial{session: session{t: t, work: filepath.Join(dir, "runs")}, setup: o, cluster: c, dir: dir}
	t.Cleanup(func() {
		if t.Failed() {
			x.post()
		}
		os.RemoveAll(dir)
	})
	text := strings.NewReplacer("$DIR", dir, "$POCKET", pocket()).Replace(fmt.Sprintf(
		"include = [%q]\n%s\n[slurm]\npoll_min = 1\npoll_max = 2\n%s\n", filepath.Join(pocket(), "eval.toml"), o.spec, o.slurm))
	x.write("spec.toml", text, 0o644)
	limit := o.limit
	if limit == 0 {
		limit = 12
	}
	x.args = append([]string{filepath.Join(dir, "spec.toml"), "-w", x.work, "--limit", strconv.Itoa(limit), "--max-num-workers", "2",
		"--max-partition-size", "60", "--worker", filepath.Join(bin, "worker")}, o.flags...)
	return x
}

func (x *trial) write(name, text string, mode os.FileMode) {
	x.t.Helper()
	path := filepath.Join(x.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		x.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		x.t.Fatal(err)
	}
}

// post tells of a failed trial what is needed to understand it.
func (x *trial) post() {
	for name, most := range map[string]int{"*/jobs.jsonl": 40000, "*/slurm/*.log": 3000, "*/claims/*": 300, "*/attempts/*/*/end.json": 300} {
		files, _ := filepath.Glob(filepath.Join(x.work, name))
		for _, f := range files {
			text, _ := os.ReadFile(f)
			x.t.Logf("== %s\n%s", strings.TrimPrefix(f, x.work), text[max(len(text)-most, 0):])
		}
	}
}

// process is a submit at work.
type process struct {
	*exec.Cmd
	t    *testing.T
	log  bytes.Buffer // to be read when it has ended
	done chan struct{}
}

// begin starts a program of this repository, pointed at the cluster.
func (x *trial) begin(program string, env []string, args ...string) *process {
	x.t.Helper()
	p := &process{Cmd: exec.Command(program, args...), t: x.t, done: make(chan struct{})}
	p.Env = append(append(append(os.Environ(), x.cluster.Env()...), x.env...), env...)
	if _, err := os.Stat(filepath.Join(x.dir, "path")); err == nil {
		p.Env = append(p.Env, "PATH="+filepath.Join(x.dir, "path")+":"+os.Getenv("PATH"))
	}
	return p.begin(x.dir)
}

// begin starts the command in a directory, with its output in the log. It is killed when the test ends.
func (p *process) begin(dir string) *process {
	p.t.Helper()
	p.Stdout, p.Stderr, p.Dir = &p.log, &p.log, dir
	if err := p.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		close(p.done)
	}()
	p.t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
	})
	return p
}

// submit starts the trial's command.
func (x *trial) submit(further ...string) *process {
	x.t.Helper()
	return x.begin(filepath.Join(bin, "submit"), nil, append(append([]string{}, x.args...), append(further, "--slurm")...)...)
}

// subcommand starts submit resume, cancel, ... on the run.
func (x *trial) subcommand(name string, further ...string) *process {
	x.t.Helper()
	return x.begin(filepath.Join(bin, "submit"), nil, append([]string{name, x.run()}, further...)...)
}

// patient is how long anything may take on a machine that others use too.
const patient = 3 * time.Minute

// end waits for the program and gives its exit code, -1 when it was killed.
func (p *process) end() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patient):
		_ = p.Process.Signal(syscall.SIGQUIT)
		time.Sleep(time.Second)
		_ = p.Process.Kill()
		<-p.done
		p.t.Fatalf("submit has not ended after %s\n%s", patient, &p.log)
	}
	return p.ProcessState.ExitCode()
}

// want waits for the program and wants it to end with a code and to have said something.
func (p *process) want(code int, texts ...string) {
	p.t.Helper()
	if got := p.end(); got != code {
		p.t.Fatalf("exit code %d, want %d\n%s", got, code, &p.log)
	}
	for _, text := range texts {
		if !strings.Contains(p.log.String(), text) {
			p.t.Errorf("it did not say %q\n%s", text, &p.log)
		}
	}
}

// over says that the program has ended.
func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// run is the run's directory, once it is there.
func (x *trial) run() string {
	x.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(x.work, "*_*"))
	if err != nil || len(dirs) != 1 {
		x.t.Fatalf("want one run, got %q (%v)", dirs, err)
	}
	return dirs[0]
}

// until waits for something to come true.
func (x *trial) until(what string, ok func() bool) {
	x.t.Helper()
	for end := time.Now().Add(patient); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			x.t.Fatalf("waited %s for %s", patient, what)
		}
	}
}

// rows says that so many rows are saved.
func (x *trial) rows(n int) func() bool { return func() bool { return len(x.computed()) >= n } }

// queue lists the jobs of this run alone that have not ended.
func (x *trial) queue() []slurmlab.Row {
	x.t.Helper()
	manifests, _ := filepath.Glob(filepath.Join(x.work, "*", "slurm", "sx-*.json"))
	own := map[string]bool{}
	for _, m := range manifests {
		own[strings.TrimSuffix(filepath.Base(m), ".json")] = true
	}
	var rows []slurmlab.Row
	for _, r := range x.cluster.Queue(x.t, "-t", "PD,R,CG,S,CF,RQ") {
		if own[r.Name] {
			rows = append(rows, r)
		}
	}
	return rows
}

// running waits for a running job of the run and gives it.
func (x *trial) running() slurmlab.Row {
	x.t.Helper()
	var got slurmlab.Row
	x.until("a running job", func() bool {
		for _, r := range x.queue() {
			if r.State == "RUNNING" {
				got = r
				return true
			}
		}
		return false
	})
	return got
}

// workers are the processes that work on the run.
func (x *trial) workers() []int {
	var pids []int
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		cmd, _ := os.ReadFile(p)
		if args := strings.Split(string(cmd), "\x00"); filepath.Base(args[0]) == "worker" && bytes.Contains(cmd, []byte(x.work+"/")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// idle waits until nothing of the run is left: no job, no process.
func (x *trial) idle() {
	x.t.Helper()
	var jobs []slurmlab.Row
	var pids []int
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if jobs, pids = x.queue(), x.workers(); len(jobs)+len(pids) == 0 {
			return
		}
		if time.Now().After(end) {
			x.t.Errorf("jobs are left: %+v, and processes: %d", jobs, pids)
			return
		}
	}
}

// instead puts a shell script in the place of a command of Slurm. In it $real is the command and $dir the trial's directory.
func (x *trial) instead(name, script string) {
	x.t.Helper()
	real, err := exec.LookPath(name)
	if err != nil {
		x.t.Fatal(err)
	}
	x.write("path/"+name, fmt.Sprintf("#!/bin/bash\nreal=%s dir=%s\n%s\nexec $real \"$@\"\n", real, x.dir, script), 0o755)
}

// there says that a file is in the trial's directory.
func (x *trial) there(name string) func() bool {
	return func() bool {
		_, err := os.Stat(filepath.Join(x.dir, name))
		return err == nil
	}
}

// arrays counts what was submitted.
func (x *trial) arrays() int {
	ids, _ := filepath.Glob(filepath.Join(x.work, "*", "slurm", "sx-*.id"))
	return len(ids)
}
