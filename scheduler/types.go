package scheduler

import (
	"errors"
	"slices"
	"time"
)

// Job is one command to be run once, with what it needs.
type Job struct {
	// Name is the job's token: unique for all time, shown by the cluster. Submitting a name again never starts the job twice, whether it
	// was this process or one since dead that submitted it first.
	Name    string
	Script  string        // file-name-safe name of its batch script, where there are such; jobs of one Script differ in Name and Tail alone. "": Name
	Args    []string      // the command; Args[0] is its path
	Tail    []string      // further arguments of this very job, plain words
	Dir     string        // working directory; "": the submitter's
	Env     []string      // "KEY=value" added to the environment
	Log     string        // file to which standard output and error are appended; a scheduler that chooses its own tells it in Status.Log
	Pool    string        // jobs of one pool may do each other's work: a model's. They share the pool's part of the worker limit
	Weight  float64       // expected seconds; pools share the worker limit by their sums
	GPUs    int           // GPUs it needs; 0: none
	Procs   int           // processes it is made of, 0 or 1: one
	Threads int           // CPU threads it may use; 0: the scheduler decides
	Memory  int64         // bytes it needs at least; 0: the scheduler's default
	Limit   time.Duration // it is ended after this; 0: the scheduler's default
	Exclude []string      // nodes that must not run it
	After   []Ref         // it begins when these have ended, however they did
}

// Words are the arguments of the command, those of this very job last.
func (j Job) Words() []string { return slices.Concat(j.Args, j.Tail) }

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
	Cause    Cause     `json:"cause,omitempty"`     // of a job that did not end well: what the scheduler knows of why
	Reason   string    `json:"reason,omitempty"`    // of a job that did not end well, one line; of a pending one why it waits, where that is known
	Node     string    `json:"node,omitempty"`      // where it runs or ran last
	Log      string    `json:"log,omitempty"`       // where its output is, when not at Job.Log
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
}

// Cause is what ended a job that did not end by itself.
type Cause string

// The causes. Preempted and Node are no fault of the job.
const (
	Preempted Cause = "preempted" // it had to give way
	Node      Cause = "node"      // its node failed, or could not be made ready
	TimeLimit Cause = "time"      // it reached its time limit
	Memory    Cause = "memory"    // it used more memory than it may
	Launch    Cause = "launch"    // its command never began: no such program, no such directory, a log that cannot be written
)

// ErrBusy says that no more jobs are taken at present: a limit of submitted jobs is reached. It is no failure; try again when some ended.
var ErrBusy = errors.New("no more jobs are taken at present")

// ErrDown says that the scheduler does not answer. Nothing is known then; try again later.
var ErrDown = errors.New("the scheduler does not answer")

// ErrUnsatisfiable marks a job that can never run: it needs more than there is at all.
var ErrUnsatisfiable = errors.New("the job needs more than there is")
