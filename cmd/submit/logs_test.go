package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// growing is what a program has written so far.
type growing struct {
	mu   sync.Mutex
	text strings.Builder
}

func (g *growing) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(p)
}

func (g *growing) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

// TestLogsFollow wants submit logs -f to print what is there and what is added to it, each byte once, until Ctrl-C, which is no failure.
func TestLogsFollow(t *testing.T) {
	s := newSession(t, "--limit", "1")
	s.finish()
	logs, err := filepath.Glob(filepath.Join(s.work, "*", "attempts", "*", "*", "log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log: %v", err)
	}
	before, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	run := filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(logs[0]))))
	job := filepath.Base(filepath.Dir(filepath.Dir(logs[0])))
	var out growing
	cmd := exec.Command(filepath.Join(bin, "submit"), "logs", run, job, "-f")
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	shows := func(want string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); out.String() != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it shows %q, want %q", out.String(), want)
			}
		}
	}
	shows(string(before))
	more := "one line more\nand the beginning of ano"
	f, err := os.OpenFile(logs[0], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, part := range strings.SplitAfter(more, "\n") {
		if _, err := f.WriteString(part); err != nil {
			t.Fatal(err)
		}
		time.Sleep(120 * time.Millisecond)
	}
	shows(string(before) + more)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}
