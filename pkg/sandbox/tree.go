package sandbox

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// process is what /proc/PID/stat says, https://docs.kernel.org/filesystems/proc.html.
type process struct {
	pid, parent int
	state       byte
	threads     int
	start       uint64        // after boot, which with pid names it for good
	cpu         time.Duration // its own, and reaped
	reaped      time.Duration // of the children that it has waited for
	rss         int64         // bytes
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
	reaped := num(16) + num(17)
	return process{pid: pid, parent: int(num(4)), state: f[0][0], threads: int(num(20)), start: uint64(num(22)),
		cpu: time.Duration(num(14)+num(15)+reaped) * tick, reaped: time.Duration(reaped) * tick, rss: num(24) * pageSize}, true
}

func readProcess(pid int) (process, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false
	}
	return parseStat(pid, text)
}

// tasks is how many processes and threads it is.
func (p process) tasks() int {
	if p.dead() {
		return 0
	}
	return p.threads
}

func (p process) dead() bool { return p.state == 'Z' || p.state == 'X' }

// mostProcesses bounds what one look at a tree reads. A tree with more is to be killed anyway, and killing looks again.
const mostProcesses = 4096

// listsChildren says whether the kernel does.
var listsChildren = sync.OnceValue(func() bool {
	_, err := os.Stat("/proc/self/task/" + strconv.Itoa(unix.Getpid()) + "/children")
	return err == nil
})

// descendants lists what is below root, which is not in the list, and counts its processes and threads. It is content with a list of more
// tasks than most: of a bomb, which leaves little time to look, not all is read. Processes that start while it looks may be missed.
func descendants(root, most int) (list []process, tasks int) {
	if !listsChildren() {
		return scan(root)
	}
	queue := []int{root}
	for len(queue) > 0 {
		children := childrenOf(queue[0])
		queue = queue[1:]
		for _, pid := range children {
			p, ok := readProcess(pid)
			if !ok {
				continue
			}
			list, queue, tasks = append(list, p), append(queue, pid), tasks+p.tasks()
			if tasks > most || len(list) >= mostProcesses {
				return list, tasks
			}
		}
	}
	return list, tasks
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
func scan(root int) (list []process, tasks int) {
	below := map[int][]process{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readProcess(pid); ok {
				below[p.parent] = append(below[p.parent], p)
			}
		}
	}
	list = below[root]
	for i := 0; i < len(list); i++ {
		list, tasks = append(list, below[list[i].pid]...), tasks+list[i].tasks()
	}
	return list, tasks
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
		all, _ := descendants(root, mostProcesses)
		for _, p := range all {
			if p.dead() {
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
