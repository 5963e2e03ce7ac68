package worker

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

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
