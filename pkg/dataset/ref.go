package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// view is a row as templates see it: the file's columns, decoded, and the columns made from them.
type view map[string]any

// ref points at a value of a row: a column, then keys and indexes into it.
type ref struct {
	text string // as written
	name string // the column
	path []step
}

// step goes into an object by key, or into a list by index when key is "". each goes into every item of a list, whose values make a list.
type step struct {
	key   string
	index int
	each  bool
}

// refForm is what may stand for a column in a template: a name of letters, digits, "_", "-" and inner spaces, then .key, [i] and [].
var refForm = regexp.MustCompile(`^([\p{L}_](?:[\p{L}\p{N}_ -]*[\p{L}\p{N}_-])?)((?:\.[\p{L}\p{N}_-]+|\[[0-9]{0,6}\])*)$`)

// parseRef reads a reference. known says which names are columns: a name that is one as a whole wins, whatever is in it.
func parseRef(text string, known map[string]bool) (ref, bool) {
	if known[text] {
		return ref{text: text, name: text}, true
	}
	m := refForm.FindStringSubmatch(text)
	if m == nil {
		return ref{}, false
	}
	r := ref{text: text, name: m[1]}
	for rest := m[2]; rest != ""; {
		end := strings.IndexAny(rest[1:], ".[") + 1
		if end == 0 {
			end = len(rest)
		}
		part := rest[:end]
		rest = rest[end:]
		if part[0] == '.' {
			r.path = append(r.path, step{key: part[1:]})
			continue
		}
		if part == "[]" {
			r.path = append(r.path, step{each: true})
			continue
		}
		index, _ := strconv.Atoi(part[1 : len(part)-1]) // at most six digits by refForm
		r.path = append(r.path, step{index: index})
	}
	return r, true
}

// value follows the reference into a row.
func (r ref) value(row view) (any, error) {
	v, ok := row[r.name]
	if !ok {
		return nil, fmt.Errorf("no column %q%s", r.name, nearest(r.name, keys(row)))
	}
	v, err := follow(v, r.path)
	if err != nil {
		return nil, fmt.Errorf("column %q: %w", r.text, err)
	}
	return v, nil
}

// follow takes the steps one after the other.
func follow(v any, path []step) (any, error) {
	for i, s := range path {
		if s.each {
			return eachOf(v, path[i+1:])
		}
		var err error
		if v, err = s.into(v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// eachOf takes the steps from every item of a list.
func eachOf(v any, path []step) (any, error) {
	items, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s has no []: it is %s", shorten(v), kindOf(v))
	}
	out := make([]any, len(items))
	for i, item := range items {
		var err error
		if out[i], err = follow(item, path); err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
	}
	return out, nil
}

func (s step) into(v any) (any, error) {
	if s.key != "" {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s has no key %q: it is %s", shorten(v), s.key, kindOf(v))
		}
		got, ok := object[s.key]
		if !ok {
			return nil, fmt.Errorf("no key %q%s", s.key, nearest(s.key, keys(object)))
		}
		return got, nil
	}
	items, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s has no [%d]: it is %s", shorten(v), s.index, kindOf(v))
	}
	if s.index >= len(items) {
		return nil, fmt.Errorf("no [%d]: the list has %d items", s.index, len(items))
	}
	return items[s.index], nil
}

// scalar is a value as text: numbers as the file wrote them, booleans as true and false.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case nil:
		return "", errors.New("the value is null: give it a value, or leave such rows out of the file")
	case []any:
		return "", fmt.Errorf("%s is a list, not text: name one item, as in {column[0]}", shorten(v))
	}
	return "", fmt.Errorf("%s is an object, not text: name one value, as in {column.key}", shorten(v))
}

// texts is a value as a list of texts; a scalar is a list of one.
func texts(v any) ([]string, error) {
	items, ok := v.([]any)
	if !ok {
		items = []any{v}
	}
	out := make([]string, len(items))
	for i, item := range items {
		s, err := scalar(item)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
		out[i] = s
	}
	return out, nil
}

func kindOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case nil:
		return "null"
	}
	return "a number"
}

func shorten(v any) string {
	const most = 60
	s := string(mustJSON(v))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
