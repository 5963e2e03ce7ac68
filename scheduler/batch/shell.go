package batch

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// OneLine makes a text fit for a comment.
func OneLine(text string) string {
	runes := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " "))
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	return string(runes[:min(len(runes), 200)])
}

// Prologue gives a user's shell lines as whole lines, fit to stand before a command.
func Prologue(prologue string) (string, error) {
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

// Exports sets the environment of a script: the user's, of which the node's shell expands ${NAME}, then the job's, "KEY=value", which is
// constant.
func Exports(env map[string]string, job []string) (string, error) {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if err := Variable(name); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "export %s=%s\n", name, QuoteExpanding(env[name]))
	}
	for _, kv := range job {
		name, value, _ := strings.Cut(kv, "=")
		if err := Variable(name); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "export %s=%s\n", name, Quote(value))
	}
	return b.String(), nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// shellsOwn are the variables that bash does not let be set, or sets itself; and the one that tells a job its name.
var shellsOwn = []string{"BASHOPTS", "BASHPID", "BASH_ARGC", "BASH_ARGV", "BASH_ARGV0", "BASH_LINENO", "BASH_SOURCE", "BASH_SUBSHELL",
	"BASH_VERSINFO", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "LINENO", "PIPESTATUS", "PPID",
	"RANDOM", "SECONDS", "SEXTANT_JOB", "SHELLOPTS", "SHLVL", "SRANDOM", "UID", "_"}

// Variable says whether a name may be exported by a script: what is wrong with it, else nil.
func Variable(name string) error {
	switch {
	case !variableName.MatchString(name):
		return fmt.Errorf("%q cannot be an environment variable: write letters, digits and _, no digit first", name)
	case slices.Contains(shellsOwn, name):
		return fmt.Errorf("the environment variable %s cannot be set: it is not the user's", name)
	}
	return nil
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./=:,@%+-]+$`)

// Quote makes one word of the shell, in one line, that means the text and nothing else.
func Quote(text string) string {
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

// QuoteExpanding quotes all but ${NAME}, which is left to the shell; a variable that is not set there is empty.
func QuoteExpanding(text string) string {
	var b strings.Builder
	for {
		at := expansion.FindStringSubmatchIndex(text)
		if at == nil {
			break
		}
		if at[0] > 0 {
			b.WriteString(Quote(text[:at[0]]))
		}
		b.WriteString(`"${` + text[at[2]:at[3]] + `-}"`)
		text = text[at[1]:]
	}
	if text != "" || b.Len() == 0 {
		b.WriteString(Quote(text))
	}
	return b.String()
}
