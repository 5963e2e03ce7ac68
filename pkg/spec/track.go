package spec

import (
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Track is who keeps books of a run: its scores in MLflow, how it goes in a file for Prometheus. The zero Track: nobody.
type Track struct {
	MLflow     *MLflow `toml:"mlflow" json:"mlflow,omitempty"`
	Prometheus string  `toml:"prometheus" spec:"path" json:"prometheus,omitempty"`                  // a file *.prom in node_exporter's directory; {run} in it is the run's name
	Every      int     `toml:"prometheus_every" spec:"max=86400" json:"prometheus_every,omitempty"` // seconds between two writings; 0: 15
}

// MLflow is a tracking server. What it takes to log in is in the environment alone, as MLflow's own clients have it.
type MLflow struct {
	URI        string            `toml:"uri" spec:"env" json:"uri,omitempty"`               // http or https; "": that of MLFLOW_TRACKING_URI, when something is told
	Experiment string            `toml:"experiment" spec:"env" json:"experiment,omitempty"` // made where there is none; "": called as the spec
	Tags       map[string]string `toml:"tags" spec:"env" json:"tags,omitempty"`             // of every run there
}

// What MLflow takes as the key of a tag, and how much of one and of its value.
var mlflowKey = regexp.MustCompile(`^[/\pL\p{Nd}_.\- ]+$`)

const (
	mlflowName  = 500 // characters of an experiment's name
	mlflowWord  = 250 // of a key
	mlflowValue = 5000
)

// track checks [track].
func (c *checker) track(root *node, s *Track) {
	n := root.get("track")
	if n == nil || n.kind != table {
		return
	}
	if name := filepath.Base(s.Prometheus); s.Prometheus != "" && (!strings.HasSuffix(name, ".prom") || name == ".prom") {
		c.add(n, "track", []string{"prometheus"}, "%q: node_exporter reads files *.prom alone; write DIR/sextant.prom", s.Prometheus)
	}
	if s.Prometheus == "" && s.Every != 0 {
		c.add(n, "track", []string{"prometheus_every"}, "is for a file; write prometheus = \"FILE\" too, or take it out")
	}
	if n.get("mlflow") == nil || n.get("mlflow").kind != table || s.MLflow == nil {
		return
	}
	if says := BadMLflow(s.MLflow.URI); s.MLflow.URI != "" && says != "" {
		c.add(n, "track", []string{"mlflow", "uri"}, "%s", says)
	}
	if x := s.MLflow.Experiment; len([]rune(x)) > mlflowName || x != strings.TrimSpace(x) {
		c.add(n, "track", []string{"mlflow", "experiment"}, "is too long, or begins or ends with a space; write at most %d characters", mlflowName)
	}
	for _, key := range slices.Sorted(maps.Keys(s.MLflow.Tags)) {
		at := []string{"mlflow", "tags", key}
		switch {
		case !mlflowKey.MatchString(key), len([]rune(key)) > mlflowWord, strings.Trim(key, "/. ") != key, strings.Contains(key, "//"):
			c.add(n, "track", at, `cannot be a tag; write letters, digits, "_", "-", "." or spaces`)
		case strings.HasPrefix(key, "sextant."):
			c.add(n, "track", at, "is a tag that submit finds its runs by; write another name")
		case len([]rune(s.MLflow.Tags[key])) > mlflowValue:
			c.add(n, "track", at, "is too long; write at most %d characters", mlflowValue)
		}
	}
}

// BadMLflow says what is wrong with a tracking server's address, without showing it; "": nothing. User and password do no harm where they come
// from the environment, which takes them out first.
func BadMLflow(address string) string {
	u, err := url.Parse(address)
	switch {
	case strings.HasPrefix(address, "databricks"):
		return "names a profile of Databricks; write the workspace's own address, https://HOST, and set MLFLOW_TRACKING_TOKEN"
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return "is no address of a tracking server; write one with http:// or https:// and a host: a directory or a database is read by MLflow's own server alone"
	case u.User != nil:
		return "has a password in it, which can be read in plan.json; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD where submit is started"
	case u.RawQuery != "" || u.Fragment != "":
		return "goes on after the server's path; write it without ? and #"
	}
	return ""
}
