package shim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// bench is a cluster with a directory of scripts.
type bench struct {
	*Cluster
	t   *testing.T
	dir string
}

func newBench(t *testing.T, o Options) *bench {
	return &bench{Install(t, o), t, t.TempDir()}
}

// run runs a command line of words and returns what it said and its code.
func (b *bench) run(words ...string) (out, text string, code int) {
	b.t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	var stdout, stderr strings.Builder
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), "SLURM_TIME_FORMAT=standard")
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		b.t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// script writes a batch script.
func (b *bench) script(name, body string) string {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte("#!/bin/bash\n"+body+"\n"), 0o755); err != nil {
		b.t.Fatal(err)
	}
	return name
}

// submit runs sbatch --parsable and returns the id.
func (b *bench) submit(words ...string) string {
	b.t.Helper()
	out, text, code := b.run(append([]string{"sbatch", "--parsable"}, words...)...)
	if code != 0 {
		b.t.Fatalf("sbatch %v: %d %s", words, code, text)
	}
	return strings.TrimSpace(out)
}

// until waits for elements to reach a state.
func (b *bench) until(state string, ids ...string) {
	b.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		at := map[string]Element{}
		for _, e := range b.Elements() {
			at[e.ID] = e
		}
		if !slices.ContainsFunc(ids, func(id string) bool { return at[id].State != state }) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%v are not %s: %+v", ids, state, b.Elements())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (b *bench) read(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// queue is squeue of everything, sorted.
func (b *bench) queue() string {
	out, _, _ := b.run("squeue", "-h", "-r", "-t", "all", "-o", "%i|%A|%T|%K")
	lines := strings.Fields(out)
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

const failedWith = "sbatch: error: Batch job submission failed: "

// refusals are what commands of Slurm 22.05.8 said, word by word.
var refusals = []struct {
	line string
	code int
	text string
}{
	{"sbatch dos.sh", 1, "sbatch: error: Batch script contains DOS line breaks (\\r\\n)\nsbatch: error: instead of expected UNIX line breaks (\\n).\n"},
	{"sbatch plain.sh", 1, "sbatch: error: This does not look like a batch script.  The first\nsbatch: error: line must start with #! followed by the path to an interpreter.\nsbatch: error: For instance: #!/bin/sh\n"},
	{"sbatch empty.sh", 1, "sbatch: error: Batch script is empty!\n"},
	{"sbatch nofile.sh", 1, "sbatch: error: Unable to open file nofile.sh\n"},
	{"sbatch -p nope s.sh", 1, "sbatch: error: invalid partition specified: nope\n" + failedWith + "Invalid partition name specified\n"},
	{"sbatch -q nope s.sh", 1, failedWith + "Invalid qos specification\n"},
	{"sbatch --quotatype=auto s.sh", 255, "sbatch: unrecognized option '--quotatype=auto'\nTry \"sbatch --help\" for more information\n"},
	{"sbatch -A nope s.sh", 1, failedWith + "Invalid account or account/partition combination specified\n"},
	{"sbatch --gres=tpu:1 s.sh", 1, "sbatch: error: Invalid generic resource (gres) specification\n"},
	{"sbatch --gres=gpu:99 s.sh", 1, failedWith + "Requested node configuration is not available\n"},
	{"sbatch --gpus-per-node=9 s.sh", 1, failedWith + "Requested node configuration is not available\n"},
	{"sbatch --exclude=node[1-2] s.sh", 1, failedWith + "Requested node configuration is not available\n"},
	{"sbatch --exclude=nodeX s.sh", 1, failedWith + "Invalid node name specified\n"},
	{"sbatch --array=0-200000 s.sh", 1, failedWith + "Invalid job array specification\n"},
	{"sbatch --array=5-2 s.sh", 1, failedWith + "Invalid job array specification\n"},
	{"sbatch --time=abc s.sh", 255, "sbatch: error: Invalid --time specification\n"},
	{"sbatch -c abc s.sh", 1, "sbatch: error: Invalid numeric value \"abc\" for --cpus-per-task.\n"},
	{"sbatch --signal=foo s.sh", 255, "sbatch: error: Invalid --signal specification\n"},
	{"sbatch open.sh", 1, "sbatch: fatal: open.sh: line 2: Unmatched `\"` in [--job-name=\"unterminated]\n"},
	{"sbatch slash.sh", 255, "sbatch: error: Invalid directive found in batch script: \\x\n"},
	{"sbatch word.sh", 255, "sbatch: error: Invalid directive found in batch script: word\n"},
	{"sbatch --test-only -p nope s.sh", 1, "sbatch: error: invalid partition specified: nope\nallocation failure: Invalid partition name specified\n"},
	{"sbatch --test-only --gres=gpu:99 s.sh", 1, "allocation failure: Requested node configuration is not available\n"},
	{"squeue -j 99999", 1, "slurm_load_jobs error: Invalid job id specified\n"},
	{"squeue -h -j 99999,99998", 0, ""},
	{"squeue -j abc", 1, "squeue: error: Invalid job id: abc\n"},
	{"squeue --only-job-state", 1, "squeue: unrecognized option '--only-job-state'\nTry \"squeue --help\" for more information\n"},
	{"squeue -h -u nope-nobody", 1, "squeue: error: Invalid user: nope-nobody\n\n"},
	{"sacct -X -n -P -o Reason,Bogus", 1, "sacct: error: Invalid field requested: \"Bogus\"\n"},
	{"sacct -n -j 99999", 0, ""},
	{"scancel 99999", 0, ""},
	{"scancel abc", 1, "scancel: error: Invalid job id abc\n"},
	{"scancel", 1, "scancel: error: No job identification provided\n"},
	{"scontrol show job 99999", 1, "slurm_load_jobs error: Invalid job id specified\n"},
	{"scontrol update jobid=99999 ArrayTaskThrottle=16", 1, "Invalid job id specified for job 99999\n"},
	{"scontrol bogus", 1, "invalid keyword: bogus\n"},
	{"scontrol show bogus", 1, "invalid entity:bogus for keyword:show \n"},
	{"sinfo --bogus", 1, "sinfo: unrecognized option '--bogus'\nTry \"sinfo --help\" for more information\n"},
}

// TestRefusals holds what commands refuse to what Slurm 22.05.8 said, word by word.
func TestRefusals(t *testing.T) {
	b := newBench(t, Options{Second: time.Millisecond, Nodes: 2, MaxArraySize: 100001})
	b.script("s.sh", "true")
	b.script("dos.sh", "true\r")
	b.script("open.sh", `#SBATCH --job-name="unterminated`)
	b.script("slash.sh", `#SBATCH "--comment=a b" `+"\n"+`#SBATCH --job-name=a\"b \\x`)
	b.script("word.sh", "#SBATCH word --nice=3")
	for name, text := range map[string]string{"empty.sh": "", "plain.sh": "sleep 1\n"} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range refusals {
		_, text, code := b.run(strings.Fields(c.line)...)
		text = strings.ReplaceAll(text, b.dir+"/", "")
		if text != c.text || code != c.code {
			t.Errorf("%s: %d %q, want %d %q", c.line, code, text, c.code, c.text)
		}
	}
}

// TestDirectives reads a script's directives as the real sbatch was seen to.
func TestDirectives(t *testing.T) {
	got, err := directives("x", `#!/bin/bash
# comment
#SBATCH --job-name="two words" --comment='it'"s" # trailing --nice=5
#SBATCH --chdir=/tmp --account eval -t5
   #SBATCH --nice=100
#SBATCH --output="/w/a b\ c.log"
#SBATCH-c 7
#SBATCH	--mem=300

true;
#SBATCH --nice=200
`)
	want := []string{"--job-name=two words", "--comment=its", "--chdir=/tmp", "--account", "eval", "-t5", "--output=/w/a b c.log", "-c", "7", "--mem=300"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestJobSeesItsPlace(t *testing.T) {
	b := newBench(t, Options{})
	b.script("env.sh", "#SBATCH --gres=gpu:2 -c 3 -J nice --array=4-5%1 -o env-%A_%a-%x-%N-%u-%%-%4a.log\necho $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_CPUS_PER_TASK $CUDA_VISIBLE_DEVICES $SLURM_JOB_NAME $SLURMD_NODENAME x${SLURM_RESTART_COUNT}x $SLURM_ARRAY_TASK_COUNT \"$@\"")
	id := b.submit("env.sh", "a", "b c")
	b.until("COMPLETED", id+"_4", id+"_5")
	for _, i := range []int{4, 5} {
		name := fmt.Sprintf("env-%s_%d-nice-node1-%s-%%-%04d.log", id, i, userName(), i)
		if got, want := b.read(name), fmt.Sprintf("%s %d 3 0,1 nice node1 xx 2 a b c\n", id, i); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	// The last task of an array has the array's own id.
	if got, want := b.queue(), fmt.Sprintf("%s_4|2|COMPLETED|4 %s_5|1|COMPLETED|5", id, id); got != want {
		t.Errorf("squeue: %s, want %s", got, want)
	}
}

func TestEnds(t *testing.T) {
	b := newBench(t, Options{})
	b.script("s.sh", "#SBATCH -o %a.log --array=0-5\ncase $SLURM_ARRAY_TASK_ID in 1) exit 3;; 2) kill -SEGV $$;; 3) sleep 60;; 4) trap 'echo bye; exit 0' TERM; sleep 60 & wait;; 5) sleep 60;; esac")
	id := b.submit("-t", "1000", "s.sh")
	b.until("FAILED", id+"_1", id+"_2")
	b.until("RUNNING", id+"_3", id+"_4", id+"_5")
	time.Sleep(50 * time.Millisecond)
	if err := b.End(id+"_5", "OUT_OF_MEMORY", "0:125"); err != nil {
		t.Fatal(err)
	}
	b.run("scancel", id+"_[3-4]")
	b.until("CANCELLED", id+"_3", id+"_4")
	b.until("OUT_OF_MEMORY", id+"_5")
	out, _, _ := b.run("sacct", "-X", "-n", "-P", "-o", "JobID,State,ExitCode", "-j", id)
	want := fmt.Sprintf("%[1]s_0|COMPLETED|0:0\n%[1]s_1|FAILED|3:0\n%[1]s_2|FAILED|0:11\n%[1]s_3|CANCELLED by %[2]d|0:0\n%[1]s_4|CANCELLED by %[2]d|0:0\n%[1]s_5|OUT_OF_MEMORY|0:125\n", id, os.Getuid())
	if out != want {
		t.Errorf("sacct: %s, want %s", out, want)
	}
	if log := b.read("4.log"); !strings.HasSuffix(log, "bye\n") || !strings.Contains(log, "CANCELLED AT") {
		t.Errorf("the log of a cancelled job is %q", log)
	}
	lost := b.submit("-o", "/nowhere/x.log", "--array=0", "s.sh")
	b.until("FAILED", lost+"_0")
	slow := b.submit("-t", "1", "-o", "slow.log", "--array=3", "s.sh")
	b.until("TIMEOUT", slow+"_3")
	out, _, _ = b.run("sacct", "-X", "-n", "-P", "-o", "State,ExitCode", "-j", lost+","+slow)
	if out != "FAILED|0:53\nTIMEOUT|0:0\n" {
		t.Errorf("sacct: %s", out)
	}
}

// TestCancelledWhileWaiting is what a real cluster was seen to do with tasks that are cancelled one by one before they begin.
func TestCancelledWhileWaiting(t *testing.T) {
	b := newBench(t, Options{})
	b.script("s.sh", "sleep 60")
	some := b.submit("--hold", "--array=0-4", "s.sh")
	b.run("scancel", some+"_2")
	b.run("scancel", some+"_[3-4]")
	all := b.submit("--hold", "--array=0-1", "s.sh")
	b.run("scancel", all+"_0", all+"_1")
	whole := b.submit("--hold", "--array=0-1%1", "s.sh")
	b.run("scancel", whole)
	want := []string{some + "_0|1|PENDING|0", some + "_1|1|PENDING|1", all + "|2|CANCELLED|N/A", whole + "_0|3|CANCELLED|0", whole + "_1|3|CANCELLED|1"}
	if got := b.queue(); got != strings.Join(want, " ") {
		t.Errorf("squeue: %s, want %s", got, want)
	}
	out, _, _ := b.run("squeue", "-h", "-t", "all", "-o", "%i|%K")
	if want := "1_[0-1]|0-1\n2|N/A\n3_[0-1%1]|0-1%1\n"; out != want {
		t.Errorf("squeue without -r: %q, want %q", out, want)
	}
	out, _, _ = b.run("sacct", "-X", "-n", "-P", "-o", "JobID,JobIDRaw,State,NodeList", "-j", "1,2,3")
	if want := fmt.Sprintf("1_[0-1]|1|PENDING|None assigned\n2|2|CANCELLED by %[1]d|None assigned\n3_[0-1%%1]|3|CANCELLED by %[1]d|None assigned\n", os.Getuid()); out != want {
		t.Errorf("sacct: %q, want %q", out, want)
	}
}

// TestCancelWithFilter: a name beside the id of one waiting task cancels all that wait, seen on a real cluster.
func TestCancelWithFilter(t *testing.T) {
	b := newBench(t, Options{})
	b.script("s.sh", "sleep 60")
	id := b.submit("-J", "ours", "--hold", "--array=0-4", "s.sh")
	if _, text, code := b.run("scancel", "--name=other", id+"_2", id); code != 0 || text != "" || strings.Count(b.queue(), "PENDING") != 5 {
		t.Errorf("another name: %d %q, %s", code, text, b.queue())
	}
	if _, text, code := b.run("scancel", "--name=ours", id+"_2"); code != 0 || text != "" || b.queue() != id+"|1|CANCELLED|N/A" {
		t.Errorf("its name: %d %q, %s", code, text, b.queue())
	}
	if _, text, code := b.run("scancel", "--name=ours", id+"_3"); code != 1 || text != "scancel: error: Kill job error on job id 1_3: Invalid job id specified\n" {
		t.Errorf("again: %d %q", code, text)
	}
}

func TestRequeueAndSplitBrain(t *testing.T) {
	b := newBench(t, Options{RequeueDelay: 5})
	b.script("s.sh", "#SBATCH --open-mode=append -o s.log\necho \"run${SLURM_RESTART_COUNT}\"\nsleep 60")
	id := b.submit("s.sh")
	b.until("RUNNING", id)
	b.logged("s.log", "run\n")
	if err := b.SplitBrain(id); err != nil {
		t.Fatal(err)
	}
	b.logged("s.log", "run1\n")
	b.mu.Lock()
	alive := len(b.strays) == 1 && b.strays[0].pid != b.arrays[0].elements[0].proc.pid
	b.mu.Unlock()
	if out, err := exec.Command("ps", "-o", "stat=", "-p", fmt.Sprint(b.strays[0].pid)).Output(); !alive || err != nil || strings.HasPrefix(string(out), "Z") {
		t.Errorf("the old process is gone: %s %v", out, err)
	}
	if err := b.FailNode("node1"); err != nil {
		t.Fatal(err)
	}
	b.logged("s.log", "run2\n")
	if e := b.Elements()[0]; e.Restarts != 2 || e.Starts != 3 || e.Node != "node2" {
		t.Errorf("%+v", e)
	}
	out, _, _ := b.run("sacct", "-X", "-n", "-P", "-D", "-o", "State", "-j", id)
	if out != "REQUEUED\nREQUEUED\nRUNNING\n" {
		t.Errorf("sacct -D: %q", out)
	}
	stay := b.submit("--no-requeue", "-o", "stay.log", "s.sh")
	b.until("RUNNING", stay)
	if err := b.FailNode("node2"); err != nil {
		t.Fatal(err)
	}
	b.until("NODE_FAIL", stay)
}

func (b *bench) logged(name, text string) {
	b.t.Helper()
	for range 400 {
		if got, _ := os.ReadFile(filepath.Join(b.dir, name)); strings.Contains(string(got), text) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.t.Fatalf("%s never held %q: %q", name, text, b.read(name))
}
