package quant

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sextant/internal/points"
	"sextant/internal/smalldisk"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

func TestMain(m *testing.M) {
	smalldisk.Enter()
	os.Exit(m.Run())
}

// jobWithAll is a job that makes every directory there is.
func jobWithAll(t testing.TB, q spec.Quant, dir string) Job {
	t.Helper()
	job := toyJob(t, openCheckpoint(t, toys["bf16"].write(t)), q)
	return placed(job, dir)
}

// placed is the job with its directories below dir.
func placed(job Job, dir string) Job {
	job.Out, job.Work = filepath.Join(dir, "variants", "toy-q"), filepath.Join(dir, "variants", ".toy-q.work")
	job.Transformed = filepath.Join(dir, "variants", "toy-q-transformed")
	job.Exports = map[string]string{}
	for _, layout := range []string{"compressed-tensors", "gptq_v2", spec.FakeQuant, spec.Transformed} {
		job.Exports[layout] = filepath.Join(dir, "exports", layout)
	}
	return job
}

// allFiles are the files of every directory of a job.
func allFiles(t testing.TB, job Job) map[string]string {
	t.Helper()
	all := map[string]string{}
	dirs := []string{job.Out, job.Transformed}
	for _, dir := range job.Exports {
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		if _, err := result.ReadManifest(dir); err != nil {
			t.Error(err)
		}
		for name, data := range filesOf(t, dir) {
			all[filepath.Join(filepath.Base(dir), name)] = data
		}
	}
	return all
}

// TestKilledAnywhere takes the disk as it is at each point of a run, as kill -9 would leave it, and goes on from there.
func TestKilledAnywhere(t *testing.T) {
	defer func() { points.Hook = func(string) {} }()
	for _, q := range []spec.Quant{recipe("awq", nil), recipe("gptq", nil)} {
		t.Run(q.Method, func(t *testing.T) {
			dir := t.TempDir()
			job := jobWithAll(t, q, dir)
			exports := q.Method == "awq"
			if !exports {
				job.Exports = nil
			}
			snapshots, names := t.TempDir(), []string{}
			points.Hook = func(p string) {
				names = append(names, p)
				if err := os.CopyFS(filepath.Join(snapshots, at(len(names))), os.DirFS(dir)); err != nil {
					t.Error(err)
				}
			}
			mustRun(t, job)
			points.Hook = func(string) {}
			want := allFiles(t, job)
			if len(names) < 10 {
				t.Errorf("%d points: %v", len(names), names)
			}
			for i, name := range names {
				again := placed(job, filepath.Join(snapshots, at(i+1)))
				if !exports {
					again.Exports = nil
				}
				if _, err := Run(context.Background(), again); err != nil {
					t.Errorf("killed at %s: %v", name, err)
					continue
				}
				sameFiles(t, allFiles(t, again), want)
				if leftovers := parts(t, again); len(leftovers) > 0 {
					t.Errorf("killed at %s: %v is left", name, leftovers)
				}
			}
		})
	}
}

func at(i int) string { return string(rune('a'-1+i%26)) + strings.Repeat("x", i/26) }

// parts are the unfinished things beside a job's directories.
func parts(t testing.TB, job Job) (found []string) {
	t.Helper()
	for _, dir := range []string{filepath.Dir(job.Out), filepath.Join(filepath.Dir(job.Out), "../exports")} {
		hidden, err := filepath.Glob(filepath.Join(dir, ".*"))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, hidden...)
	}
	return found
}

// TestLosesABlockAtMost counts the blocks that are made when a run goes on.
func TestLosesABlockAtMost(t *testing.T) {
	defer func() { points.Hook = func(string) {} }()
	dir := t.TempDir()
	job := jobWithAll(t, recipe("awq", nil), dir)
	killed := filepath.Join(t.TempDir(), "killed")
	done := 0
	points.Hook = func(p string) {
		if p == "quant:block-done" {
			if done++; done == 1 {
				if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
					t.Error(err)
				}
			}
		}
	}
	mustRun(t, job)
	if done != 2 {
		t.Fatalf("%d blocks done, want 2", done)
	}
	mustRun(t, placed(job, killed))
	if done != 3 {
		t.Errorf("%d blocks were made behind the first, want 1", done-2)
	}
}

// TestAnotherJobBeginsAnew: what is in the work directory of another fingerprint is not used.
func TestAnotherJobBeginsAnew(t *testing.T) {
	defer func() { points.Hook = func(string) {} }()
	job := toyJob(t, openCheckpoint(t, toys["bf16"].write(t)), recipe("gptq", nil))
	ctx, cancel := context.WithCancel(context.Background())
	points.Hook = func(string) { cancel() }
	if _, err := Run(ctx, job); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	points.Hook = func(string) {}
	other := job
	other.Recipe, other.Fingerprint = recipe("rtn", nil), "another"
	mustRun(t, other)
	fresh := toyJob(t, job.Checkpoint, other.Recipe)
	mustRun(t, fresh)
	sameFiles(t, filesOf(t, other.Out), filesOf(t, fresh.Out))
	m := mustRun(t, job) // and takes the place of what was made under another one
	if got, err := result.ReadManifest(job.Out); err != nil || got.Fingerprint != job.Fingerprint || m.Fingerprint != job.Fingerprint {
		t.Errorf("manifest %+v, %v", got, err)
	}
}

// TestTaken: of two attempts in one work directory the later one has it.
func TestTaken(t *testing.T) {
	defer func() { points.Hook = func(string) {} }()
	job := toyJob(t, openCheckpoint(t, toys["bf16"].write(t)), recipe("gptq", nil))
	whole := toyJob(t, job.Checkpoint, job.Recipe)
	mustRun(t, whole)
	began := false
	points.Hook = func(p string) {
		if p == "quant:shard-written" && !began {
			began = true
			mustRun(t, job)
		}
	}
	if _, err := Run(context.Background(), job); !errors.Is(err, ErrTaken) {
		t.Errorf("the earlier attempt ended with %v", err)
	}
	sameFiles(t, filesOf(t, job.Out), filesOf(t, whole.Out))
}

// TestFullDisk: the state survives a disk that fills up, wherever that is.
func TestFullDisk(t *testing.T) {
	job := toyJob(t, openCheckpoint(t, toys["bf16"].write(t)), recipe("gptq", nil))
	whole := toyJob(t, job.Checkpoint, job.Recipe)
	mustRun(t, whole)
	dir := filepath.Join(t.TempDir(), "disk")
	smalldisk.Mount(t, dir, "16k")
	job = placed(job, dir)
	job.Exports, job.Transformed = nil, ""
	failures := 0
	for _, size := range []string{"40k", "80k", "100k", "120k", "140k", "160k", "180k", "200k", "4m"} {
		_, err := Run(context.Background(), job)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		failures++
		smalldisk.Resize(t, dir, size)
	}
	if failures < 3 {
		t.Errorf("%d failures", failures)
	}
	sameFiles(t, filesOf(t, job.Out), filesOf(t, whole.Out))
}
