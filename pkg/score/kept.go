package score

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"sextant/pkg/result"
)

// Kept is what scoring needs of the datasets beside the records, so that a run can be scored again when the data are gone.
type Kept struct {
	Clusters map[string][]string `json:"clusters,omitempty"` // by dataset, each row's value of its column cluster
}

// WriteKept puts it into a file, whole or not at all.
func WriteKept(path string, k Kept) error {
	err := result.Commit(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(k) })
	if err != nil {
		return fmt.Errorf("keeping what scoring needs: %w", err)
	}
	return nil
}

// ReadKept gives back what WriteKept wrote; nothing where there is no file.
func ReadKept(path string) (Kept, error) {
	var k Kept
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &k)
	}
	if err != nil {
		return k, fmt.Errorf("reading what scoring needs from %q: %w; remove it, and run submit with the data there", path, err)
	}
	return k, nil
}

// Of gives a dataset's clusters, as Options.Clusters wants them.
func (k Kept) Of(dataset string) ([]string, error) { return k.Clusters[dataset], nil }
