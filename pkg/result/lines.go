package result

import (
	"bufio"
	"errors"
	"io"
)

// maxLine bounds a line and with it the memory that a foreign file can take. A record holds one row's output: a few kilobytes.
const maxLine = 64 << 20

var (
	errTorn = errors.New("torn: the line has no end")
	errLong = errors.New("the line is longer than 64 MiB")
)

// lines yields whole lines, each with its newline. The slice is good until the next call.
type lines struct {
	r   *bufio.Reader
	n   int // lines begun
	buf []byte
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 1<<16)} }

// next returns io.EOF at a clean end and errTorn when the last line has no newline.
func (l *lines) next() ([]byte, error) {
	l.n++
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if err == nil && len(l.buf) == 0 {
			return part, nil
		}
		l.buf = append(l.buf, part...)
		switch {
		case err == nil:
			return l.buf, nil
		case errors.Is(err, io.EOF) && len(l.buf) == 0:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			return nil, errTorn
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(l.buf) > maxLine:
			return nil, errLong
		}
	}
}
