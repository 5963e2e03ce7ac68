package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"sextant/pkg/worker"
)

// parentFD names the variable with the number of a pipe's reading end whose writing end only the parent holds: when the parent dies,
// however it dies, the pipe ends.
const parentFD = "SEXTANT_PARENT_FD"

// How long a worker that was told to stop may take to finish its forward pass. Every finished row is on disk already.
const (
	signalGrace = 10 * time.Second
	orphanGrace = time.Second
)

// untilStopped gives a context that ends at SIGTERM, SIGINT or SIGUSR1 (a batch system's warning), or when the parent is gone. A second
// signal, or the end of the grace, ends the process at once.
func untilStopped() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	go func() {
		sig := <-signals
		cancel(fmt.Errorf("%w by the signal %v", worker.ErrStopped, sig))
		select {
		case <-signals:
		case <-time.After(signalGrace):
		}
		os.Exit(worker.ExitRetry)
	}()
	if pipe := parentPipe(); pipe != nil {
		go func() {
			_, _ = io.Copy(io.Discard, pipe) // returns when the parent is gone
			cancel(fmt.Errorf("%w: the process that started this one is gone", worker.ErrStopped))
			time.Sleep(orphanGrace)
			os.Exit(worker.ExitRetry)
		}()
	}
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

// parentPipe is the pipe named in the environment, nil when there is none.
func parentPipe() *os.File {
	fd, err := strconv.Atoi(os.Getenv(parentFD))
	if err != nil || fd < 3 {
		return nil
	}
	return os.NewFile(uintptr(fd), "parent")
}
