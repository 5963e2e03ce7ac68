package spec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// sbatchOurs are the options of sbatch that [slurm] extra must not hold, each with what to do instead: with them a job would not be the one
// that was planned, or could not be found again.
var sbatchOurs = map[string]string{
	"account": "write slurm.account", "comment": "write slurm.comment", "constraint": "write slurm.constraint", "exclude": "write slurm.exclude",
	"nodelist": "write slurm.nodelist", "partition": "write slurm.partition", "qos": "write slurm.qos", "quotatype": "write slurm.quotatype",
	"reservation": "write slurm.reservation", "time": "write slurm.time", "mem": "write slurm.mem", "cpus-per-task": "write slurm.cpus",
	"signal": "write slurm.signal_lead", "requeue": "it is the default; slurm.no_requeue turns it off", "no-requeue": "write slurm.no_requeue = true",
	"ntasks": "it is the model's run_cfg.num_procs", "nodes": "it follows from the model's run_cfg.num_procs",
	"array": "the plan decides what jobs there are", "dependency": "submit decides which job follows which",
	"job-name": "submit finds its jobs by their names", "output": "submit decides where logs are", "error": "submit decides where logs are",
	"open-mode": "submit decides where logs are", "input": "jobs read nothing", "chdir": "jobs run in the run directory",
	"export-file": "write [slurm.env]", "wrap": "submit writes the scripts", "parsable": "submit reads what sbatch says",
	"wait": "submit waits by itself; --detach does not", "test-only": "--dry-run does it", "clusters": "set SLURM_CLUSTERS around submit",
	"uid": "jobs are the submitter's", "gid": "jobs are the submitter's", "ignore-pbs": "there is nothing of PBS in the scripts",
	"help": "sbatch would submit nothing", "usage": "sbatch would submit nothing", "version": "sbatch would submit nothing",
}

// sbatchGPUs are those that ask for GPUs. They are the user's when gpu_option is "none".
var sbatchGPUs = []string{"gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"}

// ours gives the option of ours that sbatch would read name as, for it takes abbreviations too, and what to do instead.
func (s *Slurm) ours(name string) (option, advice string) {
	if name == "export" { // whole, and no abbreviation of --export-file
		return "", ""
	}
	all := maps.Clone(sbatchOurs)
	if s.GPUOption != "none" {
		for _, option := range sbatchGPUs {
			all[option] = `it follows from the model's run_cfg.num_gpus, or write slurm.gpu_option = "none" to ask for GPUs here`
		}
	}
	if advice, ok := all[name]; ok {
		return name, advice
	}
	for _, option := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(option, name) {
			return option, all[option]
		}
	}
	return "", ""
}

// slurm checks what the tags of [slurm] cannot say.
func (c *checker) slurm(root *node, s *Slurm) {
	n := root.get("slurm")
	if n == nil || n.kind != table {
		return
	}
	if s.PollMax < s.PollMin && s.PollMin > 0 {
		at := "poll_max"
		if n.get(at) == nil {
			at = "poll_min"
		}
		c.add(n, "slurm", []string{at}, "poll_max is %d and poll_min is %d; poll_max must not be less", s.PollMax, s.PollMin)
	}
	if problem := badPrologue(s.Prologue); problem != "" {
		c.add(n, "slurm", []string{"prologue"}, "%s", problem)
	}
	if s.GPUType != "" && !gpuType.MatchString(s.GPUType) {
		c.add(n, "slurm", []string{"gpu_type"}, "%q cannot be a type of GPU; write a name as `sinfo -o %%G` shows it, \"h100\"", s.GPUType)
	}
	c.extra(n.get("extra"), s)
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		if problem := badVariable(name, s.Env[name]); problem != "" {
			c.add(n, "slurm", []string{"env", name}, "%s", problem)
		}
	}
}

func (c *checker) extra(l *node, s *Slurm) {
	if l == nil || l.kind != list {
		return
	}
	for _, item := range l.items {
		text, _ := item.value.(string)
		if !forms["option"].fits(text) {
			continue // the decoder has said so
		}
		name, value, _ := strings.Cut(strings.TrimPrefix(text, "--"), "=")
		option, advice := s.ours(name)
		switch {
		case option == name:
			c.p.add(item, "slurm.extra", "%q cannot be here; %s", text, advice)
		case option != "":
			c.p.add(item, "slurm.extra", "%q cannot be here: sbatch would read it as --%s; %s", text, option, advice)
		case name == "export" && strings.Contains(value, "="):
			c.p.add(item, "slurm.extra", "%q cannot be here; write variables in [slurm.env]", text)
		}
	}
}

var gpuType = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

var directive = regexp.MustCompile(`(?m)^#SBATCH\b`)

func badPrologue(text string) string {
	switch {
	case strings.ContainsRune(text, '\r'):
		return "has a carriage return, which the shell takes for a part of the word before it; end lines with a newline alone"
	case strings.ContainsRune(text, 0):
		return "contains a NUL character"
	case strings.HasSuffix(strings.TrimRight(text, "\n"), `\`):
		return "ends with a backslash, which would join the worker's command to it; take it out"
	case directive.MatchString(text):
		return `has a line "#SBATCH ...", which has no effect here; use the keys of [slurm]: extra = ["--name=value"]`
	}
	return ""
}

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	secretName   = regexp.MustCompile(`(?i)(^|_)(token|secret|password|passwd|(api|access|secret|private)_?key)$`)
)

// shellsOwn are the variables that bash does not let be set, or sets by itself; and the one that tells a job its name.
var shellsOwn = []string{"BASHOPTS", "BASHPID", "BASH_ARGC", "BASH_ARGV", "BASH_ARGV0", "BASH_LINENO", "BASH_SOURCE", "BASH_SUBSHELL", "BASH_VERSINFO",
	"DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "LINENO", "PIPESTATUS", "PPID", "RANDOM", "SECONDS", "SEXTANT_JOB",
	"SHELLOPTS", "SHLVL", "SRANDOM", "UID", "_"}

// badVariable says what is wrong with a variable for the nodes. A secret must come from the environment: scripts can be read by others.
func badVariable(name, value string) string {
	switch {
	case !variableName.MatchString(name):
		return "cannot be a variable's name; write letters, digits and _, no digit first"
	case slices.Contains(shellsOwn, name):
		return "cannot be set: it is not the user's; choose another name"
	case strings.ContainsAny(value, "\n\r\x00"):
		return "has a line break or a NUL character in its value; write it in one line"
	case secretName.MatchString(name) && value != "" && !strings.Contains(value, "$"):
		return fmt.Sprintf("looks like a secret, and what is written here can be read in the scripts; write %s = \"${%s}\" and set it where "+
			"submit is started, or read it from a file of yours in slurm.prologue", name, name)
	}
	return ""
}
