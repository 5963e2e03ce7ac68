package result

import (
	"encoding/json"
	"fmt"
	"os"
)

// Progress is how far an attempt of a job is: a hint for displays, never the truth. A worker commits it every second or so.
type Progress struct {
	Shard   string  `json:"shard"`            // being worked on
	Phase   string  `json:"phase"`            // "load" (the model), "run", "commit"; of a quantization what is done in its block
	Block   int     `json:"block,omitempty"`  // of a quantization: the one in hand, from 1
	Blocks  int     `json:"blocks,omitempty"` // of a quantization
	Part    float64 `json:"part,omitempty"`   // of a quantization: how much of that block is done, from 0 to 1
	Began   int     `json:"began,omitempty"`  // of a quantization: the block that the attempt went on from
	Left    float64 `json:"left,omitempty"`   // of a quantization: seconds, as far as can be foreseen; 0: not yet
	Rows    int     `json:"rows"`             // computed by this attempt, of all its shards
	Tokens  int64   `json:"tokens,omitempty"` // put through the model
	Seconds float64 `json:"seconds"`          // since the attempt began
}

// End is how an attempt of a job ended and what it took. A worker commits it last of all; a worker that is killed cannot.
type End struct {
	Code        int     `json:"code"` // as the exit code of a worker: 0 done, 64 bad input or model, 75 try again, 1 else
	Host        string  `json:"host,omitempty"`
	Rows        int     `json:"rows"`   // computed by this attempt
	Tokens      int64   `json:"tokens"` // put through the model by this attempt
	Seconds     float64 `json:"seconds"`
	LoadSeconds float64 `json:"load_seconds,omitempty"` // of these spent loading the model: 0 when it was there already
}

// ReadEnd reads an end file.
func ReadEnd(path string) (End, error) {
	var e End
	return e, readJSON(path, &e)
}

// FailureKind says what a failure means for the attempts to come.
type FailureKind string

// The kinds, each with the exit code that goes with it.
const (
	FailInput FailureKind = "input" // 64: bad input or model; trying again is of no use
	FailRetry FailureKind = "retry" // 75: may well succeed at another time or place
	FailDisk  FailureKind = "disk"  // 75: the disk is full; nothing else will succeed either
	FailOther FailureKind = "error" // 1
)

// Failure is why a shard, or a job as a whole, failed. A worker commits it before it exits.
type Failure struct {
	Kind   FailureKind `json:"kind"`
	Reason string      `json:"reason"`        // one line, for the user: what is wrong, where, what to do
	Row    *int        `json:"row,omitempty"` // the row at fault, if one is
}

// ReadProgress reads a progress file.
func ReadProgress(path string) (Progress, error) {
	var p Progress
	return p, readJSON(path, &p)
}

// ReadFailure reads a failure file.
func ReadFailure(path string) (Failure, error) {
	var f Failure
	return f, readJSON(path, &f)
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("reading %q: %w", path, err)
	}
	return nil
}
