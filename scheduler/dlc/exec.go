package dlc

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// cli runs the command, never more often than its gap allows.
type cli struct {
	ask  Ask
	gap  time.Duration
	last time.Time // when it was called last
}

// commandLimit is how long a command may take. One that is killed in the middle of a creation leaves it open whether the job is there.
const commandLimit = 120 * time.Second

// run runs dlc and gives all it said. A command that changes something is let finish, whatever becomes of ctx.
func (c *cli) run(ctx context.Context, changes bool, args ...string) (string, error) {
	if wait := time.Until(c.last.Add(c.gap)); wait > 0 {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(wait):
		}
	}
	if changes {
		ctx = context.WithoutCancel(ctx)
	}
	stdout, stderr, err := batch.Run(ctx, batch.Command{Name: c.ask.Program, Args: c.withConfig(args), Limit: commandLimit})
	c.last = time.Now()
	// Which of the two a message goes to differs between versions.
	text := stdout + stderr
	if err == nil && failedLine.MatchString(text) && !strings.Contains(text, "{") {
		err = &batch.CommandError{Command: c.ask.Program, Code: 0, Text: text, Err: errors.New("it says that it failed")}
	}
	if err != nil {
		return text, explain(text, err)
	}
	return text, nil
}

func (c *cli) withConfig(args []string) []string {
	if c.ask.Config == "" {
		return args
	}
	return append(args[:len(args):len(args)], "--config="+c.ask.Config)
}

// failure is what dlc did not do, told to the user in one line.
type failure struct {
	line  string
	class error // scheduler.ErrBusy, ErrDown, or nil: a refusal that trying again does not change
	doubt bool  // it may have been done all the same
	gone  bool  // there is no such job, or it has ended
	err   error
}

func (f *failure) Error() string { return f.line }

func (f *failure) Unwrap() []error {
	if f.class == nil {
		return []error{f.err}
	}
	return []error{f.class, f.err}
}

var failedLine = regexp.MustCompile(`(?m)^\[FAILED\]`)

// rules say what messages of the client and of the service mean. The first that fits counts.
var rules = []struct {
	says *regexp.Regexp
	tell string
	failure
}{
	{says: regexp.MustCompile(`(?i)can't be stopped, because it is|cannot be stopped`), tell: "the job has ended", failure: failure{gone: true}},
	{says: regexp.MustCompile(`(?i)code: 404|job.{0,40}(not exist|not found|doesn't exist)`), tell: "there is no such job",
		failure: failure{gone: true}},
	{says: regexp.MustCompile(`(?i)throttl|too many requests|code: 429|flow control`), tell: "DLC is asked too often; it is asked again later",
		failure: failure{class: scheduler.ErrBusy}},
	{says: regexp.MustCompile(`(?i)(quota|number of (running )?jobs|job number|job count).{0,80}(exceed|limit|insufficient|not enough)`),
		tell: "the quota takes no more jobs at present; more are created when some have ended", failure: failure{class: scheduler.ErrBusy}},
	{says: regexp.MustCompile(`(?i)InvalidAccessKey|SignatureDoesNotMatch|SecurityToken|code: 401|unauthorized`),
		tell: "DLC does not take the access key: run `dlc config`, or name the file that has it with [dlc] config"},
	{says: regexp.MustCompile(`(?i)code: 403|forbidden|no ?permission|not authorized`),
		tell: "the access key's user may not do this: ask the owner of the workspace for a role in it, and look at [dlc] workspace_id and resource_id"},
	{says: regexp.MustCompile(`(?i)unknown (shorthand )?(flag|command)|flag provided but not defined`),
		tell: "this dlc does not know the option or command: look at [dlc] job_cmd (\"create\" or \"submit\") and extra"},
	{says: regexp.MustCompile(`(?i)different datasource can't have the same mount path`),
		tell: "[dlc] data_sources has one source twice, or two of one mount path"},
	{says: regexp.MustCompile(`(?i)code: 5[0-9][0-9]|internal ?(server )?error|service ?unavailable`), tell: "DLC has a fault",
		failure: failure{class: scheduler.ErrDown, doubt: true}},
	{says: regexp.MustCompile(`(?i)dial tcp|connection re(set|fused)|no such host|i/o timeout|TLS handshake|\bEOF\b|network is unreachable|` +
		`timed? ?out`),
		tell: "DLC cannot be reached", failure: failure{class: scheduler.ErrDown, doubt: true}},
}

// explain turns what dlc said when it failed into one line that says what is wrong and what to do.
func explain(text string, err error) error {
	said := batch.OneLine(redact(text))
	var notBegun *exec.Error
	var e *batch.CommandError
	switch {
	case errors.As(err, &notBegun):
		return &failure{line: fmt.Sprintf("dlc cannot be run: %v", notBegun.Err), err: err}
	case errors.Is(err, context.Canceled):
		return &failure{line: "dlc was interrupted", class: scheduler.ErrDown, doubt: true, err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{line: fmt.Sprintf("dlc did not end within %s", commandLimit), class: scheduler.ErrDown, doubt: true, err: err}
	}
	for _, r := range rules {
		if r.says.MatchString(text) {
			f := r.failure
			f.line, f.err = fmt.Sprintf("dlc: %s (it says: %s)", r.tell, said), err
			return &f
		}
	}
	switch {
	case said != "" && (failedLine.MatchString(text) || regexp.MustCompile(`code: 4[0-9][0-9]`).MatchString(text)):
		return &failure{line: "dlc: " + said, err: err}
	case errors.As(err, &e) && e.Code > 0 && said != "":
		return &failure{line: "dlc: " + said, doubt: true, err: err}
	}
	return &failure{line: fmt.Sprintf("dlc ended and said nothing of use: %v", err), class: scheduler.ErrDown, doubt: true, err: err}
}

// secrets are what must not be passed on of what dlc says: access keys, which begin with LTAI, tokens, and values that are named as secrets.
var secrets = regexp.MustCompile(`LTAI[A-Za-z0-9]{8,}|STS\.[A-Za-z0-9]{8,}|` +
	`(?i)((?:access_?key(?:_?(?:id|secret))?|access_?id|secret|token|password)["']?\s*[=:]\s*["']?)[^\s"',}]+`)

func redact(text string) string { return secrets.ReplaceAllString(text, "${1}***") }

// inDoubt says whether what failed may have been done.
func inDoubt(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.doubt
}

// isGone says that a job is not there, or has ended.
func isGone(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.gone
}
