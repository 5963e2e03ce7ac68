package shim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scontrol does what the first of its arguments says.
func (c *Cluster) scontrol(_ *Call, p *parsed) *reply {
	if len(p.args) == 0 {
		return failed(1, "scontrol: error: no command")
	}
	rest := p.args[1:]
	switch verb := strings.ToLower(p.args[0]); verb {
	case "ping":
		return c.ping()
	case "show":
		return c.show(rest, p)
	case "update":
		return c.update(rest)
	case "hold", "uhold", "release", "requeue", "requeuehold":
		return c.handle(verb, identifiers(rest))
	}
	return failed(1, "invalid keyword: %s", p.args[0])
}

func (c *Cluster) ping() *reply {
	o, r := c.options(), new(reply)
	if o.Frozen {
		time.Sleep(o.seconds(10))
	}
	if o.Down || o.Frozen {
		r.code = 1
		r.printf("Slurmctld(primary) at head is DOWN\n*****************************************\n" +
			"** RESTORE SLURMCTLD DAEMON TO SERVICE **\n*****************************************\n")
		return r
	}
	r.printf("Slurmctld(primary) at head is UP\n")
	return r
}

func (c *Cluster) show(args []string, p *parsed) *reply {
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "-o" })
	if len(args) == 0 {
		return failed(1, "too few arguments for keyword:show")
	}
	what, rest := strings.ToLower(args[0]), args[1:]
	var answer func() *reply
	patience, failure := 9, ""
	switch {
	case strings.HasPrefix("config", what) && len(what) > 1:
		answer, failure = c.config, "slurm_load_ctl_conf error: "
	case what == "job" || what == "jobs":
		answer, failure, patience = func() *reply { return c.showJobs(rest, p.has("oneliner")) }, "slurm_load_jobs error: ", 18
	case what == "node" || what == "nodes":
		answer, failure = func() *reply { return c.showNodes(rest) }, "slurm_load_node error: "
	case what == "partition" || what == "partitions":
		answer, failure = c.showPartitions, "slurm_load_partitions error: "
	case what == "hostnames" || what == "hostname":
		r := new(reply)
		r.printf("%s\n", strings.Join(hosts(strings.Join(rest, ",")), "\n"))
		return r
	default:
		return failed(1, "invalid entity:%s for keyword:show ", args[0])
	}
	if why := c.reach("scontrol", patience, nil); why != "" {
		return failed(1, "%s%s", failure, why)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return answer()
}

func (c *Cluster) config() *reply {
	o, r := c.o, new(reply)
	storage := "accounting_storage/slurmdbd"
	if o.SacctOff {
		storage = "accounting_storage/none"
	}
	r.printf("Configuration data as of %s\n", stamp(time.Now(), ""))
	for _, kv := range [][2]any{{"AccountingStorageType", storage}, {"AuthInfo", "(null)"}, {"BatchStartTimeout", "10 sec"}, {"ClusterName", "lab"},
		{"EnforcePartLimits", "NO"}, {"GresTypes", "gpu"}, {"JobFileAppend", 0}, {"JobRequeue", 1}, {"KillWait", fmt.Sprint(o.KillWait, " sec")},
		{"MaxArraySize", o.MaxArraySize}, {"MaxJobCount", o.MaxJobCount}, {"MaxJobId", 67043328}, {"MessageTimeout", "10 sec"},
		{"MinJobAge", fmt.Sprint(o.MinJobAge, " sec")}, {"NEXT_JOB_ID", c.nextID}, {"PreemptMode", "REQUEUE"}, {"SchedulerType", "sched/backfill"},
		{"SlurmctldHost[0]", "head"}, {"SlurmctldTimeout", "120 sec"}, {"SlurmdTimeout", "300 sec"}, {"SLURM_VERSION", o.Version}} {
		r.printf("%-23s = %v\n", kv[0], kv[1])
	}
	r.printf("\nSlurmctld(primary) at head is UP\n")
	return r
}

