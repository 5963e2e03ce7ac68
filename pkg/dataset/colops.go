package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"sextant/pkg/spec"
)

// maxColumnFile bounds a text that a column takes from a file: it is in every prompt.
const maxColumnFile = 1 << 20

// readColumnFile gives the text of a column's file.
func readColumnFile(path string) (string, error) {
	in, err := openInput(path)
	if err != nil {
		return "", fmt.Errorf("%w: the entry's prompt has the text of this file in it; put it there, or set the column's file", err)
	}
	defer in.close()
	var out strings.Builder
	err = readBlocks(in, func(string) bool { return false }, func(_ int, text string) error {
		if len(text) > maxColumnFile {
			return fmt.Errorf("%s: %d bytes, more than the %d that a prompt's text may have", path, len(text), maxColumnFile)
		}
		out.WriteString(text)
		return nil
	})
	return out.String(), err
}

// changes says whether a column is more than a copy.
func changes(c spec.Column) bool {
	return c.Parse != "" || c.Regex != "" || c.Map != nil || c.Case != "" || c.Split != "" || c.Number != "" || c.Index != "" || c.Join != "" || c.JSON
}

// arrange applies what works on a whole list, in the order number, index, join, and last json.
func (m maker) arrange(v any, row view) (any, error) {
	c := m.spec
	if c.Number != "" || c.Index != "" || c.Join != "" {
		items, ok := v.([]any)
		if !ok {
			return nil, fmt.Errorf("number, index and join want a list, and %s is %s: make one with list, split or parse", shorten(v), kindOf(v))
		}
		var err error
		if v, err = m.arrangeList(items, row); err != nil {
			return nil, err
		}
	}
	if c.JSON {
		return string(mustJSON(v)), nil
	}
	return v, nil
}

func (m maker) arrangeList(items []any, row view) (any, error) {
	if m.spec.Number != "" {
		numbered := make([]any, len(items))
		for i, item := range items {
			s, err := scalar(item)
			if err != nil {
				return nil, fmt.Errorf("item %d: %w", i, err)
			}
			numbered[i] = ordinal(m.spec.Number, i) + s
		}
		items = numbered
	}
	if m.spec.Index != "" {
		found, err := m.positions(items, row)
		if err != nil {
			return nil, err
		}
		items = found
	}
	if m.spec.Join == "" {
		return items, nil
	}
	parts, err := texts(items)
	return strings.Join(parts, m.spec.Join), err
}

// positions lists the numbers of the items that equal the text of index, white space around them aside.
func (m maker) positions(items []any, row view) ([]any, error) {
	want, err := m.index.render(env{row: row}, "")
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	var out []any
	for i, item := range items {
		s, err := scalar(item)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
		if strings.TrimSpace(s) == strings.TrimSpace(want) {
			out = append(out, strconv.Itoa(i))
		}
	}
	if out == nil {
		return nil, fmt.Errorf("index: no item of %s is %s", shorten(items), shorten(want))
	}
	return out, nil
}

// ordinal counts on from the first letter or digit of a mark: "A. " gives "A. ", "B. ", "C. ".
func ordinal(mark string, i int) string {
	at := strings.IndexFunc(mark, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
	if at < 0 {
		return mark
	}
	r, n := utf8.DecodeRuneInString(mark[at:])
	if unicode.IsDigit(r) {
		return mark[:at] + strconv.Itoa(int(r-'0')+i) + mark[at+n:]
	}
	return mark[:at] + string(r+rune(i)) + mark[at+n:]
}

// inCase writes a text with other letters: upper, lower, or only its first letter capital or not.
func inCase(how, s string) string {
	switch how {
	case "upper":
		return strings.ToUpper(s)
	case "lower":
		return strings.ToLower(s)
	}
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	if how == "capital" {
		return string(unicode.ToUpper(r)) + s[n:]
	}
	return string(unicode.ToLower(r)) + s[n:]
}

// parseList reads the text of a list as JSON or Python writes it: [...] of strings in either kind of quotes, and of bare words and
// numbers, which are taken as text.
func parseList(text string) ([]any, error) {
	var out []any
	if json.Unmarshal([]byte(text), &out) == nil && flatTexts(out) {
		return out, nil
	}
	rest := strings.TrimSpace(text)
	if !strings.HasPrefix(rest, "[") || !strings.HasSuffix(rest, "]") || len(rest) < 2 {
		return nil, fmt.Errorf("%s is no list: it must begin with [ and end with ]", shorten(text))
	}
	rest = strings.TrimSpace(rest[1 : len(rest)-1])
	out = []any{}
	for rest != "" {
		item, tail, err := listItem(rest)
		if err != nil {
			return nil, fmt.Errorf("%s: item %d: %w", shorten(text), len(out), err)
		}
		out = append(out, item)
		tail = strings.TrimSpace(tail)
		if tail != "" && tail[0] != ',' {
			return nil, fmt.Errorf("%s: after item %d: %s where a comma is wanted", shorten(text), len(out)-1, shorten(tail))
		}
		rest = strings.TrimSpace(strings.TrimPrefix(tail, ","))
	}
	return out, nil
}

func flatTexts(list []any) bool {
	for _, item := range list {
		if _, ok := item.(string); !ok {
			return false
		}
	}
	return true
}

// listItem reads one item from the front of text.
func listItem(text string) (item, tail string, err error) {
	if text[0] != '"' && text[0] != '\'' {
		end := strings.IndexByte(text, ',')
		if end < 0 {
			end = len(text)
		}
		item = strings.TrimSpace(text[:end])
		if strings.ContainsAny(item, "[]{}()\"'") || item == "" {
			return "", "", fmt.Errorf("%s is no text in quotes", shorten(item))
		}
		return item, text[end:], nil
	}
	var b strings.Builder
	quote := rune(text[0])
	for rest := text[1:]; rest != ""; {
		if rest[0] == byte(quote) {
			return b.String(), rest[1:], nil
		}
		if rest[0] == '\\' && len(rest) > 1 && (rest[1] == '\'' || rest[1] == '"') {
			b.WriteByte(rest[1])
			rest = rest[2:]
			continue
		}
		r, _, tail, err := strconv.UnquoteChar(rest, 0)
		if err != nil {
			return "", "", fmt.Errorf("a malformed escape at %s", shorten(rest))
		}
		b.WriteRune(r) // \xe9 of Python is the character, not a byte
		rest = tail
	}
	return "", "", errors.New("the closing quote is missing")
}
