package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"
	"sextant/pkg/spec"
	"sextant/pkg/track"
)

// A report at the end takes this long at most, whatever it has to say; of an interrupted run, or to a server that was not to be reached at the
// beginning, lastWait.
const longestReport = 2 * time.Minute

// fileEvery is how often the file for Prometheus is written, unless the spec says.
const fileEvery = 15 * time.Second

// book is what a run directory keeps of what trackers know.
type book struct {
	Version int    `json:"version"`
	ID      string `json:"id"`             // the run's, there
	Told    string `json:"told,omitempty"` // digest of the last report that came through, and of where it went
}

// tracking tells trackers of one run. It may be nil: there is none. No method but ended waits.
type tracking struct {
	env
	plan   *plan.Plan
	path   string
	book   book
	server *track.Server // nil: none
	where  string        // digest of the server and what it is asked
	file   *fileWriter   // nil: none
	every  time.Duration

	now    track.Run
	at     run.Progress // not yet in now
	last   time.Time    // of the file
	stop   context.CancelFunc
	under  sync.WaitGroup // the report that it has begun
	failed bool           // it did not come through; read after under
	warned bool           // and the user knows
}

// newTracking finds out which trackers a run's spec names. What is wrong with them is told, and no reason not to run. The file for Prometheus is of
// who carries the run out.
func (e env) newTracking(r *run.Run, carriesOut bool) *tracking {
	want := r.Plan.Spec.Track
	if !carriesOut {
		want.Prometheus = ""
	}
	if want.MLflow == nil && want.Prometheus == "" || e.mute {
		return nil
	}
	t, err := openTracking(e, string(r.Dir), r.Plan)
	if err == nil && want.MLflow != nil {
		err = t.serve(*want.MLflow)
	}
	if err != nil {
		e.asides.warn(fmt.Errorf("MLflow is not told how the run goes: %w", err))
		if want.Prometheus == "" {
			return nil
		}
	}
	if want.Prometheus != "" {
		t.file = newFileWriter(track.NewTextfile(want.Prometheus, t.now.Name), e.asides)
		t.every = cmp.Or(time.Duration(want.Every)*time.Second, fileEvery)
	}
	return t
}

// openTracking reads a run's book. One that cannot be written is an error, for who does not know the run's name there would make another.
func openTracking(e env, dir string, p *plan.Plan) (*tracking, error) {
	t := &tracking{env: e, plan: p, path: filepath.Join(dir, "track.json"), now: trackedRun(dir, p)}
	if raw, err := os.ReadFile(t.path); err == nil {
		_ = json.Unmarshal(raw, &t.book) // one that cannot be read is as none
	}
	if t.book.ID == "" {
		var id [8]byte
		_, _ = rand.Read(id[:]) // never fails
		t.book = book{ID: hex.EncodeToString(id[:])}
		if err := t.keep(); err != nil {
			return t, err
		}
	}
	t.now.ID = t.book.ID
	return t, nil
}

func (t *tracking) keep() error {
	t.book.Version = 1
	if err := result.CommitJSON(t.path, t.book); err != nil {
		return fmt.Errorf("remembering the run's name: %w", err)
	}
	return nil
}

// serve takes an MLflow server.
func (t *tracking) serve(want spec.MLflow) error {
	s, err := track.NewServer(want.URI, os.Getenv)
	if err != nil {
		return err
	}
	s.Experiment, s.Tags = want.Experiment, want.Tags
	t.server, t.where = s, digestOf([]any{s.Address(), want})
	return nil
}

