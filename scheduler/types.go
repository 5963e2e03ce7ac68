package scheduler

import (
	"errors"
	"time"
)

// Job is one command to be run once, with what it needs.
type Job struct {
	// Name is the job's token: unique for all time, shown by the cluster. Submitting a name again never starts the job twice, whether it
	// was this process or one since dead that submitted it first.
	Name    string
	Args    []string // the command; Args[0] is its path
	Dir     string   // working directory; "": the submitter's
	Env     []string // "KEY=value" added to the environment
	Log     string   // file to which standard output and error are appended
	GPUs    int      // GPUs it needs; 0: none
	Threads int      // CPU threads it may use; 0: the scheduler decides
}

// Ref is a hold on a submitted job. ID is the scheduler's own name of it, "" when the submitter died before it learned it: the scheduler
// then looks the job up by name.
type Ref struct {
	Name string `json:"name"`
	ID   string `json:"id,omitempty"`
}

// State is where a job is.
type State string

// The states. Done, Failed, Cancelled and Lost are terminal.
const (
	Pending   State = "pending"
	Running   State = "running"
	Done      State = "done"      // exit code 0
	Failed    State = "failed"    // another exit code, or a signal
	Cancelled State = "cancelled" // ended because it was asked to
	Lost      State = "lost"      // not there and nobody knows how it ended: its submitter died, or it never began
)

// Terminal says that the job has ended and its state will not change.
func (s State) Terminal() bool { return s != Pending && s != Running }

// Status is what is known of a job.
type Status struct {
	State    State     `json:"state"`
	ExitCode int       `json:"exit_code,omitempty"` // when it exited by itself
	Signal   int       `json:"signal,omitempty"`    // when a signal ended it
	Reason   string    `json:"reason,omitempty"`    // of a job that did not end well, one line
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
}

// ErrUnsatisfiable marks a job that can never run: it needs more than there is at all.
var ErrUnsatisfiable = errors.New("the job needs more than there is")
