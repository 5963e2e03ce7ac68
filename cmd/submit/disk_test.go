package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDiskFull runs on a small tmpfs that fills up: submit stops with the reason, and after space is made the same command ends with the
// scores of a calm run. It needs the right to mount, which CI has.
func TestDiskFull(t *testing.T) {
	calm := newSession(t, "--limit", limit)
	want := calm.finish()
	for _, size := range []string{"8k", "24k", "120k"} {
		s := newSession(t, "--limit", limit, "--retry", "1")
		mount(t, s.work, size)
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
		if err := syscall.Mount("tmpfs", s.work, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
			t.Fatal(err)
		}
		if got := s.finish(); !bytes.Equal(got, want) {
			t.Errorf("%s: scores differ after the disk was full\n%s\nwant\n%s", size, got, want)
		}
		s.wantOnce(limitRows)
	}
}

func mount(t *testing.T, dir, size string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mounting a small tmpfs (root is needed): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}
