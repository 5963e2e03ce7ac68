// Command submit plans an evaluation, runs it, scores it and reports it. It is static (no cgo) and meant for a login node; the work is
// done by the worker command.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// env is all that a command takes from outside, so that tests can run it in-process.
type env struct {
	args           []string
	stdout, stderr io.Writer
	terminal       bool // stderr is one
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	e := env{args: os.Args, stdout: os.Stdout, stderr: os.Stderr, terminal: term.IsTerminal(int(os.Stderr.Fd()))}
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends submit at once; its workers notice and leave
	code := e.run(ctx)
	stop()
	os.Exit(code)
}
