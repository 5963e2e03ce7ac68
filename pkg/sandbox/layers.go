package sandbox

import (
	"fmt"
	"strings"
)

// Layers is a set of means of confinement. No_new_privs, resource limits, a session of its own, a clean environment, closed descriptors
// and the watch over time, memory, tasks and output are not in it: they need nothing of the node and hold always.
type Layers uint32

// The layers. A layer holds only where it was tried in a child and found to refuse what it should.
const (
	// Namespaces: user, pid, mount, ipc and uts namespaces. The program sees system directories, read-only, an interpreter's, and its own;
	// of processes only its own; all of them end with the first.
	Namespaces Layers = 1 << iota
	// NoNetwork: a network namespace without any interface.
	NoNetwork
	// Landlock: the kernel refuses opening any file but those listed (Linux 5.13).
	Landlock
	// LandlockScope: it also refuses signals and abstract sockets to processes outside (Linux 6.12).
	LandlockScope
	// Seccomp: a filter refuses sockets, mounts, tracing and what else doc.go lists.
	Seccomp
	// OwnUser: a user number that nothing else has. Only root can give one.
	OwnUser
	// Cgroup: a control group of its own (v2), which counts and ends all its processes at once.
	Cgroup
	// CgroupMemory: that group also bounds memory.
	CgroupMemory
	// CgroupTasks: that group also bounds processes and threads.
	CgroupTasks

	noLayers Layers = 0
)

var layerNames = []string{"namespaces", "no-network", "landlock", "landlock-scope", "seccomp", "own-user", "cgroup", "cgroup-memory",
	"cgroup-tasks"}

// Has says whether all of want are in l.
func (l Layers) Has(want Layers) bool { return l&want == want }

// Confined says whether a program cannot read or change the user's files, nor reach the network: by namespaces, or by Landlock with
// seccomp (Landlock alone leaves modes, owners and, before Linux 6.2, lengths of files unguarded). Seccomp alone cannot tell one file
// from another, so it is not enough.
func (l Layers) Confined() bool {
	return l.Has(Landlock|Seccomp) || l.Has(Namespaces) && l&(NoNetwork|Seccomp) != 0
}

// Names lists the layers, in a fixed order.
func (l Layers) Names() []string {
	names := []string{}
	for i, n := range layerNames {
		if l&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

// String is the names joined by spaces, or "none".
func (l Layers) String() string {
	if l == noLayers {
		return "none"
	}
	return strings.Join(l.Names(), " ")
}

// MarshalText makes the names what is written to JSON.
func (l Layers) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText is the inverse of MarshalText. It refuses a name that it does not know.
func (l *Layers) UnmarshalText(text []byte) error {
	*l = noLayers
	if string(text) == "none" {
		return nil
	}
next:
	for _, f := range strings.Fields(string(text)) {
		for i, n := range layerNames {
			if n == f {
				*l |= 1 << i
				continue next
			}
		}
		return fmt.Errorf("reading layers of confinement: %q is not one of %q", f, layerNames)
	}
	return nil
}
