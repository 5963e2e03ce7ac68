package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// Error is one thing wrong in a spec. Load returns all of them in one *multierror.Error, sorted by file and line.
type Error struct {
	File      string // as the user named it; for a flag, the flag
	Line, Col int    // from 1, columns in characters; 0: the file as a whole
	Key       string // dotted, with the abbr of the entry: models[tiny].run_cfg.num_gpus
	Text      string // what is wrong; what to do
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Col)
	}
	if e.Key != "" {
		b.WriteString(": " + e.Key)
	}
	b.WriteString(": " + e.Text)
	return b.String()
}

// problems gathers errors, so that a user sees all of them at once.
type problems struct{ list []*Error }

func (p *problems) add(n *node, key, format string, args ...any) {
	p.list = append(p.list, &Error{n.src.name, n.line, n.col, key, fmt.Sprintf(format, args...)})
}

// err is nil when nothing is wrong. The same text at the same place is said once: tables that share a base share its errors.
func (p *problems) err() error {
	slices.SortStableFunc(p.list, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Text, b.Text))
	})
	all := &multierror.Error{ErrorFormat: oneALine}
	type place struct {
		file      string
		line, col int
		text      string
	}
	seen := map[place]bool{}
	for _, e := range p.list {
		at := place{e.File, e.Line, e.Col, e.Text}
		if e.Line == 0 {
			at.text = e.Key + ": " + e.Text
		}
		if !seen[at] {
			seen[at] = true
			all.Errors = append(all.Errors, e)
		}
	}
	return all.ErrorOrNil()
}

func oneALine(errs []error) string {
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}
