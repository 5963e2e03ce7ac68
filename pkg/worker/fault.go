package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"

	"sextant/kernels"
	"sextant/pkg/engine"
	"sextant/pkg/objstore"
	"sextant/pkg/pipeline"
	"sextant/pkg/quant"
	"sextant/pkg/result"
)

// The exit codes of a job.
const (
	ExitOther = 1
	ExitInput = 64 // bad input or model: do not try again
	ExitRetry = 75 // EX_TEMPFAIL of sysexits.h: try again
)

// fault is an error that knows what it means for the attempts to come.
type fault struct {
	kind result.FailureKind
	row  *int
	err  error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// bad makes err a fault of the input or the model, unless its cause says that another try may help.
func bad(err error) error {
	if err == nil || kindOf(err) != result.FailOther {
		return err
	}
	return &fault{kind: result.FailInput, err: err}
}

// badRow is a fault of one row.
func badRow(row int, format string, args ...any) error {
	return &fault{kind: result.FailInput, row: &row, err: fmt.Errorf("row %d (from 0): "+format, append([]any{row}, args...)...)}
}

// rowFaults keeps the first of the faults of single rows, which come ascending, while the other rows go on. Only the first is told, so that
// the reason in a report is the same whatever the shards.
type rowFaults struct{ first *fault }

// take notes err if it is the fault of one row, and says whether it is.
func (r *rowFaults) take(err error) bool {
	var f *fault
	if kindOf(err) != result.FailInput || !errors.As(err, &f) || f.row == nil {
		return false
	}
	if r.first == nil {
		r.first = f
	}
	return true
}

// err is nil or the first fault: the same again when only rows at fault are left to be done.
func (r *rowFaults) err() error {
	if r.first == nil {
		return nil
	}
	return r.first
}

// ErrStopped is in the chain of the cause of a context that a signal or the death of the parent ended: no failure of the job.
var ErrStopped = errors.New("stopped")

// transient lists the causes that may be gone at another time or place.
var transient = []error{objstore.ErrPassing, ErrStopped, context.Canceled, context.DeadlineExceeded, kernels.ErrNoMemory, kernels.ErrDevice, engine.ErrMemory,
	pipeline.ErrRank,
	quant.ErrTaken, syscall.EIO, syscall.ENOMEM, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.EINTR,
	syscall.EHOSTDOWN, syscall.EREMOTEIO, syscall.EBUSY}

// kindOf classifies an error.
func kindOf(err error) result.FailureKind {
	var f *fault
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return result.FailDisk
	case isAny(err, transient):
		return result.FailRetry
	case errors.As(err, &f):
		return f.kind
	case errors.Is(err, engine.ErrInput):
		return result.FailInput
	}
	return result.FailOther
}

// anyOf says whether match holds of err, or of one of the shards' that it stands for.
func anyOf(err error, match func(error) bool) bool {
	var j *JobError
	if !errors.As(err, &j) {
		return match(err)
	}
	for _, e := range j.Shards {
		if match(e) {
			return true
		}
	}
	return false
}

func isAny(err error, causes []error) bool {
	for _, c := range causes {
		if errors.Is(err, c) {
			return true
		}
	}
	return false
}

// failure is err as the run directory keeps it: one line.
func failure(err error) result.Failure {
	f := result.Failure{Kind: kindOf(err), Reason: strings.Join(strings.Fields(err.Error()), " ")}
	var at *fault
	if errors.As(err, &at) {
		f.Row = at.row
	}
	return f
}

// ExitCode is what a process says that ran a job with this outcome. Of several faults one that another try may mend decides.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var j *JobError
	kinds := []result.FailureKind{kindOf(err)}
	if errors.As(err, &j) {
		kinds = kinds[:0]
		for _, e := range j.Shards {
			kinds = append(kinds, kindOf(e))
		}
	}
	code := ExitInput
	for _, k := range kinds {
		switch k {
		case result.FailRetry, result.FailDisk:
			return ExitRetry
		case result.FailOther:
			code = ExitOther
		}
	}
	return code
}

// JobError says which shards of a job failed: one at least.
type JobError struct {
	Shards map[string]error
	Of     int // shards in the job
}

func (e *JobError) Error() string {
	first := slices.Min(slices.Collect(maps.Keys(e.Shards)))
	return fmt.Sprintf("%d of %d shards failed: %s: %v", len(e.Shards), e.Of, first, e.Shards[first])
}
