package slurm

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"sextant/scheduler"
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
	if logForm.is.MatchString(j.Log) {
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
	if about := oneLine(o.About); about != "" {
		b.WriteString("# " + about + "\n")
	}
	b.WriteString("# " + what + "\n")
	for _, line := range d.lines {
		b.WriteString("#SBATCH " + line + "\n")
	}
	b.WriteString("\n" + body)
	return []byte(b.String())
}

// oneLine makes a text fit for a comment.
func oneLine(text string) string {
	runes := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " "))
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	return string(runes[:min(len(runes), 200)])
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
`, quote(filepath.Join(o.Dir, token+".list")), quote(o.Scripts)), nil
}

// become is where an array's script turns into the job's.
const become = `exec /bin/bash "$script" "$@"
`

// deadline tells the command when it will be ended, which not every version of Slurm does: in SEXTANT_DEADLINE, in seconds of Unix time. An
// array's limit may be another than its scripts have, which keep to it.
func deadline(limit, value string) string {
	s := seconds(limit)
	if s == 0 {
		return ""
	}
	return "printf -v now '%(%s)T' -1\nexport SEXTANT_DEADLINE=\"" + fmt.Sprintf(value, s) + "\"\n"
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
		fmt.Fprintf(&b, "cd -- %s || exit 127\n", quote(j.Dir))
	}
	exports, err := o.exports(j)
	if err != nil {
		return "", err
	}
	b.WriteString(exports)
	prologue, err := lines(o.Ask.Prologue)
	if err != nil {
		return "", err
	}
	b.WriteString(prologue)
	if len(j.Args) == 0 || j.Args[0] == "" {
		return "", fmt.Errorf("there is no command")
	}
	b.WriteString("exec --")
	for _, arg := range j.Args {
		b.WriteString(" " + quote(arg))
	}
	b.WriteString(" \"$@\"\n")
	if strings.Contains(b.String(), "\x00") {
		return "", fmt.Errorf("a NUL character in the command, the environment or the directory")
	}
	return b.String(), nil
}

// exports sets the environment: the user's, of which the node's shell expands ${NAME}, then the job's, which is constant.
func (o *Options) exports(j scheduler.Job) (string, error) {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o.Ask.Env)) {
		if err := variable(name); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "export %s=%s\n", name, quoteExpanding(o.Ask.Env[name]))
	}
	for _, kv := range j.Env {
		name, value, _ := strings.Cut(kv, "=")
		if err := variable(name); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "export %s=%s\n", name, quote(value))
	}
	return b.String(), nil
}

// lines is the prologue as whole lines.
func lines(prologue string) (string, error) {
	prologue = strings.TrimRight(prologue, "\n")
	switch {
	case prologue == "":
		return "", nil
	case strings.ContainsRune(prologue, '\r'):
		return "", fmt.Errorf("prologue has a carriage return, with which sbatch refuses a script: end its lines with a newline alone")
	case strings.ContainsRune(prologue, 0):
		return "", fmt.Errorf("prologue has a NUL character: remove it")
	case strings.HasSuffix(prologue, `\`):
		return "", fmt.Errorf("prologue ends with a backslash, which would swallow the command after it: remove it")
	}
	return prologue + "\n", nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// shellsOwn are the variables that bash does not let be set, or sets itself; and the one that tells a job its name.
var shellsOwn = []string{"BASHOPTS", "BASHPID", "BASH_ARGC", "BASH_ARGV", "BASH_ARGV0", "BASH_LINENO", "BASH_SOURCE", "BASH_SUBSHELL",
	"BASH_VERSINFO", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "LINENO", "PIPESTATUS", "PPID",
	"RANDOM", "SECONDS", "SEXTANT_JOB", "SHELLOPTS", "SHLVL", "SRANDOM", "UID", "_"}

func variable(name string) error {
	switch {
	case !variableName.MatchString(name):
		return fmt.Errorf("%q cannot be an environment variable: write letters, digits and _, no digit first", name)
	case slices.Contains(shellsOwn, name):
		return fmt.Errorf("the environment variable %s cannot be set: it is not the user's", name)
	}
	return nil
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./=:,@%+-]+$`)

// quote makes one word of the shell, in one line, that means the text and nothing else.
func quote(text string) string {
	switch {
	case plain.MatchString(text):
		return text
	case !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for _, c := range []byte(text) {
		switch {
		case c == '\'' || c == '\\':
			b.Write([]byte{'\\', c})
		case c == '\n':
			b.WriteString(`\n`)
		case c == 0: // no shell has a word with it; the caller refuses it
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + "'"
}

var expansion = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// quoteExpanding quotes all but ${NAME}, which is left to the shell; a variable that is not set there is empty.
func quoteExpanding(text string) string {
	var b strings.Builder
	for {
		at := expansion.FindStringSubmatchIndex(text)
		if at == nil {
			break
		}
		if at[0] > 0 {
			b.WriteString(quote(text[:at[0]]))
		}
		b.WriteString(`"${` + text[at[2]:at[3]] + `-}"`)
		text = text[at[1]:]
	}
	if text != "" || b.Len() == 0 {
		b.WriteString(quote(text))
	}
	return b.String()
}
