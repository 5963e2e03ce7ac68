package score

import (
	"fmt"
	"slices"
	"strings"
)

// losses collects why rows are missing: one entry a reason, in the order of the first row with it.
type losses struct {
	kinds []loss
	notes []string // of the rows without a record, and of all rows together
}

type loss struct {
	reason      string
	rows, first int
}

func (l *losses) add(row int, reason string) {
	for i := range l.kinds {
		if l.kinds[i].reason == reason {
			l.kinds[i].rows++
			return
		}
	}
	l.kinds = append(l.kinds, loss{reason: reason, rows: 1, first: row})
}

// absent notes rows without a record.
func (l *losses) absent(rows int, reason string) {
	text := count(rows, "row") + " without a result"
	if reason = strings.Join(strings.Fields(reason), " "); reason != "" {
		text += ": " + reason
	}
	l.note(text)
}

func (l *losses) note(text string) { l.notes = append(l.notes, text) }

func (l *losses) String() string {
	parts := slices.Clone(l.notes)
	for _, k := range l.kinds {
		first := ""
		if k.rows > 1 {
			first = "first "
		}
		parts = append(parts, fmt.Sprintf("%s: %s (%srow %d)", count(k.rows, "row"), k.reason, first, k.first))
	}
	return strings.Join(parts, "; ")
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
