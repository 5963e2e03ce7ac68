package batch

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Pace says when to look again: after Min, ever later up to Max as nothing happens, and soon again after Soon. Its methods may be called from
// several goroutines.
type Pace struct {
	mu        sync.Mutex
	min, max  time.Duration
	interval  time.Duration
	due       time.Time
	refreshed chan struct{} // closed and made anew when due comes nearer
}

// NewPace makes a pace. max is at least min.
func NewPace(least, most time.Duration) *Pace {
	return &Pace{min: least, max: max(least, most), interval: least, refreshed: make(chan struct{})}
}

// Wait returns nil when it is time to look. It gives ctx's error when that ends first; the time goes on running.
func (p *Pace) Wait(ctx context.Context) error {
	for {
		p.mu.Lock()
		if p.due.IsZero() {
			p.due = time.Now().Add(jitter(p.interval))
		}
		left, refreshed := time.Until(p.due), p.refreshed
		if left <= 0 {
			p.due = time.Time{}
			p.interval = min(p.interval*3/2, p.max)
			p.mu.Unlock()
			return nil
		}
		p.mu.Unlock()
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-refreshed:
			t.Stop()
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// Soon makes the next look come soon.
func (p *Pace) Soon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interval = p.min
	if due := time.Now().Add(jitter(p.interval)); p.due.IsZero() || due.Before(p.due) {
		p.due = due
		close(p.refreshed)
		p.refreshed = make(chan struct{})
	}
}

// jitter keeps many submitters from asking at once.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}
