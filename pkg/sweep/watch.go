package sweep

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Rules are what a watch goes by.
type Rules struct {
	Marker   string        // a checkpoint is complete when it has a file of this name; "": when it has settled, and opens
	Settle   time.Duration // a checkpoint has settled when no file of it has changed for so long
	Again    bool          // what is not as it was when it was evaluated is evaluated again
	Question string        // digest of what is asked of each checkpoint
}

// Seen is a checkpoint's directory at one look.
type Seen struct {
	Name    string
	Files   string    // digest of its files' names, sizes and times
	Changed time.Time // the last of these times
	Marked  bool      // it has the marker
}

// Watch is what is known of the checkpoints of a directory. Events change it, those of a journal or new ones alike; besides them it remembers
// what it has told. It does no input or output.
type Watch struct {
	rules   Rules
	known   map[string]*checkpoint
	batches []Batch // that were not dropped
	others  bool    // the checkpoints that another question was asked of were told
}

// Batch is one run of a watch.
type Batch struct {
	Number  int
	Run     string // the run directory's name
	Members []Member
}

// Member is a checkpoint of a batch.
type Member struct {
	Name        string `json:"name"`
	Model       string `json:"model"` // its abbr
	Files       string `json:"files"` // Seen.Files when it was taken
	Fingerprint string `json:"fingerprint"`
}

// Status is how a checkpoint stands.
type Status string

// The states of a checkpoint.
const (
	New     Status = "new"     // not complete, or not taken yet
	Running Status = "running" // in a batch that has not ended
	Done    Status = "done"    // every row has a score
	Failed  Status = "failed"  // evaluated, and rows are missing
	Refused Status = "refused" // it does not open, or cannot be planned
)

// checkpoint is what is known of one. The last fields are not of the journal.
type checkpoint struct {
	status      Status // the last outcome: New, Done, Failed or Refused
	reason      string
	fingerprint string // when it was evaluated last
	question    string // that was asked then
	files       string // that the outcome is of
	ended       int    // the number of the batch that it is of
	taken       Member // in the batch that has not ended
	batch       int    // its number; 0: it is in none
	asked       string // the question of that batch

	now   string    // its files at the last look
	since time.Time // when they were first seen so
	told  string    // what of its waiting, or of its change
}

// NewWatch is a watch after the events of its journal.
func NewWatch(r Rules, past []Event) *Watch {
	w := &Watch{rules: r, known: map[string]*checkpoint{}}
	w.Apply(past...)
	for _, c := range w.known {
		if r.Again && c.evaluated() && c.question != r.Question {
			c.files = "" // it is to be looked at
		}
	}
	return w
}

func (w *Watch) at(name string) *checkpoint {
	c := w.known[name]
	if c == nil {
		c = &checkpoint{status: New}
		w.known[name] = c
	}
	return c
}

func (c *checkpoint) evaluated() bool { return c.status == Done || c.status == Failed }

// Apply takes in what has happened.
func (w *Watch) Apply(events ...Event) {
	for _, e := range events {
		switch e.Event {
		case evBegin:
			w.batches = append(w.batches, Batch{e.Batch, e.Run, e.Members})
			for _, m := range e.Members {
				c := w.at(m.Name)
				c.batch, c.taken, c.asked = e.Batch, m, e.Question
			}
		case evDrop:
			w.batches = slices.DeleteFunc(w.batches, func(b Batch) bool { return b.Number == e.Batch })
			for _, c := range w.known {
				if c.batch == e.Batch {
					c.batch, c.taken, c.asked = 0, Member{}, ""
				}
			}
		case evDone, evFailed:
			switch c := w.at(e.Name); {
			case c.batch == e.Batch:
				*c = checkpoint{status: Status(e.Event), reason: e.Reason, fingerprint: c.taken.Fingerprint, question: c.asked,
					files: c.taken.Files, ended: e.Batch, now: c.now, since: c.since}
			case c.ended == e.Batch: // somebody has gone on with its run
				c.status, c.reason = Status(e.Event), e.Reason
			}
		case evRefused, evSame:
			c := w.at(e.Name)
			if c.files = e.Files; !c.evaluated() {
				c.status, c.reason = Refused, e.Reason
			}
		}
	}
}

// Unfinished is the batch that was begun and has not ended; nil: there is none.
func (w *Watch) Unfinished() *Batch {
	for _, b := range slices.Backward(w.batches) {
		if left := w.left(b); len(left) > 0 {
			return &b
		}
	}
	return nil
}

// left are the members of a batch whose end is not known.
func (w *Watch) left(b Batch) []Member {
	return slices.DeleteFunc(slices.Clone(b.Members), func(m Member) bool { return w.at(m.Name).batch != b.Number })
}