func (c *Cluster) showJobs(ids []string, flat bool) *reply {
	r, now := new(reply), time.Now()
	var found []*element
	if len(ids) == 0 {
		for _, a := range c.arrays {
			found = append(found, a.elements...)
		}
	}
	for _, id := range identifiers(ids) {
		these, ok := c.find(id)
		these = slices.DeleteFunc(these, func(e *element) bool { return !c.knows(e, now) })
		if !ok || len(these) == 0 {
			if strings.Contains(id, "_") {
				return failed(1, "Job %s not found", id)
			}
			return failed(1, "slurm_load_jobs error: Invalid job id specified")
		}
		found = append(found, these...)
	}
	shared := map[*array]bool{}
	for _, e := range found {
		if !c.knows(e, now) {
			continue
		}
		tasks := strconv.Itoa(e.index)
		if e.index >= 0 && e.own == 0 { // those that wait share a record
			if shared[e.array] {
				continue
			}
			shared[e.array] = true
			tasks = sharedTasks(e.array)
		}
		sep, end := "\n   ", "\n\n"
		if flat {
			sep, end = " ", " \n"
		}
		r.printf("%s%s", strings.Join(e.describe(tasks), sep), end)
	}
	return r
}

func sharedTasks(a *array) string {
	var indices []int
	for _, e := range a.elements {
		if e.own == 0 && !e.dropped {
			indices = append(indices, e.index)
		}
	}
	return spans(indices)
}

func (e *element) describe(tasks string) []string {
	a := e.array
	head := fmt.Sprintf("JobId=%d ", e.raw())
	if e.index >= 0 && !(a.whole && e.own == 0) {
		head += fmt.Sprintf("ArrayJobId=%d ArrayTaskId=%s ", a.id, tasks)
		if a.throttle > 0 {
			head += fmt.Sprintf("ArrayTaskThrottle=%d ", a.throttle)
		}
	}
	requeue := 0
	if e.requeues() {
		requeue = 1
	}
	end := e.end
	if e.state == "RUNNING" {
		end = e.start.Add(a.limit)
	}
	lines := []string{head + "JobName=" + a.name,
		fmt.Sprintf("UserId=%s(0) GroupId=%s(0) MCS_label=N/A", userName(), userName()),
		fmt.Sprintf("Priority=1 Nice=0 Account=%s QOS=%s", a.account, a.qos),
		fmt.Sprintf("JobState=%s Reason=%s Dependency=%s", e.shown(), strings.ReplaceAll(e.reason, " ", "_"), first(a.dependency, "(null)")),
		fmt.Sprintf("Requeue=%d Restarts=%d BatchFlag=1 Reboot=0 ExitCode=%s", requeue, e.restarts, e.exit),
		fmt.Sprintf("TimeLimit=%s TimeMin=N/A", span(a.limit, true)),
		fmt.Sprintf("SubmitTime=%s EligibleTime=%s", stamp(e.submitted, "Unknown"), stamp(e.eligible, "Unknown")),
		fmt.Sprintf("StartTime=%s EndTime=%s Deadline=N/A", stamp(e.start, "Unknown"), stamp(end, "Unknown")),
		fmt.Sprintf("Partition=%s AllocNode:Sid=head:1", a.partition),
		fmt.Sprintf("ReqNodeList=%s ExcNodeList=%s", a.opts.get("nodelist", "(null)"),
			first(strings.Join(append(hosts(a.opts.values["exclude"]), a.exclude...), ","), "(null)")),
		"NodeList=" + nodeList(e)}
	if e.node != "" {
		host, _, _ := strings.Cut(e.node, ",")
		lines = append(lines, "BatchHost="+host)
	}
	lines = append(lines, fmt.Sprintf("NumNodes=%d NumCPUs=%d NumTasks=1 CPUs/Task=1 ReqB:S:C:T=0:0:*:*", a.need.nodes, a.need.cpus),
		"Command="+a.command, "WorkDir="+a.dir)
	if v := a.opts.values["comment"]; v != "" {
		lines = append(lines, "Comment="+v)
	}
	return append(lines, "StdErr="+e.logPath(), "StdIn=/dev/null", "StdOut="+e.logPath(), "Power=")
}

func (c *Cluster) showNodes(names []string) *reply {
	r := new(reply)
	for _, n := range c.nodes {
		if len(names) > 0 && !slices.Contains(hosts(strings.Join(names, ",")), n.name) {
			continue
		}
		r.printf("NodeName=%s Arch=x86_64 \n   CPUTot=%d\n   Gres=gpu:%d\n   State=%s\n\n", n.name, c.o.CPUs, len(n.gpus), strings.ToUpper(n.state(c.o)))
	}
	return r
}

