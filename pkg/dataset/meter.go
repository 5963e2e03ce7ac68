package dataset

import (
	"bytes"
	"fmt"
	"io"
	"sort"
)

// maxRow bounds a row of many lines, as maxLine does a line: a reader that looks for a row's end, such as a quote that is never closed,
// must not hold the whole file. What decoders read ahead comes on top. It is a variable for the tests alone.
var maxRow int64 = maxLine

// meter is a reader that ends a row of more than maxRow bytes, and knows the lines of the offsets behind it.
type meter struct {
	r        io.Reader
	format   string
	offset   int64   // bytes read
	begun    int64   // where the row began that is being read
	newlines []int64 // offsets of newlines after the last offset whose line was asked for
	passed   int     // newlines before those
}

func (m *meter) Read(p []byte) (int, error) {
	if m.offset-m.begun > maxRow+1<<20 {
		return 0, fmt.Errorf("line %d: a row that begins here is longer than %d MiB: a quote or a bracket is missing, or the file is no %s of rows",
			m.line(m.begun), maxRow>>20, m.format)
	}
	n, err := m.r.Read(p)
	for at := 0; ; at++ {
		next := bytes.IndexByte(p[at:n], '\n')
		if next < 0 {
			break
		}
		at += next
		m.newlines = append(m.newlines, m.offset+int64(at))
	}
	m.offset += int64(n)
	return n, err
}

// line is the number, from 1, of the line at an offset. Offsets must be asked for in rising order; an earlier one gives the last answer.
func (m *meter) line(offset int64) int {
	n := sort.Search(len(m.newlines), func(i int) bool { return m.newlines[i] >= offset })
	m.passed += n
	m.newlines = append(m.newlines[:0], m.newlines[n:]...)
	return m.passed + 1
}

// begin says that what was read up to an offset is done with.
func (m *meter) begin(offset int64) { m.begun = offset }
