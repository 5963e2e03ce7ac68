package shim

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fromEnvironment are the variables that stand in for options.
var fromEnvironment = map[string]string{"SBATCH_ACCOUNT": "account", "SBATCH_ARRAY_INX": "array", "SBATCH_CONSTRAINT": "constraint",
	"SBATCH_EXPORT": "export", "SBATCH_GPUS": "gpus", "SBATCH_GRES": "gres", "SBATCH_JOB_NAME": "job-name", "SBATCH_OPEN_MODE": "open-mode",
	"SBATCH_PARTITION": "partition", "SBATCH_QOS": "qos", "SBATCH_RESERVATION": "reservation", "SBATCH_SIGNAL": "signal",
	"SBATCH_TIMELIMIT": "time", "SBATCH_NO_REQUEUE": "no-requeue", "SBATCH_REQUEUE": "requeue"}

// sbatch submits.
func (c *Cluster) sbatch(call *Call, p *parsed, stdin func() string) *reply {
	name, script, bad := batchScript(call, p, stdin)
	if bad != nil {
		return bad
	}
	call.Stdin = script
	o := c.options()
	words, err := directives(name, script)
	if err != nil {
		return failed(1, "sbatch: fatal: %s", err)
	}
	inside, bad := getopt("sbatch", specs["sbatch"], o, words)
	if bad != nil {
		return bad
	}
	if len(inside.args) > 0 {
		return failed(255, "sbatch: error: Invalid directive found in batch script: %s", inside.args[0])
	}
	all := &parsed{values: inside.values}
	for _, kv := range call.Env {
		k, v, _ := strings.Cut(kv, "=")
		if option, ok := fromEnvironment[k]; ok {
			all.values[option] = v
		}
	}
	maps.Copy(all.values, p.values)
	if bad := wellFormed(all); bad != nil {
		return bad
	}
	a := &array{name: first(all.values["job-name"], filepath.Base(name)), command: name, script: script, opts: all, dir: call.Dir, env: call.Env}
	if len(p.args) > 1 {
		a.args = p.args[1:]
	}
	if d := all.values["chdir"]; d != "" {
		a.dir = d
	}
	return c.enqueue(a, o)
}

// batchScript reads the script as sbatch finds it.
func batchScript(call *Call, p *parsed, stdin func() string) (name, script string, bad *reply) {
	switch {
	case p.has("wrap"):
		name, script = "wrap", "#!/bin/sh\n# This script was created by sbatch --wrap.\n\n"+p.values["wrap"]+"\n"
	case len(p.args) == 0:
		name, script = "sbatch", stdin()
	default:
		name = p.args[0]
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(call.Dir, path)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return "", "", failed(1, "sbatch: error: Unable to open file %s", name)
		}
		name, script = path, string(text)
	}
	switch line, _, _ := strings.Cut(script, "\n"); {
	case script == "":
		return "", "", failed(1, "sbatch: error: Batch script is empty!")
	case strings.Contains(script, "\x00"):
		return "", "", failed(1, "sbatch: error: The script contains a NULL character '\\0'.")
	case !strings.HasPrefix(line, "#!"):
		return "", "", failed(1, "sbatch: error: This does not look like a batch script.  The first\n"+
			"sbatch: error: line must start with #! followed by the path to an interpreter.\nsbatch: error: For instance: #!/bin/sh")
	case strings.Contains(script, "\r\n"):
		return "", "", failed(1, "sbatch: error: Batch script contains DOS line breaks (\\r\\n)\n"+
			"sbatch: error: instead of expected UNIX line breaks (\\n).")
	case len(script) > 4<<20:
		return "", "", failed(1, "sbatch: error: Job script size of %d exceeds limit of %d (max_script_size)", len(script), 4<<20)
	}
	return name, script, nil
}

// wellFormed is what sbatch itself sees wrong with values, before it asks the controller.
func wellFormed(p *parsed) *reply {
	if v := p.values["time"]; v != "" {
		if _, ok := minutes(v); !ok {
			return failed(255, "sbatch: error: Invalid --time specification")
		}
	}
	if v := p.values["mem"]; v != "" {
		if _, err := strconv.Atoi(strings.TrimRight(v, "KMGTkmgt")); err != nil {
			return failed(255, "sbatch: error: Invalid --mem specification")
		}
	}
	for _, name := range []string{"cpus-per-task", "ntasks"} {
		if n, err := strconv.Atoi(p.get(name, "1")); err != nil || n < 1 {
			return failed(1, "sbatch: error: Invalid numeric value %q for --%s.", p.values[name], name)
		}
	}
	if v := p.values["open-mode"]; v != "" && v[0] != 'a' && v[0] != 't' {
		return failed(255, "sbatch: error: Invalid --open-mode specification")
	}
	if v := p.values["signal"]; v != "" {
		if _, _, _, ok := signalOption(v); !ok {
			return failed(255, "sbatch: error: Invalid --signal specification")
		}
	}
	for _, g := range p.list("gres") {
		if kind, _, _ := strings.Cut(g, ":"); kind != "gpu" && kind != "none" {
			return failed(1, "sbatch: error: Invalid generic resource (gres) specification")
		}
	}
	return nil
}

