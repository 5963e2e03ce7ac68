package sandbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// group is a control group of version 2, https://docs.kernel.org/admin-guide/cgroup-v2.html, below this process's own.
type group struct {
	dir           *os.File
	path          string
	memory, tasks bool
}

// newGroup makes one; nil where that is not allowed, which is usual: a group must be delegated to its user.
func newGroup(l Limits) *group {
	own := ownGroup()
	if own == "" {
		return nil
	}
	path, err := os.MkdirTemp(own, "sandbox-")
	if err != nil {
		return nil
	}
	g := &group{path: path}
	if g.dir, err = os.Open(path); err != nil || unix.Access(filepath.Join(path, "cgroup.kill"), unix.W_OK) != nil {
		g.remove()
		return nil
	}
	g.memory = g.set("memory.max", l.Memory+l.Disk+wardenMemory)
	_ = g.set("memory.swap.max", 0)
	g.tasks = g.set("pids.max", int64(l.Processes+wardenTasks))
	return g
}

// What the warden itself may take.
const (
	wardenMemory = 64 << 20
	wardenTasks  = 32
)

// ownGroup is the directory of this process's control group.
func ownGroup() string {
	text, _ := os.ReadFile("/proc/self/cgroup")
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range bytes.Lines(text) {
		in, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "0::")
		if !ok {
			continue
		}
		for m := range bytes.Lines(mounts) {
			if f := strings.Fields(string(m)); len(f) > 2 && f[2] == "cgroup2" {
				return filepath.Join(f[1], in)
			}
		}
	}
	return ""
}

func (g *group) set(name string, value int64) bool {
	return os.WriteFile(filepath.Join(g.path, name), []byte(strconv.FormatInt(value, 10)), 0) == nil
}

func (g *group) layers() (l Layers) {
	if g == nil {
		return noLayers
	}
	l = Cgroup
	if g.memory {
		l |= CgroupMemory
	}
	if g.tasks {
		l |= CgroupTasks
	}
	return l
}

func (g *group) kill() { g.set("cgroup.kill", 1) }

// remove removes the group, whose last processes may take a moment to be gone.
func (g *group) remove() {
	if g.dir != nil {
		_ = g.dir.Close()
	}
	for wait := time.Millisecond; wait < time.Second; wait *= 2 {
		if err := os.Remove(g.path); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(wait)
	}
}
