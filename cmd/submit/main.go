// Command submit plans an evaluation, runs it, scores it and reports it. It is static (no cgo) and meant for a login node; the work is
// done by the worker command.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"sextant/pkg/objstore"
	"sextant/pkg/sandbox"

	"golang.org/x/term"
)

// env is all that a command takes from outside, so that tests can run it in-process.
type env struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool   // stderr is one, and stdin
	stops          *stops // what a signal does
	code           bool   // what models wrote may be run
	json           bool   // the answer is one JSON document
	lark           bool   // a Lark bot is told how the run goes
	mute           bool   // nobody is, whatever the spec says
	asides         *asides
	notices        *notices
	tracking       *tracking
}

func main() {
	sandbox.Main()
	os.Exit(command(os.Args))
}

// command is the whole program.
func command(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	e := env{args: args, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, stops: &stops{},
		terminal: term.IsTerminal(int(os.Stderr.Fd())) && term.IsTerminal(int(os.Stdin.Fd()))}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		cancel(e.stops.wait(signals))
		signal.Stop(signals) // the next Ctrl-C ends submit at once; what it leaves is found again
	}()
	objstore.Until(ctx)
	objstore.Tell(func(text string) { fmt.Fprintf(os.Stderr, "waiting: %s\n", text) })
	code := e.run(ctx)
	cancel(nil)
	return code
}
