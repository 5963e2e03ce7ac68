package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/dataset"
	"sextant/pkg/export"
	"sextant/pkg/result"
	"sextant/pkg/run"

	"github.com/urfave/cli/v2"
)

// completionScripts are what shells ask submit by.
//
//go:embed completion
var completionScripts embed.FS

// completeCommand is what the scripts call, with the words of the line, the last one unfinished. It is no command of the tree: its arguments
// are anything.
const completeCommand = "__complete"

func (e env) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the script that completes submit's command lines in a shell", ArgsUsage: "bash|zsh|fish",
		Description: "With it TAB completes commands, flags and their values, specs, run directories, datasets, and the shards and jobs of a run. make install\n" +
			"puts the scripts where shells look for them.\n\n" +
			"Example: source <(submit completion bash)\n" +
			"         submit completion bash > ~/.local/share/bash-completion/completions/submit\n" +
			"         submit completion zsh > ~/.zsh/completions/_submit   # a directory of $fpath\n" +
			"         submit completion fish > ~/.config/fish/completions/submit.fish",
		Action: e.completion,
	}
}

func (e env) completion(c *cli.Context) error {
	args, err := cliargs.Positional(c, "bash|zsh|fish")
	if err != nil {
		return err
	}
	text, err := completionScripts.ReadFile("completion/" + args[0])
	if err != nil || strings.ContainsRune(args[0], '/') {
		return cliargs.Usagef("completion: there is no script for %q; there are bash, zsh, fish", args[0])
	}
	_, err = e.stdout.Write(text)
	return err
}

// choice is one way to go on, and what it is for.
type choice struct{ text, about string }

// offer prints what the last word may become: a line each, with what it is behind a tab. What ends in "/", ":" or "=" goes on.
func (e env) offer(words []string) {
	for _, c := range e.choices(words) {
		fmt.Fprintf(e.stdout, "%s\t%s\n", c.text, c.about)
	}
}

func (e env) choices(words []string) []choice {
	if len(words) == 0 {
		return nil
	}
	last := len(words) - 1
	before := bareFlags(words[:last])
	if last > 0 && (words[last-1] == "-r" || words[last-1] == "--reuse") {
		before = before[:len(before)-1] // the last word is its value
	}
	cur := cliargs.Locate(e.app(), append(before, words[last]))
	word := strings.ReplaceAll(cur.Word, `\ `, " ")
	switch {
	case cur.Flag != nil:
		head := strings.TrimSuffix(words[last], cur.Word) // of --flag=value
		var out []choice
		for _, c := range starting(flagValues(cur, word), word) {
			out = append(out, choice{head + c.text, c.about})
		}
		return out
	case strings.HasPrefix(word, "-") && !cur.Plain:
		return starting(flagNames(cur.Flags), word)
	}
	var out []choice
	for _, cmd := range cur.Commands {
		if !cmd.Hidden {
			out = append(out, choice{cmd.Name, cmd.Usage})
		}
	}
	return starting(append(out, arguments(cur, word)...), word)
}

func starting(all []choice, word string) []choice {
	return slices.DeleteFunc(all, func(c choice) bool { return !strings.HasPrefix(c.text, word) })
}

func flagNames(flags []cli.Flag) (out []choice) {
	for _, f := range append(flags, cli.HelpFlag) {
		doc, ok := f.(cli.DocGenerationFlag)
		if v, can := f.(cli.VisibleFlag); !ok || can && !v.IsVisible() {
			continue
		}
		_, about := cliargs.Placeholder(doc.GetUsage())
		out = append(out, choice{"--" + f.Names()[0], about})
	}
	return out
}

// enumerated are the values of flags that take one of a few.
func enumerated(flag string) []string {
	switch flag {
	case "mode":
		return []string{modeAll, modeInfer, modeEval, modeViz}
	case "partition":
		return []string{"size", "workers"}
	case "gpu-option":
		return []string{"gres", "gpus", "gpus-per-node", "none"}
	case "format":
		return slices.Concat(export.Formats, export.Layouts)
	}
	return nil
}

// flagValues are what a flag's value may be, by the word that stands for it in the help.
func flagValues(cur cliargs.Cursor, word string) []choice {
	if values := enumerated(cur.Flag.Names()[0]); values != nil {
		return plain(values)
	}
	doc, ok := cur.Flag.(cli.DocGenerationFlag)
	if !ok {
		return nil
	}
	value, _ := cliargs.Placeholder(doc.GetUsage())
	switch {
	case value == "NAME": // of many things; some are in the catalog
		if name := cur.Flag.Names()[0]; name == "datasets" || name == "by" {
			return datasetNames(word)
		}
		return nil
	case value == "DIR", value == "[=DIR]":
		return files(word, func(string) bool { return false })
	default:
		return ofKind(value, cur, word)
	}
}

