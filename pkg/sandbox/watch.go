package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// How often a program is looked at, and its files where no quota holds them.
const (
	watchEvery = 10 * time.Millisecond
	filesEvery = 5 // looks
)

// A program of more tasks than crowd has to give way to others, so that none gets most of the node by starting many.
const (
	crowd     = 4
	crowdNice = 10
)

// watch looks at one program from its start and says when it goes over a limit.
type watch struct {
	Limits
	warden   int
	program  int // the warden's child
	started  time.Time
	before   time.Duration // processor time before the start
	peak     int64
	cpu      time.Duration
	looks    int
	crowded  bool
	dir      string // "": a quota holds its files
	diskFrom int64
}

// newWatch begins with a program that started at a time of the monotonic clock.
func newWatch(l Limits, warden int, started time.Duration, dir string) *watch {
	w := &watch{Limits: l, warden: warden, started: time.Now().Add(started - monotonic()), dir: dir}
	first := process{}
	below, _ := descendants(warden, mostProcesses)
	for _, p := range below {
		w.before += p.cpu
		if first.pid == 0 || p.start < first.start || p.start == first.start && p.pid < first.pid {
			first = p // it may have started others already
		}
	}
	w.program = first.pid
	w.diskFrom = written(warden) + written(w.program)
	return w
}

// monotonic is the time since boot that all processes share.
func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}

// look says which limit is passed; "": none.
func (w *watch) look() (why string, timedOut bool) {
	wall := time.Since(w.started)
	if over := wall - w.Wall; over > 0 && (w.crowded || over > min(waited(w.program), w.Wall/2)) {
		return fmt.Sprintf("wall time over %v", w.Wall), true
	}
	w.looks++
	all, tasks := descendants(w.warden, w.Processes)
	var cpu time.Duration
	var rss, wrote int64
	for _, p := range all {
		cpu, rss = cpu+p.cpu, rss+p.rss
	}
	if self, ok := readProcess(w.warden); ok {
		cpu += self.reaped // the rest is its own, not the program's
	}
	w.cpu = max(w.cpu, cpu-w.before)
	if tasks > w.Processes {
		return fmt.Sprintf("more than %d processes and threads", w.Processes), false
	}
	if tasks > crowd {
		w.crowded = true // what it waits for now is itself
		for _, p := range all {
			_ = unix.Setpriority(unix.PRIO_PROCESS, p.pid, crowdNice)
		}
	}
	if rss > w.Memory {
		rss = proportional(all, rss)
	}
	w.peak = max(w.peak, rss)
	switch {
	case w.cpu > w.CPU:
		return fmt.Sprintf("processor time over %v", w.CPU), true
	case rss > w.Memory:
		return fmt.Sprintf("memory over %d bytes", w.Memory), false
	case w.dir == "":
		return "", false // a quota holds its files
	}
	for _, p := range all {
		wrote += written(p.pid)
	}
	return w.disk(wrote), false
}

// disk bounds files where no quota does: those that are there, and all that was ever written, which counts those that were removed
// while open.
func (w *watch) disk(wrote int64) string {
	if wrote-w.diskFrom > 4*w.Disk {
		return fmt.Sprintf("more than %d bytes written", 4*w.Disk)
	}
	if w.looks%filesEvery != 0 {
		return ""
	}
	count, size := usage(w.dir, w.Files)
	switch {
	case count > w.Files:
		return fmt.Sprintf("more than %d files", w.Files)
	case size > w.Disk:
		return fmt.Sprintf("files over %d bytes", w.Disk)
	}
	return ""
}

// waited is how long a process was ready to run and had no processor, https://docs.kernel.org/scheduler/sched-stats.html.
func waited(pid int) time.Duration {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/schedstat")
	f := bytes.Fields(text)
	if len(f) < 2 {
		return 0
	}
	ns, _ := strconv.ParseInt(string(f[1]), 10, 64)
	return time.Duration(ns)
}

// field is the number after a name in a file of lines "name: number"; 0: it is not there.
func field(path, name string) int64 {
	text, _ := os.ReadFile(path)
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				v, _ := strconv.ParseInt(string(f[0]), 10, 64)
				return v
			}
		}
	}
	return 0
}

// written is what a process and the children that it has waited for had written to disk.
func written(pid int) int64 { return field("/proc/"+strconv.Itoa(pid)+"/io", "write_bytes:") }

// proportional counts memory that several processes share once. It is slow, so that it is asked only of those whose plain sum, which is
// never less, is over the limit.
func proportional(all []process, sum int64) int64 {
	total := int64(0)
	for _, p := range all {
		pss := field("/proc/"+strconv.Itoa(p.pid)+"/smaps_rollup", "Pss:") << 10
		if pss == 0 {
			pss = p.rss
		}
		total += pss
	}
	return min(total, sum)
}
