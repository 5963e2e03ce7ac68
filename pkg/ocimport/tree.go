package ocimport

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Tree is one run of OpenCompass on disk.
type Tree struct {
	Dir   string              // the directory named predictions
	files map[string][]string // model -> names of files without .json, sorted
}

var partName = regexp.MustCompile(`^(.*)_(\d+)$`)

// Open finds the predictions in dir: of a run (dir/predictions), of the newest run below dir, or dir itself.
func Open(dir string) (*Tree, error) {
	found, err := locate(dir)
	if err != nil {
		return nil, err
	}
	t := &Tree{Dir: found, files: map[string][]string{}}
	paths, err := filepath.Glob(filepath.Join(escape(found), "*", "*.json"))
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		name := strings.TrimSuffix(filepath.Base(p), ".json")
		if !strings.HasPrefix(name, "tmp_") { // of an inference that has not ended
			model := filepath.Base(filepath.Dir(p))
			t.files[model] = append(t.files[model], name)
		}
	}
	if len(t.files) == 0 {
		return nil, fmt.Errorf("%q holds no MODEL/DATASET.json: give the directory of a run of OpenCompass, such as outputs/default/20240131_120000", found)
	}
	return t, nil
}

func locate(dir string) (string, error) {
	if info, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("looking for predictions: %w", err)
	} else if !info.IsDir() {
		return "", fmt.Errorf("%q is a file: give the directory of a run of OpenCompass", dir)
	}
	if filepath.Base(dir) == "predictions" {
		return dir, nil
	}
	for _, pattern := range []string{"predictions", "*/predictions", "*/*/predictions"} {
		if found, err := filepath.Glob(filepath.Join(escape(dir), pattern)); err == nil && len(found) > 0 {
			return found[len(found)-1], nil // names are times
		}
	}
	return "", fmt.Errorf("%q has no directory named predictions: give the directory of a run of OpenCompass, such as outputs/default/20240131_120000", dir)
}

// escape keeps a path from being read as a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// Models lists the models, sorted.
func (t *Tree) Models() []string {
	return slices.Sorted(maps.Keys(t.files))
}

// Datasets lists the datasets that a model has predictions of, sorted; the parts of one are one.
func (t *Tree) Datasets(model string) []string {
	var names []string
	for _, f := range t.files[model] {
		if m := partName.FindStringSubmatch(f); m != nil && slices.Contains(t.files[model], m[1]+"_0") {
			f = m[1]
		}
		if !slices.Contains(names, f) {
			names = append(names, f)
		}
	}
	slices.Sort(names)
	return names
}

// Files gives the files of a dataset's predictions: the whole, or its parts in order. Lacks says of which part on they are not known,
// because it is not there and later ones are; "": all are there.
func (t *Tree) Files(model, dataset string) (paths []string, lacks string) {
	path := func(name string) string { return filepath.Join(t.Dir, model, name+".json") }
	if slices.Contains(t.files[model], dataset) {
		return []string{path(dataset)}, ""
	}
	last := -1
	for _, f := range t.files[model] {
		if m := partName.FindStringSubmatch(f); m != nil && m[1] == dataset {
			if n, err := strconv.Atoi(m[2]); err == nil {
				last = max(last, n)
			}
		}
	}
	for n := range last + 1 {
		name := dataset + "_" + strconv.Itoa(n)
		if !slices.Contains(t.files[model], name) {
			return paths, name + ".json is not there"
		}
		paths = append(paths, path(name))
	}
	return paths, ""
}

// Predictions are what a tree has of one dataset.
type Predictions struct {
	Entries []Entry
	Files   []string // that they are of, in their order
	Sums    []string // the SHA-256 of each file, in hex
	Lacks   string   // what of it is not known; "": nothing
}

// Read reads a dataset's entries, its parts one after another.
func (t *Tree) Read(model, dataset string) (p Predictions, err error) {
	p.Files, p.Lacks = t.Files(model, dataset)
	if len(p.Files) == 0 && p.Lacks == "" {
		p.Lacks = "there are no predictions of it"
	}
	for _, path := range p.Files {
		raw, err := os.ReadFile(path)
		if err != nil {
			return p, fmt.Errorf("reading predictions: %w", err)
		}
		entries, err := Parse(raw)
		if err != nil {
			return p, fmt.Errorf("reading predictions %q: %w", path, err)
		}
		sum := sha256.Sum256(raw)
		p.Entries, p.Sums = append(p.Entries, entries...), append(p.Sums, hex.EncodeToString(sum[:]))
	}
	return p, nil
}
