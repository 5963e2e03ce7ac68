package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"sextant/pkg/plan"
	"sextant/pkg/run"
	"sextant/scheduler"
	"sextant/scheduler/slurm"

	"github.com/urfave/cli/v2"
)

// poller asks the cluster of a run about its jobs; nil when there is none to be asked.
func poller(ctx context.Context, p *plan.Plan, dir string) run.Poll {
	switch p.Spec.Infer.Scheduler {
	case "slurm":
	case "dlc":
		s, err := openDLC(p, dir, run.Owner(dir) != "")
		if err != nil {
			return nil
		}
		return s.Poll
	default:
		return nil
	}
	s, err := slurm.New(ctx, slurmOptions(p, dir))
	if err != nil {
		return nil
	}
	return s.Poll
}

func (e env) status(c *cli.Context) error {
	dir, p, err := runOf(c)
	if err != nil {
		return err
	}
	s, err := run.Look(c.Context, dir, p, poller(c.Context, p, dir))
	if err != nil {
		return err
	}
	v := statusOf(s)
	if c.Bool("json") {
		return e.printJSON(v)
	}
	return v.print(e.stdout)
}

// statusView is how far a run is.
type statusView struct {
	Version   int            `json:"version"`
	Run       string         `json:"run"`              // its directory
	Scheduler string         `json:"scheduler"`        // "local", "slurm" or "dlc"
	Submit    string         `json:"submit,omitempty"` // who works on it
	Rows      int            `json:"rows"`             // of all tasks
	Done      int            `json:"done"`             // rows that have their result
	Shards    map[string]int `json:"shards"`           // by state: done, running, queued, failed, open
	Tasks     []taskStatus   `json:"tasks"`
	Workers   map[string]int `json:"workers"` // jobs of the scheduler, by state; "unknown" when it did not answer
	Nodes     map[string]int `json:"nodes"`   // running ones, by node
	Waiting   map[string]int `json:"waiting"` // pending ones, by the scheduler's reason
	Failed    []failedShard  `json:"failed"`
}

// taskStatus is one task. Running, Queued and Failed count its shards.
type taskStatus struct {
	Task    string `json:"task"`
	Rows    int    `json:"rows"`
	Done    int    `json:"done"`  // rows that have their result
	Stale   int    `json:"stale"` // rows whose result is of other data, prompts, settings or another model
	Running int    `json:"running"`
	Queued  int    `json:"queued"`
	Failed  int    `json:"failed"`
	Within  string `json:"within,omitempty"` // of a quantization under way: "block 3 of 12 at 25%, calibrating, 40s left"
}

// failedShard is a shard that was tried as often as it may be.
type failedShard struct {
	Shard  string `json:"shard"`
	Reason string `json:"reason"`
}

func statusOf(s *run.State) statusView {
	v := statusView{Version: jsonVersion, Run: s.Dir, Scheduler: s.Plan.Spec.Infer.Scheduler, Submit: s.Owner, Shards: map[string]int{},
		Workers: map[string]int{}, Nodes: map[string]int{}, Waiting: map[string]int{}, Failed: []failedShard{}}
	tasks := map[string]*taskStatus{}
	v.Tasks = make([]taskStatus, len(s.Tasks))
	for i, t := range s.Tasks {
		v.Tasks[i] = taskStatus{Task: t.Task, Rows: t.Rows, Done: t.Done, Stale: t.Stale, Within: s.Within[t.Task]}
		tasks[t.Task] = &v.Tasks[i]
		v.Rows, v.Done = v.Rows+t.Rows, v.Done+t.Done
	}
	for _, sh := range s.Plan.Shards {
		state := s.Shards[sh.ID]
		v.Shards[string(state)]++
		t := tasks[sh.Task]
		switch state {
		case run.ShardRunning:
			t.Running++
		case run.ShardQueued:
			t.Queued++
		case run.ShardFailed:
			t.Failed++
			v.Failed = append(v.Failed, failedShard{sh.ID, s.Reasons[sh.ID]})
		}
	}
	for _, w := range s.Workers {
		switch w.Status.State {
		case "":
			v.Workers["unknown"]++
		case scheduler.Running:
			v.Nodes[w.Status.Node]++
			v.Workers[string(w.Status.State)]++
		default:
			v.Workers[string(w.Status.State)]++
			v.Waiting[w.Status.Reason]++
		}
	}
	return v
}

// mostFailed is how many failed shards are listed for people.
const mostFailed = 10

func (v statusView) print(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d rows done\n", relative(v.Run), v.Done, v.Rows)
	if v.Submit != "" {
		fmt.Fprintf(&b, "submit at work: %s\n", v.Submit)
	}
	fmt.Fprintf(&b, "shards: %s\n", counts(v.Shards))
	if len(v.Workers) > 0 {
		fmt.Fprintf(&b, "jobs:   %s\n", counts(v.Workers))
	}
	if len(v.Nodes) > 0 {
		fmt.Fprintf(&b, "nodes:  %s\n", counts(v.Nodes))
	}
	if len(v.Waiting) > 0 {
		fmt.Fprintf(&b, "wait:   %s\n", counts(v.Waiting))
	}
	b.WriteByte('\n')
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "task\trows\tdone\tstale\trunning\tqueued\tfailed")
	for _, t := range v.Tasks {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n", t.Task, t.Rows, t.Done, t.Stale, t.Running, t.Queued, t.Failed)
	}
	w.Flush()
	for _, t := range v.Tasks {
		if t.Within != "" {
			fmt.Fprintf(&b, "%s: %s\n", t.Task, t.Within)
		}
	}
	for i, f := range v.Failed {
		if i == mostFailed {
			fmt.Fprintf(&b, "... and %d more failed shards\n", len(v.Failed)-i)
			break
		}
		fmt.Fprintf(&b, "failed: %s: %s\n", f.Shard, f.Reason)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// counts lists numbers by name, the greatest first.
func counts(m map[string]int) string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		if name == "" {
			name = "(not known)"
		}
		names[i] = fmt.Sprintf("%d %s", m[names[i]], name)
	}
	return strings.Join(names, ", ")
}
