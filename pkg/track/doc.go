// Package track keeps books of a run elsewhere: its models and scores on an MLflow tracking server (REST API 2.0), how it goes in a file for the
// textfile collector of Prometheus' node_exporter.
//
// Both are told the whole state of a run each time, as a Run, and bring what is there up to it: telling the same again changes nothing, and what
// one telling could not do the next one does. Nothing is logged here. What logs in at a server is in no error and no field that is printed.
package track

import (
	"strings"
	"time"
)

// State is how a run, or one variant of it, is.
type State string

// The states.
const (
	Running     State = "running"
	Finished    State = "finished"    // every row has its score
	Incomplete  State = "incomplete"  // rows have none
	Failed      State = "failed"      // it could not go on
	Interrupted State = "interrupted" // somebody ended it
)

// States lists them.
var States = []State{Running, Finished, Incomplete, Failed, Interrupted}

// Run is what is known of a run.
type Run struct {
	ID        string // unique for all time
	Name      string // of its directory
	Dir       string
	Spec      string // the spec's name
	Program   string // with its version
	Scheduler string
	User      string
	Began     time.Time
	State     State
	Variants  []Variant
	Scores    []Score // nil: it was not scored yet

	Progress Progress // for Prometheus alone
}

// Variant is a model as it is evaluated.
type Variant struct {
	Name    string
	Params  map[string]string // what it is and on what it is evaluated, by name
	Metrics map[string]float64
	Step    int64 // of its training; 0: none, or not known
}

// Score is one number about one variant.
type Score struct {
	Variant string
	Dataset string // or a group
	Group   bool
	Metric  string
	Percent bool     // Value and StdErr are in percent
	Value   *float64 // nil: no row was scored
	StdErr  *float64
	N       int // rows, or members, scored
	Missing int
}

// Progress is how far a run is.
type Progress struct {
	Tasks    []Task
	Shards   map[string]int // by state
	Attempts int            // at jobs
	Failures map[string]int // of these, by the kind of reason
	Tokens   int64          // put through models since Began
}

// Task is a variant on a dataset.
type Task struct {
	Variant, Dataset string
	Rows, Done       int
}

// state is how a variant is: of a run that is through with all, as its own scores say.
func (r *Run) state(v *Variant) State {
	if r.State != Incomplete && r.State != Finished || r.Scores == nil {
		return r.State
	}
	for _, s := range r.Scores {
		if s.Variant == v.Name && !s.Group && (s.Value == nil || s.Missing > 0) {
			return Incomplete
		}
	}
	return Finished
}

// Plain is an address without what may log in with it: a user, a password, what follows a question mark. A path is as it was.
func Plain(address string) string {
	scheme, rest, found := strings.Cut(address, "://")
	if !found {
		return address
	}
	rest, _, _ = strings.Cut(rest, "?")
	rest, _, _ = strings.Cut(rest, "#")
	host, path, slash := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if slash {
		host += "/"
	}
	return scheme + "://" + host + path
}
