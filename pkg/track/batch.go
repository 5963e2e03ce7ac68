package track

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// What MLflow's server takes in one log-batch, and in one word (mlflow.org/docs/latest/rest-api.html, "Log Batch"; mlflow/utils/validation.py).
// A request may have 1 MB; a tenth of it is left for what is around its items.
const (
	mostMetrics = 1000
	mostPairs   = 100  // params, and as many tags
	mostItems   = 1000 // of all three
	mostBytes   = 900_000

	mostKey   = 250 // characters
	mostParam = 6000
	mostTag   = 5000
)

type pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// point is one value of a metric.
type point struct {
	Key   string `json:"key"`
	Value number `json:"value"`
	Time  int64  `json:"timestamp"` // ms since 1970
	Step  number `json:"step"`
}

// UnmarshalJSON leaves the time out, which nobody needs and some servers write as text.
func (p *point) UnmarshalJSON(raw []byte) error {
	var v struct {
		Key         string
		Value, Step number
	}
	err := json.Unmarshal(raw, &v)
	p.Key, p.Value, p.Step = v.Key, v.Value, v.Step
	return err
}

// number is one that servers also write as text: int64 is, in JSON made of protocol buffers, and so are NaN and infinities.
type number float64

// UnmarshalJSON takes 1, "1", "NaN" and null.
func (n *number) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "null" || text == "" {
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	*n = number(v)
	return err
}

func (n number) finite() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// near says that two numbers are one, but for what a data base may take of its last digits.
func (n number) near(m number) bool {
	return n == m || math.Abs(float64(n-m)) <= 1e-12*math.Abs(float64(n))
}

// batch is a request of log-batch.
type batch struct {
	RunID   string  `json:"run_id"`
	Metrics []point `json:"metrics,omitempty"`
	Params  []pair  `json:"params,omitempty"`
	Tags    []pair  `json:"tags,omitempty"`
}

// split parts what is to be sent into requests that a server takes.
func (b batch) split() []batch {
	var out []batch
	now, items, size := batch{RunID: b.RunID}, 0, 0
	room := func(v any, full func() bool) {
		raw, _ := json.Marshal(v) // of strings and finite numbers
		if full() || items == mostItems || size+len(raw)+1 > mostBytes {
			out = append(out, now)
			now, items, size = batch{RunID: b.RunID}, 0, 0
		}
		items, size = items+1, size+len(raw)+1
	}
	for _, t := range b.Tags {
		room(t, func() bool { return len(now.Tags) == mostPairs })
		now.Tags = append(now.Tags, t)
	}
	for _, p := range b.Params {
		room(p, func() bool { return len(now.Params) == mostPairs })
		now.Params = append(now.Params, p)
	}
	for _, m := range b.Metrics {
		room(m, func() bool { return len(now.Metrics) == mostMetrics })
		now.Metrics = append(now.Metrics, m)
	}
	if items > 0 {
		out = append(out, now)
	}
	return out
}

// names are those given in one run: no two things get the same.
type names map[string]bool

// legal makes a name that MLflow takes for a metric, a param or a tag: letters, digits, "_", "-", "." and spaces, in parts that "/" separates,
// of which none is empty, "." or ".." (it may be a file there). Of two that would become one, the second gets a digest of what it was.
func (have names) legal(name string) string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		part = strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.Is(unicode.Nd, r) || strings.ContainsRune("_-. ", r) {
				return r
			}
			return '_'
		}, strings.TrimSpace(part))
		if part == "." || part == ".." {
			part = strings.ReplaceAll(part, ".", "_")
		}
		if part != "" {
			parts = append(parts, part)
		}
	}
	out := strings.Join(parts, "/")
	if out == "" {
		out = "_"
	}
	if short := clip(out, mostKey); short != out || have[short] {
		sum := sha256.Sum256([]byte(name))
		out = fmt.Sprintf("%s-%x", strings.TrimRight(clip(out, mostKey-9), "/ "), sum[:4])
	}
	have[out] = true
	return out
}

// legal makes a table's keys legal and its values at most so many characters. What has no value is left out.
func legal(table map[string]string, most int) map[string]string {
	out, used := map[string]string{}, names{}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if value := clip(strings.ToValidUTF8(table[key], "?"), most); value != "" {
			out[used.legal(key)] = value
		}
	}
	return out
}

// clip shortens a text to so many characters.
func clip(text string, most int) string {
	n := 0
	for i := range text {
		if n++; n > most {
			return text[:i]
		}
	}
	return text
}
