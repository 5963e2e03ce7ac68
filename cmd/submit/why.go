package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"sextant/pkg/run"

	"github.com/urfave/cli/v2"
)

func (e env) whyCommand() *cli.Command {
	return &cli.Command{
		Name: "why", Usage: "tell why shards are not done, and what to do", ArgsUsage: "DIR",
		Description: "Lists the shards of the run in DIR that failed or are missing: what kind of failure it was, on which node, the last lines of the\n" +
			"log, and what to do. Shards that failed alike are told of once. It changes nothing.\n\n" +
			"Example: submit why outputs/20260714_101500-3f2a9c1b",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "lines", Value: 5, Usage: "the last `N` lines of each log"},
			jsonFlag("print one JSON document"),
		},
		Action: e.why,
	}
}

// whyView is the shards of a run that are not done.
type whyView struct {
	Version int           `json:"version"`
	Run     string        `json:"run"`              // its directory
	Submit  string        `json:"submit,omitempty"` // who works on it
	Shards  int           `json:"shards"`           // of the plan
	Missing []whyShard    `json:"missing"`          // those that are not done
	groups  [][]*whyShard // those alike
}

// whyShard is a shard that is not done.
type whyShard struct {
	Shard    string   `json:"shard"`
	Task     string   `json:"task"`
	Rows     int      `json:"rows"`
	Done     int      `json:"done"`  // rows that have their result
	State    string   `json:"state"` // "failed", "open", "running", "queued"
	Class    string   `json:"class"` // of failure: "input", "disk", "memory", "time", "preempted", "evicted", "node", "launch", "lost", ...; "open"
	Attempts int      `json:"attempts"`
	Node     string   `json:"node,omitempty"`   // of the last attempt
	Reason   string   `json:"reason,omitempty"` // in words
	Log      string   `json:"log,omitempty"`    // of the last attempt: its path
	Lines    []string `json:"lines,omitempty"`  // the last of the log
	Advice   string   `json:"advice"`           // what to do
}

// advice is what to do, by class. RUN stands for the run's directory.
var advice = map[run.Class]string{
	"input": "mend what it says in the data, the spec or the model, and run submit with the spec again; or go without these rows",
	"disk":  "free some space where RUN lies; then submit resume RUN",
	"memory": "give each job more (--mem on Slurm, fewer workers at once on this machine), or lower the model's batch_size or max_seq_len; " +
		"then submit resume RUN",
	"time":      "give each job longer (--time, slurm.time), or cut smaller shards with --max-partition-size; then submit resume RUN",
	"preempted": "they had to give way; submit resume RUN asks again, -q chooses a quality of service that is not preempted",
	"node":      "the node failed; submit resume RUN asks again, and --exclude NODE, in the spec's [slurm], keeps it out",
	"launch": "the worker could not begin on the node: are its path (--worker, slurm.worker) and the run's on a disk that the node has, and is the " +
		"prologue right? Then submit resume RUN",
	"lost":    "nobody knows what became of the worker; submit resume RUN tries again",
	"stopped": "its job was stopped with its submit; submit resume RUN goes on",
	"early":   "what comes first was not there yet; submit resume RUN tries again",
	"retry":   "it may succeed at another time or place; submit resume RUN tries again",
	"error":   "the log tells more: submit logs RUN SHARD; submit resume RUN tries again",

	run.ClassEvicted: "somebody cancelled the jobs, but not submit: ask who, or for how long jobs may run; submit resume RUN asks again",
	run.ClassEarlier: "what comes first failed: its own line says why; submit resume RUN tries both again",
	run.ClassOpen:    "nobody has tried it yet: submit resume RUN does",
}

