package result

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Checkpoint is the file to which an attempt appends each row as it is computed. A row costs one write, so that whatever kills the
// process leaves whole rows and at most one torn line. One goroutine uses it at a time.
type Checkpoint struct {
	f *os.File
	h Header
}

// CreateCheckpoint begins the checkpoint of an attempt. The file must not exist: attempts never share one.
func CreateCheckpoint(path string, h Header) (*Checkpoint, error) {
	h.Version = Version
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("creating %q: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, fmt.Errorf("creating %q: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o666)
	if err != nil {
		return nil, fmt.Errorf("creating a checkpoint: %w", err)
	}
	c := &Checkpoint{f: f, h: h}
	if err := c.write(h); err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

// Append adds a row. After an error the checkpoint must not be used: what is on disk up to the row before stays good.
func (c *Checkpoint) Append(r Record) error {
	if r.Row < c.h.From || r.Row >= c.h.To || r.Digest == "" {
		return fmt.Errorf("checkpoint %q: row %d (digest %q) is not of [%d,%d)", c.f.Name(), r.Row, r.Digest, c.h.From, c.h.To)
	}
	return c.write(r)
}

func (c *Checkpoint) write(v any) error {
	line, err := encode(v)
	if err != nil {
		return fmt.Errorf("checkpoint %q: %w", c.f.Name(), err)
	}
	if _, err := c.f.Write(line); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// Close forces the rows to the disk, where they survive a crash of the machine too, and closes the file.
func (c *Checkpoint) Close() error { return errors.Join(c.f.Sync(), c.f.Close()) }

// ReadCheckpoint reads the whole rows of a checkpoint, in file order. It ends quietly at a torn last line. From a line that is not a
// record of the header's rows on, everything is ignored: the rows before are returned together with an error that wraps ErrInvalid.
// A file torn within its header holds no rows and gives the zero Header.
func ReadCheckpoint(path string) (Header, []Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, nil, err
	}
	defer f.Close()
	return readCheckpoint(path, f)
}

func readCheckpoint(path string, r io.Reader) (Header, []Record, error) {
	p := &parser{path: path, lines: newLines(r)}
	line, err := p.lines.next()
	if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
		return Header{}, nil, nil
	}
	if err != nil {
		return Header{}, nil, p.explain(err, "")
	}
	h, err := parseHeader(path, line)
	if err != nil {
		return Header{}, nil, err
	}
	var records []Record
	for {
		line, err := p.lines.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return h, records, nil
		}
		if err != nil {
			return h, records, p.explain(err, "")
		}
		var read struct {
			Record
			Version int `json:"version"`
		}
		if err := decode(line, &read); err != nil {
			return h, records, invalid(path, "line %d is no record: %v; it and what follows are ignored", p.lines.n, err)
		}
		if read.Version != 0 { // it would pass for one of row 0
			return h, records, invalid(path, "line %d is a second header; it and what follows are ignored", p.lines.n)
		}
		r := read.Record
		if r.Row < h.From || r.Row >= h.To || r.Digest == "" {
			return h, records, invalid(path, "line %d is of row %d, not of [%d,%d); it and what follows are ignored", p.lines.n, r.Row, h.From, h.To)
		}
		records = append(records, r)
	}
}

// headerSize is more than a header has, and less than is worth reading for one.
const headerSize = 1 << 10

// readHeader reads the first line of a result file or a checkpoint. io.EOF: there is none yet.
func readHeader(path string) (Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, err
	}
	defer f.Close()
	line, err := (&lines{r: bufio.NewReaderSize(f, headerSize)}).next()
	if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
		return Header{}, io.EOF
	}
	if err != nil {
		return Header{}, err
	}
	return parseHeader(path, line)
}
