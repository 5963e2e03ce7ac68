package slurm

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sextant/scheduler"
)

// expected are the directives that a script may have.
var expected = regexp.MustCompile(`^#SBATCH --(((job-name|partition|quotatype|qos|account|reservation|time|mem|ntasks|nodes|` +
	`cpus-per-task|gres|gpus|gpus-per-node|constraint|nodelist|exclude|signal|open-mode|output)=[^\s"'\\#%]+)|` +
	`nice=[^\s"'\\#%]*|(comment=("[^"\\#%]+"|[^\s"'\\#%]+))|requeue|no-requeue|exclusive)$`)

var hostile = []string{"", "x", "\n", "\r", "a\n#SBATCH --uid=0", "'", `"`, `\`, "#", "%", "%j", "-x", "--uid=0", "$(touch PWNED)",
	"`touch PWNED`", "; touch PWNED", "\ntouch PWNED\n", "'; touch PWNED; '", `"; touch PWNED; "`, "$HOME",
	"${HOME}", "${HOME", "${HOME}${NONE}'", "é", "\xff", "\x00", "\t", "\x1b[31m", " ", "*", "~",
	"a b", "&& touch PWNED", "|touch PWNED", "\u2028", "a=b", "!x", "[1-3]", strings.Repeat("x", 300), "node1",
	"EOF", `\'`, `$'\n'`, "hetjob", ":"}

// TestHostileValues throws at every field what might get out of it: it is refused, or nothing happens but the command, with what it was given.
func TestHostileValues(t *testing.T) {
	dir, command := scriptDir(t)
	value := rapid.OneOf(rapid.SampledFrom(hostile), rapid.SampledFrom([]string{"x", "", "word1"}), rapid.StringN(0, 12, 40),
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom(hostile), 2, 3), func(s []string) string { return strings.Join(s, "") }))
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(name string) string { return value.Draw(rt, name) }
		o := Options{About: pick("about")}
		j := scheduler.Job{Name: "job", Args: []string{command, pick("arg"), pick("arg2")}, Dir: dir, GPUs: 1, Log: pick("log")}
		fields := map[string]*string{"partition": &o.Ask.Partition, "quotatype": &o.Ask.Quotatype, "qos": &o.Ask.QOS, "account": &o.Ask.Account,
			"reservation": &o.Ask.Reservation, "time": &o.Ask.Time, "mem": &o.Ask.Mem, "gpu_type": &o.Ask.GPUType, "gpu_option": &o.Ask.GPUOption,
			"constraint": &o.Ask.Constraint, "nodelist": &o.Ask.Nodelist, "exclude": &o.Ask.Exclude, "comment": &o.Ask.Comment,
			"name": &j.Name, "script": &j.Script}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(sortedKeys(fields)), 0, 2, rapid.ID).Draw(rt, "fields") {
			*fields[name] = pick(name)
		}
		if rapid.Bool().Draw(rt, "more") {
			o.Ask.Extra, j.Exclude = []string{"--nice=" + pick("extra")}, []string{pick("node")}
		}
		variable := rapid.SampledFrom([]string{"A", "PATH2", "A B", "A=B", "", "x$(id)", "A\nB"}).Draw(rt, "variable")
		o.Ask.Env, j.Env = map[string]string{variable: pick("env")}, []string{"JOBS=" + pick("jobs env")}
		for _, quotatype := range []bool{true, false} {
			checkHostile(rt, dir, o, j, features{quotatype: quotatype})
		}
	})
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// checkHostile holds a script that was not refused to what it must be and do.
func checkHostile(t *rapid.T, dir string, o Options, j scheduler.Job, f features) {
	data, err := o.script(j, f)
	if err != nil {
		if strings.ContainsAny(err.Error(), "\n\r") {
			t.Fatalf("the error has a line break: %v", err)
		}
		return
	}
	head, _, _ := strings.Cut(string(data), "\n\n")
	for i, line := range strings.Split(head, "\n") {
		ok := i == 0 && line == "#!/bin/bash" || strings.HasPrefix(line, "# ") || expected.MatchString(line)
		if !ok {
			t.Fatalf("line %q of:\n%s", line, data)
		}
	}
	if strings.ContainsAny(string(data), "\r\x00") {
		t.Fatalf("a carriage return or NUL in %q", data)
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, data, 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	os.Remove(out)
	cmd := exec.Command("/bin/bash", script, "tail 1")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/home/x", "LC_ALL=C", "OUT=" + out, "SEXTANT_JOB=mine",
		"DUMP=" + strings.Join(sortedKeys(o.Ask.Env), " ") + " JOBS"}
	said, err := cmd.CombinedOutput()
	want := []string{dir, "mine", "3", j.Args[1], j.Args[2], "tail 1"}
	for name, value := range o.Ask.Env {
		want = append(want, name+"="+expand(value))
	}
	want = append(want, j.Env[0])
	got, _ := os.ReadFile(out)
	if string(got) != strings.Join(want, "\x00")+"\x00" || err != nil || len(said) > 0 {
		t.Fatalf("got %q, want %q; it said %q, %v; script:\n%s", got, want, said, err, data)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "PWNED*")); err != nil || len(left) > 0 {
		t.Fatalf("a command ran that was none: %q\n%s", left, data)
	}
}

// expand does to a value what the node's shell should.
func expand(value string) string {
	return regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`).ReplaceAllStringFunc(value, func(name string) string {
		return map[string]string{"${HOME}": "/home/x"}[name]
	})
}