func (c *Cluster) showPartitions() *reply {
	r := new(reply)
	for i, name := range c.o.Partitions {
		r.printf("PartitionName=%s\n   Default=%s MaxTime=1-00:00:00 State=UP TotalNodes=%d\n\n", name, map[bool]string{true: "YES", false: "NO"}[i == 0], len(c.nodes))
	}
	return r
}

// handle does hold, release and requeue.
func (c *Cluster) handle(verb string, ids []string) *reply {
	r := new(reply)
	for _, id := range ids {
		if why := c.reach("scontrol", 9, nil); why != "" {
			return r.fail(1, "Unexpected message received for job %s", id)
		}
		c.mu.Lock()
		found, _ := c.find(id)
		if len(found) == 0 {
			r.fail(1, "Invalid job id specified for job %s", id)
		}
		for _, e := range found {
			switch {
			case strings.HasPrefix(verb, "requeue") && !e.requeues():
				r.fail(1, "Requested operation is presently disabled for job %s", id)
			case strings.HasPrefix(verb, "requeue"):
				e.held = verb == "requeuehold"
				c.requeue(e)
			case e.ended():
				r.fail(1, "%s: Job has already finished", e.id())
			default:
				e.held = verb != "release"
				if !e.held && e.waits() {
					e.reason = "None"
				}
			}
		}
		c.kick()
		c.mu.Unlock()
	}
	return r
}

// update changes jobs and nodes.
func (c *Cluster) update(args []string) *reply {
	values := map[string]string{}
	var order []string
	for _, kv := range args {
		k, v, _ := strings.Cut(kv, "=")
		values[strings.ToLower(k)] = v
		order = append(order, strings.ToLower(k))
	}
	if names, ok := values["nodename"]; ok {
		return c.updateNodes(hosts(names), strings.ToLower(values["state"]))
	}
	id := first(values["jobid"], values["job"])
	for _, k := range order {
		if !slices.Contains([]string{"jobid", "job", "arraytaskthrottle", "excnodelist", "timelimit", "dependency", "comment"}, k) {
			return failed(1, "Update of this parameter is not supported: %s=%s\nRequest aborted", k, values[k])
		}
	}
	if why := c.reach("scontrol", 9, nil); why != "" {
		return failed(1, "Unexpected message received for job %s", id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found, _ := c.find(id)
	if len(found) == 0 {
		return failed(1, "Invalid job id specified for job %s", id)
	}
	if c.o.NoChanges {
		return failed(1, "Access/permission denied for job %s", id)
	}
	r := new(reply)
	by := map[string][]int{}
	for _, e := range found {
		why := first(c.change(e, values), "No error")
		by[why] = append(by[why], e.index)
		if why != "No error" {
			r.code = 1 // it is done for the others all the same
		}
	}
	for _, why := range slices.Sorted(maps.Keys(by)) {
		switch {
		case r.code == 0:
		case found[0].index < 0:
			fmt.Fprintf(&r.err, "%s for job %s\n", why, id)
		default:
			fmt.Fprintf(&r.err, "%d_%s: %s\n", found[0].array.id, spans(by[why]), why)
		}
	}
	c.kick()
	return r
}

func (c *Cluster) change(e *element, values map[string]string) string {
	if e.ended() {
		return "Job has already finished"
	}
	if v, ok := values["arraytaskthrottle"]; ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return "Invalid job array specification"
		}
		e.array.throttle = n
	}
	if v, ok := values["excnodelist"]; ok {
		switch {
		case !e.waits():
			return "Job is no longer pending execution"
		case !c.haveNodes(v):
			return "Invalid node name specified"
		}
		e.exclude = hosts(v)
	}
	if v, ok := values["dependency"]; ok {
		if !e.waits() {
			return "Job is no longer pending execution"
		}
		e.array.dependency = v
	}
	if v, ok := values["timelimit"]; ok {
		e.array.limit, _ = minutes(v)
	}
	return ""
}

func (c *Cluster) updateNodes(names []string, state string) *reply {
	for _, name := range names {
		err := c.onNode(name, func(n *node) {
			n.drained = strings.HasPrefix(state, "drain")
			n.down = state == "down"
		})
		if err != nil {
			return failed(1, "slurm_update error: Invalid node name specified")
		}
	}
	return new(reply)
}
