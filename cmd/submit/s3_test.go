package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sextant/internal/s3lab"
)

// remoteSpec is the quickstart with the model and the data in an object store.
const remoteSpec = `
data_dir = "lab:s3://data/pocket"
datasets = ["pocket_winograd", "pocket_cloze", "pocket_gsm", "pocket_text"]

[[models]]
abbr = "pocket"
path = %q

[s3]
profiles = %q
cache_dir = "${S3_TEST_CACHE}"
`

// TestObjectStore evaluates a model that lies in an S3 server, with the data: the scores are those of local files byte for byte, a second run reads
// nothing of the server, and no file of a run has a key.
func TestObjectStore(t *testing.T) {
	lab := s3lab.Start(t)
	lab.PutDir(t, "weights", "0331/pocket/", filepath.Join(pocket(), "model"))
	lab.PutDir(t, "data", "pocket/", filepath.Join(pocket(), "data"))
	proxy := lab.Proxy(t)
	t.Setenv("S3_TEST_CACHE", filepath.Join(t.TempDir(), "cache"))
	profiles := lab.Profiles(t, "lab", proxy.URL)
	evaluate := func(model, data, profiles string) (session, []byte) {
		s := newSession(t, "--max-num-workers", "2", "--limit", "50")
		text := strings.Replace(fmt.Sprintf(remoteSpec, model, profiles), "lab:s3://data/pocket", data, 1)
		s.args[0] = filepath.Join(t.TempDir(), "eval.toml")
		if err := os.WriteFile(s.args[0], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return s, s.finish()
	}
	_, local := evaluate(filepath.Join(pocket(), "model"), filepath.Join(pocket(), "data"), "/nonexistent")
	first, remote := evaluate("lab:s3://weights/0331/pocket/", "lab:s3://data/pocket", profiles)
	if !bytes.Equal(local, remote) {
		t.Errorf("scores of the object store differ:\n%s\nwant\n%s", remote, local)
	}
	reads, _ := proxy.Gets()
	second, again := evaluate("lab:s3://weights/0331/pocket/", "lab:s3://data/pocket", profiles)
	if n, _ := proxy.Gets(); !bytes.Equal(local, again) || n != reads || reads == 0 {
		t.Errorf("the second run read %d times of the server, after %d of the first", n-reads, reads)
	}
	for _, s := range []session{first, second} {
		noKeysIn(t, s.work, lab)
	}
	listed, err := exec.Command(filepath.Join(bin, "submit"), "datasets", "pocket_cloze", "--spec", first.args[0]).CombinedOutput()
	if err != nil || !bytes.Contains(listed, []byte("lab:s3://data/pocket/cloze")) || bytes.Contains(listed, []byte("not found")) {
		t.Errorf("datasets: %v\n%s", err, listed)
	}
	cmd := exec.Command(filepath.Join(bin, "submit"), first.args...)
	wrong := lab.Profiles(t, "other", proxy.URL)
	cmd.Env = append(os.Environ(), "SEXTANT_S3_PROFILES="+wrong)
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte(`no profile "lab" in`)) || bytes.Contains(out, []byte(lab.Secret)) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestObjectStoreInterrupted has a store that answers nothing, or only what it holds: submit and worker end at once when they are told to.
func TestObjectStoreInterrupted(t *testing.T) {
	lab := s3lab.Start(t)
	lab.PutDir(t, "weights", "m/", filepath.Join(pocket(), "model"))
	proxy := lab.Proxy(t)
	proxy.Fault = func(*http.Request, int) s3lab.Fault { return s3lab.Silent }
	dir, profiles := t.TempDir(), lab.Profiles(t, "lab", proxy.URL)
	spec := filepath.Join(dir, "eval.toml")
	text := strings.Replace(fmt.Sprintf(remoteSpec, "lab:s3://weights/m/", profiles), "lab:s3://data/pocket", filepath.Join(pocket(), "data"), 1)
	if err := os.WriteFile(spec, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, frozen := range []bool{true, false} {
		proxy.Freeze(frozen)
		for _, c := range []struct {
			program string
			args    []string
			code    int
			says    string
		}{{"submit", []string{spec, "-w", filepath.Join(dir, "runs")}, exitInterrupted, "submit: interrupted"},
			{"worker", []string{"logits", "lab:s3://weights/m/", "--ids", "1"}, 75, "stopped by the signal interrupt"}} {
			before := proxy.Given()[s3lab.Silent]
			p := &process{Cmd: exec.Command(filepath.Join(bin, c.program), c.args...), t: t, done: make(chan struct{})}
			p.Env = append(os.Environ(), "SEXTANT_S3_PROFILES="+profiles, "S3_TEST_CACHE="+dir+"/c", "SEXTANT_CACHE_DIR="+dir+"/c")
			p.begin(dir)
			for end := time.Now().Add(patient); proxy.Given()[s3lab.Silent] == before; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("nothing is asked for")
				}
			}
			told := time.Now()
			_ = p.Process.Signal(os.Interrupt)
			p.want(c.code, c.says)
			if took := time.Since(told); took > 2*time.Second {
				t.Errorf("%s, lists hang: %v: ended after %v", c.program, frozen, took)
			}
		}
	}
}

// noKeysIn holds that no file below dir has a key of the server.
func noKeysIn(t *testing.T, dir string, lab *s3lab.Server) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		for _, key := range []string{lab.Access, lab.Secret} {
			if bytes.Contains(data, []byte(key)) {
				t.Errorf("%s has a key", path)
			}
		}
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
}
