package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Ticket is one attempt of a job: what a worker may take up, once.
type Ticket struct {
	Job     string `json:"job"`
	Attempt int    `json:"attempt"`
}

func (t Ticket) String() string { return t.Job + "." + strconv.Itoa(t.Attempt) }

// ParseTicket reads what String wrote.
func ParseTicket(s string) (Ticket, bool) {
	i := strings.LastIndexByte(s, '.')
	n, err := strconv.Atoi(s[i+1:])
	return Ticket{s[:max(i, 0)], n}, i > 0 && err == nil && n > 0
}

// Offer is a list of tickets that the workers of one pool may take. A submit commits it before it asks for the workers.
type Offer struct {
	Pool    string   `json:"pool"`
	Tickets []Ticket `json:"tickets"` // the longest first
}

// Claim is the hold on a ticket. Whoever makes its file has it, for good: a ticket is never given back, a new one is made instead.
type Claim struct {
	Ticket
	Worker  string    `json:"worker,omitempty"`  // the scheduler's name of the job that took it, "" when started by hand
	Restart int       `json:"restart,omitempty"` // how often the scheduler had started that job before
	Host    string    `json:"host,omitempty"`
	PID     int       `json:"pid,omitempty"`
	Time    time.Time `json:"time"`
	Closed  string    `json:"closed,omitempty"` // why nobody will do it: a submit has taken it out of play
}

// Take tries to get a ticket. false: another has it. It is atomic on NFS too: the claim is written beside and then linked to its name.
func (d Dir) Take(c Claim) (bool, error) {
	if err := os.MkdirAll(d.Claims(), 0o777); err != nil {
		return false, fmt.Errorf("claiming %s: %w", c.Ticket, err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		return false, fmt.Errorf("claiming %s: %w", c.Ticket, err)
	}
	f, err := os.CreateTemp(d.Claims(), ".claim-*")
	if err != nil {
		return false, fmt.Errorf("claiming %s: %w", c.Ticket, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, fmt.Errorf("claiming %s: %w", c.Ticket, err)
	}
	err = os.Link(f.Name(), d.Claim(c.Ticket))
	switch {
	case errors.Is(err, fs.ErrExist):
		return d.mine(c)
	case err != nil:
		return false, fmt.Errorf("claiming %s: %w", c.Ticket, err)
	}
	return true, SyncDir(d.Claims())
}

// mine tells a link that an NFS server made, but of which the answer was lost and the request sent again, from another's.
func (d Dir) mine(c Claim) (bool, error) {
	got, err := ReadClaim(d.Claim(c.Ticket))
	if gone(err) { // not to be seen from here yet: ours would be
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return got.Worker == c.Worker && got.Restart == c.Restart && got.Host == c.Host && got.PID == c.PID && got.Time.Equal(c.Time), nil
}

// ReadClaim reads a claim.
func ReadClaim(path string) (Claim, error) {
	var c Claim
	return c, readJSON(path, &c)
}

// Claimed lists the tickets that are taken.
func (d Dir) Claimed() ([]Ticket, error) {
	entries, err := readDir(d.Claims())
	if err != nil {
		return nil, err
	}
	var list []Ticket
	for _, e := range entries {
		if t, ok := ParseTicket(e.Name()); ok && !strings.HasPrefix(e.Name(), ".") {
			list = append(list, t)
		}
	}
	return list, nil
}

// AddOffer commits an offer under the next free number.
func (d Dir) AddOffer(o Offer) error {
	names, err := d.OfferNames()
	if err != nil {
		return err
	}
	n := 1
	if len(names) > 0 {
		last, _ := strconv.Atoi(strings.TrimSuffix(names[len(names)-1], ".json"))
		n = last + 1
	}
	return CommitJSON(d.Offer(fmt.Sprintf("%06d.json", n)), o)
}

// OfferNames lists the offers, oldest first.
func (d Dir) OfferNames() ([]string, error) {
	entries, err := readDir(d.join("offers"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// ReadOffer reads an offer by its name.
func (d Dir) ReadOffer(name string) (Offer, error) {
	var o Offer
	return o, readJSON(d.Offer(name), &o)
}

// NewAttempt makes the directory of the next attempt of a job with these shards, and gives its number. Nobody else gets the same.
func (d Dir) NewAttempt(job string, shards []string) (int, error) {
	n := 1
	for _, id := range append([]string{job}, shards...) {
		last, err := d.LastAttempt(id)
		if err != nil {
			return 0, err
		}
		n = max(n, last+1)
	}
	if err := os.MkdirAll(filepath.Dir(d.Attempt(job, n)), 0o777); err != nil {
		return 0, fmt.Errorf("making an attempt: %w", err)
	}
	for ; ; n++ {
		err := os.Mkdir(d.Attempt(job, n), 0o777)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return 0, fmt.Errorf("making an attempt: %w", err)
		}
	}
}
