package run

import (
	"time"

	"sextant/pkg/result"
	"sextant/scheduler"
)

// Span is one attempt of a job: when it was asked for, who took it and how it ended, as far as the run directory tells.
type Span struct {
	Job     string          `json:"job"`
	Attempt int             `json:"attempt"`
	Shards  []string        `json:"shards"`
	Worker  string          `json:"worker,omitempty"` // the hand that did it: one that drains does several
	Node    string          `json:"node,omitempty"`
	Asked   time.Time       `json:"asked"`
	Began   time.Time       `json:"began,omitzero"` // when a worker took it; zero: none did
	Ended   time.Time       `json:"ended,omitzero"` // zero: it is not known to have ended
	State   scheduler.State `json:"state,omitempty"`
	Reason  string          `json:"reason,omitempty"` // of one that did not end well
	Rows    int             `json:"rows,omitempty"`   // that it computed
	Tokens  int64           `json:"tokens,omitempty"` // put through the model
	Load    float64         `json:"load,omitempty"`   // seconds of it spent loading the model
	Work    float64         `json:"work,omitempty"`   // seconds that the worker was at it, those of Load too
}

// Timeline tells of every attempt of a run, in the order in which they were asked for. It changes nothing and serves a run in any state.
func Timeline(dir string) ([]Span, error) {
	d := result.Dir(dir)
	entries, _, err := readJournal(d.Journal())
	if err != nil {
		return nil, err
	}
	var spans []Span
	at := map[result.Ticket]int{}
	for _, e := range entries {
		i, known := at[e.ticket()]
		switch {
		case e.Event == evSubmit && !known:
			at[e.ticket()] = len(spans)
			spans = append(spans, Span{Job: e.Job, Attempt: e.Attempt, Shards: e.Shards, Worker: e.Ref.Name, Asked: e.Time})
		case e.Event == evEnd && known:
			spans[i].end(e)
		}
	}
	for i := range spans {
		spans[i].look(d)
	}
	return spans, nil
}

// end takes up how the journal says that it ended.
func (s *Span) end(e entry) {
	s.Ended, s.Reason = e.Time, e.Reason
	if e.Status != nil {
		s.State, s.Node = e.Status.State, e.Status.Node
		if s.Reason == "" {
			s.Reason = e.Status.Reason
		}
	}
}

// look adds what the worker left. What it did not leave, or what cannot be read, stays unknown.
func (s *Span) look(d result.Dir) {
	t := result.Ticket{Job: s.Job, Attempt: s.Attempt}
	if c, err := result.ReadClaim(d.Claim(t)); err == nil && c.Closed == "" {
		s.Began = c.Time
		if c.Worker != "" {
			s.Worker = c.Worker
		}
		if s.Node == "" {
			s.Node = c.Host
		}
	}
	end, err := result.ReadEnd(d.End(s.Job, s.Attempt))
	if err != nil {
		return
	}
	s.Rows, s.Tokens, s.Load, s.Work = end.Rows, end.Tokens, end.LoadSeconds, end.Seconds
	if s.Began.IsZero() {
		return
	}
	if done := s.Began.Add(time.Duration(end.Seconds * float64(time.Second))); s.Ended.IsZero() || done.Before(s.Ended) {
		s.Ended = done // the journal's is when submit saw it
	}
}
