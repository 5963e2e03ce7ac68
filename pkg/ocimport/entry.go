package ocimport

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Entry is the prediction of one row.
type Entry struct {
	There  bool     // false: the file lacks this number
	Prompt string   // all text that the model was given, of every label; "": it was not kept
	Labels []string // ppl, ll: what was ranked, sorted
	Values []Value  // one a label
	Text   *string  // gen: what was generated
	Gold   string   // "": none, or not a plain value
	Fault  string   // why it cannot be used
}

// Value is what a label was ranked by: exactly one of the two is a number, the other NaN.
type Value struct {
	PPL           float64 // mean loss, lowest wins
	LogLikelihood float64 // highest wins
}

// maxEntries bounds the numbers of a file.
const maxEntries = 10_000_000

// Parse reads a file of predictions: an object whose keys are the numbers of the entries, from 0. Python's NaN and Infinity are no numbers.
func Parse(raw []byte) ([]Entry, error) {
	var byNumber map[string]json.RawMessage
	if err := json.Unmarshal(plainJSON(raw), &byNumber); err != nil {
		return nil, fmt.Errorf("it is no JSON object of predictions by number: %w; if the file was cut, run that dataset of OpenCompass again", err)
	}
	out := make([]Entry, 0, len(byNumber))
	for key, value := range byNumber {
		n, err := strconv.Atoi(key)
		if err != nil || n < 0 || n >= maxEntries {
			return nil, fmt.Errorf("key %q is no number of a row: is it a file of predictions?", key)
		}
		if n > 2*len(byNumber)+1000 {
			return nil, fmt.Errorf("key %q with %d entries: most of the file is not there", key, len(byNumber))
		}
		for len(out) <= n {
			out = append(out, Entry{})
		}
		out[n] = parseEntry(value)
	}
	return out, nil
}

func parseEntry(raw json.RawMessage) Entry {
	e := Entry{There: true}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		e.Fault = "its entry is no object"
		return e
	}
	if gold, ok := fields["gold"]; ok {
		e.Gold = plain(gold)
	}
	var prompts []string
	for key, value := range fields {
		label, ok := strings.CutPrefix(key, "label: ")
		if of, isObject := value.(map[string]any); ok && isObject {
			e.Labels = append(e.Labels, label)
			prompts = append(prompts, textOf(of["prompt"]), textOf(of["testing input"]))
		}
	}
	slices.Sort(e.Labels)
	for _, label := range e.Labels {
		of := fields["label: "+label].(map[string]any)
		e.Values = append(e.Values, Value{PPL: number(of["PPL"]), LogLikelihood: number(of["Loglikelihood"])})
	}
	e.Prompt = strings.TrimSpace(strings.Join(append(prompts, textOf(fields["origin_prompt"])), "\n"))
	switch p := fields["prediction"].(type) {
	case string:
		e.Text = &p
	case []any:
		if len(e.Labels) == 0 {
			e.Fault = "it has several predictions or probabilities, which are not imported"
		}
	}
	return e
}

// textOf is a prompt: a text, or turns of one.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		var parts []string
		for _, turn := range v {
			if t, ok := turn.(map[string]any); ok {
				parts = append(parts, textOf(t["prompt"]), textOf(t["content"]))
			} else {
				parts = append(parts, textOf(turn))
			}
		}
		return strings.Join(parts, "\n")
	}
	return ""
}

// plain is a scalar as text; "" for all else.
func plain(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case []any:
		if len(v) == 1 {
			return plain(v[0])
		}
	}
	return ""
}

func number(v any) float64 {
	if f, ok := v.(float64); ok {
		return f
	}
	return math.NaN()
}

// plainJSON writes null for the NaN, Infinity and -Infinity that Python puts outside of strings.
func plainJSON(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		switch n := len(notFinite(raw[i:])); {
		case n > 0:
			out = append(out, "null"...)
			i += n
		case raw[i] == '"':
			end := i + 1
			for end < len(raw) && raw[end] != '"' {
				if raw[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(raw))
			out = append(out, raw[i:end]...)
			i = end
		default:
			out = append(out, raw[i])
			i++
		}
	}
	return out
}

func notFinite(raw []byte) string {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if len(raw) >= len(word) && string(raw[:len(word)]) == word {
			return word
		}
	}
	return ""
}
