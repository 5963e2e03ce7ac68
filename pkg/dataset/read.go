package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sextant/pkg/spec"
)

// table is a split held in memory: each row is one JSON object, compact as the file gave it.
type table struct {
	path string
	rows [][]byte
	line []int32 // the line where a row began, from 1; 0 where a format has no lines
}

// errStop ends a reader early, once it has given as many rows as were wanted.
var errStop = errors.New("enough rows")

// at names a row of the table for an error.
func (t *table) at(row int) string { return where(t.path, int(t.line[row]), row) }

// where names a row, numbered from 0, and the line where it begins, from 1; line 0: the format has none.
func where(path string, line, row int) string {
	if line > 0 {
		return fmt.Sprintf("%s: line %d (row %d)", path, line, row)
	}
	return fmt.Sprintf("%s: row %d (from 0)", path, row)
}

// readers give a file's rows in file order to emit, as JSON objects whose bytes emit may keep.
var readers = map[string]func(f spec.Files, emit func(line int, row []byte) error) error{
	"jsonl": readJSONL, "json": readJSON, "csv": readCSV, "tsv": readCSV, "text": readText, "parquet": readParquet,
	"xml": readXML,
}

// formatOf is a file's format: the one named, else the one that its extension tells.
func formatOf(f spec.Files) (string, error) {
	name := cmp.Or(f.Format, spec.FormatOf(f.Path))
	if name == "" {
		return "", fmt.Errorf("%s: the extension %q names no format: set format to one of %s", f.Path, filepath.Ext(f.Path), list(keys(readers)))
	}
	if readers[name] == nil {
		return "", fmt.Errorf("%s: unknown format %q%s", f.Path, name, nearest(name, keys(readers)))
	}
	return name, nil
}

// readTable reads the first limit rows of a split; 0 is all of them.
func readTable(f spec.Files, limit int) (*table, error) {
	if f.Path == "" {
		return nil, errors.New("no path is set for the dataset's file")
	}
	if st, err := os.Stat(f.Path); err == nil && st.IsDir() {
		return nil, fmt.Errorf("%s: a directory: path must name a file", f.Path)
	}
	format, err := formatOf(f)
	if err != nil {
		return nil, err
	}
	f.Format = format
	t := &table{path: f.Path}
	if f.Take > 0 && (limit == 0 || f.Take < limit) {
		limit = f.Take
	}
	skip := f.Skip
	err = readers[format](f, func(line int, row []byte) error {
		if skip > 0 {
			skip--
			return nil
		}
		t.rows, t.line = append(t.rows, row), append(t.line, int32(line))
		if limit > 0 && len(t.rows) == limit {
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	if len(t.rows) == 0 && f.Skip > 0 {
		return nil, fmt.Errorf("%s: skip leaves no row: the file holds %d, skip is %d", f.Path, f.Skip-skip, f.Skip)
	}
	if len(t.rows) == 0 {
		return nil, fmt.Errorf("%s: the dataset is empty: the file holds no row", f.Path)
	}
	if f.Labels != "" {
		return t, t.addLabels(f, errors.Is(err, errStop))
	}
	return t, nil
}
