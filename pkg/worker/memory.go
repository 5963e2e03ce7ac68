package worker

import (
	"bufio"
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Limits are what a batch system allows a job on this machine.
type Limits struct {
	Memory int64 // bytes; 0: not known
	CPUs   int   // of the job's, whatever part of them this process has; 0: not known
}

// left is what memory there is still to be had, in bytes. 0: unknown.
type left struct {
	machine int64 // by the system's own count
	group   int64 // in the control groups this process is in; a batch system makes one for each job
	own     int64 // that this process holds: not in files
}

// Memory is what this process may still use of the machine's memory, in bytes: the least of what the system has and what the control groups
// it is in leave. 0: unknown.
func Memory() int64 {
	m := memoryUnder("/")
	return least(m.machine, m.group)
}

// least is the smallest of those that are known.
func least(list ...int64) (n int64) {
	for _, v := range list {
		if v > 0 && (n == 0 || v < n) {
			n = v
		}
	}
	return n
}

// roomFor is what there is for the weights, before they are loaded: as Memory, and by the batch system's limit.
func roomFor(limit int64) int64 {
	m := memoryUnder("/")
	if limit > 0 {
		limit = max(1, limit-m.own)
	}
	return least(m.machine, m.group, limit)
}

// cacheMemory is how much the key-value cache may take: half of what will be left beside the weights and the passes' activations of work
// bytes, for prompts and results want memory too. There are three counts, and the least holds: of the machine, of which a worker takes its
// share by processors, for others run beside it; of its control groups; and of the batch system's limit, which it may enforce without them.
// Of the latter two it takes its share of the job's processors.
//
// The weights are loaded by now. Packed ones have left the machine's count and, unless another job's process packed them, the groups'; the
// batch system counts them for each process that reads them, shared or not. Workers that will run beside this one may not have loaded
// theirs yet: where nothing is shared, as much as this one's is put aside for each. Should they be loaded already, batches are smaller than
// they need be; memory is never promised twice.
//
// Weights that are read where they are mapped are pages that the kernel counts as memory to be had at any time, and takes before it ends a
// process; but then they are read from the disk again in each pass. So they count as used, in full, whether they are in memory by now or
// not. Where all that leaves next to nothing, a sixteenth is tried all the same: slow is better than not at all.
func (l *loaded) cacheMemory(o Options, device, work int64, threads int) int64 {
	if o.Memory > 0 {
		return o.Memory
	}
	m, f := memoryUnder("/"), l.footprint()
	if f.Shared { // not counted by now, or only as far as it was read
		m.own += f.Packed
	}
	limit := int64(0)
	if o.Limits.Memory > 0 {
		limit = max(1, o.Limits.Memory-m.own)
	}
	b := budget{device: device, limit: limit, mapped: f.Mapped, work: work, threads: threads,
		machine: machineCPUs("/"), job: cmp.Or(o.Limits.CPUs, runtime.NumCPU())}
	if !f.Shared {
		b.packed = f.Packed
	}
	return m.cache(b)
}

// budget is what the memory is divided by.
type budget struct {
	device, limit  int64 // 0: not known
	mapped, packed int64 // weights: in files, once for all; in memory of each worker's own
	work           int64 // for the activations of a worker
	threads        int   // processors of this process
	machine, job   int   // processors
}

func (m left) cache(b budget) int64 {
	part := func(n, mapped int64, cpus int) int64 {
		if n <= 0 {
			return 0
		}
		all := max(cpus, 1)
		mine := min(max(b.threads, 1), all)
		workers := int64((all + mine - 1) / mine)
		n = max(n-mapped-(workers-1)*b.packed-workers*b.work, n/16)
		return max(1, n/2/int64(all)*int64(mine)) // 0 would be no limit
	}
	return least(part(b.device, 0, b.job), part(m.machine, b.mapped, b.machine), part(m.group, b.mapped, b.job), part(b.limit, b.mapped, b.job))
}

// processors is how many of the machine's this process has: as many as the threads it was asked for; else all it may run on, within its
// groups' time, for a device that chooses by itself has a thread for each core, and a core may be several processors.
func processors(asked, threads int) int {
	if asked > 0 {
		return asked
	}
	return max(threads, runtime.GOMAXPROCS(0))
}

// machineCPUs counts the processors of the machine, of which this process may be allowed but a few.
func machineCPUs(root string) int {
	data, _ := os.ReadFile(filepath.Join(root, "sys/devices/system/cpu/online")) // "0-3,8"
	n := 0
	for _, part := range strings.Split(strings.TrimSpace(string(data)), ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		to := from
		if err == nil && isRange {
			to, err = strconv.Atoi(last)
		}
		if err != nil || to < from {
			return runtime.NumCPU()
		}
		n += to - from + 1
	}
	return max(n, runtime.NumCPU())
}

func memoryUnder(root string) (m left) {
	if n, ok := named(filepath.Join(root, "proc/meminfo"), "MemAvailable:"); ok {
		m.machine = max(n, 1)
	}
	m.own, _ = named(filepath.Join(root, "proc/self/status"), "RssAnon:")
	data, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	for line := range bytes.Lines(data) {
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) != 3 {
			continue
		}
		v := groupFiles{"sys/fs/cgroup", "memory.max", "memory.current", ""}
		if parts[0] != "0" {
			if parts[1] != "memory" {
				continue
			}
			v = groupFiles{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"}
		}
		for dir := filepath.Clean("/" + parts[2]); ; dir = filepath.Dir(dir) {
			if n, ok := v.left(filepath.Join(root, v.mount, dir)); ok {
				m.group = least(m.group, max(n, 1))
			}
			if dir == "/" {
				break
			}
		}
	}
	return m
}

// groupFiles are the names in one version of the control groups.
type groupFiles struct{ mount, limit, usage, total string }

// left is what a group's limit leaves. Pages of files count as free: see cacheMemory.
func (v groupFiles) left(dir string) (int64, bool) {
	most, ok1 := number(filepath.Join(dir, v.limit))
	used, ok2 := number(filepath.Join(dir, v.usage))
	if !ok1 || !ok2 {
		return 0, false
	}
	for _, name := range []string{"active_file ", "inactive_file "} {
		n, _ := named(filepath.Join(dir, "memory.stat"), v.total+name)
		used -= n
	}
	return most - max(used, 0), true
}

// named reads the number behind a name, of a file with one a line; "kB" makes it bytes.
func named(path, name string) (int64, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), name); ok {
			rest, isKB := strings.CutSuffix(rest, "kB")
			n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			if isKB {
				n <<= 10
			}
			return n, err == nil
		}
	}
	return 0, false
}

// number reads a file that holds one number. "max" is none.
func number(path string) (int64, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
}
