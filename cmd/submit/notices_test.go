package main

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sextant/pkg/notify"
)

// listener is a webhook of kind json.
type listener struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	status int
	heard  []notify.Notice
}

const hookToken = "hidden-hook-token"

func newListener(t *testing.T) *listener {
	l := &listener{t: t, status: http.StatusOK}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n notify.Notice
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil || r.URL.Path != "/"+hookToken {
			t.Errorf("%s: %v", r.URL, err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.status == http.StatusOK {
			l.heard = append(l.heard, n)
		}
		w.WriteHeader(l.status)
	}))
	t.Cleanup(l.Close)
	t.Setenv("SEXTANT_TEST_HOOK", l.URL+"/"+hookToken)
	t.Setenv("POCKET", pocket())
	return l
}

// session makes one whose spec tells the listener, with more lines at the end.
func (l *listener) session(more string, args ...string) session {
	l.t.Helper()
	dir := l.t.TempDir()
	path := filepath.Join(dir, "told.toml")
	text := "include = [\"${POCKET}/eval.toml\"]\n[notify]\nkind = \"json\"\nurl = \"${SEXTANT_TEST_HOOK}\"\n" + more
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		l.t.Fatal(err)
	}
	work := filepath.Join(dir, "runs")
	return session{l.t, work, append([]string{path, "-w", work}, args...)}
}

// some says whether something was told.
func (l *listener) some() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.heard) > 0
}

// took gives what was told since the last call, by event.
func (l *listener) took(want ...string) []notify.Notice {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var events []string
	for _, n := range l.heard {
		events = append(events, n.Event)
	}
	if !slices.Equal(events, want) {
		l.t.Fatalf("told %q, want %q", events, want)
	}
	heard := l.heard
	l.heard = nil
	return heard
}

// ends runs submit and wants an exit code.
func (s session) ends(code int) string {
	s.t.Helper()
	cmd, log := s.start()
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("exit code %d, want %d\n%s", got, code, log)
	}
	return log.String()
}

// TestToldOnce wants a beginning and an end told once each, whatever dies in between, and the webhook's address nowhere. MLflow has one run of it
// all the while.
func TestToldOnce(t *testing.T) {
	l := newListener(t)
	lab := newTracker(t)
	s := l.session("[track.mlflow]\nexperiment = \"pocket\"\n", "--limit", limit, "--max-num-workers", "2", "--max-partition-size", "400")
	cmd, log := s.start()
	s.waitForRow()
	for deadline := time.Now().Add(time.Minute); (!l.some() || len(lab.Runs()) == 0) && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	kill(cmd.Process.Pid, "submit")
	_ = cmd.Wait()
	begun := l.took(notify.Start)[0]
	if begun.Rows != limitRows || begun.Done != 0 || begun.Name != "told" || !strings.Contains(begun.Text, "7 tasks, 280 rows") {
		t.Errorf("begun with %+v\n%s", begun, log)
	}
	lab.one(t, "RUNNING", 0)
	s.ends(exitDone)
	lab.one(t, "FINISHED", pocketMetrics)
	done := l.took(notify.End)[0]
	if done.Done != limitRows || len(done.Scores) != 8 || done.Scores[0].Value == nil || !strings.Contains(done.Title, "[sextant] told is done") {
		t.Errorf("done with %+v", done)
	}
	if !strings.Contains(done.Text, "pocket/pocket_winograd: ") || !strings.HasPrefix(done.ID, "end-") {
		t.Errorf("done with %+v", done)
	}
	lab.Calls()
	s.ends(exitDone)
	l.took()
	if calls := lab.Calls(); len(calls) > 0 {
		t.Errorf("a run of which all is told asks MLflow for %q", calls)
	}
	hasNot(t, filepath.Dir(s.work), hookToken)
	hasNot(t, filepath.Dir(s.work), trackerWord)
}

// waitForRow waits until something is computed.
func (s session) waitForRow() {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); len(s.computed()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("no row after a minute")
		}
	}
}

