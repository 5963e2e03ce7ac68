package shim

import (
	"fmt"
	"slices"
)

// Elements returns what the controller has ever known, forgotten and cancelled ones too, oldest first.
func (c *Cluster) Elements() []Element {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Element
	for _, a := range c.arrays {
		for _, e := range a.elements {
			out = append(out, e.export())
		}
	}
	return out
}

// with does something to each element of an id ("7", "7_3").
func (c *Cluster) with(id string, do func(*element)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, _ := c.find(id)
	if len(found) == 0 {
		return fmt.Errorf("no job %q", id)
	}
	for _, e := range found {
		do(e)
	}
	return nil
}

// End ends running elements with a state and an exit as sacct tells them: "TIMEOUT", "OUT_OF_MEMORY" with "0:125", "BOOT_FAIL".
func (c *Cluster) End(id, state, exit string) error {
	return c.with(id, func(e *element) {
		if e.state == "RUNNING" {
			c.kill(e, state, exit, map[string]string{"TIMEOUT": " DUE TO TIME LIMIT", "PREEMPTED": " DUE TO PREEMPTION"}[state])
		}
	})
}

// Preempt makes running elements give way: they wait again, or are PREEMPTED where they may not be requeued.
func (c *Cluster) Preempt(id string) error {
	return c.with(id, func(e *element) {
		if e.state == "RUNNING" {
			e.requeueAtEnd = e.requeues()
			c.kill(e, "PREEMPTED", "0:0", " DUE TO PREEMPTION")
		}
	})
}

func (e *element) requeues() bool { return !e.array.opts.has("no-requeue") }

// Requeue does scontrol requeue.
func (c *Cluster) Requeue(id string) error { return c.with(id, c.requeue) }

func (c *Cluster) requeue(e *element) {
	switch {
	case e.state == "RUNNING":
		e.requeueAtEnd = true
		c.kill(e, "CANCELLED", "0:0", " DUE TO JOB REQUEUE")
	case e.ended() && !e.completing && !e.dropped:
		c.again(e)
	}
}

// SplitBrain requeues running elements whose processes live on: their node lost touch with the controller.
func (c *Cluster) SplitBrain(id string) error {
	return c.with(id, func(e *element) {
		if e.state != "RUNNING" {
			return
		}
		if e.proc != nil {
			c.strays = append(c.strays, e.proc)
			e.proc = nil
		}
		c.lost(e)
	})
}

// lost is what becomes of a running element when its node is given up.
func (c *Cluster) lost(e *element) {
	e.requeueAtEnd = e.requeues()
	c.finish(e, "NODE_FAIL", "1:0")
}

// FailNode kills what runs on a node and takes the node down.
func (c *Cluster) FailNode(name string) error {
	return c.onNode(name, func(n *node) {
		n.down = true
		for _, a := range c.arrays {
			for _, e := range a.elements {
				if !slices.Contains(e.on, n) || e.state != "RUNNING" && !e.completing {
					continue
				}
				if p := e.proc; p != nil {
					p.kill()
					c.strays, e.proc = append(c.strays, p), nil
				}
				if e.completing {
					c.finish(e, e.state, e.exit)
				} else {
					c.lost(e)
				}
			}
		}
	})
}

// HealNode takes a node up again, and out of drain.
func (c *Cluster) HealNode(name string) error {
	return c.onNode(name, func(n *node) { n.down, n.drained = false, false })
}

// DrainNode lets nothing new start on a node.
func (c *Cluster) DrainNode(name string) error {
	return c.onNode(name, func(n *node) { n.drained = true })
}

func (c *Cluster) onNode(name string, do func(*node)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if n.name == name {
			do(n)
			c.kick()
			return nil
		}
	}
	return fmt.Errorf("no node %q", name)
}

// LoseLast is the kill of a controller that had not saved its state: it knows nothing of the last submission any more and will give its ids
// again. What of it was running is killed. It returns the id, 0 if there was nothing to lose.
func (c *Cluster) LoseLast() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.arrays) == 0 {
		return 0
	}
	a := c.arrays[len(c.arrays)-1]
	c.arrays = c.arrays[:len(c.arrays)-1]
	for _, e := range a.elements {
		e.run++ // whatever is still to come of it means nothing
		if e.proc != nil {
			e.proc.kill()
			c.strays, e.proc = append(c.strays, e.proc), nil
		}
		c.release(e)
	}
	c.nextID = a.id
	c.kick()
	return a.id
}

// Forget drops the records of ended elements from squeue and scontrol, as MinJobAge does.
func (c *Cluster) Forget(id string) error {
	return c.with(id, func(e *element) {
		if e.ended() {
			e.end = e.end.Add(-c.o.seconds(c.o.MinJobAge + 1))
		}
	})
}
