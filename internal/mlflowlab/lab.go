// Package mlflowlab is a small MLflow tracking server for tests: of the REST API 2.0 the calls that pkg/track makes, with the limits, refusals and
// words of the real one (mlflow.org/docs/latest/rest-api.html), and with faults on request.
package mlflowlab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
)

// Fault is what the server does instead of answering as it should.
type Fault int

// The faults.
const (
	None      Fault = iota
	Busy            // 429 with Retry-After
	Down            // 503, with the words of a proxy
	Broken          // 500, as MLflow says it
	Hang            // no answer, and nothing done
	HangAfter       // what is asked is done, but no answer
	Cut             // what is asked is done, and the answer breaks off
	Page            // 200, with a web page
)

// Point is one value of a metric.
type Point struct {
	Key   string  `json:"key"`
	Value float64 `json:"value"`
	Time  int64   `json:"timestamp"`
	Step  int64   `json:"step"`
}

// Run is a run on the server.
type Run struct {
	ID, Experiment, Name, Status string
	Start, End                   int64 // ms
	Deleted                      bool
	Tags, Params                 map[string]string
	Metrics                      []Point // all that came, in order
}

// Last is the value of a metric that counts: that of the greatest step, of these the latest.
func (r *Run) Last(key string) (Point, bool) {
	var last Point
	found := false
	for _, p := range r.Metrics {
		if p.Key == key && (!found || cmp.Or(cmp.Compare(p.Step, last.Step), cmp.Compare(p.Time, last.Time), cmp.Compare(p.Value, last.Value)) > 0) {
			last, found = p, true
		}
	}
	return last, found
}

// Lab is the server.
type Lab struct {
	*httptest.Server
	mu          sync.Mutex
	experiments []*experiment
	runs        []*Run
	calls       []string
	faults      map[string][]Fault
	always      Fault
	user, token string
}

type experiment struct {
	id, name string
	deleted  bool
}

// New starts a server. Close ends it.
func New() *Lab {
	l := &Lab{faults: map[string][]Fault{}}
	l.Server = httptest.NewServer(http.HandlerFunc(l.serve))
	return l
}

// LogIn makes the server ask for a name and password, "NAME:PASSWORD", or for a token.
func (l *Lab) LogIn(user, token string) { l.user, l.token = user, token }

// Do makes the next requests to a path, such as "runs/create", meet these faults, one each.
func (l *Lab) Do(path string, faults ...Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults[path] = faults
}

// Always makes every request meet a fault.
func (l *Lab) Always(f Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.always = f
}

// Runs are the runs that are not deleted, in the order in which they were made.
func (l *Lab) Runs() []Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Run
	for _, r := range l.runs {
		if !r.Deleted {
			out = append(out, *r)
		}
	}
	return out
}

// Calls are the paths that were asked for since the last call of Calls.
func (l *Lab) Calls() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := l.calls
	l.calls = nil
	return calls
}

// Experiment makes one, or deletes it as a user may.
func (l *Lab) Experiment(name string, deleted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.experiments = append(l.experiments, &experiment{fmt.Sprint(len(l.experiments) + 1), name, deleted})
}

// refusal is an error of the API.
type refusal struct {
	status     int
	code, text string
}

func invalid(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, "INVALID_PARAMETER_VALUE", fmt.Sprintf(format, args...)}
}

func missing(format string, args ...any) *refusal {
	return &refusal{http.StatusNotFound, "RESOURCE_DOES_NOT_EXIST", fmt.Sprintf(format, args...)}
}

