package spec

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func trackSpec(lines string) (*Spec, error) {
	text := "[track]\n" + lines + "\n[[models]]\npath = '/m'\n[[dataset]]\nabbr = 'd'\nmode = 'rolling'\ntest.path = '/x.txt'\n"
	return load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": text}))
}

func TestTrack(t *testing.T) {
	long := strings.Repeat("é", 251)
	for _, c := range []struct{ lines, want string }{
		{`mlflow = "http://localhost:5000"`, "eval.toml:2:1: track.mlflow: is a string; write a table"},
		{`mlflow = { url = "http://localhost:5000" }`, `track.mlflow.url: unknown key; did you mean "uri"?`},
		{`mlflow = { uri = "localhost:5000" }`, "eval.toml:2:12: track.mlflow.uri: is no address of a tracking server"},
		{`mlflow = { uri = "sqlite:///x.db" }`, "is no address of a tracking server"},
		{`mlflow = { uri = "databricks://hidden" }`, "write the workspace's own address"},
		{`mlflow = { uri = "https://u:hidden@host/" }`, "track.mlflow.uri: has a password in it"},
		{`mlflow = { uri = "https://host/?token=hidden" }`, "write it without ? and #"},
		{`mlflow = { experiment = " x" }`, "track.mlflow.experiment: is too long, or begins or ends with a space"},
		{`mlflow = { tags = { "a:b" = "x" } }`, `track.mlflow.tags."a:b": cannot be a tag`},
		{`mlflow = { tags = { "a//b" = "x" } }`, "cannot be a tag"},
		{`mlflow = { tags = { "` + long + `" = "x" } }`, "cannot be a tag"},
		{`mlflow = { tags = { "sextant.run" = "x" } }`, "is a tag that submit finds its runs by"},
		{`mlflow = { tags = { a = "` + strings.Repeat(long, 20) + `" } }`, "track.mlflow.tags.a: is too long"},
		{`mlflow = { tags = { a = "${HIDDEN_TOKEN_XYZ}" } }`, "HIDDEN_TOKEN_XYZ is not set"},
		{`prometheus = "x/sextant.txt"`, "node_exporter reads files *.prom alone"},
		{`prometheus = "x/.prom"`, "node_exporter reads files *.prom alone"},
		{`prometheus_every = 5`, "track.prometheus_every: is for a file"},
		{"prometheus = 'a.prom'\nprometheus_every = -1", "track.prometheus_every: is -1; the least is 0"},
	} {
		_, err := trackSpec(c.lines)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s:\n%v\nwant %s", c.lines, err, c.want)
		}
	}
}

func TestTrackRead(t *testing.T) {
	t.Setenv("SPEC_TEST_HOST", "ml")
	s, err := trackSpec("prometheus = 'prom/sextant-{run}.prom'\nprometheus_every = 5\n" +
		"mlflow = { uri = 'http://${SPEC_TEST_HOST}:5000/base', experiment = '评测 7b', tags = { team = 'pre training', '数据' = '' } }")
	if err != nil {
		t.Fatal(err)
	}
	want := Track{Every: 5, MLflow: &MLflow{URI: "http://ml:5000/base", Experiment: "评测 7b", Tags: map[string]string{"team": "pre training", "数据": ""}}}
	if filepath.Base(s.Track.Prometheus) != "sextant-{run}.prom" || !filepath.IsAbs(s.Track.Prometheus) {
		t.Errorf("%q", s.Track.Prometheus)
	}
	if s.Track.Prometheus = ""; !reflect.DeepEqual(s.Track, want) {
		t.Errorf("%+v, want %+v", s.Track, want)
	}
	if s, err := trackSpec("mlflow = {}"); err != nil || s.Track.MLflow == nil {
		t.Errorf("an empty table asks for the server of the environment: %+v, %v", s, err)
	}
}
