package slurm

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sextant/scheduler"
)

var update = flag.Bool("update", false, "write the golden files")

// goldenScript compares with a file of testdata.
func goldenScript(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != string(got) {
		t.Errorf("%s differs (%v):\n%s", path, err, got)
	}
}

func exampleJob() (Options, scheduler.Job) {
	o := Options{Dir: "/share/runs/demo/slurm", Scripts: "/share/runs/demo/scripts", Tag: "demo", About: "Sextant: run demo", Workers: 8}
	j := scheduler.Job{Name: "demo.PJLM.s0001.1", Script: "PJLM.s0001", Args: []string{"/opt/bin/worker", "run", "--shard", "PJLM/mmlu 0"},
		Tail: []string{"--attempt", "1"}, Dir: "/share/runs/demo", Pool: "PJLM", Limit: 90 * time.Second}
	return o, j
}

func TestScriptGoldens(t *testing.T) {
	full := Ask{Partition: "llmeval", Quotatype: "auto", Account: "eval", Reservation: "r1", Time: "1-00:00:00", Mem: "64G", CPUs: 8,
		GPUType: "h100", Constraint: "a100|h100", Nodelist: "node[1-4]", Exclude: "node3", Comment: "eval of PJLM v0.2",
		Extra: []string{"--nice=100", "--exclusive"}, Prologue: "module load cuda/12\nulimit -c 0", SignalLead: 60, NoRequeue: true,
		Env: map[string]string{"TMPDIR": "/local/${SLURM_JOB_ID}", "A": "$HOME `id`", "HF_TOKEN": "${HF_TOKEN}"}}
	tests := []struct {
		name string
		edit func(*Options, *scheduler.Job)
		f    features
	}{
		{"plain", func(*Options, *scheduler.Job) {}, features{}},
		{"full", func(o *Options, j *scheduler.Job) {
			o.Ask = full
			j.GPUs, j.Memory, j.Exclude, j.Env = 2, 100<<30, []string{"node9", "node2", "node9"}, []string{"MODE=it's", "EMPTY="}
			j.Log = "/share/runs/demo/logs/s0001.log"
		}, features{quotatype: true}},
		{"procs", func(o *Options, j *scheduler.Job) {
			o.Ask = Ask{Quotatype: "auto", GPUOption: "gpus-per-node", SignalLead: 60}
			j.GPUs, j.Procs, j.Threads, j.Limit, j.Log = 4, 4, 16, 3*time.Hour, "/a b.log"
		}, features{}},
	}
	for _, tt := range tests {
		o, j := exampleJob()
		tt.edit(&o, &j)
		got, err := o.script(j, tt.f)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		goldenScript(t, tt.name+".sbatch", got)
		k := j
		k.Name, k.Script, k.Limit = "demo.PJLM.s0002.1", "PJLM.s0002", 10*time.Minute
		got, err = o.arrayScript("demo-a1b2c3", []scheduler.Job{j, k}, 4, tt.f)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		goldenScript(t, tt.name+".array.sbatch", got)
	}
}

