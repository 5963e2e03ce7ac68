package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	{Title: "what an MLflow server has", Commands: []string{"submit track DIR --json"}, Value: trackView{}},
	{Title: "the datasets", Commands: []string{"submit datasets --json"}, Value: datasetList{}},
	{Title: "a dataset", Commands: []string{"submit datasets NAME --json"}, Value: datasetDetail{}},
}

// manSections are what the man page of submit has beside the commands.
var manSections = []clidoc.Section{
	{Title: "FILES", Text: "`eval.toml`\n: the spec that is taken where none is named\n\n" +
		"`outputs/DATE_TIME-ID/`\n: a run: `plan.json`, `results/`, `attempts/`, `scores.json`, `summary.{txt,csv,md,json}`, `report.html`"},
	{Title: "ENVIRONMENT", Text: "`SEXTANT_PYTHON`\n: the interpreter of generated programs, where they may be run\n\n" +
		"`" + larkURL + "`\n: the Lark bot that `--lark` tells\n\n" +
		"`MLFLOW_TRACKING_URI`, `MLFLOW_TRACKING_USERNAME`, `MLFLOW_TRACKING_PASSWORD`, `MLFLOW_TRACKING_TOKEN`\n: MLflow's server where the spec names " +
		"none, and what logs in there\n\n" +
		"`SEXTANT_S3_PROFILES`, `SEXTANT_CACHE_DIR`, `SEXTANT_CACHE_LIMIT`\n: of object stores: profiles, and the cache that a node's jobs share\n\n" +
		"`SLURM_CONF` and the like\n: as of Slurm's own commands, which are called"},
	{Title: "SEE ALSO", Text: "`worker`(1), `sbatch`(1), `squeue`(1)"},
}

// TestDocs holds the pages under docs to the commands. make docs writes them anew.
func TestDocs(t *testing.T) {
	docs := filepath.Join(source(), "docs")
	goldens.Part(t, filepath.Join(docs, "cli.md"), "submit", clidoc.Markdown(tree()))
	goldens.Whole(t, filepath.Join(docs, "man", "submit.1"), clidoc.Man(tree(), 1, "sextant", manSections))
	tables, fields, err := clidoc.Schema(documents, os.DirFS(source()), "sextant")
	if err != nil {
		t.Fatal(err)
	}
	goldens.Part(t, filepath.Join(docs, "json.md"), "submit", tables)
	goldens.Kept(t, filepath.Join("testdata", "json-fields.txt"), fields) // a line is only taken out with a greater version
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

// TestEveryCommandHelps wants of each command an example that calls it, and what else clidoc.Lacking does.
func TestEveryCommandHelps(t *testing.T) {
	for _, text := range clidoc.Lacking(tree(), documents) {
		t.Error(text)
	}
	for _, c := range tree() {
		for _, line := range c.Examples {
			if !strings.HasPrefix(line, c.Name+" ") && c.Depth > 0 && !strings.Contains(line, "("+c.Name) {
				t.Errorf("%s has an example of something else: %s", c.Name, line)
			}
			if err := parsed(line); err != nil {
				t.Errorf("%s: the example %q is refused: %v", c.Name, line, err)
			}
		}
	}
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

// TestEveryCommandIsTried wants each command in a script of testdata, or of the tests in Go.
func TestEveryCommandIsTried(t *testing.T) {
	var all strings.Builder
	for _, pattern := range []string{"testdata/script/*.txt", "*_test.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if name != "docs_test.go" {
				all.Write(text)
			}
		}
	}
	for _, c := range tree()[1:] {
		if !regexp.MustCompile(`status [0-9]+ ` + c.Name + ` |"submit", "` + strings.TrimPrefix(c.Name, "submit ") + `"`).MatchString(all.String()) {
			t.Errorf("%s is in no script of testdata/script", c.Name)
		}
	}
}