// hasNot wants a text in no file below a directory.
func hasNot(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			t.Errorf("%s has %q", path, text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestToldOfFailures wants rows without a score and an interruption told as failures, and what comes after them as begun again.
func TestToldOfFailures(t *testing.T) {
	l := newListener(t)
	lab := newTracker(t)
	const tracked = "[track.mlflow]\nexperiment = \"pocket\"\n"
	s := l.session(tracked+"[[models]]\nabbr = \"pocket\"\nmax_seq_len = 40\n", "--limit", "2")
	s.ends(exitIncomplete)
	lab.one(t, "FAILED", -1)
	failed := l.took(notify.Start, notify.Failure)[1]
	if !strings.Contains(failed.Text, "pocket/pocket_gsm: ") || !strings.Contains(failed.Text, "go on: submit resume "+failed.Run) ||
		failed.Scores == nil {
		t.Errorf("%+v", failed)
	}
	lab = newTracker(t)
	s = l.session("on = [\"failure\"]\n"+tracked, "--limit", limit)
	cmd, log := s.start()
	s.waitForRow()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != exitInterrupted {
		t.Fatalf("exit code %d\n%s", cmd.ProcessState.ExitCode(), log)
	}
	lab.one(t, "KILLED", 0)
	if n := l.took(notify.Failure)[0]; !strings.Contains(n.Title, "was interrupted") {
		t.Errorf("%+v", n)
	}
}

// TestNotTold wants a webhook that refuses to change nothing but a line on stderr, and the end to be told by the next submit; and -l and
// --no-notify to do what they say.
func TestNotTold(t *testing.T) {
	l := newListener(t)
	l.status = http.StatusNotFound
	s := l.session("", "--limit", "1", "-m", "infer")
	log := s.ends(exitDone)
	if n := strings.Count(log, "warning: telling json: it answers 404 Not Found"); n != 2 || strings.Contains(log, hookToken) {
		t.Errorf("warned %d times\n%s", n, log)
	}
	l.took()
	l.mu.Lock()
	l.status = http.StatusOK
	l.mu.Unlock()
	s.ends(exitDone)
	l.took(notify.End)

	s.work += "-quiet"
	s.args = append(s.args, "-w", s.work, "--no-notify")
	s.ends(exitDone)
	l.took()

	t.Setenv("SEXTANT_TEST_HOOK", "")
	s.args = s.args[:len(s.args)-1]
	if log := s.ends(exitDone); !strings.Contains(log, "environment variable SEXTANT_TEST_HOOK is not set") {
		t.Error(log)
	}
	s.args = append(s.args, "-l")
	t.Setenv(larkURL, "")
	if log := s.ends(exitUsage); !strings.Contains(log, "--lark: environment variable LARK_BOT_URL is not set") {
		t.Error(log)
	}
}

// TestLarkFlag wants -l alone to tell the bot of LARK_BOT_URL, signed with the secret beside it.
func TestLarkFlag(t *testing.T) {
	var bodies []string
	var mu sync.Mutex
	bot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, string(body))
		_, _ = io.WriteString(w, `{"code":0,"msg":"success"}`)
	}))
	t.Cleanup(bot.Close)
	t.Setenv(larkURL, bot.URL+"/"+hookToken)
	t.Setenv(larkSecret, "hidden-sign-secret")
	s := newSession(t, "--limit", "1", "-m", "infer", "-l")
	s.ends(exitDone)
	if len(bodies) != 2 || !strings.HasPrefix(bodies[0], `{"timestamp":"`) || !strings.Contains(bodies[1], `"title":"[sextant] eval is done"`) {
		t.Errorf("%q", bodies)
	}
	hasNot(t, s.work, hookToken)
	hasNot(t, s.work, "hidden-sign-secret")
	plan := exec.Command("grep", "-rl", "LARK_BOT_SECRET", s.work)
	if out, err := plan.Output(); err != nil || !strings.Contains(string(out), "plan.json") {
		t.Errorf("the variable's name is not in the plan: %q, %v", out, err)
	}
}
