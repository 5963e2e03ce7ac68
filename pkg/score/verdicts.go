package score

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Verdicts remembers what became of programs, by Program.Digest, so that scoring again runs nothing twice. The zero value remembers
// nothing of other scorings and keeps nothing for them. It may be used by several goroutines, and its file by one process.
type Verdicts struct {
	mu    sync.Mutex
	known map[string]Verdict
	file  *os.File
}

// verdictLine is a line of the file.
type verdictLine struct {
	Program string `json:"program"`
	Verdict
}

// OpenVerdicts reads DIR/programs.jsonl, made where it is missing, and appends to it. Lines that are no verdict, such as one that a full
// disk cut, are passed over: their programs run again. To have all run again, remove the file.
func OpenVerdicts(dir string) (*Verdicts, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("keeping verdicts of programs: %w", err)
	}
	v, raw, err := readVerdicts(dir)
	if err != nil {
		return nil, err
	}
	if v.file, err = os.OpenFile(verdictsFile(dir), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666); err != nil {
		return nil, fmt.Errorf("keeping verdicts of programs: %w", err)
	}
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		if _, err := v.file.WriteString("\n"); err != nil {
			return nil, errors.Join(fmt.Errorf("keeping verdicts of programs: %w", err), v.file.Close())
		}
	}
	return v, nil
}

// ReadVerdicts reads DIR/programs.jsonl, which it does not change and another process may append to; no verdict where there is no file.
func ReadVerdicts(dir string) (*Verdicts, error) {
	v, _, err := readVerdicts(dir)
	return v, err
}

func verdictsFile(dir string) string { return filepath.Join(dir, "programs.jsonl") }

func readVerdicts(dir string) (v *Verdicts, raw []byte, err error) {
	raw, err = os.ReadFile(verdictsFile(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("reading the verdicts of programs: %w", err)
	}
	v = &Verdicts{known: map[string]Verdict{}}
	for line := range bytes.Lines(raw) {
		var l verdictLine
		if json.Unmarshal(line, &l) == nil && l.Program != "" && bytes.HasSuffix(line, []byte("\n")) {
			v.known[l.Program] = l.Verdict
		}
	}
	return v, raw, nil
}

// Len is how many programs have a verdict.
func (v *Verdicts) Len() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.known)
}

// Close ends the keeping, with what was kept on disk.
func (v *Verdicts) Close() error {
	if v.file == nil {
		return nil
	}
	return errors.Join(v.file.Sync(), v.file.Close())
}

func (v *Verdicts) get(digest string) (Verdict, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	got, ok := v.known[digest]
	return got, ok
}

func (v *Verdicts) put(digest string, x Verdict) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil {
		v.known = map[string]Verdict{}
	}
	v.known[digest] = x
	if v.file == nil {
		return nil
	}
	line, err := json.Marshal(verdictLine{digest, x})
	if err == nil {
		_, err = v.file.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keeping the verdict of a program: %w", err)
	}
	return nil
}
