package result

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// Version is the version of the files' format.
const Version = 1

// ErrInvalid is what a damaged, foreign or incomplete result file or checkpoint gives, wrapped in what is wrong with it. The rows in it
// count as not done.
var ErrInvalid = errors.New("not a valid result file")

func invalid(path, format string, args ...any) error {
	return fmt.Errorf("%q: %w: %s", path, ErrInvalid, fmt.Sprintf(format, args...))
}

// Write commits a shard's result file. The records are those of every row of [h.From,h.To), in order. The file is there and whole
// afterwards, or the error says why not and what was there before is untouched.
func Write(path string, h Header, records []Record) error {
	if err := complete(h, records); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return Commit(path, func(w io.Writer) error {
		sum := sha256.New()
		if err := writeBody(io.MultiWriter(w, sum), h, records); err != nil {
			return err
		}
		line, err := encode(Footer{Count: len(records), SHA256: hex.EncodeToString(sum.Sum(nil))})
		if err != nil {
			return err
		}
		_, err = w.Write(line)
		return err
	})
}

func writeBody(w io.Writer, h Header, records []Record) error {
	h.Version = Version
	line, err := encode(h)
	if err != nil {
		return err
	}
	if _, err := w.Write(line); err != nil {
		return err
	}
	for i := range records {
		if line, err = encode(records[i]); err != nil {
			return fmt.Errorf("row %d: %w", records[i].Row, err)
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// complete says whether the records are those of h's rows, each once and in order.
func complete(h Header, records []Record) error {
	if err := h.check(); err != nil {
		return err
	}
	for i, r := range records {
		if want := h.From + i; r.Row != want {
			return fmt.Errorf("record %d is of row %d, want row %d", i+1, r.Row, want)
		}
	}
	if len(records) != h.To-h.From {
		return fmt.Errorf("%d records for the %d rows [%d,%d)", len(records), h.To-h.From, h.From, h.To)
	}
	return nil
}

func (h Header) check() error {
	switch {
	case h.Task == "" || h.Digest == "":
		return errors.New("the header names no task or no digest")
	case h.From < 0 || h.To < h.From:
		return fmt.Errorf("the header's rows [%d,%d) are no range", h.From, h.To)
	}
	return nil
}

// Read reads a result file and verifies all of it: header, every record in its place, count and checksum, and that nothing follows. An
// error wraps ErrInvalid when the file is bad, and says in what way; any other error is of the file system.
func Read(path string) (Header, []Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, nil, err
	}
	defer f.Close()
	return read(path, f)
}

func read(path string, r io.Reader) (Header, []Record, error) {
	p := &parser{path: path, lines: newLines(r), sum: sha256.New()}
	h, err := p.header()
	if err != nil {
		return Header{}, nil, err
	}
	records, err := p.body(h)
	if err != nil {
		return Header{}, nil, err
	}
	return h, records, nil
}

// parser reads a result file line by line; sum covers the lines before the current one.
type parser struct {
	path  string
	lines *lines
	sum   hash.Hash
}

func (p *parser) header() (Header, error) {
	line, err := p.lines.next()
	if err != nil {
		return Header{}, p.explain(err, "the file is empty")
	}
	h, err := parseHeader(p.path, line)
	if err != nil {
		return Header{}, err
	}
	p.sum.Write(line)
	return h, nil
}

func parseHeader(path string, line []byte) (Header, error) {
	var h Header
	if err := decode(line, &h); err != nil {
		return h, invalid(path, "line 1 is no header: %v", err)
	}
	if h.Version != Version {
		return h, invalid(path, "line 1: format version %d, this program knows version %d", h.Version, Version)
	}
	if err := h.check(); err != nil {
		return h, invalid(path, "line 1: %v", err)
	}
	return h, nil
}

func (p *parser) body(h Header) ([]Record, error) {
	var records []Record
	for {
		line, err := p.lines.next()
		if err != nil {
			return nil, p.explain(err, "truncated after %d records: the footer is missing", len(records))
		}
		if footer, ok := parseFooter(line); ok {
			return records, p.finish(h, footer, records)
		}
		var r Record
		if err := decode(line, &r); err != nil {
			return nil, invalid(p.path, "line %d is no record: %v", p.lines.n, err)
		}
		if want := h.From + len(records); r.Row != want || r.Row >= h.To || r.Digest == "" {
			return nil, invalid(p.path, "line %d is of row %d (digest %q), want row %d of [%d,%d)", p.lines.n, r.Row, r.Digest, want, h.From, h.To)
		}
		p.sum.Write(line)
		records = append(records, r)
	}
}

func (p *parser) finish(h Header, f Footer, records []Record) error {
	if got := hex.EncodeToString(p.sum.Sum(nil)); got != f.SHA256 {
		return invalid(p.path, "the checksum differs from the footer's: the file was changed after it was written")
	}
	if f.Count != len(records) {
		return invalid(p.path, "the footer counts %d records, the file has %d", f.Count, len(records))
	}
	if err := complete(h, records); err != nil {
		return invalid(p.path, "%v", err)
	}
	if _, err := p.lines.next(); !errors.Is(err, io.EOF) {
		return invalid(p.path, "there is more after the footer in line %d", p.lines.n-1)
	}
	return nil
}

// explain turns the end of the file into what is missing, and passes other errors on.
func (p *parser) explain(err error, format string, args ...any) error {
	switch {
	case errors.Is(err, io.EOF):
		return invalid(p.path, format, args...)
	case errors.Is(err, errTorn), errors.Is(err, errLong):
		return invalid(p.path, "line %d: %v", p.lines.n, err)
	}
	return fmt.Errorf("reading %q: %w", p.path, err)
}

// parseFooter tells a footer from a record: no record has a key "sha256".
func parseFooter(line []byte) (Footer, bool) {
	if !bytes.Contains(line, []byte(`"sha256"`)) {
		return Footer{}, false
	}
	var f struct {
		Footer
		Row *int `json:"row"`
	}
	if err := decode(line, &f); err != nil || f.Row != nil || f.SHA256 == "" {
		return Footer{}, false
	}
	return f.Footer, true
}

// encode makes a line of v. Its errors name a value that JSON cannot hold, such as NaN.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decode reads one JSON object that fills the line.
func decode(line []byte, v any) error {
	if len(line) == 0 || line[0] != '{' {
		return errors.New("it does not begin with '{'")
	}
	return json.Unmarshal(line, v)
}
