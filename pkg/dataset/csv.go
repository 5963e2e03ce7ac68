package dataset

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"sextant/pkg/spec"
)

// readCSV reads comma- or tab-separated rows (RFC 4180 quoting). Every value is a string. A tsv may hold bare quotes.
func readCSV(f spec.Files, emit func(int, []byte) error) error {
	in, err := openInput(f.Path)
	if err != nil {
		return err
	}
	defer in.close()
	m := &meter{r: in.r, format: f.Format}
	r := csv.NewReader(m)
	r.FieldsPerRecord, r.ReuseRecord = -1, true
	if f.Format == "tsv" {
		r.Comma, r.LazyQuotes = '\t', true
	}
	names, err := csvNames(f, r)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	for row := 0; ; row++ {
		m.line(m.begun) // lets go of the lines before
		m.begin(r.InputOffset())
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return csvError(f.Path, err)
		}
		line, _ := r.FieldPos(0)
		object, err := csvRow(names, fields)
		if err != nil {
			return fmt.Errorf("%s: %w", where(f.Path, line, row), err)
		}
		if err := emit(line, object); err != nil {
			return err
		}
	}
}

// csvNames gives the column names: those set, else the header's.
func csvNames(f spec.Files, r *csv.Reader) ([]string, error) {
	header := len(f.Names) == 0
	if f.Header != nil {
		header = *f.Header
	}
	if !header && len(f.Names) == 0 {
		return nil, fmt.Errorf("%s: a %s without header needs names = [...] for its columns", f.Path, f.Format)
	}
	var first []string
	if header {
		got, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil, err
		}
		if err != nil {
			return nil, csvError(f.Path, err)
		}
		first = append(first, got...)
	}
	names := first
	if len(f.Names) > 0 {
		names = f.Names
	}
	if header && len(first) != len(names) {
		return nil, fmt.Errorf("%s: line 1: the header has %d columns, names has %d", f.Path, len(first), len(names))
	}
	seen := map[string]bool{}
	for i, name := range names {
		if seen[name] || name == "" {
			return nil, fmt.Errorf("%s: column %d has no name of its own (%q): set names and header to name the columns", f.Path, i+1, name)
		}
		seen[name] = true
	}
	return names, nil
}

func csvRow(names, fields []string) ([]byte, error) {
	if len(fields) != len(names) {
		return nil, fmt.Errorf("malformed row: %d fields where %d are wanted (%s): a field with the separator, a quote or a newline in it needs quotes around it",
			len(fields), len(names), list(names))
	}
	row := make(map[string]string, len(names))
	for i, field := range fields {
		if err := checkText([]byte(field)); err != nil {
			return nil, fmt.Errorf("column %q: %w", names[i], err)
		}
		if strings.IndexByte(field, 0) >= 0 {
			return nil, fmt.Errorf("column %q: a NUL byte: the file is binary, damaged or UTF-16; give it as UTF-8", names[i])
		}
		row[names[i]] = field
	}
	return mustJSON(row), nil
}

func csvError(path string, err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: line %d: malformed row: %w: check the quotes; a quote inside a field is written twice", path, p.StartLine, p.Err)
	}
	return fmt.Errorf("%s: %w", path, err)
}
