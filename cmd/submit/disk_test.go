package main

import (
	"bytes"
	"strings"
	"testing"

	"sextant/internal/smalldisk"
)

// TestDiskFull runs on a small tmpfs that fills up: submit stops with the reason, and after space is made the same command ends with the
// scores of a calm run.
func TestDiskFull(t *testing.T) {
	calm := newSession(t, "--limit", limit)
	want := calm.finish()
	for _, size := range []string{"8k", "24k", "120k"} {
		s := newSession(t, "--limit", limit, "--retry", "1")
		smalldisk.Mount(t, s.work, size)
		cmd, log := s.start()
		err := cmd.Wait()
		if err == nil {
			t.Fatalf("%s: submit finished on a full disk\n%s", size, log)
		}
		if code := cmd.ProcessState.ExitCode(); code != exitFailed && code != exitIncomplete {
			t.Errorf("%s: exit code %d\n%s", size, code, log)
		}
		if !strings.Contains(log.String(), "no space left") {
			t.Errorf("%s: the reason is not told\n%s", size, log)
		}
		smalldisk.Resize(t, s.work, "64m")
		if got := s.finish(); !bytes.Equal(got, want) {
			t.Errorf("%s: scores differ after the disk was full\n%s\nwant\n%s", size, got, want)
		}
		s.wantOnce(limitRows)
	}
}
