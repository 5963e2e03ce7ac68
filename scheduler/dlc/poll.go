package dlc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// Poll tells the status of each job, by name, with one list for all of them; one that has ended is asked for by itself, once. Then it creates
// those that were held back, as far as there is room. An error that wraps scheduler.ErrDown says that nothing is known at present.
func (s *Scheduler) Poll(ctx context.Context, refs []scheduler.Ref) (map[string]scheduler.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adopt(refs)
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	for {
		failed, err := s.dispatch(ctx)
		if failed == "" {
			if ctx.Err() != nil {
				return nil, err
			}
			break // a creation that is in doubt, or is to be tried again later
		}
		s.end(s.jobs[failed], scheduler.Status{State: scheduler.Failed, Cause: scheduler.Launch, Reason: err.Error(), Ended: s.now()})
	}
	all := make(map[string]scheduler.Status, len(refs))
	for _, r := range refs {
		all[r.Name] = s.status(r.Name)
	}
	return all, nil
}

// adopt takes up jobs that others know and these books do not.
func (s *Scheduler) adopt(refs []scheduler.Ref) {
	for _, r := range refs {
		if s.jobs[r.Name] == nil && r.ID != "" {
			s.jobs[r.Name] = &job{record: record{Name: r.Name, Display: displayName(r.Name), ID: r.ID, Intent: s.now()},
				status: scheduler.Status{State: scheduler.Pending}}
		}
	}
}

func (s *Scheduler) status(name string) scheduler.Status {
	j := s.jobs[name]
	switch {
	case j == nil:
		return scheduler.Status{State: scheduler.Lost, Reason: "no such job was created from this directory"}
	case !j.created() && j.Final == nil && s.why != "":
		return scheduler.Status{State: scheduler.Pending, Reason: s.why}
	}
	return j.status
}

// created says that the job is at DLC, or may be.
func (j *job) created() bool { return !j.Intent.IsZero() || j.ID != "" }

