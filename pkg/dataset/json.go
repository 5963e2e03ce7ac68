package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"sextant/pkg/spec"
)

// readJSON reads the list of objects at f.JSONPath, or the top level. It streams: only one row is decoded at a time.
func readJSON(f spec.Files, emit func(int, []byte) error) error {
	in, err := openInput(f.Path)
	if err != nil {
		return err
	}
	defer in.close()
	m := &meter{r: in.r, format: "JSON"}
	r := &jsonList{path: f.Path, dec: json.NewDecoder(m), meter: m}
	if err := r.descend(f.JSONPath); err != nil {
		return err
	}
	if err := r.rows(emit); err != nil {
		return err
	}
	return r.drain()
}

// jsonList reads one list out of a JSON document.
type jsonList struct {
	path  string
	dec   *json.Decoder
	meter *meter
	open  int // brackets entered and not yet left
}

func (r *jsonList) fail(err error) error { return fmt.Errorf("%s: %w", r.path, r.at(err)) }

// at puts the place where reading stands before err.
func (r *jsonList) at(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	at := r.dec.InputOffset()
	if ahead, _ := io.ReadAll(io.LimitReader(r.dec.Buffered(), 4096)); len(ahead) > 0 {
		at += int64(len(ahead) - len(bytes.TrimLeft(ahead, ", \t\r\n"))) // to where the bad value begins
	}
	return fmt.Errorf("line %d (byte %d): %w", r.meter.line(at), at, err)
}

// descend leaves the decoder after the '[' of the list that the dotted path names.
func (r *jsonList) descend(path string) error {
	var steps []string
	if path != "" {
		steps = strings.Split(path, ".")
	}
	for i, step := range steps {
		if err := r.enter(step, strings.Join(steps[:i], ".")); err != nil {
			return err
		}
	}
	tok, err := r.dec.Token()
	if err != nil {
		return r.fail(err)
	}
	switch tok {
	case json.Delim('['):
		return nil
	case json.Delim('{'):
		found, err := r.keys()
		if err != nil {
			return err
		}
		return fmt.Errorf("%s: %s is an object, not a list of rows: set json_path to the list's dotted path; its keys are %s",
			r.path, place(path), list(found))
	}
	return fmt.Errorf("%s: %s is %v, not a list of rows: json_path must name the list", r.path, place(path), tok)
}

// enter goes into the value of key step in the object that comes next.
func (r *jsonList) enter(step, parent string) error {
	tok, err := r.dec.Token()
	if err != nil {
		return r.fail(err)
	}
	if tok != json.Delim('{') {
		return fmt.Errorf("%s: %s is no object, so json_path cannot go on to %q", r.path, place(parent), step)
	}
	var seen []string
	for r.dec.More() {
		key, err := r.dec.Token()
		if err != nil {
			return r.fail(err)
		}
		if key == step {
			r.open++
			return nil
		}
		seen = append(seen, fmt.Sprint(key))
		if err := r.skip(); err != nil {
			return err
		}
	}
	if _, err := r.dec.Token(); err != nil {
		return r.fail(err)
	}
	return fmt.Errorf("%s: json_path: %s has no key %q%s", r.path, place(parent), step, nearest(step, seen))
}

// skip passes the value that comes next without holding it.
func (r *jsonList) skip() error {
	for depth := 0; ; {
		tok, err := r.dec.Token()
		if err != nil {
			return r.fail(err)
		}
		r.meter.begin(r.dec.InputOffset())
		switch tok {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// keys names the keys of the object entered.
func (r *jsonList) keys() ([]string, error) {
	var found []string
	for r.dec.More() {
		key, err := r.dec.Token()
		if err != nil {
			return nil, r.fail(err)
		}
		found = append(found, fmt.Sprint(key))
		if err := r.skip(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (r *jsonList) rows(emit func(int, []byte) error) error {
	for row := 0; r.dec.More(); row++ {
		r.meter.begin(r.dec.InputOffset())
		var raw json.RawMessage
		if err := r.dec.Decode(&raw); err != nil {
			return fmt.Errorf("%s: malformed row: %w", where(r.path, 0, row), r.at(err))
		}
		line := r.meter.line(r.dec.InputOffset() - int64(len(raw)))
		if raw[0] != '{' {
			return fmt.Errorf("%s: malformed row: a JSON %s where an object {...} is wanted", where(r.path, line, row), jsonKind(raw))
		}
		if err := checkText(raw); err != nil {
			return fmt.Errorf("%s: %w", where(r.path, line, row), err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			return fmt.Errorf("%s: malformed row: %w", where(r.path, line, row), err)
		}
		if err := emit(line, bytes.Clone(compact.Bytes())); err != nil {
			return err
		}
	}
	_, err := r.dec.Token()
	if err != nil {
		return r.fail(err)
	}
	return nil
}

// drain reads to the end, so that a document cut short or with more behind it is not taken for a whole one.
func (r *jsonList) drain() error {
	for {
		r.meter.begin(r.dec.InputOffset())
		tok, err := r.dec.Token()
		if errors.Is(err, io.EOF) && r.open == 0 {
			return nil
		}
		if err != nil {
			return r.fail(err)
		}
		if r.open == 0 {
			return r.fail(errors.New("more text after the end of the JSON document: for one object a line set format = \"jsonl\""))
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			r.open++
		case json.Delim('}'), json.Delim(']'):
			r.open--
		}
	}
}

func checkText(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("invalid UTF-8: convert the file to UTF-8")
	}
	return nil
}

func place(path string) string {
	if path == "" {
		return "the top level"
	}
	return fmt.Sprintf("%q", path)
}
