package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sextant/internal/points"
	"sextant/internal/slurmlab"
	"sextant/pkg/result"
	"sextant/pkg/run"
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
		r := dice(t)
		r.Shuffle(len(quick), func(i, j int) { quick[i], quick[j] = quick[j], quick[i] })
		cases = quick[:min(n, len(quick))]
	}
	queue := make(chan trialCase)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for c := range queue {
				t.Run(c.name, c.do)
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
	size  string // of the file system that the run is on; "": as large as it likes
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
	text := strings.NewReplacer("$DIR", dir, "$POCKET", pocket()).Replace(fmt.Sprintf("include = [%q]\n%s\n[slurm]\npoll_min = 1\npoll_max = 2\n%s\n", filepath.Join(pocket(), "eval.toml"), o.spec, o.slurm))
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
	p.Stdout, p.Stderr, p.Dir = &p.log, &p.log, x.dir
	if err := p.Start(); err != nil {
		x.t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		close(p.done)
	}()
	x.t.Cleanup(func() {
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

// instead puts a shell script in the place of a command of Slurm. In it $real is the command, $calls how often this was called before, and
// $dir the trial's directory.
func (x *trial) instead(name, script string) {
	x.t.Helper()
	real, err := exec.LookPath(name)
	if err != nil {
		x.t.Fatal(err)
	}
	x.write("path/"+name, fmt.Sprintf("#!/bin/bash\nreal=%s dir=%s\ncalls=$(cat $dir/%s.calls 2>/dev/null || echo 0)\necho $((calls+1)) >$dir/%s.calls\n%s\nexec $real \"$@\"\n",
		real, x.dir, name, name, script), 0o755)
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
