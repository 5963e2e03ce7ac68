package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"sextant/pkg/spec"
)

// readJSONL reads one JSON object a line. Blank lines are no rows.
func readJSONL(f spec.Files, emit func(int, []byte) error) error {
	in, err := openInput(f.Path)
	if err != nil {
		return err
	}
	defer in.close()
	for row := 0; ; row++ {
		line, err := in.readRow()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := checkObject(line); err != nil {
			return fmt.Errorf("%s: %w", where(f.Path, in.line, row), err)
		}
		if err := emit(in.line, bytes.Clone(line)); err != nil {
			return err
		}
	}
}

// readRow gives the next line that is not blank, without white space around it.
func (in *input) readRow() ([]byte, error) {
	for {
		line, err := in.readLine()
		if line = bytes.TrimSpace(line); len(line) > 0 || err != nil {
			return line, err
		}
	}
}

// checkObject reports why raw is not one JSON object.
func checkObject(raw []byte) error {
	if !json.Valid(raw) {
		var v any
		err := json.Unmarshal(raw, &v)
		hint := "each line must be one whole JSON object"
		if len(raw) == 1 {
			hint += `; for one JSON document over many lines set format = "json"`
		}
		return fmt.Errorf("malformed row: %w: %s", err, hint)
	}
	if raw[0] != '{' {
		return fmt.Errorf("malformed row: a JSON %s where an object {...} is wanted", jsonKind(raw))
	}
	return nil
}

func jsonKind(raw []byte) string {
	switch raw[0] {
	case '{':
		return "object"
	case '[':
		return "list"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// addLabels joins the label file's lines to the rows as one more column. partial says that rows were left unread.
func (t *table) addLabels(f spec.Files, partial bool) error {
	labels, err := readLabels(f.Labels)
	if err != nil {
		return err
	}
	labels = labels[min(f.Skip, len(labels)):]
	if len(labels) < len(t.rows) || (!partial && len(labels) > len(t.rows)) {
		return fmt.Errorf("%s: %d labels for the %d rows of %s: the files must belong together, one label a row",
			f.Labels, len(labels), len(t.rows), t.path)
	}
	name := f.LabelName
	if name == "" {
		name = "label"
	}
	for i, raw := range t.rows {
		var row map[string]json.RawMessage
		if err := json.Unmarshal(raw, &row); err != nil {
			return fmt.Errorf("%s: %w", t.at(i), err)
		}
		if _, ok := row[name]; ok {
			return fmt.Errorf("%s: the row has a column %q already: give the labels of %s another name with label_name", t.at(i), name, f.Labels)
		}
		row[name] = mustJSON(labels[i])
		t.rows[i] = mustJSON(row)
	}
	return nil
}

// readLabels reads one label a line. Blank lines may stand at the end only.
func readLabels(path string) ([]string, error) {
	in, err := openInput(path)
	if err != nil {
		return nil, fmt.Errorf("reading labels: %w", err)
	}
	defer in.close()
	var labels []string
	blank := 0
	for {
		line, err := in.readLine()
		if errors.Is(err, io.EOF) {
			return labels, nil
		}
		if err != nil {
			return nil, err
		}
		label := strings.TrimSpace(string(line))
		if label == "" {
			blank = in.line
			continue
		}
		if blank > 0 {
			return nil, fmt.Errorf("%s: line %d: no label: every row needs one", path, blank)
		}
		labels = append(labels, label)
	}
}

// mustJSON encodes a value that always can be: maps, lists and scalars that came from a file. Keys are sorted.
func mustJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("dataset: a row that cannot be JSON: %v", err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
