package slurm

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLogs(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.list": "x.sbatch run.x.1 --attempt 1\ny.sbatch run.y.1 --attempt 1\n", "b.list": "y.sbatch run.y.2\n", "c.list": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := Logs(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"run.x.1": "a.0.log", "run.y.1": "a.1.log", "run.y.2": "b.0.log", "run.y": "", "--attempt": ""} {
		if want != "" {
			want = filepath.Join(dir, want)
		}
		if got := logs[name]; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
