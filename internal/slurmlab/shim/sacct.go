package shim

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// account is a row of sacct.
type account struct {
	record
	a  *array
	id string
}

// sacct tells what accounting knows.
func (c *Cluster) sacct(_ *Call, p *parsed) *reply {
	fields := strings.Split(p.get("format", "JobID,JobName,Partition,Account,AllocCPUS,State,ExitCode"), ",")
	for i, f := range fields {
		fields[i], _, _ = strings.Cut(f, "%")
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, fields[i]) }) {
			return failed(1, "sacct: error: Invalid field requested: %q", fields[i])
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.o.SacctOff:
		return failed(1, "Slurm accounting storage is disabled")
	case c.o.SacctDown:
		return failed(1, "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to host:localhost:6819: "+
			"Connection refused\nsacct: error: Sending PersistInit msg: Connection refused\n"+
			"sacct: error: Problem talking to the database: Connection refused")
	case c.o.Errors["sacct"] > 0:
		c.o.Errors["sacct"]--
		return failed(1, "sacct: error: Problem talking to the database: %s", timedOut)
	}
	since, ok := sinceTime(p)
	if !ok {
		return failed(1, "sacct: error: Invalid time specification (pos=0): %s", p.values["starttime"])
	}
	r := new(reply)
	if !p.has("noheader") {
		r.printf("%s\n", strings.Join(fields, "|"))
	}
	for _, row := range c.accounts(p, since) {
		var out []string
		for _, f := range fields {
			out = append(out, row.field(strings.ToLower(f)))
		}
		end := ""
		if p.has("parsable") {
			end = "|"
		}
		r.printf("%s%s\n", strings.Join(out, "|"), end)
	}
	return r
}

var known = []string{"JobID", "JobIDRaw", "JobName", "Partition", "Account", "AllocCPUS", "State", "ExitCode", "DerivedExitCode", "Submit", "Start",
	"End", "NodeList", "Elapsed", "ElapsedRaw", "User", "QOS", "Timelimit", "Reason", "Comment", "WorkDir", "Cluster"}

// sinceTime is the begin of the window: midnight, unless jobs are named or it is given.
func sinceTime(p *parsed) (time.Time, bool) {
	text, now := p.values["starttime"], time.Now()
	if text == "" {
		if p.has("jobs") {
			return time.Time{}, true
		}
		y, m, d := now.Date()
		return time.Date(y, m, d, 0, 0, 0, 0, time.Local), true
	}
	if ago, ok := strings.CutPrefix(text, "now-"); ok {
		number := strings.TrimRight(ago, "abcdefghijklmnopqrstuvwxyz")
		n, err := strconv.Atoi(number)
		unit := map[string]time.Duration{"": time.Second, "second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour,
			"week": 7 * 24 * time.Hour}[strings.TrimSuffix(ago[len(number):], "s")]
		return now.Add(-time.Duration(n) * unit), err == nil && unit > 0
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, true
		}
	}
	return time.Time{}, text == "now"
}

// accounts chooses the rows. What waits without a number of its own is one row an array.
func (c *Cluster) accounts(p *parsed, since time.Time) (rows []account) {
	seen := time.Now().Add(-c.o.SacctLag)
	named := map[*element]bool{}
	for _, id := range p.list("jobs") {
		found, _ := c.find(id)
		for _, e := range found {
			named[e] = true
		}
	}
	for _, a := range c.arrays {
		if !p.accepts("name", a.name) || !p.accepts("partition", a.partition) {
			continue
		}
		var together []int
		var shared record
		for _, e := range a.elements {
			if e.dropped || p.has("jobs") && !named[e] {
				continue
			}
			records := e.visible(seen, p.has("duplicates"))
			for _, r := range records {
				base, _, _ := strings.Cut(r.state, " ")
				if !r.end.IsZero() && r.end.Before(since.Truncate(time.Second)) || !p.accepts("state", base) && !p.accepts("state", states[base]) {
					continue
				}
				if e.index >= 0 && r.start.IsZero() && r.raw == a.id && e.own == 0 && !a.whole {
					together, shared = append(together, e.index), r
					continue
				}
				rows = append(rows, account{r, a, e.id()})
			}
		}
		if len(together) > 0 {
			list := spans(together)
			if a.throttle > 0 {
				list += fmt.Sprint("%", a.throttle)
			}
			rows = append(rows, account{shared, a, fmt.Sprintf("%d_[%s]", a.id, list)})
		}
	}
	return rows
}

// visible is what accounting knows of an element by a moment: its last run, or all of them.
func (e *element) visible(by time.Time, all bool) (out []record) {
	n := 0
	for n < len(e.history) && !e.history[n].at.After(by) {
		n++
	}
	for i, r := range e.history[:n] {
		if i == n-1 || all && r.last {
			out = append(out, r)
		}
	}
	return out
}

func (r account) field(name string) string {
	a := r.a
	waits := r.state == "PENDING"
	elapsed := time.Duration(0)
	if !r.start.IsZero() {
		elapsed = time.Since(r.start)
		if !r.end.IsZero() {
			elapsed = r.end.Sub(r.start)
		}
	}
	state := r.state
	if state == "CANCELLED" {
		state = fmt.Sprint("CANCELLED by ", os.Getuid())
	}
	start := "Unknown"
	if !waits && r.start.IsZero() {
		start = "None"
	}
	name = strings.ToLower(name)
	return map[string]string{"jobid": r.id, "jobidraw": strconv.Itoa(r.raw), "jobname": a.name, "partition": a.partition, "account": a.account,
		"alloccpus": strconv.Itoa(a.need.cpus), "state": state, "exitcode": r.exit, "derivedexitcode": "0:0", "submit": stamp(r.submitted, "Unknown"),
		"start": stamp(r.start, start), "end": stamp(r.end, "Unknown"), "nodelist": first(r.node, "None assigned"), "elapsed": span(elapsed, true),
		"elapsedraw": strconv.Itoa(int(elapsed.Seconds())), "user": userName(), "qos": a.qos, "timelimit": span(a.limit, true), "reason": "None",
		"comment": "", "workdir": a.dir, "cluster": "lab"}[name]
}