// full is what sbatch says when there are MaxJobCount jobs.
const full = "Resource temporarily unavailable"

// enqueue brings a well-formed submission to the controller.
func (c *Cluster) enqueue(a *array, o Options) *reply {
	refuse := func(why string) *reply { return failed(1, "sbatch: error: Batch job submission failed: %s", why) }
	patience := 9
	if a.opts.has("test-only") {
		patience, refuse = 18, func(why string) *reply { return failed(1, "allocation failure: %s", why) }
	}
	if why := c.reach("sbatch", patience, func() { _ = c.admit(a) }); why != "" {
		return refuse(why)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.opts.has("test-only") {
		return c.testOnly(a, refuse)
	}
	switch {
	case c.o.LoseRequests > 0:
		c.o.LoseRequests--
		c.unlocked(func() { time.Sleep(o.seconds(10)) })
		return refuse(timedOut)
	case c.o.LoseAnswers > 0:
		c.o.LoseAnswers--
		if delay := c.o.GhostDelay; delay > 0 {
			time.AfterFunc(delay, func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				_ = c.admit(a)
			})
		} else if err := c.admit(a); err != nil {
			return refusal(err, refuse)
		}
		c.unlocked(func() { time.Sleep(o.seconds(10)) })
		return refuse(timedOut)
	}
	if err := c.admit(a); err != nil {
		if err.Error() == full {
			c.unlocked(func() { time.Sleep(o.seconds(120)) }) // sbatch tries again so long
			err = &refusedError{"Slurm temporarily unable to accept job, sleeping and retrying", full}
		}
		return refusal(err, refuse)
	}
	r := new(reply)
	if a.opts.has("parsable") {
		r.printf("%d\n", a.id)
	} else {
		r.printf("Submitted batch job %d\n", a.id)
	}
	return r
}

func (c *Cluster) unlocked(do func()) {
	c.mu.Unlock()
	defer c.mu.Lock()
	do()
}

// refusedError is a refusal with what sbatch says before it.
type refusedError struct{ before, why string }

func (e *refusedError) Error() string { return e.why }

func refusal(err error, refuse func(string) *reply) *reply {
	r := refuse(err.Error())
	var e *refusedError
	if errors.As(err, &e) && e.before != "" {
		text := r.err.String()
		r.err.Reset()
		fmt.Fprintf(&r.err, "sbatch: error: %s\n%s", e.before, text)
	}
	return r
}

func (c *Cluster) testOnly(a *array, refuse func(string) *reply) *reply {
	if err := c.check(a); err != nil {
		return refusal(err, refuse)
	}
	r := new(reply)
	fmt.Fprintf(&r.err, "sbatch: Job %d to start at %s using %d processors on nodes %s in partition %s\n",
		c.nextID, stamp(time.Now(), ""), a.need.cpus, c.nodes[0].name, a.partition)
	c.nextID++
	return r
}

// check is what the controller sees wrong with a submission. It fills in what the submission left open.
func (c *Cluster) check(a *array) error {
	p := a.opts
	a.partition, a.qos, a.account = p.get("partition", c.o.Partitions[0]), p.get("qos", "normal"), p.get("account", c.o.Accounts[0])
	accepts := func(known []string, v string) bool { return slices.Contains(known, v) || slices.Contains(known, "*") }
	if !accepts(c.o.Partitions, a.partition) {
		return &refusedError{"invalid partition specified: " + a.partition, "Invalid partition name specified"}
	}
	indices, throttle, ok := []int{-1}, 0, true
	if p.has("array") {
		indices, throttle, ok = arraySpec(p.values["array"], c.o.MaxArraySize)
	}
	var bad error
	a.need, bad = needs(p)
	for _, test := range []struct {
		bad    bool
		before string
		why    string
	}{
		{c.o.Refuse != "", "", c.o.Refuse},
		{!ok, "", "Invalid job array specification"},
		{c.remembered()+len(indices) > c.o.MaxJobCount, "", full},
		{!accepts(c.o.Accounts, a.account), "", "Invalid account or account/partition combination specified"},
		{!accepts(c.o.QOS, a.qos), "", "Invalid qos specification"},
		{p.has("constraint"), "", "Invalid feature specification"},
		{p.has("reservation"), "", "Requested reservation is invalid"},
		{!c.haveNodes(p.values["nodelist"]) || !c.haveNodes(p.values["exclude"]), "", "Invalid node name specified"},
		{bad != nil, "", "Invalid generic resource (gres) specification"},
		{!c.possible(a), "", "Requested node configuration is not available"},
		{c.o.SubmitLimit > 0 && c.live()+len(indices) > c.o.SubmitLimit, "QOSMaxSubmitJobPerUserLimit",
			"Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"},
	} {
		if test.bad {
			if strings.HasPrefix(test.why, "Requested node") {
				c.nextID++ // as Slurm does
			}
			return &refusedError{test.before, test.why}
		}
	}
	a.limit, _ = minutes(p.get("time", "60"))
	a.throttle, a.dependency = throttle, p.values["dependency"]
	a.elements = nil
	for _, i := range indices {
		a.elements = append(a.elements, &element{array: a, index: i, state: "PENDING", reason: "None", exit: "0:0", held: p.has("hold")})
	}
	return nil
}
