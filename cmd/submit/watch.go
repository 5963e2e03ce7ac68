package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"sextant/pkg/report"
	"sextant/pkg/run"
)

// watch shows a run to the person who started it: a progress display, and with --debug the log of the job at work.
type watch struct {
	env
	progress *report.Progress
	debug    bool
	stop     func()               // ends the following of the log
	held     string               // what was said last of a scheduler that is waited for
	within   map[string]time.Time // by task: when was said last how far its quantization is
}

func newWatch(e env, debug bool) *watch {
	return &watch{env: e, progress: report.NewProgress(e.stderr, e.terminal && !debug), debug: debug, stop: func() {}, within: map[string]time.Time{}}
}

func (w *watch) observe(ev run.Event) {
	w.notices.observe(ev)
	w.tracking.observe(ev)
	switch ev.Kind {
	case run.Adopting:
		w.progress.Say("an earlier submit has left jobs: looking for them")
	case run.Began:
		w.began(ev.Progress)
	case run.Started:
		if w.debug {
			w.stop()
			w.stop = follow(ev.Log, w.stderr)
		}
	case run.Ended:
		if ev.Reason != "" {
			w.progress.Say(fmt.Sprintf("job %s, attempt %d: %s (log: %s)", ev.Job, ev.Attempt, ev.Reason, relative(ev.Log)))
		}
	case run.Stopping:
		w.progress.Say("stopping the workers; rows done are kept")
	case run.Held:
		if ev.Reason != w.held {
			w.held = ev.Reason
			w.progress.Say("waiting: " + ev.Reason)
		}
		return
	}
	w.update(ev.Progress)
}

// began says what earlier runs have left, before anything new is done.
func (w *watch) began(p run.Progress) {
	done, rows := 0, 0
	for _, t := range p.Tasks {
		done, rows = done+t.Done, rows+t.Rows
	}
	if done > 0 && done < rows {
		w.progress.Say(fmt.Sprintf("reusing %d of %d rows", done, rows))
	}
	if done < rows && w.debug {
		w.progress.Say("Starting inference process...")
	}
}

func (w *watch) update(p run.Progress) {
	tasks := make([]report.Task, len(p.Tasks))
	for i, t := range p.Tasks {
		if t.Within != "" && time.Since(w.within[t.Task]) >= withinEvery {
			w.within[t.Task] = time.Now()
			w.progress.Say(t.Task + ": " + t.Within)
		}
		tasks[i] = report.Task{Name: t.Task, Rows: t.Rows, Done: t.Done, Failed: t.Failed}
	}
	w.progress.Update(tasks, p.Tokens)
}

// withinEvery is the time between two lines about one quantization: its one row tells nothing until it is done.
const withinEvery = 10 * time.Second

func (w *watch) end() {
	w.stop()
	w.progress.End()
}

// follow copies a growing file to out until stop is called, which waits for what is there by then.
func follow(path string, out io.Writer) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var offset int64
		for last := false; ; {
			if f, err := os.Open(path); err == nil {
				if _, err := f.Seek(offset, io.SeekStart); err == nil {
					n, _ := io.Copy(out, f) // the log is a convenience: what cannot be shown is still in the file
					offset += n
				}
				f.Close()
			}
			if last {
				return
			}
			select {
			case <-quit:
				last = true
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() { close(quit) })
		<-done
	}
}
