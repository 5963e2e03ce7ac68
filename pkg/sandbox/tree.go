package sandbox

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// process is what /proc/PID/stat says, https://docs.kernel.org/filesystems/proc.html.
type process struct {
	pid, parent int
	state       byte
	threads     int
	start       uint64 // after boot, which with pid names it for good
	cpu         time.Duration
	rss         int64 // bytes
}

// tick is the unit of processor time in /proc: Linux has 100 a second on every machine.
const tick = 10 * time.Millisecond

var pageSize = int64(os.Getpagesize())

// parseStat reads the line. The command's name may hold anything, so that the fields are counted from its end.
func parseStat(pid int, text []byte) (process, bool) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return process{}, false
	}
	f := bytes.Fields(text[end+1:])
	if len(f) < 22 || len(f[0]) != 1 {
		return process{}, false
	}
	num := func(i int) int64 { // i as counted in proc(5), where the state is 3
		v, _ := strconv.ParseInt(string(f[i-3]), 10, 64)
		return v
	}
	return process{pid: pid, parent: int(num(4)), state: f[0][0], threads: int(num(20)), start: uint64(num(22)),
		cpu: time.Duration(num(14)+num(15)+num(16)+num(17)) * tick, rss: num(24) * pageSize}, true
}

func readProcess(pid int) (process, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false
	}
	return parseStat(pid, text)
}

// mostProcesses bounds what one look at a tree reads. A tree with more is to be killed anyway, and killing looks again.
const mostProcesses = 4096

// descendants lists what is below root, which is not in the list. Processes that start while it looks may be missed.
func descendants(root int) []process {
	if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(unix.Getpid()) + "/children"); err != nil {
		return scan(root)
	}
	var list []process
	queue := []int{root}
	for len(queue) > 0 && len(list) < mostProcesses {
		children := childrenOf(queue[0])
		queue = queue[1:]
		for _, pid := range children {
			if p, ok := readProcess(pid); ok {
				list, queue = append(list, p), append(queue, pid)
			}
		}
	}
	return list
}

func childrenOf(pid int) (children []int) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task/"
	threads, _ := os.ReadDir(dir)
	for _, t := range threads {
		text, _ := os.ReadFile(dir + t.Name() + "/children")
		for _, f := range bytes.Fields(text) {
			if child, err := strconv.Atoi(string(f)); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

// scan finds descendants among all processes, for kernels that do not list children.
func scan(root int) []process {
	below := map[int][]process{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readProcess(pid); ok {
				below[p.parent] = append(below[p.parent], p)
			}
		}
	}
	list := append([]process{}, below[root]...)
	for i := 0; i < len(list); i++ {
		list = append(list, below[list[i].pid]...)
	}
	return list
}

// signalProcess sends to this very process, not to one that has its number since.
func signalProcess(p process, sig unix.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err == unix.ENOSYS || err == unix.EPERM {
		_ = unix.Kill(p.pid, sig)
		return
	}
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if now, ok := readProcess(p.pid); ok && now.start == p.start {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}

// killTree kills a process group (0: none), which the kernel does at once, and all that is below root. Those it first stops, until none is
// found that was not, because killed processes make room for those that start meanwhile, and stopped ones do not.
func killTree(root, group int) {
	if group > 1 {
		_ = unix.Kill(-group, unix.SIGKILL)
	}
	stopped := map[uint64]bool{}
	for round := 0; ; round++ {
		live, fresh := 0, false
		all := descendants(root)
		for _, p := range all {
			if p.state == 'Z' || p.state == 'X' {
				continue
			}
			live++
			if key := p.start<<22 ^ uint64(p.pid); !stopped[key] {
				stopped[key], fresh = true, true
				signalProcess(p, unix.SIGSTOP)
			}
		}
		if live == 0 {
			return
		}
		if fresh && round%100 != 99 {
			continue
		}
		for _, p := range all {
			signalProcess(p, unix.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}
