package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"sextant/pkg/run"
)

// stops decides what a signal means: the cause with which the command's context ends. Work on this machine ends with submit. Jobs on a
// cluster can go on without it: so they do when the terminal goes away, and at Ctrl-C the user is asked.
type stops struct {
	mu      sync.Mutex
	cluster bool                // jobs would go on
	ask     func() (rune, bool) // nil: nobody is there to be asked
}

// onCluster says that from now on the jobs are on a cluster.
func (s *stops) onCluster(e env) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster = true
	if e.terminal {
		s.ask = func() (rune, bool) { return question(e.stdin, e.stderr) }
	}
}

// offCluster says that no job is on a cluster any more.
func (s *stops) offCluster() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster, s.ask = false, nil
}

// wait waits for a signal and gives the cause that it stands for. A second signal, while the question stands, leaves the jobs alone.
func (s *stops) wait(signals <-chan os.Signal) error {
	sig := <-signals
	s.mu.Lock()
	cluster, ask := s.cluster, s.ask
	s.mu.Unlock()
	switch {
	case !cluster:
		return context.Canceled
	case sig != os.Interrupt:
		return run.ErrDetached
	case ask == nil:
		return context.Canceled
	}
	answer := make(chan error, 1)
	go func() {
		if a, ok := ask(); ok && a == 'c' {
			answer <- context.Canceled
			return
		}
		answer <- run.ErrDetached
	}()
	select {
	case cause := <-answer:
		return cause
	case <-signals:
		return run.ErrDetached
	}
}

// question asks until it is answered with d or c. false: nobody answers.
func question(in io.Reader, out io.Writer) (rune, bool) {
	lines := bufio.NewScanner(in)
	for {
		fmt.Fprint(out, "\nThe jobs are on the cluster. [d]etach: they go on, \"submit resume\" gathers; [c]ancel: they end, rows done are kept. d or c? ")
		if !lines.Scan() {
			return 0, false
		}
		switch strings.ToLower(strings.TrimSpace(lines.Text())) {
		case "d", "detach":
			return 'd', true
		case "c", "cancel":
			return 'c', true
		}
	}
}
