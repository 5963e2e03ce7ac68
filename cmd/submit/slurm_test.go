package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sextant/internal/s3lab"
	"sextant/internal/slurmlab"
	"sextant/pkg/score"
)

// accounted is the cluster of the tests of this file: 4 nodes of 8 GPUs, with accounts and QOS, as a site has them.
func accounted(t *testing.T) *slurmlab.Cluster {
	return slurmlab.Shared(t, slurmlab.Options{Nodes: 4, GPUs: 8, Accounting: true})
}

// asTyped is a trial of a command line as a user types it: nothing but what is given, beside the work directory.
func asTyped(t *testing.T, c *slurmlab.Cluster, args ...string) *trial {
	t.Helper()
	x := newTrial(t, c, setup{})
	x.args = append(args, "-w", x.work)
	return x
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestSlurmCommand gives the command that the manual promises, and holds it to the scores of this machine and to the goldens.
func TestSlurmCommand(t *testing.T) {
	t.Parallel()
	c := accounted(t)
	spec := filepath.Join(pocket(), "eval.toml")
	local := asTyped(t, c, spec, "--max-num-workers", "2")
	here := local.begin(filepath.Join(bin, "submit"), nil, local.args...)
	x := asTyped(t, c, spec, "-p", "llmeval", "-q", "auto", "--max-num-workers", "32", "--max-partition-size", "4000")
	x.submit().want(exitDone, "7/7 tasks, 1917/1917 rows")
	here.want(exitDone)
	text := readFile(t, filepath.Join(x.run(), "scores.json"))
	if want := readFile(t, filepath.Join(local.run(), "scores.json")); text != want {
		t.Errorf("scores differ from this machine's\n%s\nwant\n%s", text, want)
	}
	var got score.Scores
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	golden(t, got)
	x.idle()
	x.submit().want(exitDone, "nothing to do: every row has its result")
	jobs := strings.Fields(c.Run(t, "sacct", "-X", "-n", "-P", "-o", "QOS", "--name="+x.tokens(), "-S", "now-1hour"))
	if n := len(jobs); n == 0 || len(slices.Compact(jobs)) != 1 || jobs[0] != "auto" {
		t.Errorf("the jobs' qos is %q, want auto", jobs)
	}
}

// tokens are the names of the run's arrays, as Slurm's commands take them.
func (x *trial) tokens() string {
	x.t.Helper()
	files, _ := filepath.Glob(filepath.Join(x.work, "*", "slurm", "sx-*.json"))
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	return strings.Join(names, ",")
}

// shapes are models that want GPUs and processes: the same weights under several names.
const shapes = `
[[models]]
abbr = "one"
path = "$POCKET/model"
run_cfg = { num_gpus = 1, num_procs = 1 }
[[models]]
abbr = "eight"
path = "$POCKET/model"
run_cfg = { num_gpus = 8, num_procs = 8 }
`

// TestSlurmShapes runs models of several shapes in one go: each job has what its model asks for, one worker, and the scores are as on this
// machine.
func TestSlurmShapes(t *testing.T) {
	t.Parallel()
	x := newTrial(t, accounted(t), setup{spec: shapes, slurm: "prologue = '''\n" +
		"echo \"$SEXTANT_JOB gpus=$CUDA_VISIBLE_DEVICES tasks=$SLURM_NTASKS nodes=$SLURM_NNODES\" >>$DIR/seen\n" +
		"scontrol show job -o \"$SLURM_JOB_ID\" >>$DIR/shown\n'''\n", flags: []string{"--max-num-workers", "6"}})
	x.env = []string{"CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7"} // this machine needs to have as many
	x.calm()
	x.env = nil
	x.ends()
	seen, shown := readFile(t, filepath.Join(x.dir, "seen")), readFile(t, filepath.Join(x.dir, "shown"))
	for model, says := range map[string]string{
		`\.pocket--`: `gpus=(NoDevFiles)? tasks=1 nodes=1\n`, `\.one--`: `gpus=[0-7] tasks=1 nodes=1\n`, `\.eight--`: `gpus=0,1,2,3,4,5,6,7 tasks=8 nodes=1\n`,
	} {
		lines := regexp.MustCompile(`(?m)^.*`+model+`.*\n`).FindAllString(seen, -1)
		for _, line := range lines {
			if !regexp.MustCompile(says).MatchString(line) {
				t.Errorf("a job of %s saw %s, want %s", model, line, says)
			}
		}
		if len(lines) == 0 {
			t.Errorf("no job of %s was seen in\n%s", model, seen)
		}
	}
	for _, says := range []string{`gres[:/]gpu:1\b`, `gres[:/]gpu:8\b`, ` NumTasks=8 `} {
		if !regexp.MustCompile(says).MatchString(shown) {
			t.Errorf("no job with %s in\n%s", says, shown)
		}
	}
}

// TestSlurmRanks runs a model that lies in an object store over two nodes, a process on each, which srun starts; the scores are as on this machine. The
// keys are in a file of the user's, which the jobs read, and nowhere else.
func TestSlurmRanks(t *testing.T) {
	t.Parallel()
	lab := s3lab.Start(t)
	lab.PutDir(t, "weights", "pocket/", filepath.Join(pocket(), "model"))
	proxy := lab.Proxy(t)
	x := newTrial(t, accounted(t), setup{spec: "\n[[models]]\nabbr = \"two\"\npath = \"lab:s3://weights/pocket/\"\nrun_cfg = { num_procs = 2 }\n" +
		"[s3]\nprofiles = \"" + lab.Profiles(t, "lab", proxy.URL) + "\"\ncache_dir = \"$DIR/cache\"\n",
		slurm: "env = { SEXTANT_CACHE_DIR = \"$DIR/cache-${SLURMD_NODENAME}\" }\nextra = [\"--ntasks-per-node=1\"]\n" +
			"prologue = 'echo \"nodes=$SLURM_NNODES\" >>$DIR/seen'\n", flags: []string{"--max-num-workers", "1"}})
	x.listens()
	x.calm()
	here, _ := proxy.Gets()
	x.ends()
	if n, _ := proxy.Gets(); n == here {
		t.Error("the jobs have read nothing of the object store")
	}
	noKeysIn(t, x.dir, lab)
	if seen := readFile(t, filepath.Join(x.dir, "seen")); !strings.Contains(seen, "nodes=2") { // the other model has one
		t.Errorf("the jobs saw %s, want two nodes", seen)
	}
	logs, _ := filepath.Glob(filepath.Join(x.work, "*", "slurm", "sx-*.log"))
	ranks := ""
	for _, path := range logs {
		ranks += readFile(t, path)
	}
	if !strings.Contains(ranks, "part of the model loaded\" rank=1 ") {
		t.Errorf("no second rank in the logs:\n%s", ranks)
	}
}

// call is one call of a command of Slurm.
type call struct {
	at   time.Time
	args string
}

// listens makes the commands of Slurm tell when they are called.
func (x *trial) listens() {
	for _, name := range []string{"sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"} {
		x.instead(name, `echo "$(date +%s.%N) ${0##*/} $*" >>$dir/calls`)
	}
}

// heard are the calls until now, of one command or of all that ask the controller.
func (x *trial) heard(name string) (calls []call) {
	x.t.Helper()
	text, _ := os.ReadFile(filepath.Join(x.dir, "calls"))
	for line := range strings.Lines(string(text)) {
		stamp, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		seconds, err := strconv.ParseFloat(stamp, 64)
		if err != nil {
			x.t.Fatalf("%q: %v", line, err)
		}
		asks := rest != "sbatch --version" && rest != "sbatch --help" && !strings.HasPrefix(rest, "sacct ")
		if command, _, _ := strings.Cut(rest, " "); asks && (name == "" || command == name) {
			calls = append(calls, call{time.UnixMicro(int64(seconds * 1e6)), rest})
		}
	}
	return calls
}

// most is the largest number of calls within any second.
func most(calls []call) int {
	n := 0
	for i := range calls {
		j := i
		for j < len(calls) && calls[j].at.Sub(calls[i].at) < time.Second {
			j++
		}
		n = max(n, j-i)
	}
	return n
}

// TestSlurmThousandShards queues a thousand shards with a handful of calls, asks once a poll however many there are, and takes them back. It
// measures time, and so runs before those that are parallel.
func TestSlurmThousandShards(t *testing.T) {
	x := asTyped(t, accounted(t), filepath.Join(pocket(), "eval.toml"), "-p", "llmeval", "-q", "auto", "--max-num-workers", "2",
		"--max-partition-size", "2", "--gen-task-coef", "1")
	x.listens()
	p := x.submit()
	x.until("the jobs", func() bool { return len(x.heard("squeue")) > 0 })
	calls := x.heard("sbatch")
	if n := len(calls); n == 0 || n > 5 {
		t.Errorf("%d calls of sbatch, want 1 to 5: %v", n, calls)
	}
	if n := len(x.queue()); n < 1000 {
		t.Errorf("%d jobs are in the queue, want 1000 and more", n)
	}
	x.journalled("accept", 1000, 2*time.Second)
	x.until("rows", x.rows(20))
	time.Sleep(4 * time.Second)
	if p.over() {
		t.Fatalf("submit has ended\n%s", &p.log)
	}
	x.polls()
	x.subcommand("cancel").want(exitDone, "none is left")
	p.want(exitFailed, "submit resume")
	x.idle()
}

// polls wants few calls of the controller: one squeue a poll, at most two calls in a second once the jobs are queued.
func (x *trial) polls() {
	x.t.Helper()
	squeues := x.heard("squeue")
	for i := 1; i < len(squeues); i++ {
		if gap := squeues[i].at.Sub(squeues[i-1].at); gap < 400*time.Millisecond {
			x.t.Errorf("squeue again after %s:\n%s\n%s", gap, squeues[i-1].args, squeues[i].args)
		}
	}
	all := x.heard("")
	queued := slices.IndexFunc(all, func(c call) bool { return strings.HasPrefix(c.args, "squeue") })
	if n := most(all[queued:]); n > 2 {
		x.t.Errorf("%d calls of the controller within a second: %v", n, all[queued:])
	}
}

// journalled wants so many events of a kind in the journal, the last of them not later than a time after the run was opened.
func (x *trial) journalled(event string, n int, within time.Duration) {
	x.t.Helper()
	var opened, last time.Time
	found := 0
	for line := range strings.Lines(readFile(x.t, filepath.Join(x.run(), "jobs.jsonl"))) {
		var e struct {
			Time  time.Time
			Event string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			x.t.Fatal(err)
		}
		if e.Event == "open" {
			opened = e.Time
		}
		if e.Event == event && found < n {
			found++
			last = e.Time
		}
	}
	if took := last.Sub(opened); found < n || took > within {
		x.t.Errorf("%d events %q after %s, want %d within %s", found, event, took, n, within)
	}
}

// golden holds scores to those of an independent implementation: accuracies exactly, the perplexity within 0.1 %.
func golden(t *testing.T, got score.Scores) {
	t.Helper()
	var want map[string]any
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(pocket(), "golden", "scores.json"))), &want); err != nil {
		t.Fatal(err)
	}
	for dataset, key := range map[string]string{"pocket_winograd": "winograd", "pocket_piqa": "piqa", "pocket_siqa_ppl": "siqa_ppl",
		"pocket_cloze": "cloze", "pocket_gsm": "gsm", "pocket_lambada": "lambada", "pocket_text": "ppl"} {
		value, slack := want[key].(float64)*100, 1e-9
		if key == "ppl" {
			value, slack = want[key].(float64), want[key].(float64)*1e-3
		}
		if sc := find(t, got, dataset); *sc.Value < value-slack || *sc.Value > value+slack || sc.Missing != 0 {
			t.Errorf("%s is %v with %d missing, want %v", dataset, *sc.Value, sc.Missing, value)
		}
	}
}
