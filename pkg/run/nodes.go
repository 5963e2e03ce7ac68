package run

import (
	"sextant/pkg/result"
	"sextant/scheduler"
)

// nodes remembers how the nodes of a cluster did, so that one that fails everything is left alone.
type nodes map[string]*node

type node struct {
	failed int // tickets in a row
	worked bool
	out    bool
}

// A node is excluded when a worker could not even begin there, or when tickets fail on it again and again.
const badInARow = 3

// forgiven is the key under which forgive leaves its mark: no node has such a name.
const forgiven = "*"

// note takes in how a ticket ended on a node. Input faults and deaths from outside say nothing of it.
func (n nodes) note(st scheduler.Status, v verdict, a *attempt) {
	name := st.Node
	if name == "" || n[forgiven] != nil {
		return
	}
	at := n[name]
	if at == nil {
		at = &node{}
		n[name] = at
	}
	switch {
	case len(v.faults) == 0:
		if st.State == scheduler.Done {
			at.failed, at.worked = 0, true
		}
	case v.cause == scheduler.Launch:
		at.failed++
		at.out = at.out || !at.worked || at.failed >= badInARow
	case v.cause != "" || v.faults[0].Kind == result.FailInput || v.faults[0].Kind == result.FailDisk:
	default:
		at.failed++
		at.out = at.out || at.failed >= badInARow
	}
}

// excluded lists the nodes that must not be used.
func (n nodes) excluded() []string {
	var out []string
	for _, name := range sortedKeys(n) {
		if n[name].out {
			out = append(out, name)
		}
	}
	return out
}

// forgive takes all nodes in again, and excludes none any more. It says whether there was one.
func (n nodes) forgive() bool {
	some := len(n.excluded()) > 0
	clear(n)
	n[forgiven] = &node{}
	return some
}
