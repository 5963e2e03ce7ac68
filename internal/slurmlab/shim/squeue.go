package shim

import (
	"cmp"
	"fmt"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var states = map[string]string{"PENDING": "PD", "RUNNING": "R", "SUSPENDED": "S", "COMPLETED": "CD", "CANCELLED": "CA", "FAILED": "F",
	"TIMEOUT": "TO", "NODE_FAIL": "NF", "PREEMPTED": "PR", "BOOT_FAIL": "BF", "DEADLINE": "DL", "OUT_OF_MEMORY": "OOM", "COMPLETING": "CG",
	"CONFIGURING": "CF", "RESIZING": "RS", "RESV_DEL_HOLD": "RD", "REQUEUED": "RQ", "REQUEUE_FED": "RF", "REQUEUE_HOLD": "RH", "REVOKED": "RV",
	"SIGNALING": "SI", "SPECIAL_EXIT": "SE", "STAGE_OUT": "SO", "STOPPED": "ST"}

// line is a row of squeue: one element, or the waiting ones of an array together.
type line struct {
	*element
	ids string
	k   string
}

// squeue lists the queue.
func (c *Cluster) squeue(_ *Call, p *parsed) *reply {
	wanted, bad := queueStates(p)
	if bad != nil {
		return bad
	}
	for _, name := range p.list("user") {
		if _, err := user.Lookup(name); err != nil && !isNumber(name) {
			return failed(1, "squeue: error: Invalid user: %s\n", name)
		}
	}
	jobs := p.list("jobs")
	for _, id := range jobs {
		if _, ok := c.lookup(id); !ok {
			return failed(1, "squeue: error: Invalid job id: %s", id)
		}
	}
	patience := 9
	if len(jobs) == 1 {
		patience = 18
	}
	if why := c.reach("squeue", patience, nil); why != "" {
		return failed(1, "slurm_load_jobs error: %s", why)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lines, known := c.lines(p, wanted)
	if len(jobs) == 1 && !known {
		return failed(1, "slurm_load_jobs error: Invalid job id specified")
	}
	r := new(reply)
	format := queueColumns(p)
	if !p.has("noheader") {
		r.printf("%s\n", render(format, func(f byte) string { return headers[f] }))
	}
	for _, l := range lines {
		if !c.o.Hidden {
			r.printf("%s\n", render(format, l.field))
		}
	}
	return r
}

func isNumber(text string) bool { _, err := strconv.Atoi(text); return err == nil }

func (c *Cluster) lookup(id string) ([]*element, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(id)
}

func queueStates(p *parsed) (map[string]bool, *reply) {
	wanted := map[string]bool{}
	for _, s := range strings.Split(strings.ToUpper(p.get("states", "PENDING,RUNNING,SUSPENDED,COMPLETING,CONFIGURING,STAGE_OUT")), ",") {
		if s == "ALL" {
			for long := range states {
				wanted[long] = true
			}
			continue
		}
		ok := false
		for long, short := range states {
			if s == long || s == short {
				wanted[long], ok = true, true
			}
		}
		if !ok {
			return nil, failed(1, "squeue: error: Invalid job state specified: %s\nsqueue: error: Valid job states include: PENDING,RUNNING,...\n", s)
		}
	}
	return wanted, nil
}

// lines chooses and orders the rows, those that wait first; known says that the controller has a record of what was asked for by id.
func (c *Cluster) lines(p *parsed, wanted map[string]bool) (lines []line, known bool) {
	named := map[*element]bool{}
	for _, id := range p.list("jobs") {
		found, _ := c.find(id)
		for _, e := range found {
			named[e] = true
		}
	}
	now := time.Now()
	for _, a := range c.arrays {
		if !p.accepts("name", a.name) || !p.accepts("partition", a.partition) || !p.accepts("account", a.account) || !p.accepts("qos", a.qos) || !p.ours() {
			continue
		}
		var rows []*element
		for _, e := range a.elements {
			if p.values["jobs"] != "" && !named[e] || !c.knows(e, now) {
				continue
			}
			known = true
			if wanted[e.shown()] {
				rows = append(rows, e)
			}
		}
		lines = append(lines, collapse(rows, p.has("array"))...)
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(rank(a.shown()), rank(b.shown())) })
	return lines, known
}

func rank(state string) int { return slices.Index([]string{"RUNNING", "PENDING"}, state) * -1 }

// collapse puts those elements of an array that have no row of their own into one.
func collapse(rows []*element, apart bool) (lines []line) {
	var together []int
	var one *element
	for _, e := range rows {
		k := "N/A"
		if e.index >= 0 && e.id() != strconv.Itoa(e.array.id) {
			k = strconv.Itoa(e.index)
		}
		shared := e.index >= 0 && e.own == 0
		switch {
		case apart || !shared || e.array.whole:
			lines = append(lines, line{e, e.id(), k})
		default:
			together, one = append(together, e.index), e
		}
	}
	if len(together) > 0 {
		k := spans(together)
		if one.array.throttle > 0 {
			k += fmt.Sprint("%", one.array.throttle)
		}
		lines = append(lines, line{one, fmt.Sprintf("%d_[%s]", one.array.id, k), k})
	}
	return lines
}

var headers = map[byte]string{'i': "JOBID", 'P': "PARTITION", 'j': "NAME", 'u': "USER", 't': "ST", 'T': "STATE", 'M': "TIME", 'D': "NODES",
	'R': "NODELIST(REASON)", 'N': "NODELIST", 'r': "REASON", 'A': "JOBID", 'F': "ARRAY_JOB_ID", 'K': "ARRAY_TASK_ID", 'S': "START_TIME",
	'e': "END_TIME", 'V': "SUBMIT_TIME", 'a': "ACCOUNT", 'q': "QOS", 'C': "CPUS", 'l': "TIME_LIMIT", 'L': "TIME_LEFT", 'k': "COMMENT",
	'o': "COMMAND", 'Z': "WORK_DIR", 'b': "TRES_PER_NODE", 'Q': "PRIORITY", 'y': "NICE", 'E': "DEPENDENCY", 'Y': "SCHEDNODES", 'x': "EXC_NODES"}

func (l line) field(f byte) string {
	e, a := l.element, l.array
	switch f {
	case 'i':
		return l.ids
	case 'K':
		return l.k
	case 'A':
		return strconv.Itoa(e.raw())
	case 'F':
		return strconv.Itoa(a.id)
	case 'j':
		return a.name
	case 'T':
		return e.shown()
	case 't':
		return states[e.shown()]
	case 'r':
		return e.reason
	case 'N':
		return nodeList(e)
	case 'R':
		if e.waits() {
			return "(" + e.reason + ")"
		}
		return nodeList(e)
	case 'S':
		if e.waits() && e.eligible.After(time.Now()) {
			return stamp(e.eligible, "N/A")
		}
		return stamp(cmp.Or(e.start, e.end), "N/A")
	case 'e':
		if e.state == "RUNNING" {
			return stamp(e.start.Add(a.limit), "N/A")
		}
		return stamp(e.end, "N/A")
	case 'V':
		return stamp(e.submitted, "N/A")
	}
	return l.rest(f)
}

func (l line) rest(f byte) string {
	e, a := l.element, l.array
	ran := time.Duration(0)
	if !e.start.IsZero() {
		ran = cmp.Or(e.end, time.Now()).Sub(e.start)
	}
	return map[byte]string{'P': a.partition, 'u': userName(), 'a': a.account, 'q': a.qos, 'C': strconv.Itoa(a.need.cpus), 'M': span(ran, false),
		'D': strconv.Itoa(max(a.need.nodes, 1)), 'l': span(a.limit, false), 'L': span(a.limit-ran, false), 'k': a.opts.get("comment", "(null)"),
		'o': a.command, 'Z': a.dir, 'b': a.opts.get("gres", "N/A"), 'Q': "1", 'y': a.opts.get("nice", "0"), 'E': first(a.dependency, "(null)"),
		'x': a.opts.get("exclude", "")}[f]
}

// nodeList is where an element runs; squeue writes several nodes together.
func nodeList(e *element) string {
	names := strings.Split(e.node, ",")
	if len(names) < 2 {
		return e.node
	}
	var numbers []int
	for _, n := range names {
		i, _ := strconv.Atoi(strings.TrimPrefix(n, "node"))
		numbers = append(numbers, i)
	}
	return "node[" + spans(numbers) + "]"
}

var longFields = map[string]byte{"jobarrayid": 'i', "jobid": 'A', "arrayjobid": 'F', "arraytaskid": 'K', "state": 'T', "statecompact": 't',
	"reason": 'r', "reasonlist": 'R', "name": 'j', "nodelist": 'N', "submittime": 'V', "starttime": 'S', "endtime": 'e', "username": 'u',
	"partition": 'P', "comment": 'k', "account": 'a', "qos": 'q', "timelimit": 'l', "timeused": 'M', "command": 'o', "workdir": 'Z'}

// queueColumns is the format that is asked for, as -o would have it.
func queueColumns(p *parsed) string {
	if long := p.values["Format"]; long != "" {
		var out strings.Builder
		for _, f := range strings.Split(long, ",") {
			name, width, _ := strings.Cut(f, ":")
			fmt.Fprintf(&out, "%%%s%c", first(width, "20"), longFields[strings.ToLower(name)])
		}
		return out.String()
	}
	return p.get("format", "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R")
}

var column = regexp.MustCompile(`%(\.?)(\d*)([a-zA-Z%])`)

// render fills in a format.
func render(format string, field func(byte) string) string {
	return column.ReplaceAllStringFunc(format, func(text string) string {
		m := column.FindStringSubmatch(text)
		if m[3] == "%" {
			return "%"
		}
		v := field(m[3][0])
		width, err := strconv.Atoi(m[2])
		if err != nil {
			return v
		}
		v = v[:min(len(v), width)]
		if m[1] == "." {
			return fmt.Sprintf("%*s", width, v)
		}
		return fmt.Sprintf("%-*s", width, v)
	})
}
