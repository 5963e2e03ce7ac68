package slurm

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// scriptMode lets everybody read a script and run it by hand: there is nothing secret in it.
const scriptMode fs.FileMode = 0o755

// script is the batch script of one job, which runs by hand too: sbatch FILE. A job's own name and tail come from the dispatcher of
// arrayScript; without it the script is nobody's, has its own name and no tail. Jobs of one Script have the same script to the byte.
func (o *Options) script(j scheduler.Job, f features) ([]byte, error) {
	name := strings.TrimSuffix(scriptName(j), ".sbatch")
	d, err := o.ask(name, j, f)
	if err == nil {
		err = nameForm.check("job", j.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the script of job %q: %w", j.Name, err)
	}
	if logForm.fits(j.Log) {
		d.flag("--output=%s", j.Log)
	}
	body, err := o.body(j)
	if err != nil {
		return nil, fmt.Errorf("writing the script of job %q: %w", j.Name, err)
	}
	return o.render(d, fmt.Sprintf("%s. By hand: sbatch %s.sbatch", name, name), body), nil
}

// arrayScript is the script of an array, which sbatch gets in Options.Dir: element i becomes the job of line i+1 of the list file
// Dir/TOKEN.list, at most throttle at once; 0: no such limit.
func (o *Options) arrayScript(token string, jobs []scheduler.Job, throttle int, f features) ([]byte, error) {
	wrap := func(err error) error { return fmt.Errorf("writing the array script %q: %w", token, err) }
	j, err := shared(jobs)
	if err != nil {
		return nil, wrap(err)
	}
	d, err := o.ask(token, j, f)
	if err != nil {
		return nil, wrap(err)
	}
	elements := fmt.Sprintf("--array=0-%d", len(jobs)-1)
	if throttle > 0 {
		elements += fmt.Sprintf("%%%d", throttle)
	}
	d.flag("%s", elements)
	d.flag("--output=%s.%%a.log", token)
	body, err := o.dispatcher(token)
	if err != nil {
		return nil, wrap(err)
	}
	return o.render(d, fmt.Sprintf("%s: %d jobs", token, len(jobs)), body+deadline(limitOf(o.Ask, j), "$((now + %d))")+become), nil
}

var arrayID = regexp.MustCompile(`^[0-9]{1,12}$`)

// render puts a script together. The body begins with a command, after which sbatch reads no directives.
func (o *Options) render(d *directives, what, body string) []byte {
	var b strings.Builder
	b.WriteString("#!/bin/bash\n")
	if about := batch.OneLine(o.About); about != "" {
		b.WriteString("# " + about + "\n")
	}
	b.WriteString("# " + what + "\n")
	for _, line := range d.lines {
		b.WriteString("#SBATCH " + line + "\n")
	}
	b.WriteString("\n" + body)
	return []byte(b.String())
}

// dispatcher is the body of an array's script: it finds the element's job and becomes its script. It needs nothing but bash.
func (o *Options) dispatcher(token string) (string, error) {
	for what, path := range map[string]string{"directory": o.Dir, "directory of scripts": o.Scripts} {
		if !filepath.IsAbs(path) || strings.ContainsFunc(path, unicode.IsControl) {
			return "", fmt.Errorf("%s %q: it must be an absolute path without line breaks and control characters", what, path)
		}
	}
	// The log's name is relative to this directory, and Slurm expands % in what comes of both, or nothing at all after a backslash.
	if strings.ContainsAny(o.Dir, `%\`) {
		return "", fmt.Errorf("directory %q: Slurm cannot write logs where a path contains %% or a backslash: choose another directory", o.Dir)
	}
	return fmt.Sprintf(`list=%s scripts=%s
mapfile -t -s "${SLURM_ARRAY_TASK_ID:?is not set: this script is for an array}" -n 1 line <"$list"
set -f
IFS=' '
set -- ${line-}
set +f
unset IFS
if (($# < 2)); then
	echo "sextant: no job for element $SLURM_ARRAY_TASK_ID in $list" >&2
	exit 1
fi
export SEXTANT_JOB=$2
script=$scripts/$1
shift 2
`, batch.Quote(filepath.Join(o.Dir, token+".list")), batch.Quote(o.Scripts)), nil
}

// become is where an array's script turns into the job's.
const become = `exec /bin/bash "$script" "$@"
`

// deadline tells the command when it will be ended, which not every version of Slurm does: in SEXTANT_DEADLINE, in seconds of Unix time. An
// array's limit may be another than its scripts have, which keep to it.
func deadline(limit, value string) string {
	d, ok := duration(limit)
	if !ok {
		return ""
	}
	return "printf -v now '%(%s)T' -1\nexport SEXTANT_DEADLINE=\"" + fmt.Sprintf(value, int(d.Seconds())) + "\"\n"
}

// body is what the script of a job does. What is not a plain constant is quoted; the prologue alone is the user's shell.
func (o *Options) body(j scheduler.Job) (string, error) {
	var b strings.Builder
	// Of several jobs' script no job's own name may be in it: it would be another script for each.
	fmt.Fprintf(&b, "export SEXTANT_JOB=\"${SEXTANT_JOB:-%s}\"\n", strings.TrimSuffix(scriptName(j), ".sbatch"))
	if o.Ask.SignalLead > 0 {
		b.WriteString("trap : USR1 # the warning is the command's; it must not end this shell\n")
	}
	b.WriteString(deadline(limitOf(o.Ask, j), "${SEXTANT_DEADLINE:-$((now + %d))}"))
	switch {
	case j.Dir == "":
		b.WriteString("cd -- \"${SLURM_SUBMIT_DIR:-.}\" || exit 127\n")
	case !filepath.IsAbs(j.Dir):
		return "", fmt.Errorf("directory %q is not an absolute path", j.Dir)
	default:
		fmt.Fprintf(&b, "cd -- %s || exit 127\n", batch.Quote(j.Dir))
	}
	exports, err := batch.Exports(o.Ask.Env, j.Env)
	if err != nil {
		return "", err
	}
	b.WriteString(exports)
	prologue, err := batch.Prologue(o.Ask.Prologue)
	if err != nil {
		return "", err
	}
	b.WriteString(prologue)
	if len(j.Args) == 0 || j.Args[0] == "" {
		return "", fmt.Errorf("there is no command")
	}
	b.WriteString("exec --")
	for _, arg := range j.Args {
		b.WriteString(" " + batch.Quote(arg))
	}
	b.WriteString(" \"$@\"\n")
	if strings.Contains(b.String(), "\x00") {
		return "", fmt.Errorf("a NUL character in the command, the environment or the directory")
	}
	return b.String(), nil
}
