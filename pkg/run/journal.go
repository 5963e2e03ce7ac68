package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"sextant/pkg/result"
	"sextant/scheduler"
)

// The events of the journal.
const (
	evOpen   = "open"   // a submit took the run
	evSubmit = "submit" // a ticket is made, and a worker will be asked for to do it; written, and on disk, before that is done
	evAccept = "accept" // the scheduler gave the worker an ID
	evEnd    = "end"    // the ticket is done with
	evGone   = "gone"   // the worker has ended
	evGiveUp = "giveup" // a shard will not be tried again
)

// entry is one line of jobs.jsonl.
type entry struct {
	Time     time.Time         `json:"time"`
	Event    string            `json:"event"`
	Identity string            `json:"identity,omitempty"` // open: of the plan
	Fresh    bool              `json:"fresh,omitempty"`    // open: what failed before does not count
	Job      string            `json:"job,omitempty"`
	Attempt  int               `json:"attempt,omitempty"`
	Shards   []string          `json:"shards,omitempty"`
	Ref      scheduler.Ref     `json:"ref,omitzero"`
	Status   *scheduler.Status `json:"status,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Faults   []Fault           `json:"faults,omitempty"` // end: those that count
}

// journal is the run's memory of its jobs: intents and outcomes, appended one write a line. It serves to find jobs of a submit that died
// and to tell why rows are missing; which rows are done it does not say.
type journal struct {
	f        *os.File
	entries  []entry
	last     map[string]int           // by job: the highest number of an attempt
	asked    map[string]result.Ticket // by worker's name: the ticket it is for
	left     map[string]bool          // by worker's name: it has ended
	tickets  int                      // that were made
	failures map[Class]int            // of these, that ended badly
}

// note takes entries up.
func (j *journal) note(entries []entry) {
	if j.last == nil {
		j.last, j.asked, j.left, j.failures = map[string]int{}, map[string]result.Ticket{}, map[string]bool{}, map[Class]int{}
	}
	for _, e := range entries {
		j.last[e.Job] = max(j.last[e.Job], e.Attempt)
		switch {
		case e.Event == evSubmit:
			j.tickets++
		case e.Event == evEnd && e.Reason != "" && !e.stopped():
			j.failures[e.class("")]++
		}
		switch _, known := j.asked[e.Ref.Name]; {
		case e.Event == evSubmit && !known:
			j.asked[e.Ref.Name] = e.ticket()
		case e.Event == evGone && (e.Status == nil || e.Status.State != scheduler.Lost):
			j.left[e.Ref.Name] = true
		}
	}
	j.entries = append(j.entries, entries...)
}

// openJournal reads a journal and makes it ready to be appended to. A torn last line is cut off.
func openJournal(path string) (*journal, error) {
	entries, whole, err := readJournal(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	if err := f.Truncate(whole); err != nil {
		f.Close()
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j := &journal{f: f}
	j.note(entries)
	return j, nil
}

// readJournal reads the entries and says how many bytes are whole lines. Lines that are no entry are passed over.
func readJournal(path string) ([]entry, int64, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading the journal: %w", err)
	}
	whole := b[:bytes.LastIndexByte(b, '\n')+1]
	var entries []entry
	for line := range bytes.Lines(whole) {
		var e entry
		if json.Unmarshal(line, &e) == nil && e.Event != "" {
			entries = append(entries, e)
		}
	}
	return entries, int64(len(whole)), nil
}

// add appends entries and forces them to disk. Torn by a full disk, the line is cut off again.
func (j *journal) add(entries ...entry) error {
	var b []byte
	for i := range entries {
		entries[i].Time = time.Now().Round(time.Millisecond)
		line, err := json.Marshal(entries[i])
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		b = append(append(b, line...), '\n')
	}
	end, err := j.f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = j.f.Write(b)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("journal: %w", err), j.f.Truncate(end))
	}
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.note(entries)
	return nil
}

// past is what the journal tells of the submits before.
type past struct {
	tickets []orphan // not known to be done with
	hands   []orphan // workers that are not known to have ended
	faults  []Fault  // since a submit began afresh
}

// orphan is a ticket, or a worker, whose end nobody saw.
type orphan struct {
	entry
	ours bool // it is of the same question
}

// past reads the journal for the plan of an identity.
func (j *journal) past(identity string) past {
	tickets, hands := orphans[result.Ticket]{at: map[result.Ticket]int{}}, orphans[string]{at: map[string]int{}}
	var p past
	ours := false
	for _, e := range j.entries {
		switch e.Event {
		case evOpen:
			ours = e.Identity == identity
			if e.Fresh {
				p.faults = nil
			}
		case evSubmit:
			tickets.add(e.ticket(), orphan{e, ours})
			if _, known := hands.at[e.Ref.Name]; !known { // else the worker has made a ticket for itself
				hands.add(e.Ref.Name, orphan{e, ours})
			}
		case evAccept:
			hands.known(e.Ref.Name, orphan{e, ours})
		case evEnd:
			delete(tickets.at, e.ticket())
			delete(hands.at, e.Ref.Name) // named when none was asked for
			p.faults = append(p.faults, e.Faults...)
		case evGone:
			delete(hands.at, e.Ref.Name)
		}
	}
	p.tickets, p.hands = tickets.left(), hands.left()
	return p
}

// stopped says of an attempt's end that it was asked for, or is not known.
func (e *entry) stopped() bool {
	return e.Status == nil || e.Status.State == scheduler.Cancelled && e.Status.Cause == ""
}

// class is why an attempt that was not stopped left a shard undone; of shard "", any of its shards.
func (e *entry) class(shard string) Class {
	kind := result.FailureKind("")
	for _, f := range e.Faults {
		if f.Shard == shard || shard == "" && kind == "" {
			kind = f.Kind
		}
	}
	switch st := *e.Status; {
	case kind == result.FailInput, kind == result.FailDisk:
		return Class(kind)
	case st.Cause == evicted:
		return ClassEvicted
	case st.Cause != "":
		return Class(st.Cause)
	case st.State == scheduler.Lost:
		return ClassLost
	case kind != "":
		return Class(kind)
	}
	return Class(result.FailOther)
}

func (e *entry) ticket() result.Ticket { return result.Ticket{Job: e.Job, Attempt: e.Attempt} }

// orphans are entries in order, by ticket or by the worker's name.
type orphans[K comparable] struct {
	at   map[K]int
	list []orphan
}

func (o *orphans[K]) add(key K, e orphan) {
	o.at[key] = len(o.list)
	o.list = append(o.list, e)
}

// known takes up the scheduler's ID. One that was thought gone is there again.
func (o *orphans[K]) known(key K, e orphan) {
	if i, ok := o.at[key]; ok {
		o.list[i].Ref = e.Ref
	} else {
		o.add(key, e)
	}
}

// left lists what was not dropped.
func (o *orphans[K]) left() []orphan {
	var left []orphan
	for _, i := range slices.Sorted(maps.Values(o.at)) {
		left = append(left, o.list[i])
	}
	return left
}

// givenUp tells why a shard was given up last, unless it was submitted again since.
func (j *journal) givenUp() map[string]string {
	reasons := map[string]string{}
	for _, e := range j.entries {
		for _, s := range e.Shards {
			switch e.Event {
			case evSubmit:
				delete(reasons, s)
			case evGiveUp:
				reasons[s] = e.Reason
			}
		}
	}
	return reasons
}

func writeBytes(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}
