package clidoc

import (
	"fmt"
	"strings"
)

// Lacking tells what is missing to whoever asks a program's commands for help: of each command a usage line and an example, of one with --json its
// document, of each flag a text, and of one with a value the word that stands for it.
func Lacking(commands []Command, documents []Document) (out []string) {
	documented := map[string]bool{}
	for _, d := range documents {
		for _, line := range d.Commands {
			documented[commandOf(commands, line)] = true
		}
	}
	for _, c := range commands {
		if c.Usage == "" || len(c.Examples) == 0 {
			out = append(out, c.Name+" lacks a usage line or an example")
		}
		if c.JSON && !documented[c.Name] {
			out = append(out, c.Name+" has --json and no document in docs/json.md: add it to documents in docs_test.go")
		}
		for _, g := range c.Groups {
			for _, f := range g.Flags {
				if f.Text == "" || f.Value == "VALUE" {
					out = append(out, fmt.Sprintf("%s %s lacks a text, or the word in backquotes that stands for its value", c.Name, f.Names[0]))
				}
			}
		}
	}
	return out
}

// commandOf is the command of a command line, as it is named in the tree.
func commandOf(commands []Command, line string) string {
	name := ""
	for _, c := range commands {
		if strings.HasPrefix(line+" ", c.Name+" ") && len(c.Name) > len(name) {
			name = c.Name
		}
	}
	return name
}
