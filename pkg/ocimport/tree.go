package ocimport

import (
	"errors"
	"fmt"
	"io/fs"
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
	var names []string
	for m := range t.files {
		names = append(names, m)
	}
	slices.Sort(names)
	return names
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

// Read reads a dataset's entries, its parts one after another. The second value says what of it is not known.
func (t *Tree) Read(model, dataset string) ([]Entry, string, error) {
	paths, lacks := t.Files(model, dataset)
	if len(paths) == 0 {
		if lacks == "" {
			lacks = "there are no predictions of it"
		}
		return nil, lacks, nil
	}
	var all []Entry
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, "", fmt.Errorf("reading predictions: %w", err)
		} else if err != nil {
			return nil, "", err
		}
		entries, err := Parse(raw)
		if err != nil {
			return nil, "", fmt.Errorf("reading predictions %q: %w", p, err)
		}
		all = append(all, entries...)
	}
	return all, lacks, nil
}
