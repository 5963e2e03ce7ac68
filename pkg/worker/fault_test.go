package worker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sextant/kernels"
	"sextant/pkg/engine"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
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
	if f.Kind != result.FailInput || f.Row == nil || *f.Row != 17 || f.Reason != "shard x: row 17 (from 0): the prompt has 900 tokens" {
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
	if want := fmt.Sprintf("row %d (from 0): the prompt has ", missing[0]); !strings.HasPrefix(first.Reason, want) || *first.Row != missing[0] {
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
	model := copyModel(t)
	path := model + "/model.safetensors"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 8 + int(binary.LittleEndian.Uint64(data)); i < len(data); i++ {
		data[i] = 0xff
	}
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
	dir, p := planned(t, given(t, fmt.Sprintf("models = [{ abbr = \"pocket\", path = %q }]\ndatasets = [\"pocket_gsm\", \"pocket_piqa\", \"pocket_text\"]\n", model), limit(2)))
	got := fails(t, dir, p, ExitInput)
	for _, sh := range p.Shards {
		if f := got[sh.ID]; !strings.Contains(f.Reason, "not numbers") {
			t.Errorf("%s: the reason %q", sh.ID, f.Reason)
		}
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
