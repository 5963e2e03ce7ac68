package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sextant/internal/slurmlab"
	"sextant/internal/slurmlab/shim"
)

// cpuNow is what a program that runs has used, without the commands it has called.
func (p *process) cpuNow() time.Duration {
	p.t.Helper()
	stat := readFile(p.t, fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	user, err := strconv.Atoi(f[11])
	if err != nil {
		p.t.Fatal(err)
	}
	system, err := strconv.Atoi(f[12])
	if err != nil {
		p.t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // a tick of the kernel's
}

// TestSlurmTenThousandShards plans more than 10,000 shards and queues as many as the cluster takes, in arrays of a thousand at most and no more
// than a user may have: that takes little of the processor's time. The cluster is emulated. Its jobs never begin; with -chaos they do, and the
// run is carried out.
func TestSlurmTenThousandShards(t *testing.T) {
	o := shim.Options{Nodes: 32, SubmitLimit: 1500, Second: 100 * time.Millisecond, Pretend: func(shim.Element) shim.Outcome { return shim.Outcome{Never: true} }}
	if *chaosAll {
		o.Pretend = nil
	}
	c := shim.Install(t, o)
	var spec strings.Builder
	for i := range 6 {
		fmt.Fprintf(&spec, "[[models]]\nabbr = \"m%d\"\npath = \"$POCKET/model\"\nbatch_size = %d\n", i, 100+i)
	}
	x := newTrial(t, &slurmlab.Cluster{Dir: filepath.Join(t.TempDir(), "a", "b")}, setup{spec: spec.String(), limit: 300,
		flags: []string{"--max-num-workers", "32", "--max-partition-size", "2", "--gen-task-coef", "1"}})
	p := x.submit()
	x.until("the first window", func() bool { return len(c.Calls("squeue")) > 0 })
	used := p.cpuNow()
	t.Logf("%s of CPU to plan and queue", used)
	if used > 10*time.Second {
		t.Errorf("%s of CPU", used)
	}
	if n := len(c.Elements()); n < 1000 || n > o.SubmitLimit {
		t.Errorf("%d jobs are queued, want 1000 to %d", n, o.SubmitLimit)
	}
	if *chaosAll {
		p.want(exitDone, "49/49 tasks, 13419/13419 rows")
		u := p.ProcessState.SysUsage().(*syscall.Rusage)
		t.Logf("%s of CPU for all", time.Duration(u.Utime.Nano()+u.Stime.Nano()))
		return
	}
	time.Sleep(2 * time.Second)
	if n := len(c.Calls("sbatch")); n > 16 {
		t.Errorf("%d calls of sbatch to find the limit of %d jobs", n, o.SubmitLimit)
	}
	_ = p.Process.Kill()
	<-p.done
	for _, text := range []string{"plan: 49 tasks, 10913 shards in 10913 jobs", "as many jobs are queued as the site allows"} {
		if !strings.Contains(p.log.String(), text) {
			t.Errorf("it did not say %q\n%s", text, &p.log)
		}
	}
}
