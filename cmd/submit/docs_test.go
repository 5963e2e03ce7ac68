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

	"sextant/internal/clidoc"
	"sextant/internal/goldens"
	"sextant/pkg/cliargs"

	"github.com/urfave/cli/v2"
)

// source is the root of the source tree.
func source() string { return filepath.Dir(filepath.Dir(pocket())) }

func tree() []clidoc.Command {
	return clidoc.Commands(env{stdout: io.Discard, stderr: io.Discard}.app())
}

// documents are what --json prints, by the command.
var documents = []clidoc.Document{
	{Title: "scores", Commands: []string{"submit SPEC --json", "submit resume DIR --json", "submit import DIR --json"}, Value: scoresView{}},
	{Title: "scores made anew", Commands: []string{"submit score DIR --json"}, Value: scoreView{}},
	{Title: "a plan", Commands: []string{"submit SPEC --dry-run --json"}, Value: preview{}},
	{Title: "quantized models", Commands: []string{"submit quantize SPEC --json", "submit resume DIR --quantize --json"}, Value: madeView{}},
	{Title: "the state of a run", Commands: []string{"submit status DIR --json"}, Value: statusView{}},
	{Title: "what is not done", Commands: []string{"submit why DIR --json"}, Value: whyView{}},
	{Title: "logs", Commands: []string{"submit logs DIR --json", "submit logs DIR SHARD --json"}, Value: logsView{}},
	{Title: "a comparison", Commands: []string{"submit compare RUN RUN --json"}, Value: compareView{}},
	{Title: "a leaderboard", Commands: []string{"submit leaderboard RUN --json"}, Value: boardView{}},
	{Title: "the runs of a work dir", Commands: []string{"submit runs DIR --json"}, Value: runsView{}},
	{Title: "what sets two plans apart", Commands: []string{"submit plan diff A B --json"}, Value: planDifference{}},
	{Title: "the datasets", Commands: []string{"submit datasets --json"}, Value: datasetList{}},
	{Title: "a dataset", Commands: []string{"submit datasets NAME --json"}, Value: datasetDetail{}},
}

// manSections are what the man page of submit has beside the commands.
var manSections = []clidoc.Section{
	{Title: "FILES", Text: "`eval.toml`\n: the spec that is taken where none is named\n\n" +
		"`outputs/DATE_TIME-ID/`\n: a run: `plan.json`, `results/`, `attempts/`, `scores.json`, `summary.{txt,csv,md,json}`, `report.html`"},
	{Title: "ENVIRONMENT", Text: "`SEXTANT_PYTHON`\n: the interpreter of generated programs, where they may be run\n\n" +
		"`" + larkURL + "`\n: the Lark bot that `--lark` tells\n\n" +
		"`SEXTANT_S3_PROFILES`, `SEXTANT_CACHE_DIR`, `SEXTANT_CACHE_LIMIT`\n: of object stores: profiles, and the cache that a node's jobs share\n\n" +
		"`SLURM_CONF` and the like\n: as of Slurm's own commands, which are called"},
	{Title: "SEE ALSO", Text: "`worker`(1), `sbatch`(1), `squeue`(1)"},
}

// TestDocs holds the pages under docs to the commands. make docs writes them anew.
func TestDocs(t *testing.T) {
	docs := filepath.Join(source(), "docs")
	goldens.Part(t, filepath.Join(docs, "cli.md"), "submit", clidoc.Markdown(tree()))
	goldens.Whole(t, filepath.Join(docs, "man", "submit.1"), clidoc.Man(tree(), 1, "sextant", manSections))
	tables, err := clidoc.Schema(documents, os.DirFS(source()), "sextant")
	if err != nil {
		t.Fatal(err)
	}
	goldens.Part(t, filepath.Join(docs, "json.md"), "submit", tables)
}

