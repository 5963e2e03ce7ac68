package pipeline

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"sextant/pkg/model"
)

// ErrRank is in the chain of an error that says that a rank is gone. The others may be well: another try may help.
var ErrRank = errors.New("a rank of the worker is gone")

// Rendezvous is what a rank must know to join. Who has it may join: it is a secret.
type Rendezvous struct {
	Addrs []string // of rank 0: it is reached by one of them
	Token string
	Ranks int
}

// Open is what a rank is to load: Model in the words of who gives it, and its parts, one for each of its devices, with their shares of the weights.
type Open struct {
	Model  []byte
	Parts  []model.Part
	Shares []float64
}

// Measure asks a rank what its stages have room for in passes of so many tokens and rows of logits, and is the answer: the tokens of a pass that
// fit, and the bytes of cache there are, with those of a position.
type Measure struct {
	Tokens, Rows          int
	Memory, PositionBytes int64
}

// Host is rank 0's side of a worker of several processes. Its methods are for one goroutine, but Fail and Dead.
type Host struct {
	ranks int
	token string
	ln    net.Listener
	seats []*seat    // of the ranks 1, 2, ...
	come  chan *seat // those that join
	ring  chan *link // from the last rank
	down  *link      // to rank 1
	up    *link      // from the last rank, once it is there

	dead chan struct{} // closed when a rank is gone, or all is over
	once sync.Once
	err  error // why
}

// seat is another rank, as rank 0 sees it.
type seat struct {
	control       // its hello
	l       *link // for control
	answers chan control
	gone    chan struct{} // closed when it has ended the connection
}

func (s *seat) String() string {
	return fmt.Sprintf("rank %d (process %d on %s)", s.Rank, s.PID, s.Host)
}

// Listen opens the place where so many ranks are to meet, this one counted. near: they are on this machine.
func Listen(ranks int, near bool, getenv func(string) string) (*Host, error) {
	ips, err := addresses(near, getenv)
	if err != nil {
		return nil, err
	}
	at := ":0"
	if len(ips) == 1 {
		at = net.JoinHostPort(ips[0], "0")
	}
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("listening for the other ranks: %w", err)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	h := &Host{ranks: ranks, token: hex.EncodeToString(secret), ln: ln, seats: make([]*seat, ranks-1), come: make(chan *seat, ranks),
		ring: make(chan *link, 1), dead: make(chan struct{})}
	go h.accept()
	return h, nil
}

// Rendezvous is what the other ranks must be told.
func (h *Host) Rendezvous(near bool, getenv func(string) string) (Rendezvous, error) {
	ips, err := addresses(near, getenv)
	r := Rendezvous{Token: h.token, Ranks: h.ranks}
	_, port, _ := net.SplitHostPort(h.ln.Addr().String())
	for _, ip := range ips {
		r.Addrs = append(r.Addrs, net.JoinHostPort(ip, port))
	}
	return r, err
}

// accept takes connections until the listener is closed. Those that have not the token are none of ours.
func (h *Host) accept() {
	for {
		conn, err := h.ln.Accept()
		if err != nil {
			return
		}
		go func() {
			l := newLink(conn)
			c, err := greeted(l, h.token)
			select {
			case <-h.dead: // nobody will take it
				l.close()
				return
			default:
			}
			switch {
			case err != nil || c.Rank < 1 || c.Rank >= h.ranks || !c.Data && !fast(c.Speeds) || c.Data && c.Rank != h.ranks-1:
				l.close()
			case c.Data:
				h.ring <- l
			default:
				h.come <- &seat{control: c, l: l, answers: make(chan control, 1), gone: make(chan struct{})}
			}
		}()
	}
}

// greeted reads the hello of a connection.
func greeted(l *link, token string) (c control, err error) {
	if err = l.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return c, err
	}
	if _, err = readFrame(io.LimitReader(l.r, 1<<16), &c, nil); err != nil {
		return c, err
	}
	if c.Kind != hello || subtle.ConstantTimeCompare([]byte(c.Token), []byte(token)) != 1 {
		return c, errors.New("it has not the token")
	}
	return c, l.conn.SetReadDeadline(time.Time{})
}

// fast says that there are devices, each with a speed.
func fast(speeds []float64) bool {
	return len(speeds) > 0 && !slices.ContainsFunc(speeds, func(s float64) bool { return !(s > 0) || math.IsInf(s, 1) })
}

