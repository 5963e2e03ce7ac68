// Package cliargs makes urfave/cli v2 take flags after positional arguments, and turns its usage errors into values.
package cliargs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// UsageError is a command line that cannot be understood. Commands exit with 2 on it.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// IsUsage says whether err is a usage error.
func IsUsage(err error) bool {
	var u *UsageError
	return errors.As(err, &u)
}

// Harden makes app and its commands return usage errors as *UsageError instead of printing help to stdout, and keeps Run from
// calling os.Exit. An unknown command is a usage error too.
func Harden(app *cli.App) {
	usage := func(_ *cli.Context, err error, _ bool) error { return &UsageError{err} }
	app.OnUsageError = usage
	app.ExitErrHandler = func(*cli.Context, error) {}
	harden(app.Commands, usage)
	if app.Action == nil && len(app.Commands) > 0 {
		app.Action = func(c *cli.Context) error { return noCommand(c, app.Name, app.Commands) }
	}
}

func harden(cmds []*cli.Command, usage cli.OnUsageErrorFunc) {
	for _, cmd := range cmds {
		cmd.OnUsageError = usage
		harden(cmd.Subcommands, usage)
		if cmd.Action == nil && len(cmd.Subcommands) > 0 {
			cmd.Action = func(c *cli.Context) error { return noCommand(c, cmd.Name, cmd.Subcommands) }
		}
	}
}

func noCommand(c *cli.Context, name string, cmds []*cli.Command) error {
	var names []string
	for _, cmd := range cmds {
		if !cmd.Hidden {
			names = append(names, cmd.Name)
		}
	}
	if c.NArg() == 0 {
		return Usagef("%s needs a command: %s", name, strings.Join(names, ", "))
	}
	return Usagef("unknown command %q of %s; there are: %s", c.Args().First(), name, strings.Join(names, ", "))
}

// Positional gives exactly the positional arguments that are named, and refuses a missing or left-over one.
func Positional(c *cli.Context, names ...string) ([]string, error) {
	args := c.Args().Slice()
	if len(args) < len(names) {
		return nil, Usagef("%s: missing argument %s", c.Command.FullName(), strings.Join(names[len(args):], " "))
	}
	if len(args) > len(names) {
		return nil, Usagef("%s: unexpected argument %q", c.Command.FullName(), args[len(names)])
	}
	return args, nil
}

// Require refuses a command line without the flags named. cli's own Required prints help to stdout and gives no usage error.
func Require(c *cli.Context, flags ...string) error {
	for _, name := range flags {
		if c.String(name) == "" {
			return Usagef("%s needs --%s", c.Command.FullName(), name)
		}
	}
	return nil
}

// level is one app, command or subcommand while its arguments are read.
type level struct {
	flags map[string]bool // name -> takes a value
	cmds  []*cli.Command
}

func newLevel(flags []cli.Flag, cmds []*cli.Command) level {
	l := level{flags: map[string]bool{"help": false, "h": false}, cmds: cmds}
	for _, f := range flags {
		g, ok := f.(cli.DocGenerationFlag)
		for _, name := range f.Names() {
			l.flags[name] = ok && g.TakesValue()
		}
	}
	return l
}

func (l level) command(name string) *cli.Command {
	for _, cmd := range l.cmds {
		if cmd.HasName(name) {
			return cmd
		}
	}
	return nil
}

// flagName reads arg as a flag: its name, and whether its value is in it ("--x=y"). ok is false for a positional argument.
func flagName(arg string) (name string, inline, ok bool) {
	if len(arg) < 2 || arg[0] != '-' || arg == "--" {
		return "", false, false
	}
	name = strings.TrimPrefix(arg[1:], "-")
	name, _, inline = strings.Cut(name, "=")
	return name, inline, true
}

// Reorder moves the flags of each command before its positional arguments, where urfave/cli v2 looks for them. args is as of os.Args: the
// program's name first. A flag keeps its value, what follows "--" stays positional, an unknown flag is left for the parser to refuse.
// A flag whose value is missing because another flag follows is a *UsageError.
func Reorder(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	l := newLevel(app.Flags, app.Commands)
	if app.Version != "" && !app.HideVersion {
		l.flags["version"], l.flags["v"] = false, false
	}
	out, rest := args[:1:1], args[1:]
	for {
		flags, positional, cmd, after, err := l.split(rest)
		if err != nil {
			return nil, err
		}
		out = append(out, flags...)
		if cmd == nil {
			return append(out, positional...), nil
		}
		out = append(out, positional...) // the command's own name
		l, rest = newLevel(cmd.Flags, cmd.Subcommands), after
	}
}

// split reads the arguments of one level. When one of them names a command of the level, cmd is it and after is what follows.
func (l level) split(args []string) (flags, positional []string, cmd *cli.Command, after []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			positional = append(positional, args[i+1:]...)
			break
		}
		name, inline, isFlag := flagName(arg)
		if !isFlag {
			if c := l.command(arg); c != nil && len(positional) == 0 {
				return flags, []string{arg}, c, args[i+1:], nil
			}
			positional = append(positional, arg)
			continue
		}
		flags = append(flags, arg)
		if !l.flags[name] || inline || i+1 == len(args) {
			continue
		}
		if next, _, ok := flagName(args[i+1]); ok {
			if _, known := l.flags[next]; known {
				return nil, nil, nil, nil, Usagef("flag %s needs a value, but the flag %s follows it", arg, args[i+1])
			}
		}
		i++
		flags = append(flags, args[i])
	}
	if len(positional) > 0 && strings.HasPrefix(positional[0], "-") && positional[0] != "-" {
		positional = append([]string{"--"}, positional...)
	}
	return flags, positional, nil, nil, nil
}
