package worker

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory is what this process may still use of the machine's memory, in bytes: the least of what the system has and what the control groups
// it is in (a batch system sets them) leave. 0: unknown.
func Memory() int64 { return memoryUnder("/") }

func memoryUnder(root string) int64 {
	least := int64(0)
	note := func(n int64, ok bool) {
		if ok && (least == 0 || n < least) {
			least = max(n, 1)
		}
	}
	note(available(filepath.Join(root, "proc/meminfo")))
	data, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	for line := range bytes.Lines(data) {
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, limit, usage := "sys/fs/cgroup", "memory.max", "memory.current"
		if parts[0] != "0" {
			if parts[1] != "memory" {
				continue
			}
			mount, limit, usage = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
		}
		for dir := filepath.Clean("/" + parts[2]); ; dir = filepath.Dir(dir) {
			group := filepath.Join(root, mount, dir)
			most, ok1 := number(filepath.Join(group, limit))
			used, ok2 := number(filepath.Join(group, usage))
			note(most-used, ok1 && ok2)
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// available reads MemAvailable.
func available(path string) (int64, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "MemAvailable:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kb << 10, err == nil
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