// TestDocsMan wants the man pages to be shown as they are meant: without a warning, with every command.
func TestDocsMan(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff is not installed: apt-get install groff-base")
	}
	for _, name := range []string{"submit", "worker"} {
		cmd := exec.Command(groff, "-man", "-t", "-Tutf8", "-P-cbou", "-ww", filepath.Join(source(), "docs", "man", name+".1"))
		var warnings strings.Builder
		cmd.Stderr = &warnings
		out, err := cmd.Output()
		if err != nil || warnings.Len() > 0 {
			t.Errorf("%s: %v\n%s", name, err, warnings.String())
		}
		for _, want := range []string{"NAME\n", "SYNOPSIS\n", "EXIT", "COMMANDS\n", "SEE ALSO\n", name + " - "} {
			if !strings.Contains(string(out), want) {
				t.Errorf("the page of %s lacks %q", name, want)
			}
		}
	}
}

// TestEveryCommandHelps wants of each command an example that calls it, and of each flag with a value a word that stands for it. A command
// with --json has its document in docs/json.md.
func TestEveryCommandHelps(t *testing.T) {
	documented := map[string]bool{}
	for _, d := range documents {
		for _, line := range d.Commands {
			documented[commandOf(line)] = true
		}
	}
	for _, c := range tree() {
		if c.Usage == "" || len(c.Examples) == 0 {
			t.Errorf("%s lacks a usage line or an example", c.Name)
		}
		for _, line := range c.Examples {
			if !strings.HasPrefix(line, c.Name+" ") && c.Depth > 0 && !strings.Contains(line, "("+c.Name) {
				t.Errorf("%s has an example of something else: %s", c.Name, line)
			}
			if err := parsed(line); err != nil {
				t.Errorf("%s: the example %q is refused: %v", c.Name, line, err)
			}
		}
		if c.JSON && !documented[c.Name] {
			t.Errorf("%s has --json and no document in docs/json.md: add it to documents in docs_test.go", c.Name)
		}
		for _, g := range c.Groups {
			for _, f := range g.Flags {
				if f.Text == "" || f.Value == "VALUE" {
					t.Errorf("%s %s lacks a text, or the word in backquotes that stands for its value", c.Name, f.Names[0])
				}
			}
		}
	}
}

// commandOf is the command of a command line, as it is named in the tree.
func commandOf(line string) string {
	name := ""
	for _, c := range tree() {
		if strings.HasPrefix(line+" ", c.Name+" ") && len(c.Name) > len(name) {
			name = c.Name
		}
	}
	return name
}

// parsed reads an example as submit would, without doing it.
func parsed(line string) error {
	line, _, _ = strings.Cut(line, "   #")
	words := strings.Fields(line)
	for i, w := range words {
		if w == ">" || w == "|" || strings.HasPrefix(w, "<(") {
			words = words[:i]
			break
		}
	}
	if words[0] != "submit" {
		return nil
	}
	e := env{args: words, stdout: io.Discard, stderr: io.Discard}
	app := e.app()
	app.Action = func(*cli.Context) error { return nil }
	idle(app.Commands)
	cliargs.Harden(app)
	args, err := cliargs.Reorder(app, bareFlags(words))
	if err != nil {
		return err
	}
	return app.Run(args)
}

// idle makes commands do nothing.
func idle(commands []*cli.Command) {
	for _, c := range commands {
		if c.Action != nil {
			c.Action = func(*cli.Context) error { return nil }
		}
		idle(c.Subcommands)
	}
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
	for _, c := range []struct {
		line  string
		want  []string // among the replies, in this order
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
	} {
		got := completed(t, dir, c.line)
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

// completed is what a bash with the script in it offers at the end of a line.
func completed(t *testing.T, dir, line string) []string {
	t.Helper()
	script := `source <(submit completion bash)
COMP_LINE=$1 COMP_POINT=${#1}
# As readline parts a line: at blanks that are not escaped, and at = and :.
COMP_WORDS=() rest=$1
part='^[[:blank:]]*([=:]+|(\\.|[^[:blank:]=:])+)(.*)$'
while [[ $rest =~ $part ]]; do
    COMP_WORDS+=("${BASH_REMATCH[1]}") rest=${BASH_REMATCH[3]}
done
[[ $1 == *[[:blank:]] ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_submit_complete submit
printf '%s\n' "${COMPREPLY[@]}"`
	cmd := exec.Command("bash", "-c", script, "bash", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", line, err, out)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}
