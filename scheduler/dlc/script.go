package dlc

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// What a job leaves in Options.Dir, by its display name: a line for each time it began, and its exit code, which DLC does not tell.
const (
	beganSuffix = ".began"
	exitSuffix  = ".exit"
	logSuffix   = ".log" // what DLC has of its output, fetched when it did not end well
)

// scriptMode lets everybody read a script and run it by hand: there is nothing secret in it.
const scriptMode fs.FileMode = 0o755

// script is the script of a job: it gets the display name, the log, and the words of the job itself. It is the first process of the container,
// and so passes on to the command that the container is to end. It needs nothing but bash. Files that it makes may be removed by anybody, for
// it runs as root and who submitted it does not.
func (o *Options) script(j scheduler.Job) ([]byte, error) {
	exports, err := batch.Exports(o.Ask.Env, j.Env)
	if err != nil {
		return nil, err
	}
	prologue, err := batch.Prologue(o.Ask.Prologue)
	if err != nil {
		return nil, err
	}
	if j.Threads > 0 {
		exports += fmt.Sprintf("export SEXTANT_THREADS=%d\n", j.Threads)
	}
	if o.Ask.MaxMinutes > 0 {
		exports += fmt.Sprintf("printf -v now '%%(%%s)T' -1\nexport SEXTANT_DEADLINE=$((now + %d))\n", 60*o.Ask.MaxMinutes)
	}
	words := make([]string, len(j.Args))
	for i, w := range j.Args {
		words[i] = batch.Quote(w)
	}
	dir := j.Dir
	if dir == "" {
		dir = o.Dir
	}
	var b strings.Builder
	b.WriteString("#!/bin/bash\n")
	if about := batch.OneLine(o.About); about != "" {
		b.WriteString("# " + about + "\n")
	}
	fmt.Fprintf(&b, `# A job on PAI's DLC. Arguments: its name, its log, and what is the job's own.
me=%s/$1 log=$2
export SEXTANT_JOB=${sextant_name:-$1}
shift 2
umask 0000
trap 'echo $? >"$me%s"' EXIT
exec >>"$log" 2>&1 || exit 1
echo >>"$me%s"
mapfile -t began <"$me%s"
if ((${#began[@]} > 1)); then
	export SLURM_RESTART_COUNT=$((${#began[@]} - 1)) # the command knows by it that it was begun before
fi
cd -- %s || exit 127
%s%s%s "$@" &
child=$!
trap 'kill -TERM "$child"' TERM INT
while :; do
	wait "$child"
	code=$?
	((code > 128)) && kill -0 "$child" 2>/dev/null || break
done
exit "$code"
`, batch.Quote(o.Dir), exitSuffix, beganSuffix, beganSuffix, batch.Quote(dir), exports, prologue, strings.Join(words, " "))
	return []byte(b.String()), nil
}

// exitCode is what the job's script left. false: it did not get so far, or this cannot be seen yet.
func (s *Scheduler) exitCode(j *job) (code int, ok bool) {
	text, err := os.ReadFile(filepath.Join(s.opt.Dir, j.Display+exitSuffix))
	if err != nil || !strings.HasSuffix(string(text), "\n") {
		return 0, false
	}
	code, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return code, err == nil
}

// began says that the job's script was reached.
func (s *Scheduler) began(j *job) bool {
	_, err := os.Stat(filepath.Join(s.opt.Dir, j.Display+beganSuffix))
	return err == nil
}
