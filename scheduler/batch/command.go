package batch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// CommandError is a command that did not end with 0.
type CommandError struct {
	Command string // without its arguments
	Code    int    // -1: it did not run, or was ended by a signal
	Text    string // what it said on standard error
	Err     error
}

func (e *CommandError) Error() string {
	text := strings.Join(strings.Fields(e.Text), " ")
	if text == "" {
		text = e.Err.Error()
	}
	return fmt.Sprintf("%s: %s", e.Command, text)
}

func (e *CommandError) Unwrap() error { return e.Err }

// Command is a program of a batch system.
type Command struct {
	Name  string
	Args  []string
	Stdin string
	Env   []string      // nil: this process's
	Limit time.Duration // it is killed after this
}

// Run runs a command to its end, or to that of ctx, and gives what it wrote. The error is a *CommandError.
func Run(ctx context.Context, c Command) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Name, c.Args...)
	// A group of its own: Ctrl-C in the terminal is for this process, not for a command that is half done.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out, text bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Env, strings.NewReader(c.Stdin), &out, &text
	if err = cmd.Run(); err == nil {
		return out.String(), text.String(), nil
	}
	e := &CommandError{Command: c.Name, Code: -1, Text: text.String(), Err: err}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		e.Code = exit.ExitCode()
	}
	if ctx.Err() != nil {
		e.Err = errors.Join(context.Cause(ctx), err)
	}
	return out.String(), text.String(), e
}
