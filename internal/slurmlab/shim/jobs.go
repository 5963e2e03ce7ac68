package shim

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// array is one submission: an array, or a job by itself.
type array struct {
	id                      int
	name, command, script   string
	dir                     string
	args, env               []string
	opts                    *parsed
	partition, qos, account string
	dependency              string
	limit                   time.Duration
	throttle                int
	need                    need
	submitted               time.Time
	elements                []*element
	next                    int  // elements before it have all been started or cancelled
	whole                   bool // of an array all of whose waiting tasks were cancelled one by one: it looks like a job then
	exclude                 []string
}

// need is what an element asks of each of its nodes.
type need struct{ cpus, gpus, nodes int }

// element is a job, or a task of an array.
type element struct {
	array         *array
	index         int // -1: of no array
	own           int // its own id; 0: it still shares that of the array
	state, reason string
	exit          string
	node          string
	on            []*node
	gpus          []int
	start, end    time.Time
	submitted     time.Time // again at each requeue
	eligible      time.Time
	held, dropped bool // dropped: cancelled by itself while it waited, and known to nobody any more
	completing    bool
	restarts      int
	starts, run   int // run tells the end of this run from that of an older one
	proc          *process
	timers        []*time.Timer
	history       []record
	requeueAtEnd  bool
	exclude       []string
}

// record is what accounting knows from some moment on.
type record struct {
	at                time.Time
	state, exit, node string
	raw               int
	submitted         time.Time
	start, end        time.Time
	last              bool // of a run
}

// node is a machine.
type node struct {
	name          string
	cpus          int
	gpus          []bool // in use
	down, drained bool
}

func newNode(name string, o Options) *node {
	return &node{name: name, cpus: o.CPUs, gpus: make([]bool, o.GPUs)}
}

func (n *node) freeGPUs() (free []int) {
	for i, used := range n.gpus {
		if !used {
			free = append(free, i)
		}
	}
	return free
}

var userName = sync.OnceValue(func() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "nobody"
})

func (e *element) id() string {
	if e.index < 0 || e.array.whole && e.own == 0 {
		return strconv.Itoa(e.array.id)
	}
	return fmt.Sprintf("%d_%d", e.array.id, e.index)
}

func (e *element) raw() int {
	if e.own != 0 {
		return e.own
	}
	return e.array.id
}

func (e *element) waits() bool { return e.state == "PENDING" && !e.dropped }
func (e *element) ended() bool { return !e.waits() && e.state != "RUNNING" }

// shown is the state that squeue tells.
func (e *element) shown() string {
	if e.completing {
		return "COMPLETING"
	}
	return e.state
}

// note tells accounting.
func (e *element) note(last bool) {
	state := e.state
	if last && e.requeueAtEnd {
		state = "REQUEUED"
	}
	e.history = append(e.history, record{at: time.Now(), state: state, exit: e.exit, node: e.node, raw: e.raw(), submitted: e.submitted,
		start: e.start, end: e.end, last: last})
}

func needs(p *parsed) (need, error) {
	n := need{nodes: 1}
	var errs error
	number := func(text string) int {
		text, _, _ = strings.Cut(text, "-")
		v, err := strconv.Atoi(text)
		errs = errors.Join(errs, err)
		return v
	}
	tasks := number(p.get("ntasks", p.get("ntasks-per-node", "1")))
	n.cpus = tasks * number(p.get("cpus-per-task", "1"))
	n.nodes = number(p.get("nodes", "1"))
	last := func(text string) int { return number(text[strings.LastIndexByte(text, ':')+1:]) }
	for _, g := range p.list("gres") {
		switch {
		case g == "gpu":
			n.gpus++
		case strings.HasPrefix(g, "gpu:") && g[len(g)-1] >= '0' && g[len(g)-1] <= '9':
			n.gpus += last(g)
		}
	}
	for name, times := range map[string]int{"gpus": 1, "gpus-per-node": 1, "gpus-per-task": tasks} {
		if v := p.values[name]; v != "" {
			n.gpus = max(n.gpus, last(v)*times)
		}
	}
	return n, errs
}

