package track

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The tags by which runs are found again. One without tagVariant is the parent of a run of several variants.
const (
	tagRun     = "sextant.run"
	tagVariant = "sextant.variant"
	tagParent  = "mlflow.parentRunId"
	tagName    = "mlflow.runName"
)

// Receipt says what is on the server after a report.
type Receipt struct {
	Experiment   string    `json:"experiment"`
	ExperimentID string    `json:"experiment_id"`
	Runs         []Receive `json:"runs"` // a parent first, then in the order of the variants
}

// Receive is one run of MLflow, and what the report changed of it.
type Receive struct {
	Variant string `json:"variant,omitempty"` // "": the parent
	RunID   string `json:"run_id"`
	Status  string `json:"status"` // RUNNING, FINISHED, FAILED or KILLED
	Made    bool   `json:"made"`
	Metrics int    `json:"metrics"`
	Params  int    `json:"params"`
	Tags    int    `json:"tags"`
}

// Report brings the server up to a run: a run of MLflow for each variant, below one of the whole where there are several, made where there is
// none yet. A metric is sent when its last value there is another one. A param cannot be changed there: one that has another value now is left,
// and what it is now is the tag sextant.now.NAME.
//
// It returns when all is there, when there is no hope, or when ctx ends; what was sent by then stays, and the next report sends the rest.
func (s *Server) Report(ctx context.Context, r Run) (*Receipt, error) {
	receipt, err := s.report(ctx, &r)
	if err != nil {
		return receipt, fmt.Errorf("MLflow at %s: %w", s.Address(), err)
	}
	return receipt, nil
}

func (s *Server) report(ctx context.Context, r *Run) (*Receipt, error) {
	name := cmp.Or(s.Experiment, r.Spec)
	id, err := s.experiment(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("experiment %q: %w", name, err)
	}
	receipt := &Receipt{Experiment: name, ExperimentID: id}
	have, err := s.find(ctx, id, r.ID)
	if err != nil {
		return receipt, fmt.Errorf("looking for the runs of %s: %w", r.Name, err)
	}
	all := s.wanted(r)
	parent := have[""]
	if len(r.Variants) < 2 && parent == nil {
		all = all[1:]
	}
	for _, w := range all {
		if w.variant != "" && parent != nil {
			w.tags[tagParent] = parent.Info.RunID
		}
		got, done, err := s.sync(ctx, id, have[w.variant], w)
		if err != nil {
			return receipt, fmt.Errorf("run %s: %w", w.name, err)
		}
		receipt.Runs = append(receipt.Runs, done)
		if w.variant == "" {
			parent = got
		}
	}
	return receipt, nil
}

// experiment finds or makes the experiment of a name.
func (s *Server) experiment(ctx context.Context, name string) (id string, err error) {
	var got struct {
		Experiment struct {
			ID    string `json:"experiment_id"`
			Stage string `json:"lifecycle_stage"`
		} `json:"experiment"`
	}
	var made struct {
		ID string `json:"experiment_id"`
	}
	for range 2 {
		err = s.call(ctx, http.MethodGet, "experiments/get-by-name?experiment_name="+url.QueryEscape(name), nil, &got)
		switch {
		case err == nil && got.Experiment.ID == "":
			return "", errors.New("its answer has no experiment in it: is the address that of MLflow's server?")
		case err == nil && got.Experiment.Stage == "deleted":
			return "", errors.New("it was deleted there; restore it (mlflow experiments restore), or write another name")
		case err == nil:
			return got.Experiment.ID, nil
		case !refused(err, "RESOURCE_DOES_NOT_EXIST"):
			return "", err
		}
		err = s.call(ctx, http.MethodPost, "experiments/create", map[string]string{"name": name}, &made)
		if !refused(err, "RESOURCE_ALREADY_EXISTS") { // made by another meanwhile, or by a try whose answer was lost
			return made.ID, err
		}
	}
	return "", err
}

// remote is a run as the server has it.
type remote struct {
	Info struct {
		RunID  string `json:"run_id"`
		Status string `json:"status"`
		Start  number `json:"start_time"`
	} `json:"info"`
	Data struct {
		Metrics []point `json:"metrics"` // the last of each key
		Params  []pair  `json:"params"`
		Tags    []pair  `json:"tags"`
	} `json:"data"`
}

// tag is a tag's value, "" where there is none.
func (m *remote) tag(key string) string {
	for _, t := range m.Data.Tags {
		if t.Key == key {
			return t.Value
		}
	}
	return ""
}

