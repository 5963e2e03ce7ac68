package sweep

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// World is what a watch acts on.
type World interface {
	// Look reads the directory.
	Look() ([]Seen, error)
	// Open checks a checkpoint as far as can be done without evaluating it, and tells its fingerprint.
	Open(Seen) (fingerprint string, err error)
	// Plan plans a run of checkpoints. It writes nothing. An error is not any checkpoint's fault.
	Plan([]Opened) (Planned, error)
	// Carry carries out what a batch's run still lacks, and tells why members have missing rows. Of a run directory without a plan it is
	// ErrNothing. Any other error leaves the batch unfinished.
	Carry(Batch) (failed map[string]string, err error)
}

// ErrNothing says that nothing of a batch was made.
var ErrNothing = errors.New("the run directory has no plan")

// Planned is a run that can be made.
type Planned struct {
	Run     string            // its directory's name
	Models  map[string]string // by checkpoint: its abbr
	Refused map[string]error  // checkpoints that cannot be planned; with them all, there is no run
	Place   func() error      // leaves the plan in the run directory
}

// Log takes events up durably. A Journal is one.
type Log interface {
	Add(...Event) error
}

// Rounds drives a watch.
type Rounds struct {
	*Watch
	World World
	Log   Log
	Say   func(string) // to a person
}

// add journals events, then takes them in.
func (r *Rounds) add(events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := r.Log.Add(events...); err != nil {
		return err
	}
	r.Apply(events...)
	return nil
}

// GoOn finishes the batch that an earlier watch left unfinished. ended is that batch; nil: there was none, or nothing of it was made.
func (r *Rounds) GoOn() (ended *Batch, err error) {
	b := r.Unfinished()
	if b == nil {
		return nil, nil
	}
	r.Say(fmt.Sprintf("going on with batch %d, %s", b.Number, b.Run))
	return r.carry(*b)
}

// Once looks at the directory, and evaluates the complete checkpoints that are new, in one batch. ended is that batch; nil: there was none.
func (r *Rounds) Once(now time.Time) (ended *Batch, err error) {
	seen, err := r.World.Look()
	if err != nil {
		return nil, err
	}
	try, say := r.Look(now, seen)
	r.tell(say)
	var opened []Opened
	for _, s := range try {
		o := Opened{Seen: s}
		o.Fingerprint, o.Err = r.World.Open(s)
		opened = append(opened, o)
	}
	take, events, say := r.Judge(opened)
	r.tell(say)
	if err := r.add(events...); err != nil || len(take) == 0 {
		return nil, err
	}
	return r.begin(take)
}

func (r *Rounds) tell(lines []string) {
	for _, l := range lines {
		r.Say(l)
	}
}

// begin makes a batch and carries it out.
func (r *Rounds) begin(take []Opened) (*Batch, error) {
	p, err := r.World.Plan(take)
	if err != nil {
		return nil, err
	}
	b := Batch{Number: r.Next(), Run: p.Run}
	var events []Event
	for _, o := range take {
		if err := p.Refused[o.Name]; err != nil {
			e, line := Refuse(o.Seen, err)
			events = append(events, e)
			r.Say(line)
			continue
		}
		b.Members = append(b.Members, Member{Name: o.Name, Model: p.Models[o.Name], Files: o.Files, Fingerprint: o.Fingerprint})
	}
	if len(b.Members) > 0 {
		events = append(events, Event{Event: evBegin, Batch: b.Number, Run: b.Run, Question: r.rules.Question, Members: b.Members})
	}
	if err := r.add(events...); err != nil || len(b.Members) == 0 {
		return nil, err
	}
	if err := p.Place(); err != nil {
		return nil, err
	}
	return r.carry(b)
}

// carry carries a batch out and journals how it ended for each member.
func (r *Rounds) carry(b Batch) (*Batch, error) {
	failed, err := r.World.Carry(b)
	if errors.Is(err, ErrNothing) {
		r.Say(fmt.Sprintf("nothing was made of batch %d: its checkpoints are new again", b.Number))
		return nil, r.add(Event{Event: evDrop, Batch: b.Number})
	}
	if err != nil {
		return nil, err
	}
	var events []Event
	for _, m := range r.left(b) {
		e := Event{Event: evDone, Batch: b.Number, Name: m.Name}
		if reason, ok := failed[m.Name]; ok {
			e.Event, e.Reason = evFailed, reason
		}
		events = append(events, e)
	}
	return &b, r.add(events...)
}

// Mended takes up that members of a batch that lacked rows have them now, for somebody has gone on with its run: those that are not in failed.
func (r *Rounds) Mended(b Batch, failed map[string]string) error {
	var events []Event
	for _, m := range b.Members {
		if _, still := failed[m.Name]; !still {
			events = append(events, Event{Event: evDone, Batch: b.Number, Name: m.Name})
			r.Say(m.Name + ": it has all its rows now")
		}
	}
	return r.add(events...)
}

// Troubled names the checkpoints that were refused or lack rows.
func (w *Watch) Troubled() []string {
	var out []string
	for name, c := range w.known {
		if c.status == Refused || c.status == Failed {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
