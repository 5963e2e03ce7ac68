package cliargs

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// Cursor is where the last word of an unfinished command line stands.
type Cursor struct {
	Command  *cli.Command   // that the words before it name; nil: none, the app itself
	Commands []*cli.Command // those that may stand in its place
	Flags    []cli.Flag     // of the command
	Flag     cli.Flag       // whose value it is; nil: of none
	Given    []string       // positional arguments before it
	Plain    bool           // "--" is before it: it is no flag
	Word     string         // as far as it is written; of "--flag=value" the value
}

// Locate finds what the last of words is, the program's name left out. cli's own completion does not see flags behind positional arguments.
func Locate(app *cli.App, words []string) Cursor {
	cur := Cursor{Flags: app.Flags, Commands: app.Commands}
	if len(words) == 0 {
		return cur
	}
	for _, w := range words[:len(words)-1] {
		name, inline, isFlag := flagName(w)
		switch {
		case cur.Flag != nil:
			cur.Flag = nil // this is its value
		case cur.Plain:
			cur.Given = append(cur.Given, w)
		case w == "--":
			cur.Plain = true
		case isFlag:
			if f := cur.flag(name); f != nil && takesValue(f) && !inline {
				cur.Flag = f
			}
		default:
			cur.argument(w)
		}
	}
	cur.Word = words[len(words)-1]
	if len(cur.Given) > 0 || cur.Plain {
		cur.Commands = nil
	}
	if name, inline, isFlag := flagName(cur.Word); isFlag && inline && cur.Flag == nil && !cur.Plain {
		if f := cur.flag(name); f != nil {
			cur.Flag = f
			_, cur.Word, _ = strings.Cut(cur.Word, "=")
		}
	}
	return cur
}

// argument takes a word that is no flag: a command's name, or a positional argument.
func (c *Cursor) argument(w string) {
	if cmd := (level{cmds: c.Commands}).command(w); cmd != nil && len(c.Given) == 0 {
		c.Command, c.Commands, c.Flags = cmd, cmd.Subcommands, cmd.Flags
		return
	}
	c.Given = append(c.Given, w)
}

// flag is the flag of that name; nil: there is none.
func (c *Cursor) flag(name string) cli.Flag {
	for _, f := range c.Flags {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	doc, ok := f.(cli.DocGenerationFlag)
	return ok && doc.TakesValue()
}

// Placeholder parts a flag's usage into what stands for its value, the word between backquotes, and the text as it is read.
func Placeholder(usage string) (value, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	value, after, closed := strings.Cut(rest, "`")
	if !ok || !closed {
		return "", usage
	}
	return value, before + value + after
}