func (l *Lab) serve(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/2.0/mlflow/")
	body, err := io.ReadAll(r.Body)
	if !ok || err != nil {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	l.mu.Lock()
	l.calls = append(l.calls, path)
	fault := l.always
	if list := l.faults[path]; len(list) > 0 {
		fault, l.faults[path] = list[0], list[1:]
	}
	var answer any
	var no *refusal
	if fault == None || fault == HangAfter || fault == Cut {
		answer, no = l.answer(r, path, body)
	}
	l.mu.Unlock()
	if fault != None {
		l.fail(w, r, fault, answer)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if no != nil {
		w.WriteHeader(no.status)
		answer = map[string]string{"error_code": no.code, "message": no.text}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (l *Lab) fail(w http.ResponseWriter, r *http.Request, fault Fault, answer any) {
	switch fault {
	case Busy:
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "too many requests"}`)
	case Down:
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "<html>no backend</html>")
	case Broken:
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"error_code": "INTERNAL_ERROR", "message": "(sqlite3.OperationalError) database is locked"}`)
	case Hang, HangAfter:
		<-r.Context().Done()
	case Cut:
		raw, _ := json.Marshal(answer) // of plain values
		w.Header().Set("Content-Length", fmt.Sprint(len(raw)+10))
		_, _ = w.Write(raw[:len(raw)/2])
	case Page:
		_, _ = io.WriteString(w, "<html>log in</html>")
	}
}

// answer does what is asked. The lock is held.
func (l *Lab) answer(r *http.Request, path string, body []byte) (any, *refusal) {
	name, password, basic := r.BasicAuth()
	switch {
	case l.user != "" && (!basic || name+":"+password != l.user), l.token != "" && r.Header.Get("Authorization") != "Bearer "+l.token:
		return nil, &refusal{http.StatusUnauthorized, "UNAUTHENTICATED", "who are you?"}
	case path == "experiments/get-by-name" && r.Method == http.MethodGet:
		return l.byName(r.URL.Query().Get("experiment_name"))
	case r.Method != http.MethodPost:
		return nil, &refusal{http.StatusMethodNotAllowed, "", "method"}
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		return nil, &refusal{http.StatusBadRequest, "INVALID_PARAMETER_VALUE", "Bad Request. Content-Type must be application/json."}
	}
	do, ok := map[string]func([]byte) (any, *refusal){"experiments/create": l.createExperiment, "runs/create": l.create, "runs/update": l.update,
		"runs/delete": l.delete, "runs/search": l.search, "runs/log-batch": l.logBatch}[path]
	if !ok {
		return nil, missing("no such call: %s", path)
	}
	return do(body)
}

func (l *Lab) byName(name string) (any, *refusal) {
	for _, e := range l.experiments {
		if e.name == name {
			return map[string]any{"experiment": map[string]any{"experiment_id": e.id, "name": e.name, "lifecycle_stage": stage(e.deleted)}}, nil
		}
	}
	return nil, missing("Could not find experiment with name '%s'", name)
}

func stage(deleted bool) string {
	if deleted {
		return "deleted"
	}
	return "active"
}

func (l *Lab) createExperiment(body []byte) (any, *refusal) {
	var ask struct{ Name string }
	if err := json.Unmarshal(body, &ask); err != nil || ask.Name == "" || len([]rune(ask.Name)) > 500 {
		return nil, invalid("Invalid value for parameter 'name' supplied: %v", err)
	}
	for _, e := range l.experiments {
		if e.name == ask.Name {
			return nil, &refusal{http.StatusBadRequest, "RESOURCE_ALREADY_EXISTS", fmt.Sprintf("Experiment(name=%s) already exists.", ask.Name)}
		}
	}
	e := &experiment{id: fmt.Sprint(len(l.experiments) + 1), name: ask.Name}
	l.experiments = append(l.experiments, e)
	return map[string]string{"experiment_id": e.id}, nil
}

func (l *Lab) create(body []byte) (any, *refusal) {
	var ask struct {
		Experiment string `json:"experiment_id"`
		Name       string `json:"run_name"`
		Start      int64  `json:"start_time"`
		Tags       []pair
	}
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, invalid("%v", err)
	}
	if !slices.ContainsFunc(l.experiments, func(e *experiment) bool { return e.id == ask.Experiment && !e.deleted }) {
		return nil, missing("No Experiment with id=%s exists", ask.Experiment)
	}
	run := &Run{ID: fmt.Sprintf("%032x", len(l.runs)+1), Experiment: ask.Experiment, Name: ask.Name, Status: "RUNNING", Start: ask.Start,
		Tags: map[string]string{}, Params: map[string]string{}}
	for _, t := range ask.Tags {
		if t.Key == "mlflow.runName" && t.Value != ask.Name {
			return nil, invalid("Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='%s', "+
				"mlflow.runName='%s').", ask.Name, t.Value)
		}
		if no := t.check("tag", 5000); no != nil {
			return nil, no
		}
		run.Tags[t.Key] = t.Value
	}
	run.Tags["mlflow.runName"] = ask.Name
	l.runs = append(l.runs, run)
	return map[string]any{"run": run.view()}, nil
}

// of finds the run that a request is about.
func (l *Lab) of(body []byte, ask any) (*Run, *refusal) {
	var id struct {
		Run string `json:"run_id"`
	}
	if err := json.Unmarshal(body, &id); err != nil {
		return nil, invalid("%v", err)
	}
	if err := json.Unmarshal(body, ask); err != nil {
		return nil, invalid("%v", err)
	}
	for _, r := range l.runs {
		if r.ID == id.Run {
			return r, nil
		}
	}
	return nil, missing("Run with id=%s not found", id.Run)
}

func (l *Lab) update(body []byte) (any, *refusal) {
	var ask struct {
		Status string
		End    int64 `json:"end_time"`
	}
	run, no := l.of(body, &ask)
	if no != nil {
		return nil, no
	}
	if run.Deleted {
		return nil, invalid("The run %s must be in the 'active' state. Current state is deleted.", run.ID)
	}
	if !slices.Contains([]string{"RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"}, ask.Status) {
		return nil, invalid("Invalid value \"%s\" for parameter 'status' supplied.", ask.Status)
	}
	run.Status = ask.Status
	if ask.End != 0 {
		run.End = ask.End
	}
	return map[string]any{"run_info": run.view()["info"]}, nil
}

func (l *Lab) delete(body []byte) (any, *refusal) {
	run, no := l.of(body, &struct{}{})
	if no == nil {
		run.Deleted = true
	}
	return struct{}{}, no
}
