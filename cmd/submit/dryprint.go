package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"sextant/pkg/report"
)

// print writes the preview for a person: tasks, pools, then what is foreseen, then the scripts.
func (v *preview) print(out io.Writer) error {
	w := &strings.Builder{}
	fmt.Fprintf(w, "plan %s of %s: %s\n\n", v.Digest[:8], v.Spec, extent(len(v.Tasks), v.Total.Shards, len(v.Jobs)))
	v.printTasks(w)
	fmt.Fprintln(w)
	if len(v.Variants) > 0 {
		v.printVariants(w)
		fmt.Fprintln(w)
	}
	v.printPools(w)
	fmt.Fprintln(w)
	where := "a new one in " + relative(strings.TrimSuffix(v.Run, "/"+base(v.Run)))
	switch {
	case v.Written != "":
		where = relative(v.Run) + ", written; go on with submit resume " + relative(v.Run)
	case v.Exists:
		where = relative(v.Run) + ", which is there"
	}
	facts := [][2]string{{"run directory", where}, {"rows", v.rows()}, {"workers", v.workers()}, {"makespan", v.makespan()}}
	if v.Cards != nil {
		facts = append(facts, [2]string{"cards", v.Cards.say()})
	}
	if v.Scheduler == "slurm" {
		facts = append(facts, [2]string{"cluster", v.Cluster.say()})
	}
	for _, f := range facts {
		fmt.Fprintf(w, "%-14s %s\n", f[0], f[1])
	}
	if len(v.Creates) > 0 {
		fmt.Fprintf(w, "\n%s\n", strings.Join(v.Creates, "\n"))
	}
	for _, s := range v.Scripts {
		fmt.Fprintf(w, "\n=== %s ===\n%s", s.Name, s.Text)
	}
	_, err := io.WriteString(out, w.String())
	return err
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func count(n int, what string) string { return report.Plural(n, what) }

// extent is how much there is to do.
func extent(tasks, shards, jobs int) string {
	return count(tasks, "task") + ", " + count(shards, "shard") + " in " + count(jobs, "job")
}

func (v *preview) printTasks(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "task\trows\treused\tstale\tshards\tcost\ttokens\ttime\tGPU-hours\t")
	for _, t := range v.Tasks {
		t.print(tw, t.Task)
	}
	if len(v.Tasks) > 1 {
		v.Total.print(tw, "total")
	}
	tw.Flush()
}

func (t *taskPreview) print(w io.Writer, name string) {
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t\n", name, t.Rows, t.Reused, t.Stale, t.Shards, t.Cost, t.Tokens,
		duration(t.Seconds), hours(t.GPUHours))
}

func (v *preview) printPools(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "pool\tjobs\tto run\tGPUs\tprocesses\ttokens\ttime\tload\ttime limit\t")
	for _, p := range v.Pools {
		limit := p.Walltime
		if limit == "" {
			limit = "-"
		}
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t\n", p.Pool, p.Jobs, p.Left, p.NumGPUs, p.NumProcs, p.Tokens,
			duration(p.Seconds), duration(p.Load), limit)
	}
	tw.Flush()
}

func (v *preview) rows() string {
	if v.Total.New == 0 {
		return fmt.Sprintf("all %d are there: nothing to compute", v.Total.Rows)
	}
	text := fmt.Sprintf("%d to compute", v.Total.New)
	if v.Total.Stale > 0 {
		text += fmt.Sprintf(", %d of them stale: their data, prompt, settings or model changed", v.Total.Stale)
	}
	if v.Total.Reused > 0 {
		text += fmt.Sprintf("; %d reused", v.Total.Reused)
	}
	return text
}

func (v *preview) workers() string {
	where := "on this machine"
	switch v.Scheduler {
	case "slurm":
		where = "on Slurm"
	case "dlc":
		where = "on DLC"
	}
	return fmt.Sprintf("%d at once %s, %s to run", v.Workers, where, count(v.Left.Jobs, "job"))
}

// makespan is how long the work that is left takes from the first job's beginning to the last one's end.
func (v *preview) makespan() string {
	l := v.Left
	if l.Jobs == 0 {
		return "none"
	}
	text := "about " + duration(l.OneEach.Makespan)
	if v.Scheduler != "local" {
		text = fmt.Sprintf("about %s with draining workers, %s with one shard a job; waiting in the queue is not in it", duration(l.Draining.Makespan),
			duration(l.OneEach.Makespan))
	}
	if l.Rough {
		text += "; a guess, for no such worker was measured in this work dir"
	}
	return text
}

func (c *clusterPreview) say() string {
	if c.Error != "" {
		return c.Error
	}
	return c.Text
}

// duration is an estimate for people, "-" when there is none.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case seconds <= 0:
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", seconds)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}

func hours(h float64) string {
	if h <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", h)
}
