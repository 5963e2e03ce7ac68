package slurm

import (
	"strconv"
	"strings"
	"time"

	"sextant/scheduler"
)

// queueFormat is what squeue is asked for. The reason is last, for it may hold anything.
const queueFormat = "%i|%j|%T|%N|%S|%V|%e|%r"

// row is an element as squeue shows it.
type row struct {
	array      string // number
	index      int    // -1: a row for all the elements that have none of their own
	token      string
	state      string
	node       string
	start, end time.Time
	reason     string
}

// parseQueue reads squeue's rows. Lines that are no rows, banners and torn ones, are left out.
func parseQueue(out string) []row {
	var rows []row
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimRight(line, "\r\n"), "|", 8)
		if len(f) < 8 || !strings.HasSuffix(line, "\n") {
			continue
		}
		array, indexes, ok := parseElement(f[0])
		if !ok || f[2] == "" {
			continue
		}
		r := row{array: array, token: f[1], state: f[2], node: firstNode(f[3]), start: parseTime(f[4]), end: parseTime(f[6]), reason: cleaned(f[7])}
		for _, i := range indexes {
			r.index = i
			rows = append(rows, r)
		}
	}
	return rows
}

// maxIndex is above every index that Slurm can give.
const maxIndex = 4_000_001

// parseElement reads "12_3", "12_[3-5,7%2]" and "12", whose index is -1.
func parseElement(id string) (array string, indexes []int, ok bool) {
	array, rest, more := strings.Cut(id, "_")
	if !arrayID.MatchString(array) {
		return "", nil, false
	}
	if !more {
		return array, []int{-1}, true
	}
	if list, bracket := strings.CutPrefix(rest, "["); bracket {
		list, _, closed := strings.Cut(list, "]")
		list, _, _ = strings.Cut(list, "%")
		indexes, ok = parseRanges(list)
		return array, indexes, ok && closed && len(indexes) > 0
	}
	i, err := strconv.Atoi(rest)
	return array, []int{i}, err == nil && i >= 0 && i < maxIndex
}

// parseRanges reads "1-3,7". Lists that are cut short, "1-3,...", give what they tell.
func parseRanges(list string) ([]int, bool) {
	var all []int
	for part := range strings.SplitSeq(list, ",") {
		if strings.HasPrefix(part, "...") {
			break
		}
		lo, hi, isRange := strings.Cut(part, "-")
		if !isRange {
			hi = lo
		}
		hi, step, stepped := strings.Cut(hi, ":")
		by := 1
		from, err1 := strconv.Atoi(lo)
		to, err2 := strconv.Atoi(hi)
		if stepped {
			by, _ = strconv.Atoi(step)
		}
		if err1 != nil || err2 != nil || from < 0 || to < from || to >= maxIndex || by < 1 || len(all)+(to-from)/by >= maxIndex {
			return nil, false
		}
		for i := from; i <= to; i += by {
			all = append(all, i)
		}
	}
	return all, true
}

// firstNode is the first of a list of nodes: "node[1-3,7],other" is node1.
func firstNode(list string) string {
	if strings.Contains(list, " ") || list == "(null)" { // "None assigned"
		return ""
	}
	cut := strings.IndexAny(list, "[,")
	if cut < 0 {
		return list
	}
	if list[cut] == ',' {
		return list[:cut]
	}
	first := list[cut+1:]
	first = first[:len(first)-len(strings.TrimLeft(first, "0123456789"))]
	tail := ""
	if _, after, ok := strings.Cut(list, "]"); ok {
		tail, _, _ = strings.Cut(after, ",")
	}
	return list[:cut] + first + tail
}

func parseTime(text string) time.Time {
	t, err := time.ParseInLocation("2006-01-02T15:04:05", text, time.Local)
	if err != nil {
		return time.Time{}
	}
	return t
}

// cleaned is a reason as people may see it: "" for none, one line.
func cleaned(reason string) string {
	reason = strings.Join(strings.Fields(reason), " ")
	if reason == "None" || reason == "(null)" {
		return ""
	}
	return reason
}

// record is an element as sacct or scontrol tells it.
type record struct {
	row
	exit, signal int
	collective   bool // it is of all elements that have no record of their own, though it names others too
}

// parseAccounts reads the rows of sacct -n -P -o JobID,JobIDRaw,JobName,State,ExitCode,NodeList,Start,End.
func parseAccounts(out string) []record {
	var records []record
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), "|")
		if len(f) != 8 || !strings.HasSuffix(line, "\n") {
			continue
		}
		array, indexes, ok := parseElement(f[0])
		exit, signal, known := parseExit(f[4])
		state, _, _ := strings.Cut(f[3], " ") // "CANCELLED by 1000"
		if !ok || !known || state == "" {
			continue
		}
		r := record{row: row{array: array, token: f[2], state: state, node: firstNode(f[5]), start: parseTime(f[6]), end: parseTime(f[7])},
			exit: exit, signal: signal, collective: strings.Contains(f[0], "[") || indexes[0] < 0}
		for _, i := range indexes {
			r.index = i
			records = append(records, r)
		}
	}
	return records
}

