package worker

import (
	"log/slog"
	"sync"
	"time"

	"sextant/pkg/result"
)

// progress keeps an attempt's progress file up to date. It is a hint for displays: a failure to write it is logged once and no more.
type progress struct {
	path   string
	begun  time.Time
	log    *slog.Logger
	tokens func() int64

	mu     sync.Mutex
	now    result.Progress
	failed bool

	stop chan struct{}
	done chan struct{}
}

// progressEvery is the time between two writes.
const progressEvery = time.Second

func startProgress(path, phase string, log *slog.Logger) *progress {
	p := &progress{path: path, begun: time.Now(), log: log, stop: make(chan struct{}), done: make(chan struct{})}
	p.now.Phase = phase
	p.write()
	go func() {
		defer close(p.done)
		defer func() {
			if r := recover(); r != nil {
				p.log.Error("panic while writing progress", "value", r)
			}
		}()
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.write()
			case <-p.stop:
				p.write()
				return
			}
		}
	}()
	return p
}

// set changes what the next write says.
func (p *progress) set(change func(*result.Progress)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.now)
}

// count makes f the source of the tokens run.
func (p *progress) count(f func() int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens = f
}

// state is what is to be told.
func (p *progress) state() result.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now
	if p.tokens != nil {
		now.Tokens = p.tokens()
	}
	now.Seconds = time.Since(p.begun).Seconds()
	return now
}

func (p *progress) write() {
	if err := result.CommitJSON(p.path, p.state()); err != nil && !p.failed {
		p.failed = true
		p.log.Warn("cannot write progress", "error", err)
	}
}

// close writes the last state and gives it.
func (p *progress) close() result.Progress {
	close(p.stop)
	<-p.done
	return p.state()
}