// Lacking are the batches of which members lacked rows when they ended, with these members alone.
func (w *Watch) Lacking() (out []Batch) {
	for _, b := range w.batches {
		b.Members = slices.DeleteFunc(slices.Clone(b.Members), func(m Member) bool {
			c := w.at(m.Name)
			return c.status != Failed || c.batch != 0 || c.ended != b.Number
		})
		if len(b.Members) > 0 {
			out = append(out, b)
		}
	}
	return out
}

// Runs are the run directories' names of all batches, oldest first.
func (w *Watch) Runs() []string {
	var out []string
	for _, b := range w.batches {
		if !slices.Contains(out, b.Run) {
			out = append(out, b.Run)
		}
	}
	return out
}

// Standing is how each checkpoint stands that was seen or is in the journal, by name, and why one failed or was refused.
func (w *Watch) Standing() (status map[string]Status, reasons map[string]string) {
	status, reasons = map[string]Status{}, map[string]string{}
	for name, c := range w.known {
		status[name], reasons[name] = c.status, c.reason
		if c.batch != 0 {
			status[name] = Running
		}
	}
	return status, reasons
}

// Look takes in the directory as it is now. try are the checkpoints to open, complete as far as can be seen from outside; say is what a person
// should know, each thing once.
func (w *Watch) Look(now time.Time, seen []Seen) (try []Seen, say []string) {
	w.forget(seen)
	say = w.otherwise()
	for _, s := range seen {
		c := w.at(s.Name)
		if c.now != s.Files {
			c.now, c.since = s.Files, now
		}
		if c.batch != 0 || c.files == s.Files || c.told == "changed "+s.Files {
			continue
		}
		if why := w.waits(c, s, now); why == "" {
			try = append(try, s)
		} else if c.told == "" && !c.evaluated() {
			c.told = "waits"
			say = append(say, s.Name+": "+why)
		}
	}
	return try, say
}

// forget drops what is not there any more and was not evaluated.
func (w *Watch) forget(seen []Seen) {
	maps.DeleteFunc(w.known, func(name string, c *checkpoint) bool {
		return c.batch == 0 && !c.evaluated() && !slices.ContainsFunc(seen, func(s Seen) bool { return s.Name == name })
	})
}

// otherwise tells of checkpoints that something else was asked of.
func (w *Watch) otherwise() []string {
	n := 0
	for _, c := range w.known {
		if c.evaluated() && c.question != w.rules.Question {
			n++
		}
	}
	if w.others || n == 0 {
		return nil
	}
	w.others = true
	what := "--again evaluates them again, -w DIR keeps them apart"
	if w.rules.Again {
		what = "they are evaluated again"
	}
	return []string{fmt.Sprintf("checkpoints evaluated when the spec asked something else: %d; %s", n, what)}
}

// waits says why a checkpoint is not complete, seen from outside; "": it may be.
func (w *Watch) waits(c *checkpoint, s Seen, now time.Time) string {
	switch {
	case w.rules.Marker != "" && !s.Marked:
		return fmt.Sprintf("not complete: it has no %s yet", w.rules.Marker)
	case w.rules.Marker == "" && now.Sub(c.since) < w.rules.Settle && now.Sub(s.Changed) < w.rules.Settle:
		return fmt.Sprintf("not complete: its files have changed within %s", w.rules.Settle)
	}
	return ""
}

// Opened is what came of opening a checkpoint.
type Opened struct {
	Seen
	Fingerprint string
	Err         error // why it does not open
}

// Judge decides on checkpoints that were opened: take are those to evaluate, events what is to be journaled of the others.
func (w *Watch) Judge(opened []Opened) (take []Opened, events []Event, say []string) {
	for _, o := range opened {
		c := w.at(o.Name)
		same := c.fingerprint == o.Fingerprint && (c.question == w.rules.Question || !w.rules.Again)
		switch {
		case o.Err != nil && c.evaluated(): // it is being deleted, or written again
			events = append(events, Event{Event: evSame, Name: o.Name, Files: o.Files})
		case o.Err != nil:
			e, line := Refuse(o.Seen, o.Err)
			events, say = append(events, e), append(say, line)
		case c.evaluated() && same:
			events = append(events, Event{Event: evSame, Name: o.Name, Files: o.Files})
		case c.evaluated() && !w.rules.Again:
			c.told = "changed " + o.Files
			say = append(say, o.Name+": it has changed since it was evaluated; --again evaluates it again")
		default:
			take = append(take, o)
		}
	}
	return take, events, say
}

// Refuse is the event of a checkpoint that cannot be evaluated as it is, and the line that says so.
func Refuse(s Seen, err error) (Event, string) {
	reason := strings.ReplaceAll(err.Error(), "\n", "; ")
	return Event{Event: evRefused, Name: s.Name, Files: s.Files, Reason: reason},
		fmt.Sprintf("%s: not evaluated: %s; it is looked at again when its files change", s.Name, reason)
}

// Next is the number of the next batch.
func (w *Watch) Next() int {
	n := 0
	for _, b := range w.batches {
		n = max(n, b.Number)
	}
	return n + 1
}
