package worker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"sextant/kernels"
	"sextant/pkg/engine"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

func TestExitCode(t *testing.T) {
	input, other := bad(errors.New("bad row")), errors.New("bug")
	disk := fmt.Errorf("checkpoint: %w", &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
	job := func(errs ...error) error {
		j := &JobError{Shards: map[string]error{}, Of: 9}
		for i, err := range errs {
			j.Shards[fmt.Sprint(i)] = err
		}
		return j
	}
	for i, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {input, 64}, {other, 1}, {disk, 75}, {bad(disk), 75},
		{fmt.Errorf("reading: %w", syscall.EIO), 75}, {kernels.ErrNoMemory, 75}, {engine.ErrMemory, 75}, {context.Canceled, 75},
		{fmt.Errorf("row: %w", engine.ErrInput), 64}, {badRow(3, "too long"), 64}, {bad(os.ErrNotExist), 64},
		{job(input, input), 64}, {job(input, other), 1}, {job(other, input, disk), 75}, {job(input), 64},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("case %d (%v): %d, want %d", i, c.err, got, c.want)
		}
	}
	f := failure(fmt.Errorf("shard x:\n\t%w", badRow(17, "the prompt has %d tokens", 900)))
	if f.Kind != result.FailInput || f.Row == nil || *f.Row != 17 || f.Reason != "shard x: row 17: the prompt has 900 tokens" {
		t.Errorf("failure %+v", f)
	}
	if f := failure(bad(disk)); f.Kind != result.FailDisk {
		t.Errorf("a full disk is %+v", f)
	}
}

// fails runs the plan and gives the reasons that were left, by shard or job.
func fails(t *testing.T, dir result.Dir, p *plan.Plan, exit int) map[string]result.Failure {
	t.Helper()
	if err := work(t, dir, p, 1); ExitCode(err) != exit {
		t.Errorf("exit %d (%v), want %d", ExitCode(err), err, exit)
	}
	out := map[string]result.Failure{}
	for _, j := range p.Jobs {
		for _, id := range append(j.Shards, j.ID) {
			if f, err := result.ReadFailure(dir.Failure(id, 1)); err == nil {
				out[id] = f
			}
		}
	}
	return out
}

// A prompt that is too long fails its own task and no other.
func TestTooLong(t *testing.T) {
	dir, p := planned(t, given(t, `
models = [{ abbr = "pocket", path = "$POCKET/model", max_seq_len = 60 }]
datasets = ["pocket_piqa", "pocket_gsm"]
`, limit(8)))
	got := fails(t, dir, p, ExitInput)
	if _, ok := got["pocket--pocket_gsm--0-8"]; len(p.Jobs) != 1 || len(got) != 1 || !ok {
		t.Fatalf("%d jobs left the reasons %v", len(p.Jobs), got)
	}
	for _, f := range got {
		for _, part := range []string{"row ", "the limit is 12 beside the 48 of its output", `truncate = "left"`, "pocket_gsm", "max_seq_len"} {
			if f.Kind != result.FailInput || f.Row == nil || !strings.Contains(f.Reason, part) {
				t.Errorf("the reason %+v lacks %q", f, part)
			}
		}
	}
	records(t, dir, p, "pocket/pocket_piqa")
}

