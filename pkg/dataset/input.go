package dataset

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// maxLine bounds one line of a text file, so that a file without newlines is refused and does not fill the memory.
const maxLine = 64 << 20

var byteOrderMark = []byte("\xef\xbb\xbf")

// input is a file of rows, unpacked when it is gzipped, without its byte order mark.
type input struct {
	path string
	r    *bufio.Reader
	gz   *gzip.Reader
	f    *os.File
	line int // number of the line that readLine gave last, from 1
}

func openInput(path string) (*input, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening dataset file: %w", err)
	}
	in := &input{path: path, f: f}
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		in.gz, err = gzip.NewReader(f)
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("%s: not a gzip file: %w", path, err)
		}
		r = in.gz
	}
	in.r = bufio.NewReaderSize(r, 256<<10)
	if err := in.takeMark(); err != nil {
		in.close()
		return nil, fmt.Errorf("%s: line 1: %w", path, err)
	}
	return in, nil
}

// takeMark passes the mark of UTF-8, and refuses what another mark or the first bytes tell to be no UTF-8.
func (in *input) takeMark() error {
	head, _ := in.r.Peek(4)
	switch {
	case bytes.HasPrefix(head, byteOrderMark):
		_, _ = in.r.Discard(len(byteOrderMark))
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")),
		len(head) == 4 && (head[0] == 0) != (head[1] == 0) && (head[0] == 0) == (head[2] == 0) && (head[1] == 0) == (head[3] == 0):
		return errors.New("the file is in UTF-16: convert it to UTF-8, as with iconv -f UTF-16 -t UTF-8")
	case bytes.HasPrefix(head, []byte("PAR1")):
		return errors.New(`the file is parquet: set format = "parquet"`)
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return errors.New("the file is a zip archive: unpack it")
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return errors.New("the file is gzipped: its name must end in .gz")
	}
	return nil
}

func (in *input) close() {
	if in.gz != nil {
		_ = in.gz.Close()
	}
	_ = in.f.Close()
}

// readLine gives the next line with its newline (CRLF becomes LF), or io.EOF. The bytes are valid until the next call.
func (in *input) readLine() ([]byte, error) {
	in.line++
	line, err := in.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = in.longLine(line)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, in.fail(err)
	}
	if len(line) == 0 {
		return nil, io.EOF
	}
	if n := len(line); n >= 2 && line[n-2] == '\r' && line[n-1] == '\n' {
		line = append(line[:n-2], '\n')
	}
	return line, in.check(line)
}

func (in *input) longLine(start []byte) ([]byte, error) {
	line := bytes.Clone(start)
	for {
		more, err := in.r.ReadSlice('\n')
		line = append(line, more...)
		if len(line) > maxLine {
			return nil, fmt.Errorf("the line is longer than %d MiB: is this a text file of the format named?", maxLine>>20)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func (in *input) check(line []byte) error {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		return in.fail(fmt.Errorf("a NUL byte at column %d: the file is binary, damaged or UTF-16; give it as UTF-8", i+1))
	}
	if !utf8.Valid(line) {
		return in.fail(fmt.Errorf("invalid UTF-8 at column %d: convert the file to UTF-8", invalidAt(line)+1))
	}
	return nil
}

// fail puts the place where reading stands before err.
func (in *input) fail(err error) error {
	return fmt.Errorf("%s: line %d: %w", in.path, in.line, err)
}

func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}