// arguments are what a positional argument may be, by its place in the command's ArgsUsage.
func arguments(cur cliargs.Cursor, word string) []choice {
	usage := "[SPEC]"
	if cur.Command != nil {
		usage = cur.Command.ArgsUsage
	}
	names := strings.Fields(usage)
	n := len(cur.Given)
	if strings.Contains(usage, "...") && len(names) > 0 {
		n = 0
	}
	if n >= len(names) {
		return nil
	}
	name := strings.Trim(names[n], "[].")
	if cur.Command != nil && (cur.Command.Name == "import" || cur.Command.Name == "runs") { // its DIR is no run
		return files(word, func(string) bool { return false })
	}
	return ofKind(name, cur, word)
}

// ofKind are the choices of a kind of argument, as help texts name it.
func ofKind(name string, cur cliargs.Cursor, word string) []choice {
	kind, _, _ := strings.Cut(name, "[")
	switch kind {
	case "DIR", "RUN":
		return runs(word)
	case "SPEC":
		return files(word, func(name string) bool { return strings.HasSuffix(name, ".toml") })
	case "A", "B": // of plan diff
		return append(runs(word), starting(files(word, func(name string) bool {
			return strings.HasSuffix(name, ".toml") || strings.HasSuffix(name, ".json")
		}), word)...)
	case "NAME":
		return datasetNames(word)
	case "SHARD|JOB":
		return shardNames(cur.Given[0])
	case "FILE", "BINARY", "PATH":
		return files(word, func(string) bool { return true })
	}
	if strings.ContainsRune(kind, '|') && strings.ToLower(kind) == kind {
		return plain(strings.Split(kind, "|"))
	}
	return nil
}

func plain(values []string) (out []choice) {
	for _, v := range values {
		out = append(out, choice{text: v})
	}
	return out
}

// mostShards bounds how many shards a shell is given.
const mostShards = 2000

func shardNames(dir string) (out []choice) {
	p, err := run.LoadPlan(expand(dir))
	if err != nil {
		return nil
	}
	for _, s := range p.Shards[:min(len(p.Shards), mostShards)] {
		out = append(out, choice{s.ID, "shard of " + s.Task})
	}
	for _, j := range p.Jobs[:min(len(p.Jobs), mostShards)] {
		if !slices.Contains(j.Shards, j.ID) {
			out = append(out, choice{j.ID, "job"})
		}
	}
	return out
}

// datasetNames are the catalog's; of a family that is written out, its subsets too.
func datasetNames(word string) (out []choice) {
	catalog, err := dataset.NewCatalog()
	if err != nil {
		return nil
	}
	for _, name := range catalog.Names() {
		d, _ := catalog.Lookup(name)
		out = append(out, choice{name, string(d.Mode)})
		if strings.HasPrefix(word, name) && len(d.Subsets) > 0 {
			for _, m := range d.Members() {
				out = append(out, choice{m.Abbr, string(d.Mode)})
			}
		}
	}
	return out
}

// runs are the run directories below the one that a word names, or, of a word without a slash, those of the usual work directory; and
// directories in which there may be more.
func runs(word string) (out []choice) {
	if !strings.Contains(word, "/") {
		list, _ := filepath.Glob(result.Dir(filepath.Join(defaultWorkDir, "*")).Plan())
		slices.Reverse(list) // their names begin with the time: the newest first
		for _, plan := range list {
			out = append(out, choice{filepath.Dir(plan), "run"})
		}
	}
	for _, c := range files(word, func(string) bool { return false }) {
		dir := strings.TrimSuffix(c.text, "/")
		if exists(result.Dir(expand(dir)).Plan()) {
			c = choice{dir, "run"}
		}
		out = append(out, c)
	}
	return out
}

// files are the directories beside what a word names, each with a slash, and the files that are wanted. Hidden ones are there when asked for.
func files(word string, wanted func(name string) bool) (out []choice) {
	head, tail := word[:strings.LastIndexByte(word, '/')+1], word[strings.LastIndexByte(word, '/')+1:]
	dir := expand(head)
	if dir == "" {
		dir = "."
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, f := range list {
		name := f.Name()
		if !strings.HasPrefix(name, tail) || strings.HasPrefix(name, ".") && !strings.HasPrefix(tail, ".") {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name)) // a link to a directory is one
		switch {
		case err == nil && info.IsDir():
			out = append(out, choice{head + name + "/", "directory"})
		case wanted(name):
			out = append(out, choice{head + name, ""})
		}
	}
	return out
}

// expand is a path as the shell would hand it over.
func expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(os.Getenv("HOME"), rest) + "/"
	}
	return path
}
