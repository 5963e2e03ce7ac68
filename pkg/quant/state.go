package quant

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sextant/pkg/result"
)

// stateVersion is of the files of a work directory, and of what a block's outputs are computed from.
const stateVersion = 1

// state is state.json of a work directory: what is done of a job. All that it names was on the disk before it was written.
type state struct {
	Version     int     `json:"version"`
	Fingerprint string  `json:"fingerprint"` // of the job
	Transformed bool    `json:"transformed"` // plain weights are kept, too
	Streams     bool    `json:"streams"`     // hidden states go from block to block
	Blocks      int     `json:"blocks"`      // of the model
	Done        int     `json:"done"`        // blocks
	Seconds     float64 `json:"seconds"`     // of all attempts, up to the last block done

	Quantized      int64 `json:"quantized"`       // parameters
	QuantizedBytes int64 `json:"quantized_bytes"` // they take: codes, scales, zeros

	// Shards are the weight files of each of the two directories, by its name: a file for each block that is done.
	Shards map[string][]shard `json:"shards"`
}

// shard is a weight file and the tensors in it.
type shard struct {
	File    string   `json:"file"`
	SHA256  string   `json:"sha256"`
	Bytes   int64    `json:"bytes"`
	Tensors []string `json:"tensors"`
}

// The directories below a work directory.
const (
	packedDir      = "packed"
	transformedDir = "transformed"
)

// ErrTaken says that another process has gone on with the same work, whose state is the later one's now.
var ErrTaken = errors.New("another attempt has gone on with this quantization")

// work is a work directory, held by this process. Of two that hold one, the later has it: the other stops before it would write
// a state, and what it has written meanwhile is what the later writes, since a block's files depend on the job alone.
type work struct {
	dir   string
	owner string
	state state
}

// openWork takes the work directory and finds what is done there of the job; what is of another one is removed. The state of a fresh one
// has no blocks done.
// published tells of a directory of weight files that it has been moved to its place.
func openWork(dir string, want state, published func(dir string) bool) (*work, error) {
	w := &work{dir: dir, owner: rand.Text()}
	want.Version, want.Shards = stateVersion, map[string][]shard{}
	data, err := os.ReadFile(w.path("state.json"))
	if err == nil {
		err = json.Unmarshal(data, &w.state)
	}
	switch {
	case err == nil && w.usable(want, published):
	case err == nil || errors.Is(err, fs.ErrNotExist) || isSyntax(err):
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("removing an older work directory: %w", err)
		}
		w.state = want
	default:
		return nil, fmt.Errorf("reading what is done of the quantization: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("making the work directory: %w", err)
	}
	if err := result.Commit(w.path("owner"), func(to io.Writer) error {
		_, err := io.WriteString(to, w.owner)
		return err
	}); err != nil {
		return nil, fmt.Errorf("taking the work directory: %w", err)
	}
	return w, nil
}

// isSyntax tells of JSON that is no state: only another program's file can be that, since states are committed whole.
func isSyntax(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind)
}

// usable tells whether the state is of the job, and its files are there.
func (w *work) usable(want state, published func(dir string) bool) bool {
	s := &w.state
	if s.Version != stateVersion || s.Fingerprint != want.Fingerprint || s.Transformed != want.Transformed || s.Streams != want.Streams ||
		s.Blocks != want.Blocks || s.Done < 0 || s.Done > s.Blocks || s.Shards == nil {
		return false
	}
	if _, err := os.Stat(w.hidden(s.Done)); err != nil && s.Streams && s.Done > 0 && s.Done < s.Blocks {
		return false
	}
	for dir, shards := range s.Shards {
		if len(shards) != s.Done {
			return false
		}
		if published(dir) {
			continue
		}
		for _, sh := range shards {
			if info, err := os.Stat(w.path(dir, sh.File)); err != nil || info.Size() != sh.Bytes {
				return false
			}
		}
	}
	return true
}

func (w *work) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// hidden is the file of the hidden states before block i.
func (w *work) hidden(i int) string { return w.path(fmt.Sprintf("hidden-%05d.f32", i)) }

// held says whether this process still has the work.
func (w *work) held() error {
	data, err := os.ReadFile(w.path("owner"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking who has the work directory: %w", err)
	}
	if string(data) != w.owner {
		return fmt.Errorf("%w (%q)", ErrTaken, w.dir)
	}
	return nil
}

// commit writes the state: what it names counts from now on.
func (w *work) commit() error {
	if err := w.held(); err != nil {
		return err
	}
	if err := result.CommitJSON(w.path("state.json"), &w.state); err != nil {
		return fmt.Errorf("writing what is done of the quantization: %w", err)
	}
	return nil
}

// sweep removes what no state needs: hidden states of other blocks than i and the remains of writes that did not end.
func (w *work) sweep(i int) error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return fmt.Errorf("sweeping the work directory: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		own := strings.TrimPrefix(name, ".") // a dot is before the name of what is being written
		if strings.HasPrefix(own, "hidden-") && w.path(name) != w.hidden(i) || strings.HasPrefix(own, "part-") {
			if err := os.RemoveAll(w.path(name)); err != nil {
				return fmt.Errorf("sweeping the work directory: %w", err)
			}
		}
	}
	return nil
}

// hashFile gives the SHA-256 and the size of a file.
func hashFile(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return "", 0, fmt.Errorf("reading %q: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}