func (c *Cluster) haveNodes(text string) bool {
	for _, name := range hosts(text) {
		if !slices.ContainsFunc(c.nodes, func(n *node) bool { return n.name == name }) {
			return false
		}
	}
	return true
}

// hosts writes out "node[1-3,7],gpu2".
func hosts(text string) []string {
	var out []string
	for text != "" {
		end := strings.IndexByte(text, ',')
		open := strings.IndexByte(text, '[')
		if shut := strings.IndexByte(text, ']'); open >= 0 && shut > open && (end < 0 || open < end) {
			indices, _, _ := arraySpec(text[open+1:shut], 1<<20)
			for _, i := range indices {
				out = append(out, fmt.Sprint(text[:open], i))
			}
			text = strings.TrimPrefix(text[shut+1:], ",")
			continue
		}
		name, rest, _ := strings.Cut(text, ",")
		out, text = append(out, name), rest
	}
	return out
}

// allowed says that the element may run on the node at all.
func (a *array) allowed(n *node, also []string) bool {
	list := hosts(a.opts.values["nodelist"])
	return !slices.Contains(hosts(a.opts.values["exclude"]), n.name) && !slices.Contains(a.exclude, n.name) &&
		!slices.Contains(also, n.name) && (len(list) == 0 || slices.Contains(list, n.name))
}

// possible says that an idle cluster could run the array. More CPUs or nodes than there are only wait for ever, as on a real one.
func (c *Cluster) possible(a *array) bool {
	return slices.ContainsFunc(c.nodes, func(n *node) bool { return a.allowed(n, nil) && a.need.gpus <= len(n.gpus) })
}

func (c *Cluster) live() int {
	n := 0
	for _, a := range c.arrays {
		for _, e := range a.elements {
			if !e.ended() {
				n++
			}
		}
	}
	return n
}

// remembered counts the elements that the controller knows.
func (c *Cluster) remembered() int {
	n, now := 0, time.Now()
	for _, a := range c.arrays {
		for _, e := range a.elements {
			if c.knows(e, now) {
				n++
			}
		}
	}
	return n
}

// knows says that the controller has a record of the element.
func (c *Cluster) knows(e *element, now time.Time) bool {
	return !e.dropped && (!e.ended() || e.completing || now.Sub(e.end) < c.o.seconds(c.o.MinJobAge))
}

// admit makes the jobs of a submission.
func (c *Cluster) admit(a *array) error {
	if err := c.check(a); err != nil {
		return err
	}
	a.id, a.submitted = c.nextID, time.Now()
	c.nextID++
	for _, e := range a.elements {
		e.submitted, e.eligible = a.submitted, a.submitted.Add(c.o.StartDelay)
		if e.held {
			e.reason = "JobHeldUser"
		}
		e.note(false)
	}
	c.arrays = append(c.arrays, a)
	c.kick()
	return nil
}

// find returns the elements that an id names: "7", "7_3", "7_[1-4,9]", or the raw id of one. Those of an array by number alone are all of it.
func (c *Cluster) find(id string) (found []*element, ok bool) {
	base, tasks, isTask := strings.Cut(id, "_")
	number, err := strconv.Atoi(base)
	if err != nil || number < 1 {
		return nil, false
	}
	var wanted []int
	if isTask {
		if strings.HasPrefix(tasks, "[") != strings.HasSuffix(tasks, "]") {
			return nil, false
		}
		if wanted, _, ok = arraySpec(tasks, 1<<22); !ok {
			return nil, false
		}
	}
	for _, a := range c.arrays {
		for _, e := range a.elements {
			switch {
			case e.dropped:
			case a.id == number && (!isTask || e.index >= 0 && slices.Contains(wanted, e.index)):
				found = append(found, e)
			case !isTask && a.id != number && e.own == number:
				found = append(found, e)
			}
		}
	}
	return found, true
}