func (e env) why(c *cli.Context) error {
	dir, p, err := runOf(c)
	if err != nil {
		return err
	}
	s, err := run.Look(c.Context, dir, p, poller(c.Context, p, dir))
	if err != nil {
		return err
	}
	v, err := whyOf(s, c.Int("lines"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(v)
	}
	return v.print(e.stdout)
}

func whyOf(s *run.State, lines int) (*whyView, error) {
	v := &whyView{Version: jsonVersion, Run: s.Dir, Submit: s.Owner, Shards: len(s.Plan.Shards), Missing: []whyShard{}}
	from, err := imported(s.Dir)
	if err != nil {
		return nil, err
	}
	logs, err := newLogs(s.Plan, s.Dir)
	if err != nil {
		return nil, err
	}
	for _, t := range s.Troubles() {
		w := whyShard{Shard: t.Shard, Task: t.Task, Rows: t.Rows, Done: t.Done, State: string(t.State), Class: string(t.Class), Attempts: t.Attempts,
			Node: t.Node, Reason: t.Reason, Advice: strings.ReplaceAll(advice[t.Class], "RUN", relative(s.Dir))}
		switch {
		case from != nil:
			w.Reason, w.Advice = from.Tasks[t.Task].Reason, "the run was imported; nothing more can be computed in it"
		case t.State == run.ShardRunning, t.State == run.ShardQueued:
			w.Advice = "it is being tried again; wait"
		case t.State == run.ShardOpen && s.Owner != "":
			w.Advice = "a submit works on the run; wait"
		}
		if t.Last.Attempt > 0 {
			if w.Log, err = logs.file(t.Last); err != nil {
				return nil, err
			}
			if at := s.Logs[t.Last]; at != "" {
				w.Log = at
			}
			w.Lines = lastLines(w.Log, lines)
		}
		v.Missing = append(v.Missing, w)
	}
	v.group()
	return v, nil
}

// group puts those together that differ in their shards alone.
func (v *whyView) group() {
	at := map[[4]string]int{}
	for i := range v.Missing {
		w := &v.Missing[i]
		k := [4]string{w.State, w.Class, w.Reason, w.Advice}
		n, ok := at[k]
		if !ok {
			n = len(v.groups)
			at[k] = n
			v.groups = append(v.groups, nil)
		}
		v.groups[n] = append(v.groups[n], w)
	}
}

// mostNamed is how many shards of a group are named to people.
const mostNamed = 5

func (v *whyView) print(out io.Writer) error {
	var b strings.Builder
	if len(v.Missing) == 0 {
		fmt.Fprintf(&b, "%s: all %s done\n", relative(v.Run), count(v.Shards, "shard"))
	} else {
		fmt.Fprintf(&b, "%s: %d of %s not done\n", relative(v.Run), len(v.Missing), count(v.Shards, "shard"))
	}
	for _, g := range v.groups {
		w := g[0]
		rows, done := 0, 0
		var names, nodes []string
		for _, one := range g {
			rows, done = rows+one.Rows, done+one.Done
			if one.Node != "" && !slices.Contains(nodes, one.Node) {
				nodes = append(nodes, one.Node)
			}
			if names = append(names, one.Shard); len(names) > mostNamed {
				names = names[:mostNamed]
			}
		}
		if more := len(g) - len(names); more > 0 {
			names = append(names, fmt.Sprintf("and %d more", more))
		}
		fmt.Fprintf(&b, "\n%s, %s: %s\n", w.State, w.Class, strings.Join(names, ", "))
		fmt.Fprintf(&b, "  %d of %s done", done, count(rows, "row"))
		if w.Attempts > 0 {
			fmt.Fprintf(&b, "; %s", count(w.Attempts, "attempt"))
		}
		if len(nodes) > 0 {
			fmt.Fprintf(&b, "; on %s", strings.Join(nodes, ", "))
		}
		b.WriteByte('\n')
		if w.Reason != "" {
			fmt.Fprintf(&b, "  why: %s\n", w.Reason)
		}
		if len(w.Lines) > 0 {
			fmt.Fprintf(&b, "  log: %s\n", relative(w.Log))
			for _, line := range w.Lines {
				fmt.Fprintf(&b, "    | %s\n", line)
			}
		}
		fmt.Fprintf(&b, "  do:  %s\n", w.Advice)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// lastLines are the last lines of a log, as far as they can be read.
func lastLines(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	const most = 16 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd) // else the first of them are shown
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil || n <= 0 {
		return nil
	}
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(string(b), "?")) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, strings.Map(plainRune, line))
		}
	}
	return lines[max(0, len(lines)-n):]
}

// plainRune takes out what would move a terminal's cursor.
func plainRune(r rune) rune {
	if unicode.IsControl(r) && r != '\t' {
		return '?'
	}
	return r
}
