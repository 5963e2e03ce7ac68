package slurm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sextant/scheduler/batch"
)

// Scheduler runs jobs as elements of Slurm's job arrays. Its methods may be called from several goroutines; one at a time talks to Slurm.
type Scheduler struct {
	opt      Options
	cli      cli
	features features

	mu      sync.Mutex
	arrays  []*array // in the order of submission
	byToken map[string]*array
	byName  map[string]place  // of arrays that are not void
	strays  map[string]*array // by number, as Live found them
	written map[string][32]byte
	window  window
	changes changes
	looks   int
	looked  time.Time // when the last look at the queue was taken
	lookErr error     // what came of it
	noSacct bool
	now     func() time.Time
	pace    *batch.Pace
}

// The defaults of Options.
const (
	defaultPollMin = 20 * time.Second
	defaultPollMax = 120 * time.Second
	defaultGrace   = 60 * time.Second
)

// New makes a scheduler on a directory, where it finds what earlier processes submitted. It asks the cluster what its sbatch can do; an error
// that wraps scheduler.ErrDown says that the controller does not answer.
func New(ctx context.Context, o Options) (*Scheduler, error) {
	o.Workers = max(o.Workers, 1)
	if o.PollMin <= 0 {
		o.PollMin = defaultPollMin
	}
	if o.PollMax <= 0 {
		o.PollMax = defaultPollMax
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	for _, dir := range []*string{&o.Dir, &o.Scripts} {
		abs, err := filepath.Abs(*dir)
		if err == nil {
			err = os.MkdirAll(abs, 0o777)
		}
		if err != nil {
			return nil, fmt.Errorf("making the scheduler's directory: %w", err)
		}
		*dir = abs
	}
	s := &Scheduler{opt: o, byToken: map[string]*array{}, byName: map[string]place{}, strays: map[string]*array{}, written: map[string][32]byte{},
		now: time.Now, pace: batch.NewPace(o.PollMin, o.PollMax)}
	if err := s.load(); err != nil {
		return nil, err
	}
	f, err := s.cli.probe(ctx)
	if err != nil {
		return nil, err
	}
	s.features = f
	return s, nil
}

// Wait returns nil when it is time to Poll again: after Options.PollMin, ever later up to Options.PollMax as nothing happens, and soon again
// after a submission, a cancellation or a change that Poll saw. It gives ctx's error when that ends first; the time goes on running.
func (s *Scheduler) Wait(ctx context.Context) error { return s.pace.Wait(ctx) }
