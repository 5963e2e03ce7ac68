package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// threeRecipes make three variants beside the untouched model. The text is given often enough for a quantization to be met at work.
const threeRecipes = `
[[quant]]
name = "rtn4"
method = "rtn"
group = 64
save = ["awq"]
[[quant]]
name = "awq3"
method = "awq"
bits = 3
group = 32
awq = { grid = 6 }
calib = { file = { path = "$POCKET/data/text/valid.txt" }, cut = "windows", samples = 16, seq_len = 64 }
[[quant]]
name = "gptq3"
method = "gptq"
bits = 3
group = 32
calib = { file = { path = "$POCKET/data/text/valid.txt" }, cut = "windows", samples = 16, seq_len = 64 }
`

// weights are the files of a work directory's variants and exports, but for what tells of time: by path below the run.
func weights(t *testing.T, work string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, kind := range []string{"variants/*/*", "exports/*/*/*"} {
		paths, err := filepath.Glob(filepath.Join(work, "*_*", kind))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if filepath.Base(path) == "manifest.json" {
				continue
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rel, _ := filepath.Rel(work, path)
			_, rel, _ = strings.Cut(rel, string(filepath.Separator))
			files[rel] = string(b)
		}
	}
	return files
}

func sameWeights(t *testing.T, got, want map[string]string) {
	t.Helper()
	if len(want) == 0 || len(got) != len(want) {
		t.Errorf("%d files of quantized models, want %d", len(got), len(want))
	}
	for path := range want {
		if got[path] != want[path] {
			t.Errorf("%s differs from that of a run that was let be", path)
		}
	}
}

// underway says that a recipe has some blocks done and others not.
func underway(work, variant string) bool {
	states, _ := filepath.Glob(filepath.Join(work, "*", "variants", "."+variant+".work", "state.json"))
	return len(states) > 0
}

// quantizers are the processes that are at a recipe.
func quantizers(work, variant string) (pids []int) {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		cmd, _ := os.ReadFile(p)
		args := strings.Split(string(cmd), "\x00")
		if filepath.Base(args[0]) == "worker" && bytes.Contains(cmd, []byte(work+"/")) && slices.Contains(args, variant+"--quantize") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// quantized is a session of the recipes over the pocket suite.
func quantized(t *testing.T) session {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "q.toml")
	text := fmt.Sprintf("include = [%q]\n%s", filepath.Join(pocket(), "eval.toml"), strings.ReplaceAll(threeRecipes, "$POCKET", pocket()))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(dir, "runs")
	return session{t, work, []string{path, "-w", work, "--limit", "3", "--max-num-workers", "2"}}
}

// TestQuantizeKilled runs three recipes and evaluates four variants, and again with a worker, submit, or both killed in the midst of a
// calibration: the same files and the same scores.
func TestQuantizeKilled(t *testing.T) {
	calm := quantized(t)
	want := calm.finish()
	for _, variant := range []string{"pocket", "pocket-rtn4", "pocket-awq3", "pocket-gptq3"} {
		if !bytes.Contains(want, []byte(`"`+variant+`"`)) {
			t.Errorf("no score of %s in\n%s", variant, want)
		}
	}
	checkPage(t, calm, "pocket_", 4, "quantization.png")
	files := weights(t, calm.work)
	for _, victim := range []string{"worker", "submit", "both"} {
		t.Run(victim, func(t *testing.T) {
			s := quantized(t)
			s.t = t
			cmd, log := s.start()
			for end := time.Now().Add(time.Minute); !underway(s.work, "pocket-awq3"); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("no block is done after a minute\n%s", log)
				}
			}
			met := quantizers(s.work, "pocket-awq3")
			if victim != "worker" {
				_ = cmd.Process.Kill()
			}
			for _, pid := range met {
				if victim != "submit" {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			_ = cmd.Wait()
			if len(met) == 0 || victim != "worker" && !underway(s.work, "pocket-awq3") {
				t.Errorf("it was not met in the midst: %d processes\n%s", len(met), log)
			}
			if got := s.finish(); !bytes.Equal(got, want) {
				t.Errorf("scores differ\n%s\nwant\n%s", got, want)
			}
			sameWeights(t, weights(t, s.work), files)
			if left := quantizers(s.work, "pocket-awq3"); len(left) > 0 {
				t.Errorf("still at work: %d", left)
			}
		})
	}
}

// TestSlurmQuantize does the same on a cluster: a worker is killed in the midst of a calibration, and nobody looks on when submit has detached.
func TestSlurmQuantize(t *testing.T) {
	t.Parallel()
	alone := quantized(t)
	alone.args = append([]string{"quantize"}, alone.args...)
	if cmd, log := alone.start(); cmd.Wait() != nil {
		t.Fatalf("submit quantize failed\n%s", log)
	}
	want := weights(t, alone.work)
	o := setup{spec: strings.ReplaceAll(threeRecipes, "$POCKET", pocket()), limit: 2}
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		x := newTrial(t, quietCluster(t), o)
		p := x.submit("--max-partition-size", "4000")
		x.until("a block to be done", func() bool { return underway(x.work, "pocket-awq3") || p.over() })
		for _, pid := range quantizers(x.work, "pocket-awq3") {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		p.want(exitDone, "pocket-awq3")
		x.whole()
		sameWeights(t, weights(t, x.work), want)
	})
	t.Run("quantized alone", func(t *testing.T) {
		t.Parallel()
		x := newTrial(t, quietCluster(t), o)
		x.begin(filepath.Join(bin, "submit"), nil, append(append([]string{"quantize"}, x.args...), "--slurm", "--detach")...).want(exitDone, "gathers")
		x.until("the end of all jobs", func() bool { return len(x.queue()) == 0 })
		sameWeights(t, weights(t, x.work), want)
		if n := len(x.computed()); n > 0 {
			t.Errorf("%d rows were evaluated", n)
		}
		x.subcommand("resume", "--quantize").want(exitDone, "pocket-gptq3", "export: awq")
	})
	t.Run("detached", func(t *testing.T) {
		t.Parallel()
		x := newTrial(t, quietCluster(t), o)
		x.submit("--max-partition-size", "4000", "--detach").want(exitDone, "gathers")
		arrays, _ := filepath.Glob(filepath.Join(x.run(), "slurm", "sx-*.json"))
		held := 0
		for _, a := range arrays {
			if strings.Contains(readFile(t, a), `"gate"`) {
				held++
			}
		}
		if held != 4 {
			t.Errorf("%d arrays are held back, want those of three variants and the gathering job", held)
		}
		scores := filepath.Join(x.run(), "scores.json")
		x.until("scores", func() bool { _, err := os.Stat(scores); return err == nil })
		x.until("the gathering job's end", func() bool { return len(x.queue()) == 0 })
		x.whole()
		sameWeights(t, weights(t, x.work), want)
		if logs, _ := filepath.Glob(filepath.Join(x.run(), "attempts", "*", "2", "job.json")); len(logs) > 0 {
			t.Errorf("there were second attempts: %q", logs)
		}
	})
}
