package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sextant/pkg/notify"
	"sextant/pkg/report"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"
	"sextant/pkg/spec"

	"github.com/urfave/cli/v2"
)

// What -l takes where the spec has no [notify] of a Lark bot.
const (
	larkURL    = "LARK_BOT_URL"
	larkSecret = "LARK_BOT_SECRET"
)

// noNotify is the flag with which nobody is told.
const noNotify = "no-notify"

// muteFlag is that flag, for each command that carries a run out.
func muteFlag() *cli.BoolFlag {
	return &cli.BoolFlag{Name: noNotify, Usage: "tell nobody how the run goes, whatever [notify] and [track] in the spec say", DisableDefaultText: true}
}

// withLark makes a spec tell the Lark bot of -l, unless it tells one already.
func withLark(s *spec.Spec) error {
	if s.Notify.Kind == notify.Lark {
		return nil
	}
	if os.Getenv(larkURL) == "" {
		return fmt.Errorf("--lark: environment variable %s is not set; set it to the bot's address, or write [notify] in the spec", larkURL)
	}
	s.Notify = spec.Notify{Kind: notify.Lark, URL: "${" + larkURL + "}", On: s.Notify.On}
	if os.Getenv(larkSecret) != "" {
		s.Notify.Secret = "${" + larkSecret + "}"
	}
	return nil
}

// story is what a run directory keeps of what was told about its run: so that each thing is told once, whatever dies in between.
type story struct {
	Version int       `json:"version"`
	Open    bool      `json:"open"` // work has begun, and its end was not told
	Since   time.Time `json:"since,omitzero"`
}

// notices tells how one run goes. It may be nil: nobody is to be told. No method but ended waits.
type notices struct {
	env
	hook  notify.Hook
	on    []string
	run   *run.Run
	path  string
	story story

	rows, done int
	scores     *score.Scores
	stop       context.CancelFunc // of the notice that is under way
	under      sync.WaitGroup
}

// asides are lines about what goes on beside a run and does not hold it up.
type asides struct {
	mu    sync.Mutex
	say   func(string) // shows a line beside the progress; nil: there is none
	later []string     // lines that wait for flush
}

// through says what shows lines while the progress is shown; nil: that is over. Without asides nothing is.
func (a *asides) through(say func(string)) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.say = say
}

// warn tells the user of something that the run does not depend on.
func (a *asides) warn(err error) {
	line := fmt.Sprintf("warning: %v; the run does not depend on it", err)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.say != nil {
		a.say(line)
		return
	}
	a.later = append(a.later, line)
}

// flush prints the lines that waited.
func (a *asides) flush(w io.Writer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, line := range a.later {
		fmt.Fprintln(w, line)
	}
	a.later = nil
}

// newNotices finds out whom the run's spec wants to be told. What is wrong with that is told, and no reason not to run.
func (e env) newNotices(r *run.Run) *notices {
	want := r.Plan.Spec.Notify
	if want.Kind == "" || e.mute {
		return nil
	}
	n := &notices{env: e, on: want.On, run: r, path: filepath.Join(string(r.Dir), "notices.json")}
	if len(n.on) == 0 {
		n.on = []string{notify.Start, notify.End, notify.Failure}
	}
	var err error
	n.hook.Kind = want.Kind
	if n.hook.URL, n.hook.Secret, err = want.Address(); err == nil {
		err = n.hook.Check()
	}
	if err != nil {
		fmt.Fprintf(e.stderr, "warning: nobody is told how the run goes: %v\n", err)
		return nil
	}
	if raw, err := os.ReadFile(n.path); err == nil {
		_ = json.Unmarshal(raw, &n.story) // one that cannot be read is as none: something is told once more
	}
	return n
}

// observe takes in how far the run is, and tells that it begins when there is something to do.
func (n *notices) observe(ev run.Event) {
	if n == nil || ev.Kind == run.Adopting {
		return
	}
	n.rows, n.done = 0, 0
	for _, t := range ev.Progress.Tasks {
		n.rows, n.done = n.rows+t.Rows, n.done+t.Done
	}
	if ev.Kind != run.Began || n.done >= n.rows || n.story.Open {
		return
	}
	n.keep(story{Open: true, Since: time.Now().Round(time.Second)})
	if !slices.Contains(n.on, notify.Start) {
		return
	}
	p := n.run.Plan
	where := "on this machine"
	if p.Spec.Infer.Remote() {
		where = "by " + p.Spec.Infer.Scheduler
	}
	text := fmt.Sprintf("%s, %d rows, %d of them there already; %s, %d at once %s\nrun: %s", count(len(ev.Progress.Tasks), "task"), n.rows, n.done,
		count(len(p.Jobs), "job"), p.Spec.Infer.MaxNumWorkers, where, n.run.Dir)
	notice := n.notice(notify.Start, "began", text)
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.under.Go(func() {
		if err := n.hook.Send(ctx, notice); err != nil {
			n.asides.warn(err)
		}
	})
}

