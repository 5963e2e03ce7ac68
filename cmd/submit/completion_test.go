package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// completions are lines with the cursor at their end.
var completions = []struct {
	line  string
	want  []string // among what is offered, in this order
	never []string
}{
	{line: "submit sta", want: []string{"status"}, never: []string{"watch"}},
	{line: "submit ", want: []string{"quantize", "logs", "eval.toml", `my\ dir/`, "sub/"}, never: []string{"notes.txt"}},
	{line: "submit sub/", want: []string{"sub/other.toml"}},
	{line: `submit my\ dir/`, want: []string{`my\ dir/x.toml`}},
	{line: "submit eval.toml --max-n", want: []string{"--max-num-workers"}},
	{line: "submit eval.toml -m ", want: []string{"all", "infer", "eval", "viz"}},
	{line: "submit eval.toml --mode=v", want: []string{"viz"}},
	{line: "submit eval.toml --dry-run=s", want: []string{"sub/"}},
	{line: "submit eval.toml -r ", want: []string{"outputs/20260102_000000-bbbbbbbb", "outputs/20260101_000000-aaaaaaaa"}},
	{line: "submit status ", want: []string{"outputs/20260102_000000-bbbbbbbb", "outputs/20260101_000000-aaaaaaaa", "outputs/"}, never: []string{"eval.toml"}},
	{line: "submit status outputs/20260101", want: []string{"outputs/20260101_000000-aaaaaaaa"}},
	{line: "submit logs outputs/20260101_000000-aaaaaaaa ", want: []string{"x--pocket_cloze--0-2"}, never: []string{"outputs/"}},
	{line: "submit logs -f outputs/20260101_000000-aaaaaaaa x--", want: []string{"x--pocket_cloze--0-2"}},
	{line: "submit compare outputs/20260101_000000-aaaaaaaa outp", want: []string{"outputs/20260102_000000-bbbbbbbb"}},
	{line: "submit plan ", want: []string{"diff"}},
	{line: "submit plan diff e", want: []string{"eval.toml"}},
	{line: "submit datasets pocket_c", want: []string{"pocket_cloze"}},
	{line: "submit datasets mmlu_ppl-ana", want: []string{"mmlu_ppl-anatomy"}},
	{line: "submit datasets --spec e", want: []string{"eval.toml"}},
	{line: "submit export --format ", want: []string{"csv", "lm-eval"}},
	{line: "submit completion ", want: []string{"bash", "zsh", "fish"}},
	{line: "submit runs o", want: []string{"outputs/"}, never: []string{"outputs/20260101_000000-aaaaaaaa"}},
	{line: "submit eval.toml --qos ", want: []string{""}},
}

// TestCompletionScripts wants scripts that shells take. The bash script is tried with the program; those of zsh and fish are read where these
// are installed, which they are where make deps was.
func TestCompletionScripts(t *testing.T) {
	for shell, args := range map[string][]string{"bash": {"-n"}, "zsh": {"-n"}, "fish": {"--no-execute"}} {
		t.Run(shell, func(t *testing.T) {
			var out strings.Builder
			if code := (env{args: []string{"submit", "completion", shell}, stdout: &out, stderr: io.Discard}).run(t.Context()); code != 0 {
				t.Fatalf("exit code %d", code)
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("%s is not installed: its script is not checked", shell)
			}
			cmd := exec.Command(path, args...)
			cmd.Stdin = strings.NewReader(out.String())
			if text, err := cmd.CombinedOutput(); err != nil || len(text) > 0 {
				t.Errorf("%v\n%s", err, text)
			}
			if shell == "fish" {
				asksFish(t)
			}
		})
	}
}

// asksFish tries the script of fish, which can say what it would offer.
func asksFish(t *testing.T) {
	cmd := exec.Command("fish", "--no-config", "-c", `source (submit completion fish | psub); complete -C "submit eval.toml --mode=v"; complete -C "submit sta"`)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "--mode=viz\nstatus\ttell how far a run is\n" {
		t.Errorf("fish: %v, offers %q", err, out)
	}
}

// TestCompletion tries the bash script in a bash.
func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	spec := fmt.Sprintf("data_dir = %q\ndatasets = [\"pocket_cloze\"]\nmodels = [{ abbr = \"x\", path = %q }]\ninfer.limit = 2\n",
		filepath.Join(pocket(), "data"), filepath.Join(pocket(), "model"))
	for name, text := range map[string]string{"eval.toml": spec, "notes.txt": "", "sub/other.toml": "", "my dir/x.toml": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"outputs/20260101_000000-aaaaaaaa", "outputs/20260102_000000-bbbbbbbb"} {
		cmd := exec.Command(filepath.Join(bin, "submit"), "eval.toml", "--dry-run="+name)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	got := offered(t, dir)
	for i, c := range completions {
		got := got[i]
		at := 0
		for _, want := range c.want {
			i := slices.Index(got[at:], want)
			if i < 0 {
				t.Errorf("%q: %q is not among %q", c.line, want, got)
				break
			}
			at += i + 1
		}
		for _, not := range c.never {
			if slices.Contains(got, not) {
				t.Errorf("%q: %q is among %q", c.line, not, got)
			}
		}
	}
}

// offered is what a bash with the script in it offers for each line of completions.
func offered(t *testing.T, dir string) (out [][]string) {
	t.Helper()
	script := `source <(submit completion bash)
for line; do
    COMP_LINE=$line COMP_POINT=${#line}
    # As readline parts a line: at blanks that are not escaped, and at = and :.
    COMP_WORDS=() rest=$line
    part='^[[:blank:]]*([=:]+|(\\.|[^[:blank:]=:])+)(.*)$'
    while [[ $rest =~ $part ]]; do
        COMP_WORDS+=("${BASH_REMATCH[1]}") rest=${BASH_REMATCH[3]}
    done
    [[ $line == *[[:blank:]] ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _submit_complete submit
    printf '%s\n' "${COMPREPLY[@]}"
    echo "end of line"
done`
	cmd := exec.Command("bash", "-c", script, "bash")
	for _, c := range completions {
		cmd.Args = append(cmd.Args, c.line)
	}
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(string(text), "end of line\n"), "end of line\n") {
		out = append(out, strings.Split(strings.TrimSuffix(part, "\n"), "\n"))
	}
	if len(out) != len(completions) {
		t.Fatalf("%d answers for %d lines:\n%s", len(out), len(completions), text)
	}
	return out
}
