package jinja

import (
	"errors"
	"fmt"
)

// Error is what a template does wrong, or asks for that is not there.
type Error struct {
	Line int // of the template, from 1; 0: not known
	Text string
	Err  error // what a function of the caller's returned, or nil
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Text
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Text)
}

func (e *Error) Unwrap() error { return e.Err }

// ErrTooMuch is wrapped by the error of a template that goes over its budget.
var ErrTooMuch = errors.New("the template takes more steps or memory than any prompt needs")

// fail stops a parse or a rendering. caught makes its error.
func fail(line int, format string, args ...any) {
	panic(&Error{Line: line, Text: fmt.Sprintf(format, args...)})
}

func caught(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Error:
		*err = r
	default:
		panic(r)
	}
}
