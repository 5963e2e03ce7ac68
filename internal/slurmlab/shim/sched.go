package shim

import (
	"slices"
	"strings"
	"time"
)

// kick asks for a pass of the scheduler, soon.
func (c *Cluster) kick() {
	if c.sweep || c.closed {
		return
	}
	c.sweep = true
	c.procs.Add(1)
	go func() {
		defer c.procs.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sweep = false
		c.pass()
	}()
}

// kickAt kicks when a time has come.
func (c *Cluster) kickAt(t time.Time) {
	if c.alarm != nil {
		c.alarm.Stop()
	}
	if !t.IsZero() {
		c.alarm = time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.kick()
		})
	}
}

// pass starts what can start, oldest submissions first. A controller that is down or frozen starts nothing.
func (c *Cluster) pass() {
	if c.closed || c.o.Down || c.o.Frozen {
		return
	}
	var soonest time.Time
	for _, a := range c.arrays {
		if at := c.passArray(a); soonest.IsZero() || !at.IsZero() && at.Before(soonest) {
			soonest = at
		}
	}
	c.kickAt(soonest)
}

// passArray starts what can start of an array, and returns when its next element may, if one waits for a time.
func (c *Cluster) passArray(a *array) (soonest time.Time) {
	for a.next < len(a.elements) && a.elements[a.next].ended() && !a.elements[a.next].completing {
		a.next++
	}
	running, blocked := 0, c.depends(a)
	for _, e := range a.elements[a.next:] {
		if e.state == "RUNNING" || e.completing {
			running++
		}
	}
	for _, e := range a.elements[a.next:] {
		if !e.waits() {
			continue
		}
		switch {
		case e.held:
			e.reason = "JobHeldUser"
		case time.Now().Before(e.eligible):
			if soonest.IsZero() || e.eligible.Before(soonest) {
				soonest = e.eligible
			}
		case a.throttle > 0 && running >= a.throttle:
			e.reason = "JobArrayTaskLimit"
		case blocked != "":
			e.reason = blocked
		case !c.place(e):
			blocked = "Resources"
			e.reason = blocked
		default:
			c.start(e)
			if !e.ended() { // else pretended, and over
				running++
			}
		}
	}
	return soonest
}

// depends returns why an array may not start yet.
func (c *Cluster) depends(a *array) string {
	for _, d := range strings.Split(a.dependency, ",") {
		kind, ids, _ := strings.Cut(d, ":")
		for _, id := range strings.Split(ids, ":") {
			found, _ := c.find(id)
			for _, e := range found {
				switch {
				case kind == "after" && e.waits(), strings.HasPrefix(kind, "after") && kind != "after" && !e.ended():
					return "Dependency"
				case kind == "afterok" && e.state != "COMPLETED", kind == "afternotok" && e.state == "COMPLETED":
					return "DependencyNeverSatisfied"
				}
			}
		}
	}
	return ""
}

// place gives an element its nodes and GPUs, if they are free.
func (c *Cluster) place(e *element) bool {
	need := e.array.need
	var on []*node
	for _, n := range c.nodes {
		if len(on) < need.nodes && !n.down && !n.drained && e.array.allowed(n, e.exclude) && n.cpus >= need.cpus && len(n.freeGPUs()) >= need.gpus {
			on = append(on, n)
		}
	}
	if len(on) < max(need.nodes, 1) {
		return false
	}
	e.on, e.gpus = on, nil
	var names []string
	for _, n := range on {
		n.cpus -= need.cpus
		names = append(names, n.name)
		free := n.freeGPUs()[:need.gpus]
		for _, g := range free {
			n.gpus[g] = true
		}
		if n == on[0] {
			e.gpus = free
		}
	}
	e.node = strings.Join(names, ",")
	return true
}

func (c *Cluster) release(e *element) {
	for _, n := range e.on {
		n.cpus += e.array.need.cpus
		for _, g := range e.gpus {
			n.gpus[g] = false
		}
	}
	e.on = nil
}

// split gives an element an id of its own; the last one of an array keeps the array's.
func (c *Cluster) split(e *element) {
	if e.index < 0 || e.own != 0 {
		return
	}
	others := slices.ContainsFunc(e.array.elements, func(o *element) bool { return o != e && o.own == 0 && !o.dropped })
	if !others {
		e.own = e.array.id
		return
	}
	e.own = c.nextID
	c.nextID++
}

// start starts an element that has its place.
func (c *Cluster) start(e *element) {
	c.split(e)
	e.state, e.reason, e.exit = "RUNNING", "None", "0:0"
	e.start, e.end = time.Now(), time.Time{}
	e.starts++
	e.run++
	e.note(false)
	if c.o.Pretend != nil {
		c.pretend(e)
		return
	}
	if err := c.launch(e); err != nil {
		e.reason = "JobLaunchFailure"
		c.finish(e, "FAILED", "0:53")
		return
	}
	run := e.run
	c.later(e, c.limit(e), func() {
		if e.run == run && e.state == "RUNNING" {
			c.kill(e, "TIMEOUT", "0:0", " DUE TO TIME LIMIT")
		}
	})
	if number, batch, lead, ok := signalOption(e.array.opts.values["signal"]); ok && batch {
		c.later(e, max(c.limit(e)-time.Duration(lead)*c.o.Second, 0), func() {
			if e.run == run && e.proc != nil {
				e.proc.shell(number)
			}
		})
	}
}

// limit is the element's time limit in real time.
func (c *Cluster) limit(e *element) time.Duration {
	return time.Duration(e.array.limit.Seconds() * float64(c.o.Second))
}

// later does something for an element's present run, unless the cluster is gone by then.
func (c *Cluster) later(e *element, d time.Duration, do func()) {
	e.timers = append(e.timers, time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.closed {
			do()
		}
	}))
}

func (c *Cluster) pretend(e *element) {
	run := e.run
	out := c.o.Pretend(e.export())
	end := func() {
		if e.run == run && e.state == "RUNNING" {
			c.finish(e, first(out.State, "COMPLETED"), first(out.Exit, "0:0"))
		}
	}
	switch {
	case out.Never:
	case out.After > 0:
		c.later(e, out.After, end)
	default:
		end()
	}
}

// finish ends an element's run, or lets it wait again when it is to be requeued.
func (c *Cluster) finish(e *element, state, exit string) {
	e.state, e.exit, e.end, e.completing = state, exit, time.Now(), false
	if e.start.IsZero() {
		e.start = e.end
	}
	for _, t := range e.timers {
		t.Stop()
	}
	e.timers = nil
	e.note(true)
	c.release(e)
	if e.requeueAtEnd {
		c.again(e)
	}
	c.kick()
}

// again makes an element wait for its next run.
func (c *Cluster) again(e *element) {
	e.requeueAtEnd = false
	e.state, e.reason, e.exit, e.node = "PENDING", "BeginTime", "0:0", ""
	e.start, e.end = time.Time{}, time.Time{}
	e.submitted = time.Now()
	e.eligible = e.submitted.Add(c.o.seconds(c.o.RequeueDelay))
	e.restarts++
	e.run++
	e.array.next = 0
	e.note(false)
	c.kick()
}

func (e *element) export() Element {
	return Element{ID: e.id(), Array: e.array.id, Index: e.index, Name: e.array.name, State: e.shown(), Exit: e.exit, Node: e.node,
		Reason: e.reason, Restarts: e.restarts, Starts: e.starts}
}