// parseExit reads "3:0" or "0:9".
func parseExit(text string) (exit, signal int, ok bool) {
	a, b, both := strings.Cut(text, ":")
	exit, err1 := strconv.Atoi(a)
	signal, err2 := strconv.Atoi(b)
	return exit, signal, both && err1 == nil && err2 == nil && exit >= 0 && signal >= 0
}

// parseShow reads scontrol show job -o. The first of equal keys counts: what users can write comes later.
func parseShow(out string) []record {
	var records []record
	for line := range strings.Lines(out) {
		values := map[string]string{}
		for word := range strings.FieldsSeq(line) {
			key, value, ok := strings.Cut(word, "=")
			if _, had := values[key]; ok && !had {
				values[key] = value
			}
		}
		index, err := strconv.Atoi(values["ArrayTaskId"])
		exit, signal, known := parseExit(values["ExitCode"])
		if err != nil || index < 0 || !known || !arrayID.MatchString(values["ArrayJobId"]) || values["JobState"] == "" {
			continue
		}
		node := firstNode(values["BatchHost"])
		if node == "" {
			node = firstNode(values["NodeList"])
		}
		records = append(records, record{row: row{array: values["ArrayJobId"], index: index, token: values["JobName"], state: values["JobState"],
			node: node, start: parseTime(values["StartTime"]), end: parseTime(values["EndTime"]), reason: cleaned(values["Reason"])}, exit: exit, signal: signal})
	}
	return records
}

// parseSubmitted reads what sbatch --parsable says: "id" or "id;cluster", the last such line among what wrappers print.
func parseSubmitted(out string) (string, bool) {
	found := ""
	for line := range strings.Lines(out) {
		id, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		if arrayID.MatchString(id) {
			found = id
		}
	}
	return found, found != ""
}

// phase is what one of Slurm's states means here.
type phase struct {
	state    scheduler.State
	cause    scheduler.Cause
	occupied bool // it holds a place of the worker limit
	text     string
}

// phases are Slurm's states, and the flags that it shows in their place. A state that is not here is not known to be an end.
var phases = map[string]phase{
	"PENDING":       {state: scheduler.Pending},
	"REQUEUED":      {state: scheduler.Pending, text: "requeued"},
	"REQUEUE_FED":   {state: scheduler.Pending, text: "requeued"},
	"REQUEUE_HOLD":  {state: scheduler.Pending, text: "requeued and held"},
	"SPECIAL_EXIT":  {state: scheduler.Pending, text: "requeued and held"},
	"RESV_DEL_HOLD": {state: scheduler.Pending, text: "held: its reservation was deleted"},
	"CONFIGURING":   {state: scheduler.Pending, occupied: true, text: "its nodes are being made ready"},
	"RUNNING":       {state: scheduler.Running, occupied: true},
	"COMPLETING":    {state: scheduler.Running, occupied: true},
	"STAGE_OUT":     {state: scheduler.Running, occupied: true},
	"SUSPENDED":     {state: scheduler.Running, occupied: true},
	"STOPPED":       {state: scheduler.Running, occupied: true},
	"SIGNALING":     {state: scheduler.Running, occupied: true},
	"RESIZING":      {state: scheduler.Running, occupied: true},
	"COMPLETED":     {state: scheduler.Done},
	"FAILED":        {state: scheduler.Failed},
	"CANCELLED":     {state: scheduler.Cancelled, text: "cancelled"},
	"REVOKED":       {state: scheduler.Cancelled, text: "taken over by another cluster"},
	"TIMEOUT":       {state: scheduler.Failed, cause: scheduler.TimeLimit, text: "it reached its time limit"},
	"DEADLINE":      {state: scheduler.Failed, cause: scheduler.TimeLimit, text: "it reached its deadline"},
	"OUT_OF_MEMORY": {state: scheduler.Failed, cause: scheduler.Memory, text: "it used more memory than it may"},
	"PREEMPTED":     {state: scheduler.Failed, cause: scheduler.Preempted, text: "it had to give way to another job"},
	"NODE_FAIL":     {state: scheduler.Failed, cause: scheduler.Node, text: "its node failed"},
	"BOOT_FAIL":     {state: scheduler.Failed, cause: scheduler.Node, text: "its node could not be made ready"},
	"LAUNCH_FAILED": {state: scheduler.Failed, cause: scheduler.Launch, text: "its node could not start it"},
}

func phaseOf(state string) phase {
	if p, ok := phases[state]; ok {
		return p
	}
	return phase{state: scheduler.Running, occupied: true, text: state}
}