// keep remembers what was told. Where that fails something may be told twice.
func (n *notices) keep(s story) {
	s.Version, n.story = 1, s
	if err := result.CommitJSON(n.path, s); err != nil {
		n.asides.warn(fmt.Errorf("remembering what was told: %w", err))
	}
}

// scored takes in the run's scores.
func (n *notices) scored(all *score.Scores) {
	if n != nil {
		n.scores = all
	}
}

func (n *notices) notice(event, how, text string) notify.Notice {
	s := &n.run.Plan.Spec
	host, _ := os.Hostname() // a name for people, as the next
	user := cmp.Or(os.Getenv("USER"), os.Getenv("LOGNAME"), "uid "+strconv.Itoa(os.Getuid()))
	id := fmt.Sprintf("%s-%s-%d", event, filepath.Base(string(n.run.Dir)), n.story.Since.Unix())
	notice := notify.Notice{Event: event, ID: id, Time: time.Now(), Name: s.Name, Run: string(n.run.Dir), User: user, Host: host, Rows: n.rows,
		Done: n.done, Title: fmt.Sprintf("[sextant] %s %s", s.Name, how), Text: fmt.Sprintf("%s on %s: %s", user, host, text)}
	if event != notify.Start {
		notice.Seconds = time.Since(n.story.Since).Seconds()
	}
	if n.scores != nil {
		for _, x := range slices.Concat(n.scores.Scores, n.scores.Groups) {
			notice.Scores = append(notice.Scores, notify.Score{Model: x.Model, Dataset: x.Dataset, Metric: x.Metric, Value: x.Value,
				StdErr: x.StdErr, N: x.N, Missing: x.Missing})
		}
	}
	return notice
}

// ended tells how the run ended, err, which it gives back. It waits for what is under way and for its own message, both bounded. Jobs that go on
// by themselves are no end, and what has begun nothing has none.
func (n *notices) ended(ctx context.Context, err error) error {
	if n == nil {
		return err
	}
	if n.stop != nil {
		time.AfterFunc(lastWait, n.stop)
	}
	n.under.Wait()
	if n.story.Open && !errors.Is(err, errQueued) && !errors.Is(err, errDetached) {
		n.end(ctx, err)
	}
	return err
}

// lastWait is how long a message that is under way at the end, or one about an interruption, may still take.
const lastWait = 5 * time.Second

func (n *notices) end(ctx context.Context, err error) {
	notice := n.outcome(err)
	limit := notify.Longest
	if ctx.Err() != nil {
		limit = lastWait
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if slices.Contains(n.on, notice.Event) {
		if err := n.hook.Send(ctx, notice); err != nil {
			n.asides.warn(fmt.Errorf("%w; the next submit on the run tries again", err)) // for the story stays open
			return
		}
	}
	n.keep(story{})
}

// mostLines is how many scores or reasons a message has.
const mostLines = 20

// outcome is the notice of how a run ended.
func (n *notices) outcome(err error) notify.Notice {
	dir := string(n.run.Dir)
	took := duration(time.Since(n.story.Since).Seconds())
	lines := []string{fmt.Sprintf("%d of %d rows, after %s", n.done, n.rows, took)}
	event, how := notify.Failure, "failed"
	switch {
	case err == nil:
		event, how, lines[0] = notify.End, "is done", fmt.Sprintf("%d rows, after %s", n.rows, took)
		n.done = n.rows
	case errors.Is(err, errIncomplete):
		how = "is incomplete"
		reasons := n.run.Reasons()
		for _, t := range n.run.Plan.Tasks {
			if reason := reasons[t.ID]; reason != "" && len(lines) <= mostLines {
				lines = append(lines, t.ID+": "+reason)
			}
		}
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		how = "was interrupted"
	default:
		lines = append(lines, err.Error())
	}
	if n.scores != nil {
		lines = append(lines, report.Brief(*n.scores, mostLines)...)
	}
	lines = append(lines, "run: "+dir)
	if event == notify.Failure {
		lines = append(lines, "go on: submit resume "+dir)
	}
	return n.notice(event, how, strings.Join(lines, "\n"))
}
