package score

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/renameio/v2"
)

// fileVersion is the version of scores.json that this package writes and reads.
const fileVersion = 1

// Write puts scores into a file, whole or not at all. The same scores are the same bytes.
func Write(path string, s Scores) error {
	b, err := encode(s)
	if err == nil {
		err = renameio.WriteFile(path, b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing scores: %w", err)
	}
	return nil
}

func encode(s Scores) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(s)
	return b.Bytes(), err
}

// Read gives back what Write wrote.
func Read(path string) (Scores, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Scores{}, fmt.Errorf("reading scores: %w", err)
	}
	var s Scores
	if err := json.Unmarshal(b, &s); err != nil {
		return Scores{}, fmt.Errorf("reading scores %q: %w", path, err)
	}
	if s.Version != fileVersion {
		return Scores{}, fmt.Errorf("reading scores %q: version %d, this program reads version %d; score the run again", path, s.Version, fileVersion)
	}
	return s, nil
}