// find lists the server's runs of a run, by variant. Of two of one variant the one with more in it is taken; the other came of a request whose
// answer was lost, and is deleted where nothing is in it.
func (s *Server) find(ctx context.Context, experiment, id string) (map[string]*remote, error) {
	all, err := s.search(ctx, experiment, id)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *remote) int {
		return cmp.Or(len(b.Data.Metrics)-len(a.Data.Metrics), len(b.Data.Params)-len(a.Data.Params), cmp.Compare(a.Info.Start, b.Info.Start),
			cmp.Compare(a.Info.RunID, b.Info.RunID))
	})
	have := map[string]*remote{}
	for _, m := range all {
		variant := m.tag(tagVariant)
		if have[variant] == nil {
			have[variant] = m
		} else if len(m.Data.Metrics) == 0 {
			if err := s.call(ctx, http.MethodPost, "runs/delete", map[string]string{"run_id": m.Info.RunID}, nil); err != nil {
				return nil, err
			}
		}
	}
	return have, nil
}

// mostPages bounds a search whose server never ends it.
const mostPages = 100

func (s *Server) search(ctx context.Context, experiment, id string) ([]*remote, error) {
	ask := map[string]any{"experiment_ids": []string{experiment}, "filter": fmt.Sprintf(`tags."%s" = '%s'`, tagRun, id), "max_results": 1000,
		"run_view_type": "ACTIVE_ONLY"}
	var all []*remote
	for range mostPages {
		var page struct {
			Runs []*remote `json:"runs"`
			Next string    `json:"next_page_token"`
		}
		if err := s.call(ctx, http.MethodPost, "runs/search", ask, &page); err != nil {
			return nil, err
		}
		for _, m := range page.Runs {
			if m != nil && m.tag(tagRun) == id { // some servers know no filters
				all = append(all, m)
			}
		}
		if page.Next == "" {
			return all, nil
		}
		ask["page_token"] = page.Next
	}
	return nil, fmt.Errorf("the search has more than %d pages", mostPages)
}

// create makes a run. A request without an answer may have made it all the same, so that it is looked for before another is made.
func (s *Server) create(ctx context.Context, experiment string, w *wanted) (*remote, error) {
	ids := []pair{{tagName, w.name}, {tagRun, w.tags[tagRun]}}
	for _, key := range []string{tagVariant, tagParent, "mlflow.user"} {
		if v := w.tags[key]; v != "" {
			ids = append(ids, pair{key, v})
		}
	}
	ask := map[string]any{"experiment_id": experiment, "run_name": w.name, "start_time": w.start.UnixMilli(), "tags": ids}
	for try := 0; ; try++ {
		var got struct {
			Run *remote `json:"run"`
		}
		again, err := s.try(ctx, http.MethodPost, "runs/create", ask, &got)
		if err == nil && got.Run != nil && got.Run.Info.RunID != "" {
			return got.Run, nil
		}
		if err == nil {
			err = errors.New("its answer has no run in it: is the address that of MLflow's server?")
		}
		if !s.mayTry(ctx, try, again) {
			return nil, err
		}
		have, ferr := s.find(ctx, experiment, w.tags[tagRun])
		if ferr != nil {
			return nil, ferr
		}
		if m := have[w.variant]; m != nil {
			return m, nil
		}
	}
}

// sync brings one run up to what is wanted: first that it runs, then what is in it, last that it is done.
func (s *Server) sync(ctx context.Context, experiment string, m *remote, w *wanted) (*remote, Receive, error) {
	made := m == nil
	if made {
		var err error
		if m, err = s.create(ctx, experiment, w); err != nil {
			return nil, Receive{}, err
		}
	}
	done := Receive{Variant: w.variant, RunID: m.Info.RunID, Status: w.status, Made: made}
	if w.status == statusRunning && m.Info.Status != w.status {
		if err := s.update(ctx, m, w); err != nil {
			return nil, done, err
		}
	}
	lacks := w.lacking(m)
	done.Metrics, done.Params, done.Tags = len(lacks.Metrics), len(lacks.Params), len(lacks.Tags)
	for _, b := range lacks.split() {
		if err := s.call(ctx, http.MethodPost, "runs/log-batch", b, nil); err != nil {
			return nil, done, err
		}
	}
	if w.status != statusRunning && m.Info.Status != w.status {
		if err := s.update(ctx, m, w); err != nil {
			return nil, done, err
		}
	}
	return m, done, nil
}

