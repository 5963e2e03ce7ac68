package mlflowlab

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

type pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// The server's limits.
const (
	mostMetrics = 1000
	mostPairs   = 100
	mostItems   = 1000
	mostBytes   = 1_000_000
	mostKey     = 250
	mostParam   = 6000
	mostTag     = 5000
)

var names = regexp.MustCompile(`^[/\pL\p{Nd}_.\- ]*$`)

// checkName holds a name to what the server takes.
func checkName(what, key string) *refusal {
	if !names.MatchString(key) {
		return invalid("Invalid %s name: '%s'. Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), and slashes (/).",
			what, key)
	}
	if norm := path.Clean(key); key == "" || norm != key || norm == "." || strings.HasPrefix(norm, "..") || strings.HasPrefix(norm, "/") {
		return invalid("Invalid %s name: '%s'. Names may be treated as files in certain cases, and must not resolve to other names when treated as such.",
			what, key)
	}
	if n := utf8.RuneCountInString(key); n > mostKey {
		return invalid("%s name '%s' had length %d, which exceeded length limit of %d", what, key, n, mostKey)
	}
	return nil
}

func (p pair) check(what string, most int) *refusal {
	if n := utf8.RuneCountInString(p.Value); n > most {
		return invalid("%s value '%.250s' had length %d, which exceeded length limit of %d", what, p.Value, n, most)
	}
	return checkName(what, p.Key)
}

type logBatch struct {
	Metrics []Point
	Params  []pair
	Tags    []pair
}

func (b *logBatch) check(size int) *refusal {
	if size > mostBytes {
		return invalid("Batched logging API requests must be at most %d bytes, got a request of size %d.", mostBytes, size)
	}
	for _, c := range []struct {
		what    string
		n, most int
	}{{"metrics", len(b.Metrics), mostMetrics}, {"params", len(b.Params), mostPairs}, {"tags", len(b.Tags), mostPairs},
		{"metrics, params, and tags", len(b.Metrics) + len(b.Params) + len(b.Tags), mostItems}} {
		if c.n > c.most {
			return invalid("A batch logging request can contain at most %d %s. Got %d %s. Please split up %s across multiple requests and try again.",
				c.most, c.what, c.n, c.what, c.what)
		}
	}
	for _, m := range b.Metrics {
		if no := checkName("metric", m.Key); no != nil {
			return no
		}
		if m.Time < 0 {
			return invalid("Got invalid timestamp %d for metric '%s'", m.Time, m.Key)
		}
	}
	seen := map[string]bool{}
	for _, p := range b.Params {
		if no := p.check("param", mostParam); no != nil {
			return no
		}
		if seen[p.Key] {
			return invalid("Duplicate parameter keys have been submitted: ['%s'].", p.Key)
		}
		seen[p.Key] = true
	}
	for _, t := range b.Tags {
		if no := t.check("tag", mostTag); no != nil {
			return no
		}
	}
	return nil
}

func (l *Lab) logBatch(body []byte) (any, *refusal) {
	var ask logBatch
	run, no := l.of(body, &ask)
	if no == nil {
		no = ask.check(len(body))
	}
	if no != nil {
		return nil, no
	}
	if run.Deleted {
		return nil, invalid("The run %s must be in the 'active' state. Current state is deleted.", run.ID)
	}
	for _, p := range ask.Params {
		if was, ok := run.Params[p.Key]; ok && was != p.Value {
			return nil, invalid("Changing param values is not allowed. Params were already logged='[{'key': '%s', 'old_value': '%s', 'new_value': '%s'}]' "+
				"for run ID='%s'.", p.Key, was, p.Value, run.ID)
		}
	}
	for _, p := range ask.Params {
		run.Params[p.Key] = p.Value
	}
	for _, t := range ask.Tags {
		run.Tags[t.Key] = t.Value
	}
	for _, m := range ask.Metrics {
		if !slices.Contains(run.Metrics, m) { // what came already is kept once
			run.Metrics = append(run.Metrics, m)
		}
	}
	return struct{}{}, nil
}

var oneTag = regexp.MustCompile(`^tags\."([^"]+)" = '([^']*)'$`)

func (l *Lab) search(body []byte) (any, *refusal) {
	var ask struct {
		Experiments []string `json:"experiment_ids"`
		Filter      string
		Most        int    `json:"max_results"`
		Page        string `json:"page_token"`
	}
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, invalid("%v", err)
	}
	m := oneTag.FindStringSubmatch(ask.Filter)
	if m == nil || ask.Most < 1 || ask.Most > 50000 {
		return nil, invalid("Invalid filter %q, or max_results %d", ask.Filter, ask.Most)
	}
	var found []*Run
	for _, r := range slices.Backward(l.runs) { // the newest first
		if v, ok := r.Tags[m[1]]; ok && v == m[2] && !r.Deleted && slices.Contains(ask.Experiments, r.Experiment) {
			found = append(found, r)
		}
	}
	from := 0
	_, _ = fmt.Sscan(ask.Page, &from) // "": the first
	to := min(from+min(ask.Most, PageSize), len(found))
	answer := map[string]any{}
	var views []any
	for _, r := range found[min(from, to):to] {
		views = append(views, r.view())
	}
	if views != nil {
		answer["runs"] = views
	}
	if to < len(found) {
		answer["next_page_token"] = fmt.Sprint(to)
	}
	return answer, nil
}

// PageSize is how many runs a search gives at a time, whatever is asked for.
const PageSize = 3

// view is a run as the server shows it.
func (r *Run) view() map[string]any {
	pairs := func(table map[string]string) []pair {
		var list []pair
		for _, key := range slices.Sorted(maps.Keys(table)) {
			list = append(list, pair{key, table[key]})
		}
		return list
	}
	keys := map[string]bool{}
	for _, p := range r.Metrics {
		keys[p.Key] = true
	}
	var last []Point
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		p, _ := r.Last(key)
		last = append(last, p)
	}
	data := map[string]any{"tags": pairs(r.Tags)}
	if len(last) > 0 {
		data["metrics"] = last
	}
	if len(r.Params) > 0 {
		data["params"] = pairs(r.Params)
	}
	info := map[string]any{"run_id": r.ID, "run_uuid": r.ID, "run_name": r.Name, "experiment_id": r.Experiment, "status": r.Status,
		"start_time": r.Start, "artifact_uri": "mlflow-artifacts:/" + r.ID, "lifecycle_stage": stage(r.Deleted)}
	if r.End != 0 {
		info["end_time"] = r.End
	}
	return map[string]any{"info": info, "data": data, "inputs": struct{}{}}
}