// digestOf is of a value's JSON.
func digestOf(v any) string {
	raw, _ := json.Marshal(v) // of plain values
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// report is the digest of what the server would be told now.
func (t *tracking) report() string {
	told := t.now
	told.Began, told.Progress = time.Time{}, track.Progress{}
	return digestOf([]any{t.where, told})
}

// observe takes in how far the run is, and tells that it begins when there is something to do.
func (t *tracking) observe(ev run.Event) {
	if t == nil || ev.Kind == run.Adopting {
		return
	}
	t.at = ev.Progress
	if t.file != nil && (ev.Kind == run.Began || time.Since(t.last) >= t.every) {
		t.last = time.Now()
		t.take()
		t.file.put(t.now)
	}
	lacks := func(task run.TaskProgress) bool { return task.Done < task.Rows }
	if ev.Kind != run.Began || t.server == nil || !slices.ContainsFunc(ev.Progress.Tasks, lacks) {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	now := t.now
	t.under.Go(func() {
		_, err := t.server.Report(ctx, now)
		t.failed = err != nil
		if err != nil && ctx.Err() == nil {
			t.warned = true
			t.asides.warn(fmt.Errorf("%w; it is tried again at the end, and submit track %s sends it later", err, relative(t.now.Dir)))
		}
	})
}

// take says in a tracker's words how far the run is.
func (t *tracking) take() {
	p, at := t.at, &t.now.Progress
	at.Tasks, at.Shards, at.Failures = nil, map[string]int{}, map[string]int{}
	for _, task := range p.Tasks {
		of, _ := t.plan.Task(task.Task)
		at.Tasks = append(at.Tasks, track.Task{Variant: of.Variant, Dataset: cmp.Or(of.Dataset, of.Kind), Rows: task.Rows, Done: task.Done})
	}
	for state, n := range p.Shards {
		at.Shards[string(state)] = n
	}
	for class, n := range p.Failures {
		at.Failures[string(class)] = n
	}
	at.Attempts = p.Attempts
	at.Tokens = max(at.Tokens, p.Spent+p.Tokens)
}

// through takes in how the work ended.
func (t *tracking) through(out *run.Outcome) {
	if t != nil && out.Progress.Tasks != nil {
		t.at = out.Progress
	}
}

// scored takes in the run's scores.
func (t *tracking) scored(all *score.Scores) {
	if t == nil {
		return
	}
	t.now.Scores = trackedScores(*all)
	t.now.Variants = slices.Clone(t.now.Variants) // the report of the beginning may be reading them
	for _, x := range all.Variants {
		for i := range t.now.Variants {
			if v := &t.now.Variants[i]; v.Name == x.Model {
				v.Metrics = map[string]float64{"weights/bits": x.Bits, "weights/bytes": float64(x.Bytes), "weights/parameters": float64(x.Parameters)}
			}
		}
	}
}

// ended tells how the run ended, err, which it gives back. It waits for what is under way and for its own report, both bounded. Jobs that go on
// by themselves are no end.
func (t *tracking) ended(ctx context.Context, err error) error {
	if t == nil {
		return err
	}
	if t.stop != nil {
		time.AfterFunc(lastWait, t.stop)
	}
	t.under.Wait()
	goesOn := errors.Is(err, errQueued) || errors.Is(err, errDetached)
	if !goesOn {
		t.now.State = stateOf(err)
	}
	if t.file != nil {
		t.take()
		t.file.close(t.now)
	}
	if t.server == nil || goesOn || t.report() == t.book.Told {
		return err
	}
	limit := longestReport
	if ctx.Err() != nil || t.failed {
		limit = lastWait
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if _, terr := t.tell(ctx); terr != nil && !t.warned {
		t.asides.warn(fmt.Errorf("%w; submit track %s sends it later", terr, relative(t.now.Dir)))
	}
	return err
}

// tell reports the run as it is now, and remembers that.
func (t *tracking) tell(ctx context.Context) (*track.Receipt, error) {
	receipt, err := t.server.Report(ctx, t.now)
	if err != nil {
		return receipt, err
	}
	t.book.Told = t.report()
	return receipt, t.keep()
}

// stateOf is how a run ended.
func stateOf(err error) track.State {
	switch {
	case err == nil:
		return track.Finished
	case errors.Is(err, errIncomplete):
		return track.Incomplete
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled), errors.Is(err, run.ErrCancelled):
		return track.Interrupted
	}
	return track.Failed
}

// fileWriter writes the file for Prometheus in the background: a disk that hangs holds nothing up.
type fileWriter struct {
	file   *track.Textfile
	asides *asides
	next   chan track.Run
	done   chan struct{}
	warned bool
}

func newFileWriter(file *track.Textfile, asides *asides) *fileWriter {
	w := &fileWriter{file: file, asides: asides, next: make(chan track.Run, 1), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for r := range w.next {
			if err := w.file.Write(r, time.Now()); err != nil && !w.warned {
				w.warned = true
				asides.warn(fmt.Errorf("the file for Prometheus: %w", err))
			}
		}
		_ = w.file.Close() // nothing was written to it
	}()
	return w
}

// put hands a state over, unless the one before has not been taken up yet.
func (w *fileWriter) put(r track.Run) {
	select {
	case w.next <- r:
	default:
	}
}

// close writes the last state, and waits for that a little.
func (w *fileWriter) close(r track.Run) {
	late, cancel := context.WithTimeout(context.Background(), lastWait)
	defer cancel()
	select {
	case w.next <- r:
	case <-late.Done():
	}
	close(w.next)
	select {
	case <-w.done:
	case <-late.Done():
	}
}
