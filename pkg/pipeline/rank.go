package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"sextant/pkg/model"
)

// Seat is which rank a process is, and how fast each of its devices is, in the unit that all ranks use.
type Seat struct {
	Rank   int
	Speeds []float64
}

// Member is what a rank does when rank 0 says so.
type Member interface {
	// Load loads parts of a model, and gives them from first to last. It is called once.
	Load(ctx context.Context, o Open) ([]*model.Model, error)
	// Measure tells what there is room for.
	Measure(m Measure) (Measure, error)
}

// joinTime is how long a rank looks for rank 0, and for its neighbours.
const joinTime = 2 * time.Minute

// Serve is the life of a rank that is not the first: it joins the others, loads what it is told to, and does its part of the passes until rank 0
// says that all is done, which is no error, or is gone.
func Serve(ctx context.Context, at Rendezvous, me Seat, m Member) error {
	joining, stop := context.WithTimeout(ctx, joinTime)
	defer stop()
	name, _ := os.Hostname() // only shown
	r := &rank{at: at, me: me, member: m, over: make(chan struct{})}
	defer r.close()
	var err error
	if r.control, err = dial(joining, at.Addrs); err != nil {
		return fmt.Errorf("reaching rank 0 at %v: %w", at.Addrs, err)
	}
	r.zero = r.control.conn.RemoteAddr().String()
	host, _, _ := net.SplitHostPort(r.control.conn.LocalAddr().String()) // what reaches rank 0 is reached by the others
	if r.ln, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		return fmt.Errorf("listening for rank %d: %w", me.Rank-1, err)
	}
	who := control{Kind: hello, Token: at.Token, Rank: me.Rank, Host: name, PID: os.Getpid(), Addr: r.ln.Addr().String(), Speeds: me.Speeds}
	if err = r.control.send(who, nil); err != nil {
		return fmt.Errorf("greeting rank 0 at %s: %w", r.zero, err)
	}
	go r.control.beats(r.over)
	return r.obey(ctx)
}

// rank is a process that is not the first.
type rank struct {
	at       Rendezvous
	me       Seat
	member   Member
	zero     string // where rank 0 was reached
	ln       net.Listener
	control  *link
	up, down *link // from the rank before, to the one behind
	pipe     *Pipeline
	over     chan struct{} // closed when the rank ends
}

func (r *rank) close() {
	close(r.over)
	for _, l := range []*link{r.control, r.up, r.down} {
		if l != nil {
			l.close()
		}
	}
	if r.ln != nil {
		r.ln.Close()
	}
	if r.pipe != nil {
		r.pipe.ended.Wait()
	}
}

// errBye is why a rank ends whatever it is at when rank 0 says that all is done.
var errBye = errors.New("all is done")

// obey does what rank 0 says until it says no more.
func (r *rank) obey(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	said := make(chan control)
	go func() {
		for {
			c, err := r.control.next()
			if err != nil {
				cancel(fmt.Errorf("%w: rank 0: %w", ErrRank, heard(err)))
				return
			}
			if c.Kind == bye {
				cancel(errBye)
				return
			}
			select {
			case said <- c:
			case <-r.over:
				return
			}
		}
	}()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case c := <-said:
			out := r.answer(ctx, c)
			if ctx.Err() != nil {
				break // nobody waits for it
			}
			if err := r.control.send(out, nil); err != nil {
				return fmt.Errorf("%w: rank 0: %w", ErrRank, heard(err))
			}
		}
	}
	if err := context.Cause(ctx); err != errBye {
		return err
	}
	return nil
}

// answer carries out what rank 0 asks for.
func (r *rank) answer(ctx context.Context, c control) control {
	var err error
	out := control{Kind: answer}
	switch c.Kind {
	case open:
		out.Kind = opened
		err = r.open(ctx, c)
	case measure:
		out.Measure, err = r.member.Measure(c.Measure)
	default:
		err = fmt.Errorf("rank 0 asks for %d, which this version does not know", c.Kind)
	}
	out.Err = toRemote(err)
	return out
}

// open connects to the neighbours, loads the parts and begins to do passes.
func (r *rank) open(ctx context.Context, c control) (err error) {
	if r.pipe != nil {
		return errors.New("there is a model already")
	}
	joining, stop := context.WithTimeout(ctx, joinTime)
	defer stop()
	down := c.Down
	if down == "" {
		down = r.zero
	}
	if r.down, err = dial(joining, []string{down}); err == nil {
		err = r.down.send(control{Kind: hello, Token: r.at.Token, Rank: r.me.Rank, Data: true}, nil)
	}
	if err != nil {
		return fmt.Errorf("reaching the rank behind: %w", err)
	}
	if r.up, err = r.before(joining); err != nil {
		return fmt.Errorf("waiting for the rank before: %w", err)
	}
	parts, err := r.member.Load(ctx, c.Open)
	if err != nil {
		return err
	}
	r.pipe = &Pipeline{stages: len(parts)}
	r.pipe.tie(parts, r.down)
	r.pipe.ended.Go(func() { r.pipe.take(r.up) })
	return nil
}

// before waits for the connection of the rank before.
func (r *rank) before(ctx context.Context) (*link, error) {
	defer context.AfterFunc(ctx, func() { r.ln.Close() })()
	for {
		conn, err := r.ln.Accept()
		if err != nil {
			return nil, errors.Join(err, context.Cause(ctx))
		}
		l := newLink(conn)
		if c, err := greeted(l, r.at.Token); err == nil && c.Data && c.Rank == r.me.Rank-1 {
			return l, nil
		}
		l.close()
	}
}