// Rows that cannot be computed fail their shard, but not before the others are done and kept. The next attempt computes none of those again
// and says the same.
func TestBadRows(t *testing.T) {
	dir, p := planned(t, given(t, `
models = [{ abbr = "pocket", path = "$POCKET/model", max_seq_len = 80 }]
datasets = ["pocket_gsm"]
`, limit(8)))
	first := fails(t, dir, p, ExitInput)[p.Shards[0].ID]
	rows, err := result.Collect(dir, result.Query{Task: p.Tasks[0].ID, Digest: p.Tasks[0].Digest, To: 8})
	if err != nil || rows.Complete() || len(rows.Records) == 0 {
		t.Fatalf("%d of 8 rows were kept (%v): the test wants some", len(rows.Records), err)
	}
	missing := rows.Missing()
	if want := fmt.Sprintf("%d of 8 rows cannot be computed; the first: row %d: the prompt has ", len(missing), missing[0]); !strings.HasPrefix(first.Reason, want) || *first.Row != missing[0] {
		t.Errorf("the reason is %+v, want %q", first, want)
	}
	if err := work(t, dir, p, 2); ExitCode(err) != ExitInput {
		t.Errorf("the second attempt: %v", err)
	}
	if _, again, err := result.ReadCheckpoint(dir.Rows(p.Shards[0].ID, 2)); err != nil || len(again) > 0 {
		t.Errorf("%d rows were computed again (%v)", len(again), err)
	}
	if f, err := result.ReadFailure(dir.Failure(p.Shards[0].ID, 2)); err != nil || f.Reason != first.Reason {
		t.Errorf("the second attempt says %q (%v), the first %q", f.Reason, err, first.Reason)
	}
}

// Weights that are no numbers fail every mode: text would not show them.
func TestNaN(t *testing.T) {
	for _, name := range []string{"pocket_gsm", "pocket_piqa", "pocket_text"} {
		model := copyModel(t)
		path := model + "/model.safetensors"
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		header := 8 + int(binary.LittleEndian.Uint64(data))
		for i := header; i < len(data); i++ {
			data[i] = 0xff
		}
		if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
		dir, p := planned(t, given(t, fmt.Sprintf("models = [{ abbr = \"pocket\", path = %q }]\ndatasets = [%q]\n", model, name), limit(2)))
		if f := fails(t, dir, p, ExitInput)[p.Shards[0].ID]; !strings.Contains(f.Reason, "not numbers") {
			t.Errorf("%s: the reason %q", name, f.Reason)
		}
	}
}

// A continuation has at least one token: one that melts into its context gets the last one, one of no tokens is refused.
func TestContinued(t *testing.T) {
	tok, err := tokenizer.Load(pocket + "/model")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		context, continuation string
		mode                  spec.Mode
		from, len             int
		err                   string
	}{
		{"One day", " Anna", spec.LL, 3, 4, ""},
		{"One da", "y", spec.LL, 2, 3, ""}, // "One day" has fewer tokens than "One da"
		{"", "One", spec.LL, 1, 2, ""},
		{"One day", "", spec.LL, 0, 0, `the continuation "" has no tokens`},
		{"One day", " Anna is here", spec.CLP, 0, 0, "ranks single tokens"},
	} {
		task := &task{tok: tok, data: spec.Dataset{Mode: c.mode}}
		task.affixes()
		s, err := task.continued(c.context, c.continuation)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q + %q: %v, want %q", c.context, c.continuation, err, c.err)
			}
		} else if err != nil || s.From != c.from || len(s.Tokens) != c.len {
			t.Errorf("%q + %q: %v (%v), want %d tokens from %d", c.context, c.continuation, s, err, c.len, c.from)
		}
	}
}

// Examples are dropped from the end until the prompt fits; then the left is cut, but not BOS.
func TestFits(t *testing.T) {
	dir, p := planned(t, given(t, `
models = [{ abbr = "pocket", path = "$POCKET/model", max_seq_len = 100 }]
datasets = ["short"]
[[dataset]]
abbr = "short"
base = "pocket_gsm"
few_shot = { kind = "fixed", ids = [0, 1, 2, 3] }
gen = { max_out_len = 8 }
[[dataset]]
abbr = "cut"
base = "pocket_piqa"
truncate = "left"
`, limit(4), spec.Override{Key: "datasets", Value: []string{"short", "cut"}, From: "-"}))
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	for _, r := range records(t, dir, p, "pocket/short") {
		if r.Dropped < 1 || r.Dropped > 4 || r.Cut != 0 || r.PromptTokens > 92 || r.PromptTokens < 50 {
			t.Errorf("row %d: %d examples dropped, %d tokens cut, %d left of 92", r.Row, r.Dropped, r.Cut, r.PromptTokens)
		}
	}
	s := given(t, `
models = [{ abbr = "pocket", path = "$POCKET/model", max_seq_len = 12 }]
datasets = ["cut"]
[[dataset]]
abbr = "cut"
base = "pocket_piqa"
truncate = "left"
`, limit(4))
	dir, p = planned(t, s)
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	for _, r := range records(t, dir, p, "pocket/cut") {
		if r.Cut < 8 || r.PromptTokens != 12 || r.Tokens[0] != 11 {
			t.Errorf("%+v", r)
		}
	}
}

