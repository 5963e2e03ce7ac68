package score

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"sextant/pkg/result"
)

// fileVersion is the version of scores.json that this package writes and reads.
const fileVersion = 1

// Write puts scores into a file, whole or not at all. The same scores are the same bytes.
func Write(path string, s Scores) error {
	if err := result.Commit(path, func(w io.Writer) error { return encode(w, s) }); err != nil {
		return fmt.Errorf("writing scores: %w", err)
	}
	return nil
}

func encode(w io.Writer, s Scores) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(s)
}

// Read gives back what Write wrote.
func Read(path string) (Scores, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Scores{}, fmt.Errorf("reading scores: %w", err)
	}
	var s Scores
	if err := json.Unmarshal(b, &s); err != nil {
		return Scores{}, fmt.Errorf("reading scores %q: %w; score the run again (-m eval)", path, err)
	}
	if s.Version != fileVersion {
		return Scores{}, fmt.Errorf("reading scores %q: version %d, this program reads version %d; score the run again (-m eval)", path, s.Version, fileVersion)
	}
	return s, nil
}
