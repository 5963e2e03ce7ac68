package slurm

import (
	"fmt"
	"slices"
	"strings"

	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// shapeOf is what jobs of one array have in common, beside the options.
func shapeOf(j scheduler.Job) string {
	nodes := slices.Compact(slices.Sorted(slices.Values(j.Exclude)))
	return fmt.Sprintf("%q %d %d %d %d %q", j.Pool, j.GPUs, max(j.Procs, 1), j.Threads, j.Memory, nodes)
}

// groups cuts jobs into those that may share an array: of one pool, with the same needs. Groups and their jobs keep the order given.
func groups(jobs []scheduler.Job) [][]scheduler.Job {
	var all [][]scheduler.Job
	at := map[string]int{}
	for _, j := range jobs {
		shape := shapeOf(j)
		i, ok := at[shape]
		if !ok {
			i = len(all)
			at[shape] = i
			all = append(all, nil)
		}
		all[i] = append(all[i], j)
	}
	return all
}

// shared is the job that an array asks for: one of a group, with the longest limit of all. One job without a limit leaves it to the cluster.
func shared(jobs []scheduler.Job) (scheduler.Job, error) {
	if len(jobs) == 0 {
		return scheduler.Job{}, fmt.Errorf("an array of no jobs")
	}
	all := jobs[0]
	for _, j := range jobs {
		if shapeOf(j) != shapeOf(all) {
			return all, fmt.Errorf("jobs %q and %q cannot share an array: they do not ask for the same", all.Name, j.Name)
		}
		if all.Limit = max(all.Limit, j.Limit); j.Limit <= 0 {
			all.Limit = 0
			break
		}
	}
	return all, nil
}

// scriptName is the file name of a job's script in Options.Scripts.
func scriptName(j scheduler.Job) string {
	if j.Script != "" {
		return j.Script + ".sbatch"
	}
	return j.Name + ".sbatch"
}

// list is the list file of an array: a line for each job, in order, of its script's file name, its name and its tail. The dispatcher of
// arrayScript reads it.
func list(jobs []scheduler.Job) ([]byte, error) {
	var b strings.Builder
	for _, j := range jobs {
		name := strings.TrimSuffix(scriptName(j), ".sbatch")
		if err := nameForm.check("script", name); err != nil {
			return nil, err
		}
		if err := nameForm.check("job", j.Name); err != nil {
			return nil, err
		}
		b.WriteString(name + ".sbatch " + j.Name)
		for _, word := range j.Tail {
			if err := tailForm.check("argument of job "+j.Name, word); err != nil {
				return nil, err
			}
			b.WriteString(" " + word)
		}
		b.WriteByte('\n')
	}
	return []byte(b.String()), nil
}

// Files gives the scripts that a submission of these jobs would write, without asking any cluster: one for each script that the jobs name,
// then one array for each group of jobs that ask for the same. How many arrays there are in the end, their names and their throttles are
// known only when they are submitted: those here are examples, with the whole worker limit in each. Quotatype says whether the cluster's
// sbatch knows --quotatype; see Quotatype. The error is that of a value which sbatch must not get.
func Files(o Options, jobs []scheduler.Job, quotatype bool) ([]batch.File, error) {
	f := features{quotatype: quotatype, maxArraySize: defaultArraySize}
	var files []batch.File
	seen := map[string]bool{}
	for _, j := range jobs {
		name := scriptName(j)
		if seen[name] {
			continue
		}
		seen[name] = true
		data, err := o.script(j, f)
		if err != nil {
			return nil, err
		}
		files = append(files, batch.File{Name: name, Mode: scriptMode, Data: data})
	}
	for i, group := range groups(jobs) {
		token := fmt.Sprintf("array-%d", i+1)
		if o.Tag != "" {
			token = o.Tag + "-" + token
		}
		data, err := o.arrayScript(token, group, o.Workers, f)
		if err != nil {
			return nil, err
		}
		files = append(files, batch.File{Name: token + ".sbatch", Mode: scriptMode, Data: data})
	}
	return files, nil
}