func TestCutLeft(t *testing.T) {
	a := &ask{seqs: []engine.Sequence{{Tokens: []int32{1, 10, 11, 12, 13, 14}, From: 4}, {Tokens: []int32{1, 10, 11}, From: 1}}}
	a.cutLeft(4, 1)
	if got := fmt.Sprint(a.seqs, a.cut); got != "[{[1 12 13 14] 2} {[1 10 11] 1}] 2" {
		t.Error(got)
	}
}

// copyModel copies the pocket model, so that a test can spoil it.
func copyModel(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(dir, os.DirFS(pocket+"/model")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A model that is damaged after the plan was made fails the job, with a reason that names it.
func TestBadModel(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  []string
	}{
		"truncated weights": {func(t *testing.T, dir string) { truncate(t, dir+"/model.safetensors", 100000) }, []string{"model.safetensors"}},
		"no config":         {func(t *testing.T, dir string) { remove(t, dir+"/config.json") }, []string{"config.json"}},
		"other weights":     {func(t *testing.T, dir string) { flip(t, dir+"/model.safetensors") }, []string{"changed after the plan was made"}},
		"no tokenizer":      {func(t *testing.T, dir string) { remove(t, dir+"/tokenizer.model") }, []string{"tokenizer"}},
	} {
		t.Run(name, func(t *testing.T) {
			model := copyModel(t)
			dir, p := planned(t, given(t, fmt.Sprintf("models = [{ abbr = \"pocket\", path = %q }]\ndatasets = [\"pocket_piqa\"]\n", model), limit(2)))
			c.spoil(t, model)
			got := fails(t, dir, p, ExitInput)
			f, ok := got[p.Jobs[0].ID]
			if !ok || f.Kind != result.FailInput || !strings.Contains(f.Reason, "model pocket: ") {
				t.Fatalf("%+v", got)
			}
			for _, part := range c.want {
				if !strings.Contains(f.Reason, part) {
					t.Errorf("the reason %q lacks %q", f.Reason, part)
				}
			}
		})
	}
}

// What was changed after the plan was made is not computed under the old plan's name.
func TestChanged(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(data, os.DirFS(pocket+"/data")); err != nil {
		t.Fatal(err)
	}
	dir, p := planned(t, given(t, `
models = [{ abbr = "pocket", path = "$POCKET/model" }]
datasets = ["pocket_piqa", "pocket_cloze"]
`, limit(2), spec.Override{Key: "data_dir", Value: data, From: "-"}))
	path := data + "/piqa/test.jsonl"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, bytes.Replace(text, []byte("key"), []byte("cup"), 1), 0o644)); err != nil {
		t.Fatal(err)
	}
	got := fails(t, dir, p, ExitInput)
	if f := got["pocket--pocket_piqa--0-2"]; len(got) != 1 || !strings.Contains(f.Reason, "changed after the plan was made") {
		t.Errorf("%+v", got)
	}
	records(t, dir, p, "pocket/pocket_cloze")
}