func TestJobsOfOneScript(t *testing.T) {
	o, j := exampleJob()
	k := j
	k.Name, k.Tail = "demo.PJLM.s0001.2", []string{"--attempt", "2"}
	a, err := o.script(j, features{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := o.script(k, features{}); err != nil || string(a) != string(b) {
		t.Errorf("%v\n%s\n%s", err, a, b)
	}
}

func TestArrayScript(t *testing.T) {
	o, j := exampleJob()
	got, err := o.arrayScript("tok", []scheduler.Job{j}, 0, features{})
	if err != nil || !strings.Contains(string(got), "#SBATCH --array=0-0\n") {
		t.Errorf("%v\n%s", err, got)
	}
	other := j
	other.GPUs = 1
	unlimited := j
	unlimited.Limit = 0
	if got, err := o.arrayScript("tok", []scheduler.Job{j, unlimited}, 0, features{}); err != nil || strings.Contains(string(got), "--time") {
		t.Errorf("a job without a limit: %v\n%s", err, got)
	}
	bad := []struct {
		token, dir string
		jobs       []scheduler.Job
	}{
		{"tok", "/a", nil}, {"tok", "/a", []scheduler.Job{j, other}}, {"t%a", "/a", []scheduler.Job{j}}, {"", "/a", []scheduler.Job{j}},
		{"../t", "/a", []scheduler.Job{j}}, {"tok", "a", []scheduler.Job{j}}, {"tok", "", []scheduler.Job{j}},
		{"tok", "/a%j", []scheduler.Job{j}}, {"tok", `/a\b`, []scheduler.Job{j}}, {"tok", "/a\nb", []scheduler.Job{j}},
	}
	for _, b := range bad {
		o.Dir = b.dir
		if got, err := o.arrayScript(b.token, b.jobs, 1, features{}); err == nil && b.token != "" {
			t.Errorf("%+v is taken:\n%s", b, got)
		}
	}
}

// What begins with a bracket is a word too: a constraint like that is one of Slurm's own forms.
func TestConstraintsInBrackets(t *testing.T) {
	for _, constraint := range []string{"[rack1*2&rack2*4]", "(intel&gpu)|amd"} {
		d := &directives{}
		if d.add("constraint", constraint, wordForm); d.err != nil || !slices.Equal(d.lines, []string{"--constraint=" + constraint}) {
			t.Errorf("%s: %q, %v", constraint, d.lines, d.err)
		}
	}
}

// TestBadValues holds that every field is looked at, and that the error names it.
func TestBadValues(t *testing.T) {
	tests := []struct {
		named string
		edit  func(*Options, *scheduler.Job)
	}{
		{"partition", func(o *Options, _ *scheduler.Job) { o.Ask.Partition = "a\n#SBATCH --uid=0" }},
		{"qos", func(o *Options, _ *scheduler.Job) { o.Ask.QOS = "a b" }},
		{"qos", func(o *Options, _ *scheduler.Job) { o.Ask.Quotatype = "-x" }},
		{"quotatype", func(o *Options, _ *scheduler.Job) { o.Ask.Quotatype, o.Ask.QOS = "auto", "high" }},
		{"account", func(o *Options, _ *scheduler.Job) { o.Ask.Account = "a#b" }},
		{"reservation", func(o *Options, _ *scheduler.Job) { o.Ask.Reservation = "ä" }},
		{"time", func(o *Options, _ *scheduler.Job) { o.Ask.Time = "soon" }},
		{"mem", func(o *Options, _ *scheduler.Job) { o.Ask.Mem = "64 G" }},
		{"gpu_option", func(o *Options, j *scheduler.Job) { o.Ask.GPUOption, j.GPUs = "gpu", 1 }},
		{"gpu_type", func(o *Options, j *scheduler.Job) { o.Ask.GPUType, j.GPUs = "h100:8,gpu:a", 1 }},
		{"constraint", func(o *Options, _ *scheduler.Job) { o.Ask.Constraint = `a"b` }},
		{"nodelist", func(o *Options, _ *scheduler.Job) { o.Ask.Nodelist = `a\b` }},
		{"exclude", func(o *Options, _ *scheduler.Job) { o.Ask.Exclude = "a'b" }},
		{"excluded node", func(_ *Options, j *scheduler.Job) { j.Exclude = []string{"a,b"} }},
		{"comment", func(o *Options, _ *scheduler.Job) { o.Ask.Comment = `a" --uid=0 "` }},
		{"comment", func(o *Options, _ *scheduler.Job) { o.Ask.Comment = strings.Repeat("x", 300) }},
		{"signal_lead", func(o *Options, _ *scheduler.Job) { o.Ask.SignalLead = 70000 }},
		{"prologue", func(o *Options, _ *scheduler.Job) { o.Ask.Prologue = "a\r\nb" }},
		{"prologue", func(o *Options, _ *scheduler.Job) { o.Ask.Prologue = "a \\\n" }},
		{"environment variable", func(o *Options, _ *scheduler.Job) { o.Ask.Env = map[string]string{"A B": "x"} }},
		{"SEXTANT_JOB", func(_ *Options, j *scheduler.Job) { j.Env = []string{"SEXTANT_JOB=x"} }},
		{"NUL", func(_ *Options, j *scheduler.Job) { j.Env = []string{"A=\x00"} }},
		{"absolute", func(_ *Options, j *scheduler.Job) { j.Dir = "-" }},
		{"no command", func(_ *Options, j *scheduler.Job) { j.Args = nil }},
		{"job-name", func(_ *Options, j *scheduler.Job) { j.Script = "../x" }},
		{"job", func(_ *Options, j *scheduler.Job) { j.Name = "a b" }},
	}
	for _, extra := range []string{"--array=0-9", "--arr=0-9", "--output=x", "--out=x", "--error=x", "--job-name=x", "--chdir=/", "--wrap=id",
		"--parsable", "--wait", "--test-only", "--dependency=singleton", "--export-file=x", "--input=x", "--open-mode=truncate", "--signal=KILL",
		"--requeue", "--no-requeue", "--clusters=all", "--cluster=all", "--time=1", "--partition=x", "--gres=gpu:1", "--gpus=1", "-x", "--a b",
		"--nice=1\n#SBATCH --uid=0", "--nice=#", "nice"} {
		tests = append(tests, struct {
			named string
			edit  func(*Options, *scheduler.Job)
		}{"extra", func(o *Options, _ *scheduler.Job) { o.Ask.Extra = []string{extra} }})
	}
	for i, tt := range tests {
		o, j := exampleJob()
		tt.edit(&o, &j)
		got, err := o.script(j, features{})
		if err == nil || !strings.Contains(err.Error(), tt.named) || strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("%d %s: error %v\n%s", i, tt.named, err, got)
		}
	}
	o, j := exampleJob()
	j.GPUs, o.Ask.GPUOption = 1, "none"
	o.Ask.Extra = []string{"--gres=gpu:1,tmp:1", "--export=NONE", "--wait-all-nodes=1", "--gres-flags=enforce-binding"}
	if got, err := o.script(j, features{}); err != nil || strings.Count(string(got), "--gres=") != 1 {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestLimitsAndMemory(t *testing.T) {
	for _, tt := range []struct {
		ask        Ask
		limit      time.Duration
		memory     int64
		time, mem  string
		hasWarning bool
	}{
		{Ask{}, 0, 0, "", "", true},
		{Ask{}, time.Second, 1, "1", "1M", false},
		{Ask{}, 2 * time.Minute, 1 << 20, "2", "1M", false},
		{Ask{}, 2*time.Minute + 1, 1<<20 + 1, "3", "2M", true},
		{Ask{Time: "1:30", Mem: "1G"}, time.Hour, 1 << 30, "1:30", "1G", false},
		{Ask{Time: "0-1", Mem: "1G"}, time.Hour, 1<<30 + 1, "0-1", "1025M", true},
		{Ask{Time: "00:02:01", Mem: "0"}, time.Hour, 1 << 40, "00:02:01", "0", true},
		{Ask{Time: "00:02:00", Mem: "999999999999T"}, time.Hour, 1<<63 - 1, "00:02:00", "999999999999T", false},
		{Ask{Time: "0", Mem: "1025K"}, time.Hour, 1 << 20, "0", "1025K", true},
	} {
		j := scheduler.Job{Limit: tt.limit, Memory: tt.memory}
		var d directives
		tt.ask.SignalLead = 60
		d.signal(tt.ask, j)
		if limitOf(tt.ask, j) != tt.time || memoryOf(tt.ask, j) != tt.mem || (len(d.lines) == 1) != tt.hasWarning || d.err != nil {
			t.Errorf("%+v: %q %q %v", tt, limitOf(tt.ask, j), memoryOf(tt.ask, j), d)
		}
	}
}

func TestGroups(t *testing.T) {
	job := func(name, pool string, gpus int, exclude ...string) scheduler.Job {
		return scheduler.Job{Name: name, Pool: pool, GPUs: gpus, Exclude: exclude, Args: []string{"/bin/true"}}
	}
	jobs := []scheduler.Job{job("a", "p", 1), job("b", "q", 1), job("c", "p", 1), job("d", "p", 2),
		job("e", "p", 1, "n1", "n2"), job("f", "p", 1, "n2", "n1")}
	var got []string
	for _, group := range groups(jobs) {
		names := ""
		for _, j := range group {
			names += j.Name
		}
		got = append(got, names)
	}
	if want := []string{"ac", "b", "d", "ef"}; !slices.Equal(got, want) {
		t.Errorf("groups %v, want %v", got, want)
	}
	o, _ := exampleJob()
	jobs[2].Script = "a"
	files, err := Files(o, jobs, false)
	if err != nil || len(files) != 5+4 || files[0].Name != "a.sbatch" || files[5].Name != "demo-array-1.sbatch" {
		t.Errorf("files %+v, %v", files, err)
	}
	if _, err := Files(Options{Dir: "x"}, jobs, false); err == nil {
		t.Error("a relative directory is taken")
	}
}

func TestList(t *testing.T) {
	_, j := exampleJob()
	got, err := list([]scheduler.Job{j, {Name: "b"}})
	if want := "PJLM.s0001.sbatch demo.PJLM.s0001.1 --attempt 1\nb.sbatch b\n"; err != nil || string(got) != want {
		t.Errorf("%q %v", got, err)
	}
	for _, bad := range []scheduler.Job{{}, {Name: "a b"}, {Name: "a\nb"}, {Name: "a", Script: "b/c"}, {Name: "-a"},
		{Name: "a", Tail: []string{""}}, {Name: "a", Tail: []string{"*"}}, {Name: "a", Tail: []string{"x y"}},
		{Name: "a", Tail: []string{"$x"}}, {Name: "a", Script: "..", Tail: []string{"x"}}} {
		if got, err := list([]scheduler.Job{bad}); err == nil {
			t.Errorf("%+v gives %q", bad, got)
		}
	}
}

// dump is a command that writes its name, its arguments, its directory, SEXTANT_JOB and the variables it is told of, all NUL-ended.
const dump = `#!/bin/bash
{ printf '%s\0' "$PWD" "$SEXTANT_JOB" "$#" "$@"; for v in $DUMP; do printf '%s\0' "$v=${!v}"; done; } >"$OUT"
`

// runScript runs a script as Slurm would and gives what the command dumped.
func runScript(t testing.TB, dir, script string, env []string, args ...string) ([]string, string) {
	t.Helper()
	out := filepath.Join(dir, "out")
	os.Remove(out)
	cmd := exec.Command("/bin/bash", append([]string{script}, args...)...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=/home/x", "OUT=" + out}, env...)
	said, _ := cmd.CombinedOutput()
	data, _ := os.ReadFile(out)
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), string(said)
}

// scriptDir is a fresh directory, with the command that dumps.
func scriptDir(t *testing.T) (dir, command string) {
	t.Helper()
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "slurm script ")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	command = filepath.Join(dir, "the command")
	if err := os.WriteFile(command, []byte(dump), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, command
}

// TestDispatcher runs an array's script in directories with names that a shell would take apart.
func TestDispatcher(t *testing.T) {
	dir, command := scriptDir(t)
	for i, name := range []string{"plain", "a b", `it's "so"`, "$HOME `id` $(id)", "*?[a]", "-n", "#x;y&z|", "é", "~", "{a,b}", "!!"} {
		at := filepath.Join(dir, fmt.Sprint(i), name)
		o := Options{Dir: filepath.Join(at, "slurm"), Scripts: filepath.Join(at, "scripts")}
		jobs := []scheduler.Job{
			{Name: "n0", Args: []string{command, "zero"}, Dir: at},
			{Name: "n1", Script: "s1", Args: []string{command, "a b", ""}, Tail: []string{"--x=1", "2"}, Dir: at}}
		array, err := o.arrayScript("tok", jobs, 2, features{})
		if err != nil {
			t.Fatal(err)
		}
		lines, err := list(jobs)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{"slurm/tok.list": lines, "slurm/tok.sbatch": array}
		for _, j := range jobs {
			if files["scripts/"+scriptName(j)], err = o.script(j, features{}); err != nil {
				t.Fatal(err)
			}
		}
		for file, data := range files {
			file = filepath.Join(at, file)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		script := filepath.Join(o.Dir, "tok.sbatch")
		got, said := runScript(t, dir, script, []string{"SLURM_ARRAY_TASK_ID=1", "SEXTANT_JOB=outer"})
		if want := []string{at, "n1", "4", "a b", "", "--x=1", "2"}; !slices.Equal(got, want) || said != "" {
			t.Errorf("%q: got %q, want %q; it said %q", name, got, want, said)
		}
		for _, env := range [][]string{{"SLURM_ARRAY_TASK_ID=2"}, {}} {
			got, said := runScript(t, dir, script, env)
			if len(got) > 1 || !strings.Contains(said, "array") && !strings.Contains(said, "no job for element 2 in "+o.Dir) {
				t.Errorf("%q, %v: got %q, it said %q", name, env, got, said)
			}
		}
	}
}

// TestByHand runs a job's script without a dispatcher.
func TestByHand(t *testing.T) {
	dir, command := scriptDir(t)
	o := Options{Ask: Ask{SignalLead: 60, Prologue: "set -eu\ntrue\n\n#SBATCH --uid=0\nFROM=prologue; export FROM\nkill -USR1 $$",
		Env: map[string]string{"A": "${HOME}/${NONE}x", "B": "$HOME `id` $(id) ${HOME:-x} ~"}}}
	data, err := o.script(scheduler.Job{Name: "me", Args: []string{command}}, features{})
	script := filepath.Join(dir, "job")
	if err == nil {
		err = os.WriteFile(script, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, said := runScript(t, dir, script, []string{"DUMP=A B FROM", "SLURM_SUBMIT_DIR=/"}, "tail")
	want := []string{"/", "me", "1", "tail", "A=/home/x/x", "B=$HOME `id` $(id) ${HOME:-x} ~", "FROM=prologue"}
	if !slices.Equal(got, want) || said != "" {
		t.Errorf("got %q, want %q; it said %q", got, want, said)
	}
}

// TestFormLengths holds what of a value is counted.
func TestFormLengths(t *testing.T) {
	for name, of := range map[string]struct {
		f    form
		most int // bytes
		head string
	}{
		"word": {wordForm, 255, ""}, "text": {textForm, 255, ""}, "node": {nodeForm, 255, ""}, "name": {nameForm, 200, ""}, "tail": {tailForm, 1000, ""},
		"log": {logForm, 1000, ""}, "option": {optionForm, 41, "--"}, "value": {optionForm, 254, "--a-b="},
	} {
		if !of.f.fits(of.head+strings.Repeat("a", of.most)) || of.f.fits(of.head+strings.Repeat("a", of.most+1)) {
			t.Errorf("a %s has not at most %d", name, of.most)
		}
	}
	if optionForm.fits("--" + strings.Repeat("a", 42) + "=1") {
		t.Error("a value lets an option's name be longer")
	}
}
