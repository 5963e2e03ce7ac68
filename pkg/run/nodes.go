package run

import (
	"fmt"
	"strings"

	"sextant/pkg/result"
	"sextant/scheduler"
)

// nodes remembers how the nodes of a cluster did, so that one that fails everything is left alone.
type nodes struct {
	seen     map[string]*node
	forgiven bool // none is excluded any more
}

type node struct {
	failed int  // tickets in a row
	began  bool // a worker came to life there
	out    bool
}

// A node is excluded when a worker could not even begin there, or when tickets fail on it again and again.
const badInARow = 3

// noStart is on how many nodes workers must have failed to begin, and on none begun, for the fault to be everybody's.
const noStart = 3

func newNodes() nodes { return nodes{seen: map[string]*node{}} }

func (n *nodes) at(name string) *node {
	if n.seen[name] == nil {
		n.seen[name] = &node{}
	}
	return n.seen[name]
}

// began notes that a worker took a ticket on a node.
func (n *nodes) began(name string) {
	if name != "" {
		n.at(name).began = true
	}
}

// anyBegan says that workers do begin, somewhere.
func (n *nodes) anyBegan() bool {
	for _, at := range n.seen {
		if at.began {
			return true
		}
	}
	return false
}

// note takes in how a ticket ended on a node. Input faults and deaths from outside say nothing of it. The error is for when no worker begins
// anywhere: the run cannot go on then.
func (n *nodes) note(st scheduler.Status, v verdict) error {
	if st.Node == "" {
		return nil
	}
	at := n.at(st.Node)
	switch {
	case len(v.faults) == 0 && v.cause != scheduler.Launch:
		if st.State == scheduler.Done {
			at.failed = 0
		}
	case v.cause == scheduler.Launch:
		at.failed++
		at.out = at.out || !at.began || at.failed >= badInARow
		return n.noneBegins(v.reason)
	case v.cause != "" || v.faults[0].Kind == result.FailInput || v.faults[0].Kind == result.FailDisk:
	default:
		at.failed++
		at.out = at.out || at.failed >= badInARow
	}
	return nil
}

func (n *nodes) noneBegins(reason string) error {
	var names []string
	for _, name := range sortedKeys(n.seen) {
		if at := n.seen[name]; at.failed > 0 {
			names = append(names, name)
		}
	}
	if n.anyBegan() || len(names) < noStart {
		return nil
	}
	return fmt.Errorf("no worker begins on any of %s: %s", strings.Join(names, ", "), reason)
}

// excluded lists the nodes that must not be used.
func (n *nodes) excluded() []string {
	var out []string
	for _, name := range sortedKeys(n.seen) {
		if n.seen[name].out && !n.forgiven {
			out = append(out, name)
		}
	}
	return out
}

// forgive takes all nodes in again, and excludes none any more. It says whether there was one.
func (n *nodes) forgive() bool {
	some := len(n.excluded()) > 0
	n.forgiven = true
	return some
}