// A tokenizer of more tokens than the model has rows is refused with both numbers.
func TestOtherTokenizer(t *testing.T) {
	text := "models = [{ abbr = \"pocket\", path = \"$POCKET/model\" }]\ndatasets = [\"pocket_piqa\"]\n"
	s := given(t, text, limit(2))
	in, err := plan.Survey(s)
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS("../tokenizer/testdata/gpt2")); err != nil {
		t.Fatal(err)
	}
	vocab, err := os.ReadFile(other + "/vocab.json")
	if err != nil {
		t.Fatal(err)
	}
	vocab = bytes.Replace(vocab, []byte("{"), []byte(`{"one more": 1499, `), 1)
	if err := os.WriteFile(other+"/vocab.json", vocab, 0o666); err != nil {
		t.Fatal(err)
	}
	s.Models[0].TokenizerPath = other
	dir, p := plannedWith(t, s, in)
	f := fails(t, dir, p, ExitInput)[p.Jobs[0].ID]
	if !strings.Contains(f.Reason, "1500 tokens") || !strings.Contains(f.Reason, "embedding only 1024") {
		t.Errorf("the reason %q lacks a size", f.Reason)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := errors.Join(os.Chmod(path, 0o644), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
}

// flip changes a file's last byte.
func flip(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// The other modes: what a continuation is worth is the difference of two whole texts.
func TestContinuations(t *testing.T) {
	dir, p := planned(t, given(t, `
models = [{ abbr = "pocket", path = "$POCKET/model" }]
datasets = ["whole", "normalized", "likely"]
[[dataset]]
abbr = "whole"
base = "pocket_cloze"
[[dataset]]
abbr = "normalized"
base = "pocket_cloze"
ppl = { normalizing = "One day" }
[[dataset]]
abbr = "likely"
base = "pocket_cloze"
mode = "ll"
[dataset.prompt]
context = "{ctx}"
choice = " {choice}"
choices = "endings"
`, limit(5)))
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	whole, normalized, likely := records(t, dir, p, "pocket/whole"), records(t, dir, p, "pocket/normalized"), records(t, dir, p, "pocket/likely")
	for i, r := range likely {
		for k := range r.Labels {
			// The contexts are the same text, so the whole less the continuation is the same for all labels.
			if d, d0 := whole[i].NLL[k]-r.NLL[k], whole[i].NLL[0]-r.NLL[0]; !near(d, d0, 1e-6) || d <= 0 {
				t.Errorf("row %d label %d: the context is worth %v, and %v for label 0", i, k, d, d0)
			}
			if r.Tokens[k] >= whole[i].Tokens[k] || r.Tokens[k] < 3 {
				t.Errorf("row %d: %d tokens of %d are the continuation", i, r.Tokens[k], whole[i].Tokens[k])
			}
		}
		n := normalized[i]
		if len(n.NormNLL) != len(n.Labels) || len(n.NLL) != len(n.Labels) || n.NormNLL[0] <= n.NLL[0] {
			t.Errorf("row %d: an ending is likelier after its story than after no story: %+v", i, n)
		}
	}
}

func TestMemory(t *testing.T) {
	root := t.TempDir()
	put := func(path, text string) {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(text), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, want int64) {
		t.Helper()
		if got := memoryUnder(root); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	check("nothing known", 0)
	put("proc/meminfo", "MemTotal:  100 kB\nMemAvailable:    50 kB\n")
	check("the system's", 50<<10)
	put("proc/self/cgroup", "0::/slurm/job_1\n")
	put("sys/fs/cgroup/slurm/job_1/memory.max", "max\n")
	put("sys/fs/cgroup/slurm/memory.max", "40960\n")
	put("sys/fs/cgroup/slurm/memory.current", "960\n")
	check("a group above", 40000)
	put("proc/self/cgroup", "4:memory:/job\n3:cpu:/x\n")
	put("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "5000")
	put("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "6000")
	check("the first version, all used up", 1)
	if Memory() <= 0 {
		t.Error("this machine's memory is unknown")
	}
	j := &job{}
	if one, all := j.cacheMemory(1<<20, 1), j.cacheMemory(1<<20, runtime.NumCPU()); all < 1<<18 || all > 1<<19 || one > all || one < 1<<10 {
		t.Errorf("the cache takes %d and %d bytes of 1 MiB", one, all)
	}
	if got := j.cacheMemory(1, 1); got != 1 {
		t.Errorf("nothing left is %d, which is no limit", got)
	}
}
