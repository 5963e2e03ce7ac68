// Package clidoc makes the reference pages of a program from its commands: Markdown, man pages, and the tables of the JSON that they print.
// Tests hold the files under docs to it.
package clidoc

import (
	"strings"

	"sextant/pkg/cliargs"

	"github.com/urfave/cli/v2"
)

// Command is what a page says of a command, or of the program itself.
type Command struct {
	Name     string   // "submit plan diff"
	Usage    string   // what it does, in a line
	Synopsis []string // how it is called; empty: it only has commands of its own
	Text     []string // paragraphs, each one line
	Exit     string   // exit codes, where it has some of its own
	Examples []string // command lines
	Groups   []Group
	Depth    int // 0: the program
	JSON     bool
}

// Group is flags that belong together.
type Group struct {
	Name  string // "": the only group
	Flags []Flag
}

// Flag is one flag.
type Flag struct {
	Names   []string // with dashes, the long one first
	Value   string   // what stands for its value; "": it takes none
	Text    string
	Default string // "": none, or the type's zero
	Env     []string
}

// Commands are the program and all its commands that are not hidden, each before its own.
func Commands(app *cli.App) []Command {
	root := Command{Name: app.Name, Usage: app.Usage, Groups: groups(app.VisibleFlags())}
	root.describe(app.UsageText, app.Description)
	out := []Command{root}
	return walk(out, app.Name, 1, app.Commands)
}

func walk(out []Command, above string, depth int, list []*cli.Command) []Command {
	for _, cmd := range list {
		if cmd.Hidden {
			continue
		}
		c := Command{Name: above + " " + cmd.Name, Usage: cmd.Usage, Groups: groups(cmd.VisibleFlags()), Depth: depth}
		usage := cmd.UsageText
		if usage == "" && len(cmd.Subcommands) == 0 {
			usage = c.Name
			if len(c.Groups) > 0 {
				usage += " [flags]"
			}
			if cmd.ArgsUsage != "" {
				usage += " " + cmd.ArgsUsage
			}
		}
		c.describe(usage, cmd.Description)
		out = walk(append(out, c), c.Name, depth+1, cmd.Subcommands)
	}
	return out
}

// describe takes a help text apart: paragraphs, of which one may begin with "Example:" and one with "Exit codes:".
func (c *Command) describe(usage, description string) {
	for line := range strings.Lines(usage) {
		if line = strings.TrimSpace(line); line != "" {
			c.Synopsis = append(c.Synopsis, line)
		}
	}
	program, _, _ := strings.Cut(c.Name, " ")
	for _, paragraph := range strings.Split(description, "\n\n") {
		switch {
		case strings.HasPrefix(paragraph, exampleMark):
			c.Examples = append(c.Examples, examples(program, strings.TrimPrefix(paragraph, exampleMark))...)
		case strings.HasPrefix(paragraph, exitMark):
			c.Exit = strings.TrimSpace(joinLines(strings.TrimPrefix(paragraph, exitMark)))
		case strings.TrimSpace(paragraph) != "":
			c.Text = append(c.Text, joinLines(paragraph))
		}
	}
	for _, g := range c.Groups {
		for _, f := range g.Flags {
			c.JSON = c.JSON || f.Names[0] == "--json"
		}
	}
}

// What paragraphs of a help text begin with that are more than text.
const (
	exampleMark = "Example:"
	exitMark    = "Exit codes:"
)

// examples are the command lines of a paragraph. A line that does not begin with the program goes on with the one before.
func examples(program, text string) (out []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, program+" ") || line == program || len(out) == 0 {
			out = append(out, line)
			continue
		}
		out[len(out)-1] += "\n" + line
	}
	return out
}

func joinLines(text string) string { return strings.Join(strings.Fields(text), " ") }

// groups parts flags by their categories, in the order in which these first come.
func groups(flags []cli.Flag) (out []Group) {
	at := map[string]int{}
	for _, f := range flags {
		doc, ok := f.(cli.DocGenerationFlag)
		if !ok || f.Names()[0] == cli.HelpFlag.Names()[0] || f.Names()[0] == cli.VersionFlag.Names()[0] {
			continue
		}
		category := ""
		if g, ok := f.(cli.CategorizableFlag); ok {
			category = g.GetCategory()
		}
		i, ok := at[category]
		if !ok {
			i = len(out)
			at[category] = i
			out = append(out, Group{Name: category})
		}
		out[i].Flags = append(out[i].Flags, flagOf(f, doc))
	}
	return out
}

func flagOf(f cli.Flag, doc cli.DocGenerationFlag) Flag {
	value, text := cliargs.Placeholder(doc.GetUsage())
	out := Flag{Text: text, Env: doc.GetEnvVars()}
	for _, name := range f.Names() {
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		out.Names = append(out.Names, dashes+name)
	}
	if !doc.TakesValue() {
		return out
	}
	out.Value = value
	if out.Value == "" {
		out.Value = "VALUE"
	}
	if out.Default = strings.Trim(doc.GetDefaultText(), `"`); out.Default == "0" || out.Default == "0s" || out.Default == "[]" {
		out.Default = ""
	}
	return out
}
