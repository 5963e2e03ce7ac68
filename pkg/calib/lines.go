package calib

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"sextant/pkg/spec"
)

// maxLine bounds one line, so that a file without newlines does not fill the memory.
const maxLine = 64 << 20

// lines are a file's lines, of which only the places are held.
type lines struct {
	f      *os.File
	path   string
	starts []int64 // and the end of the last
	column string  // jsonl: of each row; "": a line is a text
	keep   bool    // text: with its newline, and blank ones are rows
}

func openLines(spec spec.Files, column string) (rows, error) {
	f, err := os.Open(spec.Path)
	if err != nil {
		return nil, fmt.Errorf("opening the text: %w", err)
	}
	l := &lines{f: f, path: spec.Path, keep: spec.Unit == "hf-line"}
	if spec.Format == "jsonl" {
		l.column, l.keep = column, false
	}
	if err := l.index(); err != nil {
		l.close()
		return nil, fmt.Errorf("%s: %w", spec.Path, err)
	}
	return l, nil
}

// index finds where the lines begin. A line that is left out, for it is blank, belongs to the one before it, where it does no harm.
func (l *lines) index() error {
	r := bufio.NewReaderSize(l.f, 1<<20)
	at, blank, start := int64(0), true, int64(0)
	if head, _ := r.Peek(3); bytes.Equal(head, []byte("\xef\xbb\xbf")) {
		_, _ = r.Discard(3)
		at, start = 3, 3
	}
	for {
		part, err := r.ReadSlice('\n')
		at += int64(len(part))
		blank = blank && len(bytes.TrimSpace(part)) == 0
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && at-start <= maxLine:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("the line at byte %d is longer than %d MiB: is this a text file of the format named?", start, maxLine>>20)
		case err != nil && !errors.Is(err, io.EOF):
			return err
		}
		if at > start && (l.keep || !blank) {
			l.starts = append(l.starts, start)
		}
		if err != nil {
			break
		}
		start, blank = at, true
	}
	if len(l.starts) == 0 {
		return errNoRows
	}
	l.starts = append(l.starts, at)
	return nil
}

func (l *lines) len() int     { return len(l.starts) - 1 }
func (l *lines) bytes() int64 { return l.starts[len(l.starts)-1] - l.starts[0] }
func (l *lines) close()       { _ = l.f.Close() }

func (l *lines) text(i int) (string, error) {
	from, to := l.starts[i], l.starts[i+1]
	to = min(to, from+maxLine+1) // blank lines may follow without end
	line := make([]byte, to-from)
	_, err := l.f.ReadAt(line, from)
	var text string
	if err == nil {
		text, err = l.decode(line)
	}
	if err != nil {
		return "", fmt.Errorf("%s: row %d (from 0), byte %d: %w", l.path, i, from, err)
	}
	return text, nil
}

func (l *lines) decode(line []byte) (string, error) {
	if !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0 {
		return "", errors.New("no UTF-8 text: convert the file to UTF-8")
	}
	if l.column != "" {
		return columnOf(line, l.column)
	}
	text := string(line[:bytes.IndexByte(append(line, '\n'), '\n')])
	text = strings.TrimSuffix(text, "\r")
	switch {
	case !l.keep:
		return text, nil
	case strings.TrimSpace(text) == "":
		return "", nil
	}
	return text + "\n", nil
}

// columnOf is a text in a row, which is a JSON object.
func columnOf(line []byte, column string) (string, error) {
	var row map[string]json.RawMessage
	if err := json.Unmarshal(line, &row); err != nil {
		return "", fmt.Errorf("malformed row: %w: each line must be one whole JSON object", err)
	}
	raw, ok := row[column]
	if !ok {
		return "", fmt.Errorf("no column %q; there is %s", column, strings.Join(slices.Sorted(maps.Keys(row)), ", "))
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", fmt.Errorf("column %q holds no text", column)
	}
	return *text, nil
}
