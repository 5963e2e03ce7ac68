package slurm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// refusal is what a command of Slurm did not do, told to the user in one line.
type refusal struct {
	line  string
	class error // ErrBusy, ErrDown, ErrUnsatisfiable, or nil: a refusal that trying again does not change
	err   error // the command's
}

func (r *refusal) Error() string { return r.line }

func (r *refusal) Unwrap() []error {
	if r.class == nil {
		return []error{r.err}
	}
	return []error{r.class, r.err}
}

// refusesAll says whether an error is of what every job of the run asks for, so that a job's name would tell nothing.
func refusesAll(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.class == nil
}

var (
	// spoken is a line of Slurm's own, not of a banner.
	spoken = regexp.MustCompile(`^(sbatch|squeue|sacct|scancel|scontrol|sinfo): |^slurm_[a-z_0-9]+(?: error)?: |^allocation failure: |` +
		`^Invalid (job|user|time|clock) |^Slurm accounting `)
	// speaker is what stands before a message.
	speaker = regexp.MustCompile(`^(?:s[a-z]+: )?(?:error: |fatal: )?` +
		`(?:Batch job submission failed: |allocation failure: |slurm_[a-z_0-9]+(?: error)?: )?`)
	// retried is what sbatch says when it is going to try again by itself.
	retried      = regexp.MustCompile(`retrying`)
	badPartition = regexp.MustCompile(`invalid partition specified: ([^;\s]+)`)
	askedFor     = regexp.MustCompile(`\{([a-z_]+)\}`)
)

// explain turns the error of a command of Slurm into one line that says what is wrong and what to do. It is ErrBusy, ErrDown or
// ErrUnsatisfiable where that is what it means; otherwise trying again does not help. Errors that are no command's stay what they are.
func explain(err error) error { return Ask{}.explain(err) }

// explain is explain for a submission: it names what was asked for.
func (a Ask) explain(err error) error {
	var e *batch.CommandError
	var done *refusal
	if errors.As(err, &done) || !errors.As(err, &e) {
		return err
	}
	if errors.Is(err, exec.ErrNotFound) {
		return &refusal{e.Command + " is not on PATH: log in to a machine that submits to the cluster, or put Slurm's commands on PATH", nil, err}
	}
	text := strings.Join(answer(e.Text), "; ")
	r, ok := match(text)
	switch {
	case errors.Is(err, context.Canceled):
		return &refusal{e.Command + " was interrupted", nil, err}
	case ok:
		return &refusal{fmt.Sprintf("%s: %s (it says: %s)", e.Command, a.fill(r.tell, text), cut(text, 300)), r.class, err}
	case errors.Is(err, context.DeadlineExceeded), e.Code == -1 && text == "":
		return &refusal{e.Command + " did not end in time, or was killed: the controller may be slow, `scontrol ping` shows it", scheduler.ErrDown, err}
	case text == "":
		return &refusal{fmt.Sprintf("%s ended with code %d and said nothing: try it by hand", e.Command, e.Code), nil, err}
	}
	return &refusal{fmt.Sprintf("%s: %s", e.Command, cut(text, 500)), nil, err}
}

// answer is what Slurm itself says, without banners of the site and what it said before it tried again. Where no line is Slurm's, all is.
func answer(text string) []string {
	var all, own, last []string
	for line := range strings.Lines(text) {
		if line = batch.OneLine(line); line == "" {
			continue
		}
		all = append(all, line)
		if !spoken.MatchString(line) {
			continue
		}
		line = speaker.ReplaceAllString(line, "")
		if last = []string{line}; !retried.MatchString(line) {
			own = append(own, line)
		}
	}
	switch {
	case len(own) > 0:
		return slices.Compact(own)
	case len(last) > 0:
		return last
	}
	return all
}

// match finds what a message means.
func match(text string) (rule, bool) {
	text = strings.ToLower(text)
	for _, r := range rules {
		if r.says.MatchString(text) {
			return r, true
		}
	}
	return rule{}, false
}

// fill puts the values that were asked for into an advice.
func (a Ask) fill(tell, text string) string {
	asked := map[string]string{"partition": a.Partition, "qos": cmp.Or(a.QOS, a.Quotatype), "account": a.Account, "reservation": a.Reservation,
		"constraint": a.Constraint, "nodelist": a.Nodelist, "exclude": a.Exclude, "gpu_type": a.GPUType, "time": a.Time}
	if m := badPartition.FindStringSubmatch(text); m != nil {
		asked["partition"] = m[1]
	}
	return askedFor.ReplaceAllStringFunc(tell, func(name string) string {
		if value := asked[askedFor.FindStringSubmatch(name)[1]]; value != "" {
			return fmt.Sprintf(" %q", value)
		}
		return ""
	})
}

func cut(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n]) + "..."
	}
	return text
}

// inDoubt says whether a command that failed may have had its effect all the same: then the caller must look before it tries again. What
// Slurm is not known to say leaves it open too.
func inDoubt(err error) bool {
	var e *batch.CommandError
	var notBegun *exec.Error
	switch {
	case err == nil, errors.As(err, &notBegun):
		return false
	case !errors.As(err, &e):
		return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	}
	if e.Code == -1 || e.Code > 128 && e.Code != 255 || strings.TrimSpace(e.Text) == "" {
		return true
	}
	text := strings.ToLower(strings.Join(answer(e.Text), "; "))
	_, known := match(text)
	doubtful := slices.ContainsFunc(rules, func(r rule) bool { return r.doubt && r.says.MatchString(text) })
	return doubtful || !known && !strings.Contains(strings.ToLower(e.Text), "submission failed")
}
