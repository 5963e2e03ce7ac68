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
		if m := memoryUnder(root); least(m.machine, m.group) != want {
			t.Errorf("%s: %+v, want %d", what, m, want)
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
	put("sys/fs/cgroup/memory/job/memory.stat", "cache 9\ninactive_file 7\ntotal_inactive_file 3000\ntotal_active_file 500\n")
	check("pages of files can be had", 2500)
	put("proc/self/status", "VmRSS:\t  900 kB\nRssAnon:\t    12 kB\n")
	if m := memoryUnder(root); m.own != 12<<10 {
		t.Errorf("this process holds %d", m.own)
	}
	if Memory() <= 0 {
		t.Error("this machine's memory is unknown")
	}
}

// TestCacheMemory holds the shares against their formula.
func TestCacheMemory(t *testing.T) {
	for i, c := range []struct {
		m    left
		b    budget
		want int64
	}{
		{left{}, budget{threads: 1}, 0},
		{left{machine: 1600}, budget{threads: 4, machine: 16}, 200},                                        // half of a quarter
		{left{machine: 1600}, budget{threads: 4, machine: 4, mapped: 600}, 500},                            // weights in files count
		{left{machine: 1600}, budget{threads: 4, machine: 4, mapped: 9999}, 48},                            // and leave a sixteenth
		{left{machine: 1600}, budget{threads: 4, machine: 4, packed: 600}, 800},                            // packed ones are gone from the count
		{left{machine: 1600}, budget{threads: 4, machine: 16, packed: 200}, 124},                           // but the three others' may not be; integers
		{left{machine: 1600}, budget{threads: 3, machine: 4, packed: 200}, 525},                            // there is half a worker more
		{left{machine: 1600}, budget{threads: 4, machine: 4, work: 200}, 700},                              // activations
		{left{machine: 1600}, budget{threads: 4, machine: 16, work: 200}, 100},                             // of each worker
		{left{machine: 1600, group: 400}, budget{threads: 4, machine: 16, job: 4}, 200},                    // both alike
		{left{machine: 1600, group: 300}, budget{threads: 4, machine: 4, job: 4, packed: 999}, 148},        // the job's own limit is all its own
		{left{machine: 1600, group: 300}, budget{threads: 2, machine: 4, job: 4, limit: 100}, 24},          // but for others in the job; integers
		{left{machine: 1600}, budget{threads: 9, machine: 4, job: 2, limit: 100}, 50},                      // more threads than processors
		{left{machine: 1600}, budget{threads: 1, machine: 1, job: 1, device: 100, mapped: 1000}, 50},       // the device's own has what it needs
		{left{machine: 1}, budget{threads: 1, machine: 1}, 1},                                              // not 0, which is no limit
		{left{machine: 1600, group: 1}, budget{threads: 1, machine: 1, job: 1, limit: 1, mapped: 1000}, 1}, // nothing left
	} {
		if got := c.m.cache(c.b); got != c.want {
			t.Errorf("case %d: %+v of %+v is %d, want %d", i, c.b, c.m, got, c.want)
		}
	}
	if n := runtime.GOMAXPROCS(0); processors(3, 2) != 3 || processors(0, 1) != n || processors(0, n+5) != n+5 {
		t.Errorf("%d, %d and %d processors", processors(3, 2), processors(0, 1), processors(0, n+5))
	}
	root := t.TempDir()
	path := filepath.Join(root, "sys/devices/system/cpu/online")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte("0-999,2000\n"), 0o666)); err != nil {
		t.Fatal(err)
	}
	if n := machineCPUs(root); n != 1001 {
		t.Errorf("%d processors, want 1001", n)
	}
	if n := machineCPUs(t.TempDir()); n != runtime.NumCPU() {
		t.Errorf("%d processors where the machine does not say, want %d", n, runtime.NumCPU())
	}
}
