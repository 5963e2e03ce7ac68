package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"sextant/pkg/spec"
)

// maker makes one column of a row.
type maker struct {
	name  string
	from  *ref
	text  body
	list  []body
	file  *string // the text of column.file
	index body
	regex *regexp.Regexp
	spec  spec.Column
}

// makers are the dataset's columns in an order in which each finds what it needs.
type makers []maker

// newMakers compiles the dataset's columns. known holds the file's columns and gets the made ones.
func newMakers(columns map[string]spec.Column, known map[string]bool) (makers, error) {
	inFile := maps.Clone(known)
	for name := range columns {
		known[name] = true
	}
	all := map[string]maker{}
	for _, name := range keys(columns) {
		if !inFile[name] { // its own name is the file's column, which it replaces
			delete(known, name)
		}
		m, err := newMaker(name, columns[name], known)
		known[name] = true
		if err != nil {
			return nil, fmt.Errorf("columns.%s: %w", name, err)
		}
		all[name] = m
	}
	return ordered(all)
}

func newMaker(name string, c spec.Column, known map[string]bool) (maker, error) {
	m := maker{name: name, spec: c}
	origins := 0
	for _, o := range []string{c.From + c.Template, c.File, strings.Join(c.List, "")} {
		if o != "" {
			origins++
		}
	}
	if origins != 1 {
		return m, errors.New("it needs one of from, template, list and file; template may stand in for a from that the file lacks")
	}
	if err := m.compile(c, known); err != nil {
		return m, err
	}
	if c.Regex != "" {
		re, err := regexp.Compile(c.Regex)
		if err != nil {
			return m, fmt.Errorf("regex: %w", err)
		}
		m.regex = re
	}
	var err error
	if m.index, err = (scope{known: known}).compile(c.Index); err != nil {
		return m, fmt.Errorf("index: %w", err)
	}
	return m, nil
}

// compile reads what the column is made of.
func (m *maker) compile(c spec.Column, known map[string]bool) (err error) {
	s := scope{known: known}
	found, ok := pick(c.From, known)
	switch {
	case ok:
		m.from = &found
	case c.Template != "":
		if m.text, err = s.compile(c.Template); err != nil {
			return fmt.Errorf("template: %w", err)
		}
	case c.File != "":
		text, err := readColumnFile(c.File)
		if err != nil {
			return err
		}
		m.file = &text
	case c.From != "":
		if found.name == "" {
			return fmt.Errorf("from = %q is no column: write a column's name, then .key, [i] or []", c.From)
		}
		return fmt.Errorf("from = %q: no such column%s", c.From, nearest(found.name, keys(known)))
	}
	for i, text := range c.List {
		b, err := s.compile(text)
		if err != nil {
			return fmt.Errorf("list[%d]: %w", i, err)
		}
		m.list = append(m.list, b)
	}
	return nil
}

// pick finds the first of the references, with | between, whose column there is; else, with false, the first.
func pick(text string, known map[string]bool) (first ref, ok bool) {
	if known[text] {
		return ref{text: text, name: text}, true
	}
	for alternative := range strings.SplitSeq(text, "|") {
		r, is := parseRef(strings.TrimSpace(alternative), known)
		if is && known[r.name] {
			return r, true
		}
		if first.name == "" {
			first = r
		}
	}
	return first, false
}

// needs lists the columns a maker reads. Its own name is the file's column, which it replaces.
func (m maker) needs() []string {
	var names []string
	if m.from != nil {
		names = append(names, m.from.name)
	}
	for _, p := range slices.Concat(slices.Concat(m.list, []body{m.text, m.index})...) {
		if p.ref != nil {
			names = append(names, p.ref.name)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return n == m.name })
}

// ordered sorts makers so that each comes after those it reads.
func ordered(all map[string]maker) (makers, error) {
	var out makers
	state := map[string]int{} // 1: being placed, 2: placed
	var place func(name string) error
	place = func(name string) error {
		m, made := all[name]
		if !made || state[name] == 2 {
			return nil
		}
		if state[name] == 1 {
			return fmt.Errorf("columns.%s: made from itself through other columns", name)
		}
		state[name] = 1
		for _, need := range m.needs() {
			if err := place(need); err != nil {
				return err
			}
		}
		state[name] = 2
		out = append(out, m)
		return nil
	}
	for _, name := range keys(all) {
		if err := place(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// make computes the column's value for a row.
func (m maker) make(row view) (any, error) {
	v, err := m.origin(row)
	if err != nil || !changes(m.spec) {
		return v, err
	}
	if m.spec.Parse == "list" {
		s, err := scalar(v)
		if err != nil {
			return nil, err
		}
		if v, err = parseList(s); err != nil {
			return nil, err
		}
	}
	if m.regex != nil || m.spec.Map != nil || m.spec.Case != "" || m.spec.Split != "" {
		if v, err = m.changeAll(v); err != nil {
			return nil, err
		}
	}
	return m.arrange(v, row)
}

// origin is what the column is made of, in a row.
func (m maker) origin(row view) (any, error) {
	switch {
	case m.from != nil:
		return m.from.value(row)
	case m.file != nil:
		return *m.file, nil
	case m.list == nil:
		return m.text.render(env{row: row}, "")
	}
	out := make([]any, len(m.list))
	for i, b := range m.list {
		s, err := b.render(env{row: row}, "")
		if err != nil {
			return nil, fmt.Errorf("list[%d]: %w", i, err)
		}
		out[i] = s
	}
	return out, nil
}

// changeAll changes a value, or each item of a list.
func (m maker) changeAll(v any) (any, error) {
	items, isList := v.([]any)
	if !isList {
		return m.change(v)
	}
	out := make([]any, len(items))
	for i, item := range items {
		var err error
		if out[i], err = m.change(item); err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
	}
	return out, nil
}

// change applies regex, map, case and split to one value, in this order.
func (m maker) change(v any) (any, error) {
	s, err := scalar(v)
	if err != nil {
		return nil, err
	}
	if m.regex != nil {
		found := m.regex.FindStringSubmatch(s)
		if found == nil {
			return nil, fmt.Errorf("regex %q does not match %s", m.spec.Regex, shorten(s))
		}
		s = found[min(1, len(found)-1)]
	}
	if m.spec.Map != nil {
		to, ok := m.spec.Map[s]
		if !ok {
			return nil, fmt.Errorf("map has no entry for %s; there is %s", shorten(s), list(keys(m.spec.Map)))
		}
		s = to
	}
	if m.spec.Case != "" {
		s = inCase(m.spec.Case, s)
	}
	if m.spec.Split == "" {
		return s, nil
	}
	parts := strings.Split(s, m.spec.Split)
	out := make([]any, len(parts))
	for i, part := range parts {
		out[i] = part
	}
	return out, nil
}

// view decodes a row and makes its columns.
func (m makers) view(raw []byte) (view, error) {
	row, err := decode(raw)
	if err != nil {
		return nil, err
	}
	for _, one := range m {
		v, err := one.make(row)
		if err != nil {
			return nil, fmt.Errorf("columns.%s: %w", one.name, err)
		}
		row[one.name] = v
	}
	return row, nil
}

// decode reads a row with its numbers as they were written.
func decode(raw []byte) (view, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var row view
	if err := dec.Decode(&row); err != nil {
		return nil, fmt.Errorf("malformed row: %w", err)
	}
	return row, nil
}
