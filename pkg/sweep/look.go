package sweep

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// descriptions are the files that make a directory a checkpoint's: of Hugging Face's layout, and of Meta's.
var descriptions = []string{"config.json", "params.json"}

// Scan reads a directory of checkpoints: the directories in it, one level, that have a config.json or a params.json, in the order of their
// names. Hidden ones, those named *.tmp and links to another of them ("latest") are passed over. others counts directories that are no
// checkpoint. What goes away while it is looked at is not there.
func Scan(dir, marker string) (seen []Seen, others int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("looking for checkpoints: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), ".tmp") || alias(dir, path, e) {
			continue
		}
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			continue
		}
		s, ok := scan(path, marker)
		if !ok {
			others++
			continue
		}
		s.Name = e.Name()
		seen = append(seen, s)
	}
	return seen, others, nil
}

// alias says whether an entry is a link to something in the same directory.
func alias(dir, path string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return false
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return true
	}
	home, err := filepath.EvalSymlinks(dir)
	return err == nil && filepath.Dir(target) == home
}

// scan reads one directory: its files, and not what lies in directories below it. A change is also one of a file's status, for a copy may
// have set the times of the original.
func scan(path, marker string) (s Seen, ok bool) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return Seen{}, false
	}
	h := sha256.New()
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(path, e.Name())) // a file of a hub's cache is a link
		if err != nil || info.IsDir() {
			continue
		}
		fmt.Fprintf(h, "%q %d %d\n", e.Name(), info.Size(), info.ModTime().UnixNano())
		s.Changed = later(s.Changed, info.ModTime())
		if st, is := info.Sys().(*syscall.Stat_t); is {
			s.Changed = later(s.Changed, time.Unix(st.Ctim.Unix()))
		}
		s.Marked = s.Marked || e.Name() == marker
		for _, d := range descriptions {
			ok = ok || e.Name() == d
		}
	}
	s.Files = hex.EncodeToString(h.Sum(nil))[:16]
	return s, ok
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