// atDLC are the jobs that are at DLC, or may be, and have not ended, by name.
func (s *Scheduler) atDLC() []*job {
	var list []*job
	for _, j := range s.jobs {
		if j.created() && j.Final == nil {
			list = append(list, j)
		}
	}
	slices.SortFunc(list, func(a, b *job) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// dispatch creates jobs that were held back, in order, as far as there is room; one that is to follow others when they have ended. An error
// with a name is of a job that DLC refused, which is held back no more.
func (s *Scheduler) dispatch(ctx context.Context) (refused string, err error) {
	room := s.opt.Workers - len(s.atDLC())
	for _, j := range slices.Clone(s.queue) {
		if room <= 0 || s.now().Before(s.hold) {
			break
		}
		if slices.ContainsFunc(j.spec.After, func(r scheduler.Ref) bool { return s.jobs[r.Name] != nil && s.jobs[r.Name].Final == nil }) {
			continue
		}
		err := s.create(ctx, j)
		switch {
		case errors.Is(err, scheduler.ErrBusy):
			s.hold, s.why = s.now().Add(s.opt.PollMin), err.Error()
			return "", err
		case ctx.Err() != nil && !j.created():
			return "", ctx.Err()
		}
		s.unqueue(j)
		s.why = ""
		switch {
		case errors.Is(err, scheduler.ErrDown):
			s.hold, j.status.Reason = s.now().Add(s.opt.PollMin), err.Error()
			return "", err
		case err != nil:
			return j.Name, err
		}
		room--
	}
	return "", nil
}

// unqueue takes a job out of those held back, and says whether it was there.
func (s *Scheduler) unqueue(j *job) bool {
	i := slices.Index(s.queue, j)
	if i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	return i >= 0
}

// The list comes in pages; of more than these nobody's jobs are looked for.
const (
	pageSize = 100
	maxPages = 50
)

// look asks what became of the jobs that are at DLC, if that was not done just now.
func (s *Scheduler) look(ctx context.Context) error {
	live := s.atDLC()
	if len(live) == 0 || s.now().Sub(s.looked) < s.opt.PollMin/4 {
		return nil
	}
	rows, err := s.list(ctx, live)
	if err != nil {
		return err
	}
	for _, j := range live {
		was := j.status.State
		r, found := rows[j.Display]
		switch {
		case found:
			err = s.seen(ctx, j, r)
		case j.ID != "":
			err = s.askFor(ctx, j, "")
		default:
			s.missed(j, "it was asked for, but DLC did not answer and does not show it")
		}
		if err != nil {
			return err
		}
		if j.status.State != was {
			s.pace.Soon()
		}
	}
	s.looked = s.now()
	return nil
}

// list gives the jobs that DLC shows, by display name. Of several of a name the first one made counts: the others are copies of somebody's.
func (s *Scheduler) list(ctx context.Context, live []*job) (map[string]row, error) {
	prefix, since := live[0].Display, live[0].Intent
	for _, j := range live {
		for !strings.HasPrefix(j.Display, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
		if j.Intent.Before(since) {
			since = j.Intent
		}
	}
	args := []string{"get", "job", "--workspace_id=" + s.opt.Ask.Workspace, "--start_time=" + since.Add(-24*time.Hour).UTC().Format(time.RFC3339),
		"--page_size=" + strconv.Itoa(pageSize)}
	if prefix != "" {
		args = append(args, "--display_name="+prefix)
	}
	found := map[string]row{}
	for page := 1; page <= maxPages; page++ {
		text, err := s.cli.run(ctx, false, append(args, "--page_num="+strconv.Itoa(page))...)
		if isGone(err) {
			break
		}
		if err != nil {
			return nil, s.unanswered(err)
		}
		rows, err := parseList(text)
		if err != nil {
			return nil, fmt.Errorf("%w: reading what `dlc get job` says: %w", scheduler.ErrDown, err)
		}
		for _, r := range rows {
			if old, twice := found[r.Name]; !twice || r.Created < old.Created {
				found[r.Name] = r
			}
		}
		if len(rows) < pageSize || !slices.ContainsFunc(live, func(j *job) bool { return found[j.Display].ID == "" }) {
			break
		}
	}
	return found, nil
}

// unanswered makes of a question's error one after which the question is asked again, where that may help.
func (s *Scheduler) unanswered(err error) error {
	if errors.Is(err, scheduler.ErrBusy) || inDoubt(err) {
		return fmt.Errorf("%w: %w", scheduler.ErrDown, err)
	}
	return err
}

// seen takes in a job as the list shows it.
func (s *Scheduler) seen(ctx context.Context, j *job, r row) error {
	if j.ID == "" {
		j.ID = r.ID
		if err := s.note(record{Name: j.Name, ID: j.ID}, true); err != nil {
			return err
		}
	}
	if r.ID != j.ID { // a copy; ours is not on the pages any more
		return s.askFor(ctx, j, "")
	}
	j.misses = 0
	state, why := phaseOf(r.Status, j.status.State)
	if state.Terminal() {
		return s.askFor(ctx, j, r.Status)
	}
	j.status.State, j.status.Reason = state, why
	return s.stopWanted(ctx, j)
}

// askFor asks for one job by its id. Where the answer cannot be read, what the list said of one that has ended must do.
func (s *Scheduler) askFor(ctx context.Context, j *job, listed string) error {
	text, err := s.cli.run(ctx, false, "get", "job", j.ID)
	switch {
	case isGone(err):
		s.missed(j, "DLC does not know it any more")
		return nil
	case err != nil:
		return s.unanswered(err)
	}
	d, err := parseDetail(text)
	if err != nil && listed != "" {
		d, err = detail{Status: listed}, nil
	}
	if err != nil {
		return fmt.Errorf("%w: reading what `dlc get job %s` says: %w", scheduler.ErrDown, j.ID, err)
	}
	j.misses = 0
	state, why := phaseOf(d.Status, j.status.State)
	if !state.Terminal() {
		j.status.State, j.status.Reason, j.status.Started = state, why, parseTime(d.GmtRunningTime)
		return s.stopWanted(ctx, j)
	}
	s.end(j, s.final(ctx, j, d, state))
	return nil
}

// missed counts looks that did not show a job: it is lost after Options.Settle, and two of them.
func (s *Scheduler) missed(j *job, why string) {
	if j.misses++; j.misses == 1 {
		j.since = s.now()
	}
	if j.misses > 1 && s.now().Sub(j.since) >= s.opt.Settle {
		s.end(j, scheduler.Status{State: scheduler.Lost, Reason: why, Ended: s.now()})
	}
}

// final is how a job ended: DLC's word, and the exit code that its script left.
func (s *Scheduler) final(ctx context.Context, j *job, d detail, state scheduler.State) scheduler.Status {
	st := scheduler.Status{State: state, Started: parseTime(d.GmtRunningTime), Ended: parseTime(d.GmtFinishTime)}
	if st.Ended.IsZero() {
		st.Ended = s.now()
	}
	if st.Started.After(st.Ended) {
		st.Started = st.Ended
	}
	if state == scheduler.Done {
		return st
	}
	st.Cause = causeOf(d)
	told := strings.Trim(d.ReasonCode+": "+batch.OneLine(redact(d.ReasonMessage)), ": ")
	switch {
	case state == scheduler.Cancelled && j.cancel:
		st.Cause, st.Reason = "", "cancelled"
	case state == scheduler.Cancelled && st.Cause != "":
		st.State, st.Reason = scheduler.Failed, "DLC stopped it: "+told
	case state == scheduler.Cancelled:
		st.Reason = "it was stopped: " + told
	default:
		s.failed(j, &st, told)
	}
	st.Log = s.fetch(ctx, j, d)
	return st
}

// failed fills in why a job failed.
func (s *Scheduler) failed(j *job, st *scheduler.Status, told string) {
	code, ok := s.exitCode(j)
	switch {
	case ok && code > 128 && code <= 128+64:
		st.Signal = code - 128
		st.Reason = fmt.Sprintf("killed by signal %d (%s)", st.Signal, syscall.Signal(st.Signal))
	case ok && code != 0:
		st.ExitCode, st.Reason = code, fmt.Sprintf("exit code %d", code)
	default:
		if st.Reason = told; told == "" {
			st.Reason = "DLC says that it failed, and nothing else"
		}
		if st.Cause == "" && !s.began(j) {
			st.Cause = scheduler.Launch
			st.Reason += "; its script was never begun: the container must see " + s.opt.Scripts + " (data_sources) and have /bin/bash"
		}
		return
	}
	if st.Cause != "" && told != "" {
		st.Reason = told + " (" + st.Reason + ")"
	}
}

// fetch leaves what DLC has of a job's output in a file, for what went wrong before the job's own log began. It gives the file's name where the
// job has no log of its own.
func (s *Scheduler) fetch(ctx context.Context, j *job, d detail) string {
	pod := j.ID + "-master-0" // the one worker of a PyTorchJob is its master
	if len(d.Pods) > 0 && d.Pods[0].PodID != "" {
		pod = d.Pods[0].PodID
	}
	text, err := s.cli.run(ctx, false, "logs", j.ID, pod, "--max_events_num=2000")
	path := filepath.Join(s.opt.Dir, j.Display+logSuffix)
	if err != nil || strings.TrimSpace(text) == "" || strings.Contains(text, "[WARN] No logs found") {
		return ""
	}
	if err := batch.Replace(path, []byte(redact(text)), 0o644, false); err != nil {
		return "" // a convenience
	}
	if info, err := os.Stat(j.Log); err == nil && info.Size() > 0 {
		return ""
	}
	return path
}
