package dlc

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"sextant/internal/points"
	"sextant/scheduler"
	"sextant/scheduler/batch"
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,200}$`)

// displayName is a job's name as DLC takes it, and no longer than what files are named by can be: itself, where that may be; else what is left
// of it and a digest of the whole.
func displayName(name string) string {
	if nameForm.MatchString(name) {
		return name
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	end := fmt.Sprintf("-%016x", h.Sum64())
	kept := strings.Map(func(r rune) rune {
		if nameForm.MatchString(string(r)) {
			return r
		}
		return '_'
	}, name)
	return kept[:min(len(kept), maxName-len(end))] + end
}

// check says what is wrong with a job before anybody is asked.
func (s *Scheduler) check(j scheduler.Job) error {
	switch {
	case j.Name == "" || len(j.Args) == 0 || j.Args[0] == "" || j.Log == "":
		return errors.New("it has no name, no command or no log")
	case j.GPUs > maxGPUs:
		return fmt.Errorf("%w: it wants %d GPUs, and no machine of DLC has more than %d", scheduler.ErrUnsatisfiable, j.GPUs, maxGPUs)
	case strings.ContainsRune(strings.Join(slices.Concat(j.Words(), j.Env), ""), 0):
		return errors.New("there is a NUL character in its command or environment")
	}
	for what, path := range map[string]string{"log": j.Log, "directory": j.Dir, "directory of scripts": s.opt.Scripts, "own directory": s.opt.Dir} {
		if path != "" && (!filepath.IsAbs(path) || strings.ContainsFunc(path, unicode.IsControl)) {
			return fmt.Errorf("its %s %q is not an absolute path without control characters", what, path)
		}
	}
	if n := requestBytes(s.opt.createArgs(j)); n > maxRequest {
		return fmt.Errorf("%w: the request for it has %d bytes, and DLC takes %d: shorten its arguments, [dlc] data_sources or extra",
			scheduler.ErrUnsatisfiable, n, maxRequest)
	}
	return nil
}

// requestBytes is how long a request gets: its parameters with their names, and what DLC adds itself.
func requestBytes(args []string) int {
	n := 4096 // its own environment and names of fields; not documented, taken generously
	for _, a := range args {
		n += len(a) + 8
	}
	return n
}

// scriptPath is a job's script. Jobs of one Script have the same.
func (o *Options) scriptPath(j scheduler.Job) string {
	name := j.Script
	if name == "" {
		name = displayName(j.Name)
	}
	return filepath.Join(o.Scripts, name+".dlc.sh")
}

// command is the start command of a job: its script, with the job's display name, its log, and the words of this very job; before it the job's
// own name, where DLC does not take that. It is for sh.
func (o *Options) command(j scheduler.Job) string {
	words := append([]string{"exec", "/bin/bash", o.scriptPath(j), displayName(j.Name), j.Log}, j.Tail...)
	for i, w := range words {
		words[i] = batch.Quote(w)
	}
	if j.Name != displayName(j.Name) {
		words = append([]string{"sextant_name=" + batch.Quote(j.Name)}, words...)
	}
	return strings.Join(words, " ")
}

// createArgs are the arguments of dlc that create a job, without those that say who asks.
func (o *Options) createArgs(j scheduler.Job) []string {
	a := o.Ask
	args := []string{"create", "job", "--kind=PyTorchJob"}
	count := "--worker_count=1"
	if a.JobCmd == "submit" {
		args, count = []string{"submit", "pytorchjob"}, "--workers=1"
	}
	add := func(name, value string) {
		if value != "" {
			args = append(args, "--"+name+"="+value)
		}
	}
	number := func(n int) string {
		if n <= 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	gib := func(n int) string {
		if n <= 0 {
			return ""
		}
		return strconv.Itoa(n) + "Gi"
	}
	needs := int((j.Memory + 1<<30 - 1) >> 30)
	add("name", displayName(j.Name))
	add("workspace_id", a.Workspace)
	add("resource_id", a.Resource)
	add("priority", number(a.Priority))
	args = append(args, count)
	add("worker_cpu", number(max(cpusPerGPU*j.GPUs, a.CPU, j.Threads)))
	args = append(args, fmt.Sprintf("--worker_gpu=%d", j.GPUs))
	add("worker_memory", gib(max(memoryPerGPU*j.GPUs, a.Memory, needs)))
	add("worker_shared_memory", gib(a.SharedMem))
	add("worker_image", a.Image)
	add("data_sources", strings.Join(a.Sources, ","))
	if a.Preemptible {
		args = append(args, "--enable_priority_preemption=true")
	}
	add("job_max_running_time_minutes", number(a.MaxMinutes))
	args = append(args, a.Extra...)
	return append(args, "--command="+o.command(j))
}

// Line is a command line that creates a job, for people: what Submit runs.
func Line(o Options, j scheduler.Job) (string, error) {
	o.setDefaults()
	s := &Scheduler{opt: o}
	if err := s.check(j); err != nil {
		return "", fmt.Errorf("job %q: %w", j.Name, err)
	}
	c := cli{ask: o.Ask}
	words := append([]string{o.Ask.Program}, c.withConfig(o.createArgs(j))...)
	for i, w := range words {
		words[i] = batch.Quote(w)
	}
	return strings.Join(words, " "), nil
}

// Files gives the scripts that a submission of these jobs would write, one for each script that they name.
func Files(o Options, jobs []scheduler.Job) ([]batch.File, error) {
	var files []batch.File
	seen := map[string]bool{}
	for _, j := range jobs {
		name := filepath.Base(o.scriptPath(j))
		if seen[name] {
			continue
		}
		seen[name] = true
		data, err := o.script(j)
		if err != nil {
			return nil, fmt.Errorf("writing the script of job %q: %w", j.Name, err)
		}
		files = append(files, batch.File{Name: name, Mode: scriptMode, Data: data})
	}
	return files, nil
}

// create creates a job at DLC. When it gives an error the job is not there, unless that is scheduler.ErrDown: then it may be, and is looked for.
func (s *Scheduler) create(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	script, err := s.opt.script(j.spec)
	if err != nil {
		return err
	}
	if err := batch.Replace(s.opt.scriptPath(j.spec), script, scriptMode, false); err != nil {
		return fmt.Errorf("writing the script of the job: %w", err)
	}
	j.Intent = s.now()
	if err := s.note(record{Name: j.Name, Display: j.Display, Intent: j.Intent}, true); err != nil {
		j.Intent = time.Time{} // it was not asked for
		return err
	}
	points.Reached("dlc:intent")
	text, err := s.cli.run(ctx, true, s.opt.createArgs(j.spec)...)
	points.Reached("dlc:answered")
	id, ok := parseCreated(text)
	switch {
	case ok: // whatever else it says
		j.ID = id
		err = s.note(record{Name: j.Name, ID: id}, true)
		points.Reached("dlc:noted")
		return err
	case err == nil, inDoubt(err):
		if err == nil {
			err = fmt.Errorf("dlc gave no id of the job: it said %q", batch.OneLine(redact(text)))
		}
		return fmt.Errorf("%w: it is not known whether job %q was created: %w", scheduler.ErrDown, j.Name, err)
	}
	j.Intent = time.Time{}
	return errors.Join(err, s.note(record{Name: j.Name, Void: true}, false))
}
