package slurm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sextant/scheduler"
)

// fake is a cluster of shell scripts and files. Nothing runs on it: tests write what becomes of the jobs.
type fake struct {
	*testing.T
	dir   string // queue: squeue's rows; calls: the commands that were given; and the switches that the scripts look for
	clock time.Time
}

// scripts are the fake's commands. sbatch insists on a manifest and queues a row an element.
var scripts = map[string]string{
	"sbatch": `[ "$1" = --version ] && echo slurm-wlm 22.05.8 && exit
[ "$1" = --help ] && exit
for script; do :; done
echo "sbatch $*" >>$F/calls
[ -s "${script%.sbatch}.json" ] && [ -s "${script%.sbatch}.list" ] || { echo "nothing was noted before sbatch" >&2; exit 99; }
[ -e $F/refuse ] && cat $F/refuse >&2 && exit 1
[ -e $F/drop ] && cat $F/drop >&2 && exit 1
array=$(sed -n 's/^#SBATCH --array=0-//p' "$script")
n=$((${array%%%*} + 1))
touch $F/queue
have=$(wc -l <$F/queue)
if [ -e $F/limit ] && [ $((have + n)) -gt $(cat $F/limit) ]; then
	echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)" >&2
	exit 1
fi
id=$(($(cat $F/id 2>/dev/null || echo 100) + 1))
echo $id >$F/id
token=$(sed -n 's/^#SBATCH --job-name=//p' "$script")
seq 0 $((n - 1)) | sed "s/.*/${id}_&|$token|PENDING||N\/A|2026-11-21T10:00:00|N\/A|Priority/" >>$F/queue
[ -e $F/doubt ] && cat $F/doubt >&2 && exit 1
echo "Welcome to the cluster"
echo "$id;lab"
`,
	"squeue": `echo "squeue $*" >>$F/calls
[ -e $F/down ] && cat $F/down >&2 && exit 1
cat $F/queue 2>/dev/null
exit 0
`,
	"sacct": `echo "sacct $*" >>$F/calls
[ -e $F/accounts ] || { echo "Slurm accounting storage is disabled" >&2; exit 1; }
cat $F/accounts
`,
	"scontrol": `[ "$1" = show ] && [ "$2" = config ] && echo "MaxArraySize            = 1001" && exit
echo "scontrol $*" >>$F/calls
[ "$1" = update ] && [ -e $F/partly ] && cat $F/partly >&2 && exit 1
[ "$1" = update ] || cat $F/show
`,
	"scancel": `echo "scancel $*" >>$F/calls
[ -e $F/down ] && cat $F/down >&2 && exit 8
exit 0
`,
}

func newFake(t *testing.T) *fake {
	f := &fake{T: t, dir: fastDir(t), clock: time.Date(2026, 11, 21, 10, 0, 0, 0, time.Local)}
	for name, body := range scripts {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte("#!/bin/sh\nF="+f.dir+"\n"+body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", f.dir+":"+os.Getenv("PATH"))
	return f
}

// fastDir is a directory where fsync costs nothing.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "slurm-unit")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// new makes a scheduler on the fake's directory, as another process would.
func (f *fake) new(workers int) *Scheduler {
	f.Helper()
	s, err := New(f.Context(), Options{Dir: f.dir + "/arrays", Scripts: f.dir + "/scripts", Tag: "unit", Workers: workers, Grace: time.Minute})
	if err != nil {
		f.Fatal(err)
	}
	s.now = func() time.Time { return f.clock }
	return s
}

func (f *fake) set(name, text string) {
	f.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644); err != nil {
		f.Fatal(err)
	}
}

func (f *fake) unset(name string) { os.Remove(filepath.Join(f.dir, name)) }

func (f *fake) get(name string) string {
	b, _ := os.ReadFile(filepath.Join(f.dir, name))
	return string(b)
}

// calls are the commands of a kind that were given so far.
func (f *fake) calls(command string) []string {
	var calls []string
	for line := range strings.Lines(f.get("calls")) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), command+" "); ok {
			calls = append(calls, rest)
		}
	}
	return calls
}

// edit changes the queue's rows: old into new.
func (f *fake) edit(pairs ...string) {
	f.Helper()
	f.set("queue", strings.NewReplacer(pairs...).Replace(f.get("queue")))
}

// later lets time pass.
func (f *fake) later(d time.Duration) { f.clock = f.clock.Add(d) }

// poll takes a new look and gives the status of one job.
func (f *fake) poll(s *Scheduler, name string) scheduler.Status {
	f.Helper()
	f.later(lookEvery)
	status, err := s.Poll(f.Context(), []scheduler.Ref{{Name: name}})
	if err != nil {
		f.Fatal(err)
	}
	return status[name]
}

// some makes jobs of one script.
func some(n int, pool string) []scheduler.Job {
	var jobs []scheduler.Job
	for i := range n {
		jobs = append(jobs, scheduler.Job{Name: fmt.Sprintf("%s%d", pool, i), Script: pool, Args: []string{"/bin/true"}, Tail: []string{fmt.Sprint(i)},
			Pool: pool, Weight: 1, Dir: "/tmp", Log: "/tmp/log"})
	}
	return jobs
}

func (f *fake) submit(s *Scheduler, jobs []scheduler.Job) []scheduler.Ref {
	f.Helper()
	refs, err := s.Submit(f.Context(), jobs)
	if err != nil || len(refs) != len(jobs) {
		f.Fatalf("submitted %d of %d jobs: %v", len(refs), len(jobs), err)
	}
	return refs
}
