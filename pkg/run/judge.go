package run

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// The exit codes of a worker that matter here.
const exitInput = 64 // bad input or model: trying again is of no use

// Causes that no scheduler tells.
const (
	lost    = scheduler.Cause("lost")      // it is not there any more, and nobody knows why
	evicted = scheduler.Cause("cancelled") // by somebody else
)

// verdict says what the end of an attempt means.
type verdict struct {
	faults    []Fault
	cause     scheduler.Cause
	reason    string // of the whole, for people; "" when all went well
	gained    int    // rows done since the attempt was made; of a quantization also blocks, from which the next one goes on
	elsewhere bool   // workers do begin on some node
	stop      error  // the run cannot go on
}

// judge finds out why an attempt left shards undone and which of them are to blame: those that the worker says failed, else the one it was
// at, else all. What was asked for (cancelled, or gone with its submit) blames none.
func (c *controller) judge(a *attempt, st scheduler.Status) verdict {
	var lacking []string
	rows := 0
	for _, id := range a.job.Shards {
		s := c.shards[id]
		rows += c.cover.rows[id]
		if c.cover.rows[id] < s.To-s.From {
			lacking = append(lacking, id)
		}
	}
	v := verdict{cause: st.Cause, reason: st.Reason, gained: rows - a.had}
	if a.job.Kind == plan.Quantize {
		if p, err := result.ReadProgress(c.run.Dir.Progress(a.job.ID, a.n)); err == nil {
			v.gained += p.Block - p.Began
		}
	}
	switch {
	case st.State == scheduler.Cancelled && st.Cause != evicted, st.State == scheduler.Lost && !c.run.claims:
		return v
	case len(lacking) == 0:
		v.reason = ""
		return v
	case st.State == scheduler.Lost:
		v.cause = lost
	}
	v.faults, v.stop = c.told(a, lacking)
	if len(v.faults) == 0 && v.stop == nil {
		v.faults, v.stop = c.guessed(a, st, lacking)
	}
	switch {
	case v.stop != nil:
		v.reason = v.stop.Error()
	default:
		v.reason = v.faults[0].Reason
	}
	return v
}

// told reads what the worker left about it: of single shards, or of the job as a whole.
func (c *controller) told(a *attempt, lacking []string) (faults []Fault, stop error) {
	for _, id := range lacking {
		if f, err := result.ReadFailure(c.run.Dir.Failure(id, a.n)); err == nil {
			faults = append(faults, Fault{id, f.Kind, f.Reason, f.Row != nil})
		}
	}
	if len(faults) == 0 {
		f, err := result.ReadFailure(c.run.Dir.Failure(a.job.ID, a.n))
		if err != nil {
			return nil, nil
		}
		for _, id := range c.blamed(a, lacking, f.Kind) {
			faults = append(faults, Fault{Shard: id, Kind: f.Kind, Reason: f.Reason})
		}
	}
	for _, f := range faults {
		if f.Kind == result.FailDisk {
			return faults, &diskError{f.Reason}
		}
	}
	return faults, nil
}

// guessed makes do with how the process ended and the end of its log.
func (c *controller) guessed(a *attempt, st scheduler.Status, lacking []string) (faults []Fault, stop error) {
	if err := c.diskFull(); err != nil {
		return nil, err
	}
	reason := st.Reason
	if st.State == scheduler.Done {
		reason = fmt.Sprintf("the worker ended well but left %d shards undone", len(lacking))
	}
	if line := lastWords(c.logOf(a, st)); line != "" {
		reason += ": " + line
	}
	kind := result.FailOther
	if st.ExitCode == exitInput {
		kind = result.FailInput
	}
	for _, id := range c.blamed(a, lacking, kind) {
		faults = append(faults, Fault{Shard: id, Kind: kind, Reason: reason})
	}
	return faults, nil
}

// blamed chooses the shards that a failure of a job as a whole counts against. A bad model or input is every shard's; else the one that was
// being worked on may be what breaks the worker, and the others get their turn without it.
func (c *controller) blamed(a *attempt, lacking []string, kind result.FailureKind) []string {
	if kind != result.FailInput {
		p, err := result.ReadProgress(c.run.Dir.Progress(a.job.ID, a.n))
		if err == nil && slices.Contains(lacking, p.Shard) {
			return []string{p.Shard}
		}
	}
	return lacking
}

// errNoSpace makes errors.Is(err, syscall.ENOSPC) hold.
const errNoSpace = syscall.ENOSPC

// diskError is a worker's word that the disk is full.
type diskError struct{ reason string }

func (e *diskError) Error() string { return e.reason }
func (e *diskError) Unwrap() error { return errNoSpace }

// lastWords is the line of a log that best tells why its program died: the one of a Go panic, else the last.
func lastWords(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 64 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return ""
	}
	last := ""
	for line := range bytes.Lines(b) {
		text := strings.TrimSpace(string(line))
		if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
			last = text
			break
		}
		if text != "" {
			last = text
		}
	}
	return clip(strings.ToValidUTF8(last, "?"))
}

// clip shortens a line for display.
func clip(s string) string {
	const most = 400
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}