func (s *Server) update(ctx context.Context, m *remote, w *wanted) error {
	ask := map[string]any{"run_id": m.Info.RunID, "status": w.status}
	if w.status != statusRunning {
		ask["end_time"] = time.Now().UnixMilli()
	}
	return s.call(ctx, http.MethodPost, "runs/update", ask, nil)
}

// statusRunning is a run's status until it ends.
const statusRunning = "RUNNING"

// statusOf is a state in MLflow's words.
func statusOf(s State) string {
	switch s {
	case Running:
		return statusRunning
	case Finished:
		return "FINISHED"
	case Interrupted:
		return "KILLED"
	}
	return "FAILED"
}

// wanted is a run as the server is to have it.
type wanted struct {
	variant string // "": the parent
	name    string
	status  string
	start   time.Time
	tags    map[string]string
	params  map[string]string
	metrics []point
}

// wanted lists what the server is to have of a run, the parent first.
func (s *Server) wanted(r *Run) []*wanted {
	common := map[string]string{"mlflow.source.type": "JOB", "mlflow.source.name": "sextant", "sextant.dir": r.Dir, "sextant.version": r.Program,
		"sextant.state": string(r.State), "sextant.scheduler": r.Scheduler, "mlflow.user": r.User}
	maps.Copy(common, s.Tags)
	common[tagRun] = r.ID
	now := time.Now()
	start := r.Began
	if start.IsZero() {
		start = now
	}
	whole := &wanted{name: r.Name, status: statusOf(r.State), start: start, tags: maps.Clone(common), params: map[string]string{"spec": r.Spec}}
	all := []*wanted{whole}
	for i := range r.Variants {
		v := &r.Variants[i]
		state := r.state(v)
		w := &wanted{variant: v.Name, name: v.Name, status: statusOf(state), start: start, tags: maps.Clone(common), params: maps.Clone(v.Params),
			metrics: r.points(v, now)}
		w.tags[tagVariant], w.tags["sextant.state"] = v.Name, string(state)
		all = append(all, w)
	}
	for _, w := range all {
		w.tags = legal(w.tags, mostTag)
		w.params = legal(w.params, mostParam)
	}
	return all
}

// points are a variant's numbers.
func (r *Run) points(v *Variant, now time.Time) []point {
	used := names{}
	var out []point
	add := func(name string, value float64) {
		out = append(out, point{used.legal(name), number(value), now.UnixMilli(), number(v.Step)})
	}
	for _, s := range r.Scores {
		if s.Variant != v.Name {
			continue
		}
		name := s.Dataset + "/" + s.Metric
		if s.Group {
			name = "groups/" + name
		}
		if s.Value != nil {
			add(name, *s.Value)
		}
		if s.StdErr != nil {
			add(name+"_stderr", *s.StdErr)
		}
		add(name+"_n", float64(s.N))
		add(name+"_missing", float64(s.Missing))
	}
	for _, name := range slices.Sorted(maps.Keys(v.Metrics)) {
		add(name, v.Metrics[name])
	}
	return slices.DeleteFunc(out, func(p point) bool { return !p.Value.finite() })
}

// lacking is what a run lacks of what is wanted.
func (w *wanted) lacking(m *remote) batch {
	b := batch{RunID: m.Info.RunID}
	tags, params, last := map[string]string{}, map[string]string{}, map[string]point{}
	for _, t := range m.Data.Tags {
		tags[t.Key] = t.Value
	}
	for _, p := range m.Data.Params {
		params[p.Key] = p.Value
	}
	for _, p := range m.Data.Metrics {
		last[p.Key] = p
	}
	want := maps.Clone(w.tags)
	for _, key := range slices.Sorted(maps.Keys(w.params)) {
		switch was, ok := params[key]; {
		case !ok:
			b.Params = append(b.Params, pair{key, w.params[key]})
		case was != w.params[key]:
			want[clip("sextant.now."+key, mostKey)] = clip(w.params[key], mostTag)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if was, ok := tags[key]; !ok || strings.TrimSpace(was) != strings.TrimSpace(want[key]) {
			b.Tags = append(b.Tags, pair{key, want[key]})
		}
	}
	for _, p := range w.metrics {
		if was, ok := last[p.Key]; !ok || !was.Value.near(p.Value) || was.Step != p.Step {
			b.Metrics = append(b.Metrics, p)
		}
	}
	return b
}
