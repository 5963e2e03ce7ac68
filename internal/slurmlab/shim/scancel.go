package shim

import (
	"slices"
	"strings"
	"syscall"
	"time"
)

// scancel cancels or signals. A number that nobody has is no error to it.
func (c *Cluster) scancel(_ *Call, p *parsed) *reply {
	ids := identifiers(p.args)
	filtered := false
	for _, f := range []string{"name", "jobname", "user", "me", "state", "partition", "account", "qos"} {
		filtered = filtered || p.has(f)
	}
	if len(ids) == 0 && !filtered {
		return failed(1, "scancel: error: No job identification provided")
	}
	for _, id := range ids {
		if _, ok := c.lookup(id); !ok {
			return failed(1, "scancel: error: Invalid job id %s", id)
		}
	}
	r := new(reply)
	do := func() { c.cancel(r, ids, p, filtered) }
	patience := 9
	if filtered {
		patience = 18
	}
	if why := c.reach("scancel", patience, do); why != "" {
		if filtered {
			return failed(1, "slurm_load_jobs error: %s", why)
		}
		code := 8 // the error's number, 1800, in a byte
		if why == timedOut {
			code = 140 // 5004
		}
		return failed(code, "scancel: error: Kill job error on job id %s: %s", ids[0], why)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
	return r
}

// identifiers cuts arguments at the commas outside of brackets.
func identifiers(args []string) (ids []string) {
	for _, arg := range args {
		depth, from := 0, 0
		for i, r := range arg {
			switch {
			case r == '[':
				depth++
			case r == ']':
				depth--
			case r == ',' && depth == 0:
				ids, from = append(ids, arg[from:i]), i+1
			}
		}
		ids = append(ids, arg[from:])
	}
	return ids
}

// cancel ends what ids name and filters let through. With filters an id that nothing alive has is an error, and the id of one task that waits
// stands for all that wait of its array: so the real one was seen to do it.
func (c *Cluster) cancel(r *reply, ids []string, p *parsed, filtered bool) {
	chosen := func(e *element) bool {
		return (p.accepts("name", e.array.name) && p.accepts("jobname", e.array.name) && p.ours() && p.accepts("partition", e.array.partition) &&
			p.accepts("account", e.array.account) && p.accepts("qos", e.array.qos)) &&
			(p.accepts("state", e.state) || p.accepts("state", states[e.state]))
	}
	rest := func(e *element) bool { return !chosen(e) }
	if len(ids) == 0 {
		for _, a := range c.arrays {
			c.end(slices.DeleteFunc(slices.Clone(a.elements), rest), p, false)
		}
		return
	}
	for _, id := range ids {
		found, _ := c.find(id)
		single := strings.Contains(id, "_")
		if filtered && !slices.ContainsFunc(found, func(e *element) bool { return !e.ended() }) {
			r.fail(1, "scancel: error: Kill job error on job id %s: Invalid job id specified", id)
			continue
		}
		if filtered && single {
			for _, e := range slices.Clone(found) {
				if e.waits() && e.index >= 0 && e.own == 0 {
					found = slices.Concat(found, slices.DeleteFunc(slices.Clone(e.array.elements), func(o *element) bool { return !o.waits() || o.own != 0 }))
				}
			}
		}
		c.end(slices.DeleteFunc(found, rest), p, single)
	}
}

// end cancels elements, those named one by one or a whole array. Slurm keeps no record of a task that is cancelled by itself while it waits
// and never had a number of its own; and when no task of the array waits any more, what is left looks like a job and no array.
func (c *Cluster) end(found []*element, p *parsed, single bool) {
	if text := p.get("signal", "KILL"); text != "KILL" && text != "SIGKILL" && text != "9" {
		signalAll(found, text, p.has("batch") || p.has("full"))
		return
	}
	var waiting []*element
	for _, e := range found {
		switch {
		case e.completing:
			e.requeueAtEnd = false
		case e.state == "RUNNING":
			c.kill(e, "CANCELLED", "0:0", "")
		case e.waits() && single && e.index >= 0 && e.own == 0 && slices.Contains(waiting, e):
		case e.waits() && single && e.index >= 0 && e.own == 0:
			waiting = append(waiting, e)
		case e.waits():
			e.state, e.end, e.held = "CANCELLED", time.Now(), false
			e.note(true)
		}
	}
	for i, e := range waiting {
		e.state, e.end, e.dropped = "CANCELLED", time.Now(), true
		last := i == len(waiting)-1
		if last && !slices.ContainsFunc(e.array.elements, func(o *element) bool { return o.waits() && o.own == 0 }) {
			e.dropped, e.array.whole, e.start = false, true, e.end
			e.note(true)
		}
	}
	c.kick()
}

// signalAll signals without cancelling: the batch shell alone with -b, else the steps, which a batch script without srun has none of.
func signalAll(found []*element, text string, batch bool) {
	for _, e := range found {
		if sig, ok := signalNumber(text); ok && batch && e.proc != nil {
			e.proc.shell(sig)
		} else if ok && e.proc != nil && sig != syscall.SIGUSR1 && sig != syscall.SIGUSR2 {
			e.proc.all(sig)
		}
	}
}