// Join waits until all ranks are there, and gives the speeds of the devices that each of the others has.
func (h *Host) Join(ctx context.Context) (speeds [][]float64, err error) {
	for there := 0; there < h.ranks-1; {
		select {
		case s := <-h.come:
			if h.seats[s.Rank-1] != nil {
				s.l.close()
				continue
			}
			h.seats[s.Rank-1] = s
			there++
			go h.listen(s)
			go s.l.beats(h.dead)
		case <-h.dead:
			return nil, h.err
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the other ranks, of which %d of %d came: %w", there, h.ranks-1, context.Cause(ctx))
		}
	}
	for _, s := range h.seats {
		speeds = append(speeds, s.Speeds)
	}
	return speeds, nil
}

// listen hears a rank until it is gone.
func (h *Host) listen(s *seat) {
	defer close(s.gone)
	for {
		c, err := s.l.next()
		if err != nil {
			h.Fail(fmt.Errorf("%v: %w: %w", s, ErrRank, heard(err)))
			return
		}
		s.answers <- c
	}
}

// heard says in words how a connection ended.
func heard(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return errors.New("its connection ended")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("nothing was heard of it for %v", beatLost)
	}
	return err
}

// Fail ends everything for a reason; the first one counts.
func (h *Host) Fail(err error) {
	h.once.Do(func() {
		h.err = err
		close(h.dead)
	})
}

// Dead is closed when a rank is gone.
func (h *Host) Dead() <-chan struct{} { return h.dead }

// Open has the other ranks begin to load what they are told, each in its turn of opens, and ties the ring: from each rank to the next, and from
// the last to this one.
func (h *Host) Open(ctx context.Context, opens []Open) error {
	for i, s := range h.seats {
		c := control{Kind: open, Open: opens[i]}
		if i+1 < len(h.seats) {
			c.Down = h.seats[i+1].Addr
		}
		if err := s.l.send(c, nil); err != nil {
			return h.lost(s, err)
		}
	}
	var err error
	if h.down, err = dial(ctx, []string{h.seats[0].Addr}); err == nil {
		err = h.down.send(control{Kind: hello, Token: h.token, Data: true}, nil)
	}
	if err != nil {
		return fmt.Errorf("reaching %v: %w", h.seats[0], err)
	}
	select {
	case h.up = <-h.ring:
		return nil
	case <-h.dead:
		return h.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the connection of %v: %w", h.seats[len(h.seats)-1], context.Cause(ctx))
	}
}

// lost gives the rank that is gone a moment to be known as such, since whose connection ended first says who it was.
func (h *Host) lost(s *seat, err error) error {
	select {
	case <-h.dead:
	case <-time.After(2 * time.Second):
		h.Fail(fmt.Errorf("%v: %w: %w", s, ErrRank, heard(err)))
	}
	<-h.dead
	return h.err
}

// Opened waits until the other ranks have loaded theirs. When ctx ends before, all is over.
func (h *Host) Opened(ctx context.Context) error {
	_, err := h.gather(ctx)
	if ctx.Err() != nil {
		h.Fail(err)
	}
	return err
}

// Measure asks all other ranks.
func (h *Host) Measure(m Measure) (all []Measure, err error) {
	for _, s := range h.seats {
		if err := s.l.send(control{Kind: measure, Measure: m}, nil); err != nil {
			return nil, h.lost(s, err)
		}
	}
	return h.gather(context.Background()) // they are not at anything that takes long
}

// gather takes an answer of each rank.
func (h *Host) gather(ctx context.Context) (all []Measure, err error) {
	for _, s := range h.seats {
		select {
		case c := <-s.answers:
			if c.Err != nil {
				return nil, fmt.Errorf("%v: %w", s, c.Err)
			}
			all = append(all, c.Measure)
		case <-h.dead:
			return nil, h.err
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %v: %w", s, context.Cause(ctx))
		}
	}
	return all, nil
}

// turnAway ends the connections that came and were not taken.
func (h *Host) turnAway() {
	for {
		select {
		case s := <-h.come:
			s.l.close()
		case l := <-h.ring:
			l.close()
		default:
			return
		}
	}
}

// leaveTime is how long the other ranks have to end the connection by themselves.
const leaveTime = 3 * time.Second

// Close tells the other ranks that all is done.
func (h *Host) Close() {
	h.Fail(fmt.Errorf("the ranks were closed: %w", net.ErrClosed))
	h.ln.Close()
	h.turnAway()
	there := slices.DeleteFunc(slices.Clone(h.seats), func(s *seat) bool { return s == nil })
	for _, s := range there {
		_ = s.l.conn.SetWriteDeadline(time.Now().Add(time.Second)) // who does not listen sees the end
		_ = s.l.send(control{Kind: bye}, nil)
	}
	late := make(chan struct{})
	time.AfterFunc(leaveTime, func() { close(late) })
	for _, s := range there {
		select {
		case <-s.gone:
		case <-late:
		}
		s.l.close()
	}
	for _, l := range []*link{h.down, h.up} {
		if l != nil {
			l.close()
		}
	}
}
