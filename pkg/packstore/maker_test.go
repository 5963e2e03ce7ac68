package packstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// halfAMaker begins a pack, says so and does nothing more.
func halfAMaker(dir string) {
	s := &Store{Dir: dir, Least: 1 << 20}
	_, err := s.Get(context.Background(), testKey, func(w io.WriterAt) error {
		if _, err := w.WriteAt(pattern(testKey)[:1<<19], 0); err != nil {
			return err
		}
		fmt.Println("half way")
		time.Sleep(time.Minute)
		return nil
	})
	fmt.Println(err)
}

// startMaker gives a process that is half way through a pack.
func startMaker(t *testing.T, s *Store) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asMaker+"="+s.Dir)
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	said := make([]byte, 8)
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "half way" {
		t.Fatalf("the maker says %q, %v", said, err)
	}
	return cmd
}

// TestMakerKilled kills a maker in the middle, with others waiting for it.
func TestMakerKilled(t *testing.T) {
	s := testStore(t)
	s.Patience = time.Minute
	cmd := startMaker(t, s)
	time.AfterFunc(100*time.Millisecond, func() { _ = cmd.Process.Kill() })
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 4 {
		wg.Go(func() {
			p, err := s.Get(context.Background(), testKey, filling(testKey))
			if err != nil || !p.Shared || !bytes.Equal(p.Data, pattern(testKey)) {
				t.Errorf("%v, %+v", err, p)
				return
			}
			t.Cleanup(func() { p.Close() })
			mu.Lock()
			defer mu.Unlock()
			if p.Made {
				made++
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("made %d times", made)
	}
}

// TestMakerStuck waits for a maker that does not move: as long as the patience lasts.
func TestMakerStuck(t *testing.T) {
	s := testStore(t)
	startMaker(t, s)
	begun := time.Now()
	p := get(t, s, testKey, filling(testKey))
	if p.Shared || !strings.Contains(p.Why, "takes too long") || time.Since(begun) < s.Patience {
		t.Errorf("shared %v, %q, after %v", p.Shared, p.Why, time.Since(begun))
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), 20*time.Millisecond, os.ErrDeadlineExceeded)
	defer cancel()
	s.Patience = time.Minute
	if _, err := s.Get(ctx, testKey, never); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stop while waiting: %v", err)
	}
	if got := files(t, s); len(got) != 1 {
		t.Errorf("files %q: the maker's own is not ours to remove", got)
	}
}
