package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/scheduler"
	"sextant/scheduler/batch"
	"sextant/scheduler/dlc"
	"sextant/scheduler/slurm"
)

// slurmOptions are what a plan's spec asks of Slurm, for a run in this directory.
func slurmOptions(p *plan.Plan, dir string) slurm.Options {
	s, d := p.Spec.Slurm, result.Dir(dir)
	return slurm.Options{
		Dir: d.Slurm(), Scripts: d.Scripts(), Tag: tag(p.Spec.Name), About: fmt.Sprintf("sextant: %s, plan %s", p.Spec.Name, p.Digest[:8]),
		Workers: p.Spec.Infer.MaxNumWorkers, PollMin: time.Duration(s.PollMin) * time.Second, PollMax: time.Duration(s.PollMax) * time.Second,
		Ask: slurm.Ask{
			Partition: s.Partition, Quotatype: s.Quotatype, QOS: s.QOS, Account: s.Account, Reservation: s.Reservation,
			Time: s.Time, Mem: s.Mem, CPUs: s.CPUs, GPUOption: s.GPUOption, GPUType: s.GPUType,
			Constraint: s.Constraint, Nodelist: s.Nodelist, Exclude: s.Exclude, Comment: s.Comment, Extra: s.Extra,
			Prologue: s.Prologue, Env: s.Env, SignalLead: s.SignalLead, NoRequeue: s.NoRequeue,
		},
	}
}

// tag makes of a spec's name what a job's name may begin with.
func tag(name string) string {
	out := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, name)
	return strings.TrimLeft(out[:min(len(out), 32)], "-_")
}

// clusterFirst are a plan's jobs as the first attempts of a run in this directory, submitted by submit or by hand.
func clusterFirst(p *plan.Plan, dir string, byHand bool) ([]scheduler.Job, error) {
	worker, err := run.FindWorker(&p.Spec)
	if err != nil {
		return nil, err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("finding the current directory: %w", err)
	}
	times := newTimes(p)
	jobs := make([]scheduler.Job, len(p.Jobs))
	for i, j := range p.Jobs {
		jobs[i] = run.Command(p, dir, worker, j, 1)
		jobs[i].Dir, jobs[i].Limit = cwd, times.limit(j)
		if byHand {
			at := result.Dir(dir).Slurm()
			if p.Spec.Infer.Scheduler == "dlc" {
				at = result.Dir(dir).DLC()
			}
			jobs[i].Log = filepath.Join(at, j.ID+".log") // the directory of an attempt is not there then
		}
	}
	return jobs, nil
}

// scriptsOf are the batch scripts of a plan's run in this directory: one a job, and one an array with the list of jobs that it reads.
func scriptsOf(ctx context.Context, p *plan.Plan, dir string, byHand bool) ([]batch.File, error) {
	if !p.Spec.Infer.Remote() {
		return nil, nil
	}
	jobs, err := clusterFirst(p, dir, byHand)
	if err != nil {
		return nil, err
	}
	if p.Spec.Infer.Scheduler == "dlc" {
		return dlc.Files(dlcOptions(p, dir), jobs)
	}
	quotatype, err := slurm.Quotatype(ctx)
	if err != nil {
		quotatype = false // what is not known of a cluster is taken to be as in stock Slurm
	}
	o := slurmOptions(p, dir)
	files, err := slurm.Files(o, jobs, quotatype)
	if err != nil {
		return nil, err
	}
	return append(files, lists(o.Tag, jobs)...), nil
}

const listSuffix = ".list"

// lists are what the arrays' scripts read: of each pool the jobs in order.
func lists(tag string, jobs []scheduler.Job) []batch.File {
	var pools []string
	lines := map[string][]byte{}
	for _, j := range jobs {
		if lines[j.Pool] == nil {
			pools = append(pools, j.Pool)
		}
		lines[j.Pool] = fmt.Appendf(lines[j.Pool], "%s.sbatch %s %s\n", j.Script, j.Name, strings.Join(j.Tail, " "))
	}
	var files []batch.File
	for i, pool := range pools {
		name := strings.TrimLeft(fmt.Sprintf("%s-array-%d%s", tag, i+1, listSuffix), "-")
		files = append(files, batch.File{Name: name, Mode: 0o666, Data: lines[pool]})
	}
	return files
}

// askCluster asks when the first job would start. It never fails: what went wrong is what there is to tell.
func askCluster(ctx context.Context, p *plan.Plan, dir string) *clusterPreview {
	jobs, err := clusterFirst(p, dir, false)
	if err != nil {
		return &clusterPreview{Error: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	start, text, err := slurm.Forecast(ctx, slurmOptions(p, dir), jobs)
	switch {
	case errors.Is(err, slurm.ErrNoCluster):
		return &clusterPreview{Error: "no cluster answers: there is no sbatch on this machine"}
	case err != nil:
		return &clusterPreview{Error: err.Error()}
	}
	c := &clusterPreview{Text: text}
	if !start.IsZero() {
		c.Start = start.Format(time.RFC3339)
	}
	return c
}

// writeDry leaves a plan and its scripts in a directory, from which the scripts can be submitted by hand and the run be resumed.
func writeDry(dir string, p *plan.Plan, scripts []batch.File) error {
	d := result.Dir(dir)
	old, err := plan.Load(d.Plan())
	switch {
	case err == nil && old.Digest == p.Digest && exists(d.Journal()):
		return badInput{fmt.Errorf("--dry-run=%s: the directory is a run that submit has worked in, and its jobs may read the scripts; name another", dir)}
	case err == nil && old.Digest == p.Digest:
	case err == nil:
		return badInput{fmt.Errorf("--dry-run=%s: the directory holds another plan, %s and not %s; name another directory, or remove it "+
			"(submit plan diff tells the difference)", dir, old.Digest[:8], p.Digest[:8])}
	case !errors.Is(err, fs.ErrNotExist):
		return badInput{fmt.Errorf("--dry-run=%s: the directory holds a plan that cannot be read: %w", dir, err)}
	default:
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			return badInput{fmt.Errorf("--dry-run=%s: the directory holds other things and no plan; name another, or an empty one", dir)}
		}
	}
	subs := []string{dir, d.Scripts(), d.Slurm()}
	if p.Spec.Infer.Scheduler == "dlc" {
		subs = []string{dir, d.Scripts(), d.DLC()}
	}
	for _, sub := range subs {
		if err := os.MkdirAll(sub, 0o777); err != nil {
			return fmt.Errorf("--dry-run: %w", err)
		}
	}
	for _, f := range scripts {
		at := d.Scripts()
		if strings.HasSuffix(f.Name, listSuffix) {
			at = d.Slurm()
		}
		if err := writeScript(filepath.Join(at, f.Name), f); err != nil {
			return fmt.Errorf("--dry-run: %w", err)
		}
	}
	if old != nil {
		return nil
	}
	return p.Save(d.Plan())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// writeScript leaves a script that is there and the same as it is.
func writeScript(path string, f batch.File) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, f.Data) {
		return nil
	}
	return os.WriteFile(path, f.Data, f.Mode)
}
