package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func needLayers(t testing.TB) Interpreter {
	t.Helper()
	if have, why := Probe(); !have.Confined() {
		t.Skipf("nothing confines programs here: %s, %v", have, why)
	}
	it, err := Python(context.Background(), systemPython())
	if err != nil {
		t.Skipf("no python3: %v", err)
	}
	return it
}

func TestRun(t *testing.T) {
	it := needLayers(t)
	sh := func(text string) Program { return Program{Argv: []string{"/bin/sh", "-c", text}} }
	for _, c := range []struct {
		name       string
		p          Program
		code, sig  int
		out, stder string
	}{
		{"output and code", sh("echo out; echo err >&2; exit 7"), 7, 0, "out\n", "err\n"},
		{"input", Program{Argv: []string{"/bin/cat"}, Stdin: []byte("in")}, 0, 0, "in", ""},
		{"no input", Program{Argv: []string{"/bin/cat"}}, 0, 0, "", ""},
		{"signal", sh("kill -KILL $$"), -1, 9, "", ""},
		{"files", Program{Argv: []string{"/bin/cat", "a/b", "c"}, Files: map[string][]byte{"a/b": []byte("1"), "c": []byte("2")}}, 0, 0, "12", ""},
		{"variables", Program{Argv: []string{"/bin/sh", "-c", "echo $X $SECRET"}, Env: []string{"X=y"}}, 0, 0, "y\n", ""},
		{"python", Program{Argv: []string{it.Path, "-I", "-c", "import json, tempfile; tempfile.TemporaryFile().write(b'x'); print(json.dumps([1]))"},
			Read: it.Read, Env: it.Env}, 0, 0, "[1]\n", ""},
		{"asyncio", Program{Argv: []string{it.Path, "-I", "-c", "import asyncio; print(asyncio.run(asyncio.sleep(0.01, 5)))"}, Read: it.Read,
			Env: it.Env}, 0, 0, "5\n", ""},
		{"processes of its own", Program{Argv: []string{it.Path, "-I", "-c",
			"import subprocess; print(subprocess.run(['/bin/echo', 'x'], capture_output=True).stdout)"}, Read: it.Read, Env: it.Env}, 0, 0, "b'x\\n'\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.p.Wall = 20 * time.Second
			o, err := Box{Dir: t.TempDir()}.Run(t.Context(), c.p)
			if err != nil {
				t.Fatal(err)
			}
			if o.ExitCode != c.code || o.Signal != c.sig || string(o.Stdout) != c.out || string(o.Stderr) != c.stder || o.Why != "" {
				t.Errorf("got %d %d %q %q %q", o.ExitCode, o.Signal, o.Stdout, o.Stderr, o.Why)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	needLayers(t)
	for _, c := range []struct {
		name, says string
		p          Program
	}{
		{"relative command", "absolute", Program{Argv: []string{"sh"}}},
		{"no command", "absolute", Program{}},
		{"not there", "no such file", Program{Argv: []string{"/nonexistent"}}},
		{"file outside", "leaves its working directory", Program{Argv: []string{"/bin/true"}, Files: map[string][]byte{"../x": nil}}},
		{"absolute file", "leaves its working directory", Program{Argv: []string{"/bin/true"}, Files: map[string][]byte{"/x": nil}}},
		{"reads all", "may be let read", Program{Argv: []string{"/bin/true"}, Read: []string{"/"}}},
		{"zero byte", "zero byte", Program{Argv: []string{"/bin/true", "a\x00b"}}},
		{"long argument", "too long", Program{Argv: []string{"/bin/true", strings.Repeat("x", 3<<20)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			o, err := Box{Dir: dir}.Run(t.Context(), c.p)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %+v, %v", o, err)
			}
			if names, _ := os.ReadDir(dir); len(names) > 0 {
				t.Errorf("left behind: %v", names)
			}
		})
	}
	for _, without := range []Layers{^noLayers, ^Seccomp, ^Landlock, ^(NoNetwork | Cgroup | OwnUser)} {
		_, err := Box{without: without}.Run(t.Context(), Program{Argv: []string{"/bin/true"}})
		if !errors.Is(err, ErrUnconfined) {
			t.Errorf("with %s alone: %v", ^without, err)
		}
	}
	o, err := Box{without: ^noLayers, Unconfined: true}.Run(t.Context(), Program{Argv: []string{"/bin/true"}})
	if err != nil || o.ExitCode != 0 || o.Layers != noLayers {
		t.Errorf("unconfined, as asked: %+v %v", o, err)
	}
}

func TestCancel(t *testing.T) {
	needLayers(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	dir := t.TempDir()
	for range 2 { // the second has it done before
		_, err := Box{Dir: dir}.Run(ctx, Program{Argv: []string{"/bin/sleep", "98765"}, Limits: Limits{Wall: time.Hour}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	if pids := left("sleep\x0098765"); len(pids) > 0 {
		t.Errorf("left: %v", pids)
	}
}

// TestCallerKilled kills a process that runs a program, which must not outlive it.
func TestCallerKilled(t *testing.T) {
	needLayers(t)
	for _, without := range []Layers{noLayers, Namespaces} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestSleeper$")
		cmd.Env = append(os.Environ(), "SLEEPER="+without.String())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait := func(want bool) bool {
			for range 600 {
				if (len(left("sleep\x0087654")) > 0) == want {
					return true
				}
				time.Sleep(50 * time.Millisecond)
			}
			return false
		}
		started := wait(true)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if !started || !wait(false) {
			t.Errorf("without %s: started %v; left %v", without, started, left("sleep\x0087654"))
		}
	}
}

func TestSleeper(t *testing.T) {
	var without Layers
	if os.Getenv("SLEEPER") == "" {
		t.Skip("is run by TestCallerKilled")
	}
	if err := without.UnmarshalText([]byte(os.Getenv("SLEEPER"))); err != nil {
		t.Fatal(err)
	}
	_, _ = Box{Dir: t.TempDir(), without: without}.Run(t.Context(), Program{Argv: []string{"/bin/sleep", "87654"}, Limits: Limits{Wall: time.Hour}})
}

// TestRootWithoutUser is root where no user of the program's own can be had: nothing bounds its processes, so that it gets none.
func TestRootWithoutUser(t *testing.T) {
	it := needLayers(t)
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	for _, without := range []Layers{OwnUser, OwnUser | Namespaces} {
		o, err := Box{Dir: t.TempDir(), without: without}.Run(t.Context(), Program{Argv: []string{it.Path, "-I", "-c", `import os
print("runs", flush=True)
try: os.fork(); print("DID")
except OSError: print("END")`}, Read: it.Read, Env: it.Env, Limits: Limits{Wall: 10 * time.Second}})
		if err != nil || string(o.Stdout) != "runs\nEND\n" && !o.Layers.Has(CgroupTasks) {
			t.Errorf("without %s: %q %q %v", without, o.Stdout, o.Stderr, err)
		}
	}
}

// TestUsers holds that programs that run at a time have different user numbers, and that one too many waits.
func TestUsers(t *testing.T) {
	free := freeUsers()
	seen := map[int]bool{}
	for range usersOfEach {
		seen[<-free] = true
	}
	select {
	case user := <-free:
		t.Errorf("user %d was given away twice, or there are more", user)
	default:
	}
	if len(seen) != usersOfEach || seen[0] {
		t.Errorf("%d users", len(seen))
	}
	for user := range seen {
		free <- user
	}
}

func TestLayersText(t *testing.T) {
	for _, l := range []Layers{noLayers, Seccomp, Namespaces | CgroupTasks, 1<<9 - 1} {
		text, err := json.Marshal(l)
		var back Layers
		if err2 := json.Unmarshal(text, &back); err != nil || err2 != nil || back != l {
			t.Errorf("%s became %s: %v %v", l, back, err, err2)
		}
	}
	var l Layers
	if err := l.UnmarshalText([]byte("seccomp magic")); err == nil || !strings.Contains(err.Error(), "magic") {
		t.Errorf("an unknown layer: %v", err)
	}
	if len(layerNames) != 9 || !slices.Contains((Landlock|Seccomp).Names(), "landlock") {
		t.Error("names and layers do not fit")
	}
}

// TestRemoveAll removes what a plain recursive removal stumbles on.
func TestRemoveAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "w")
	deep := filepath.Join(dir, strings.Repeat("d", 200))
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Open(deep, unix.O_PATH, 0)
	for range 2000 { // far deeper than the longest path
		if err != nil {
			t.Fatal(err)
		}
		err = unix.Mkdirat(at, "deeper and deeper", 0o755)
		next, err2 := unix.Openat(at, "deeper and deeper", unix.O_PATH, 0)
		_ = unix.Close(at)
		at, err = next, errors.Join(err, err2)
	}
	_ = unix.Close(at)
	script := `cd "$1"; mkdir -p .removed-0/x .removed-1 a/b/c; touch .removed-0/x/f .removed-2 a/b/c/f; ln -s / link; mkfifo fifo
chmod 0 a/b/c/f a/b/c a/b .removed-0/x; chmod 300 a; chmod 0 .`
	if out, err := exec.Command("/bin/sh", "-c", script, "sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if err := removeAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if err := removeAll(dir); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/b/c", "a/d", "e"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 100_000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if count, size := usage(dir, 1000); count != 5 || size < 300_000 || size > 500_000 {
		t.Errorf("%d files, %d bytes", count, size)
	}
	if count, _ := usage(dir, 2); count <= 2 {
		t.Errorf("%d files of at most 2 seen", count)
	}
}

func TestDescendants(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 55 & sleep 55 & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { killTree(os.Getpid(), 0); _ = cmd.Wait() }()
	for range 200 {
		time.Sleep(20 * time.Millisecond)
		a, tasks := descendants(cmd.Process.Pid, mostProcesses)
		b, tasksB := scan(cmd.Process.Pid)
		if len(a) == 2 && len(b) == 2 {
			if few, _ := descendants(cmd.Process.Pid, 0); len(few) != 1 || tasks != 2 || tasksB != 2 {
				t.Errorf("%d where one is too many; %d and %d tasks", len(few), tasks, tasksB)
			}
			if a[0].parent != cmd.Process.Pid || a[0].threads != 1 || a[0].rss == 0 {
				t.Errorf("got %+v", a)
			}
			return
		}
	}
	t.Error("its two processes were not found")
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (a) b) S 1 12 12 0 -1 4194304 90 0 0 0 3 4 5 6 20 0 2 0 777 2510848 200 18446744073709551615 1"))
	f.Add([]byte("1 (x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, ok := parseStat(12, text); ok && p.pid != 12 {
			t.Errorf("got %+v", p)
		}
	})
}

func TestParseStat(t *testing.T) {
	p, ok := parseStat(12, []byte("12 (a) b) S 1 12 12 0 -1 4194304 90 0 0 0 3 4 5 6 20 0 2 0 777 2510848 200 18446744073709551615 1"))
	want := process{pid: 12, parent: 1, state: 'S', threads: 2, start: 777, cpu: 180 * time.Millisecond, reaped: 110 * time.Millisecond, rss: 200 * pageSize}
	if !ok || p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
}

// BenchmarkPrograms runs programs as HumanEval's: a function and its checks.
func BenchmarkPrograms(b *testing.B) {
	it := needLayers(b)
	source := []byte(`from typing import List
def below(l: List[int], t: int) -> bool:
    return all(x < t for x in l)
def check(f):
    assert f([1, 2, 4, 10], 100)
    assert not f([1, 20, 4, 10], 5)
    assert f([1, 20, 4, 10], 21)
check(below)
`)
	box := Box{Dir: b.TempDir()}
	b.ResetTimer()
	b.RunParallel(func(each *testing.PB) {
		for each.Next() {
			o, err := box.Run(b.Context(), Program{Argv: []string{it.Path, "-I", "main.py"}, Files: map[string][]byte{"main.py": source},
				Read: it.Read, Env: it.Env, Limits: Limits{Wall: 10 * time.Second}})
			if err != nil || o.ExitCode != 0 {
				b.Errorf("%+v %v", o, err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "programs/s")
}
