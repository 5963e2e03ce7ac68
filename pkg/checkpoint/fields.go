package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// fields reads the keys of one JSON object and gathers every fault, each naming its key and value. null counts as absent,
// as it does in transformers.
type fields struct {
	prefix string // of keys in messages: "rope_scaling."
	values map[string]json.RawMessage
	faults *multierror.Error // never nil; shared with the fields of a nested object
}

func newFields(data []byte) (*fields, error) {
	f := &fields{faults: &multierror.Error{ErrorFormat: joinFaults}}
	if err := json.Unmarshal(data, &f.values); err != nil {
		return nil, fmt.Errorf("want a JSON object: %w", err)
	}
	if f.values == nil {
		return nil, errors.New("want a JSON object, found null")
	}
	return f, nil
}

func (f *fields) err() error { return f.faults.ErrorOrNil() }

// joinFaults shows a single fault as it is and several on a line each.
func joinFaults(errs []error) string {
	if len(errs) == 1 {
		return errs[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d errors:", len(errs))
	for _, e := range errs {
		fmt.Fprintf(&b, "\n  %s", e)
	}
	return b.String()
}

func (f *fields) addf(format string, args ...any) {
	multierror.Append(f.faults, fmt.Errorf(f.prefix+format, args...))
}

// fail reports a key with its value.
func (f *fields) fail(key, format string, args ...any) {
	f.addf("%s = %s: %s", key, f.raw(key), fmt.Sprintf(format, args...))
}

// raw is a key's value as written, shortened.
func (f *fields) raw(key string) string {
	if !f.present(key) {
		return "(absent)"
	}
	s := strings.Join(strings.Fields(string(f.values[key])), " ")
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:80], "") + "..."
	}
	return s
}

func (f *fields) present(key string) bool { _, ok := f.values[key]; return ok }

// has tells whether a key is there and not null.
func (f *fields) has(key string) bool {
	v, ok := f.values[key]
	return ok && string(v) != "null"
}

// decode reads a key into v and tells whether it was there and of the kind wanted.
func (f *fields) decode(key string, v any, kind string) bool {
	if !f.has(key) {
		return false
	}
	if err := json.Unmarshal(f.values[key], v); err != nil {
		f.fail(key, "want %s", kind)
		return false
	}
	return true
}

func (f *fields) text(key, def string) string {
	s := def
	f.decode(key, &s, "a string")
	return s
}

func (f *fields) texts(key string) []string {
	var list []string
	f.decode(key, &list, "a list of strings")
	return list
}

func (f *fields) firstText(key string) string {
	if list := f.texts(key); len(list) > 0 {
		return list[0]
	}
	return ""
}

func (f *fields) boolean(key string, def bool) bool {
	b := def
	f.decode(key, &b, "true or false")
	return b
}

func (f *fields) option(o option) bool {
	if o.key == "" {
		return o.def
	}
	return f.boolean(o.key, o.def)
}

func (f *fields) number(key string, def float64) float64 {
	v := def
	f.decode(key, &v, "a number")
	return v
}

// positive is a number above 0.
func (f *fields) positive(key string, def float64) float64 {
	v := f.number(key, def)
	if f.has(key) && !(v > 0) {
		f.fail(key, "want a number above 0")
		return def
	}
	return v
}

// whole is a number without a fraction of ordinary size; 4096.0 is one.
func (f *fields) whole(key string, def int) int {
	v := f.number(key, float64(def))
	if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
		f.fail(key, "want a whole number")
		return def
	}
	return int(v)
}

// size is a whole number from 1; def 0 means that the key must be there. It returns 0 only after reporting a fault.
func (f *fields) size(key string, def int) int {
	if !f.has(key) {
		if def == 0 {
			f.addf("%s is missing", key)
		}
		return def
	}
	v := f.number(key, 1)
	if v != math.Trunc(v) || v < 1 || v > maxSize {
		f.fail(key, "want a whole number from 1 to %d", maxSize)
		return def
	}
	return int(v)
}

// ints is a token id or a list of them.
func (f *fields) ints(key string) []int {
	if !f.has(key) {
		return nil
	}
	var one int
	if json.Unmarshal(f.values[key], &one) == nil {
		return []int{one}
	}
	var list []int
	f.decode(key, &list, "a token id or a list of them")
	return list
}
