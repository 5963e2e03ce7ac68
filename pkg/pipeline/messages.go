package pipeline

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"sextant/kernels"
	"sextant/pkg/engine"
)

// kind is what a control message is.
type kind int

const (
	beat    kind = iota // the sender is there
	hello               // the first on every connection
	open                // to a rank: load that
	opened              // the answer
	measure             // to a rank: how many tokens, how much cache
	answer
	bye // to a rank: end, all is done
)

// control is a message between rank 0 and another. hello is the first one of connections of data, too.
type control struct {
	Kind kind

	Token  string // of hello, as in the rendezvous
	Rank   int
	Data   bool   // the connection is for jobs, from the rank before
	Host   string // of the rank, with its process number
	PID    int
	Addr   string    // where it listens for the rank before it
	Speeds []float64 // of its devices

	Open    Open
	Down    string // of open: where the rank behind it listens
	Measure Measure
	Err     *remote // of opened and answer
}

// parcel is a job on its way between ranks.
type parcel struct {
	Seq   uint64
	Order order
	LP    kernels.LogProbs
	IDs   []int32
	Err   *remote
}

// remote is an error of another rank: its text, and what it is by errors.Is.
type remote struct {
	Text string
	Is   []int // of known
}

// known are the errors that mean something to who gets them.
var known = []error{engine.ErrMemory, engine.ErrInput, kernels.ErrInvalid, kernels.ErrNoMemory, kernels.ErrUnsupported, kernels.ErrDevice,
	ErrRank, context.Canceled, syscall.EIO, syscall.ENOMEM, syscall.ENOSPC, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EAGAIN, syscall.EMFILE}

func toRemote(err error) *remote {
	if err == nil {
		return nil
	}
	r := &remote{Text: strings.ToValidUTF8(err.Error(), "?")}
	for i, k := range known {
		if errors.Is(err, k) {
			r.Is = append(r.Is, i)
		}
	}
	return r
}

func (r *remote) Error() string { return r.Text }

// Unwrap gives the errors that it is.
func (r *remote) Unwrap() (all []error) {
	for _, i := range r.Is {
		if i >= 0 && i < len(known) {
			all = append(all, known[i])
		}
	}
	return all
}

// err is r as an error.
func (r *remote) err() error {
	if r == nil {
		return nil
	}
	return r
}
