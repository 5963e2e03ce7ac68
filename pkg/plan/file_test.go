package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sextant/pkg/spec"
)

func TestSaveLoad(t *testing.T) {
	p := newWorld(200, "m").add(spec.Dataset{Abbr: "d", Mode: spec.Gen, Columns: map[string]spec.Column{"<x>": {From: "y"}}}, 100, 0).make(t)
	path := filepath.Join(t.TempDir(), "plan.json")
	if err := p.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil || got.Digest != p.Digest || !reflect.DeepEqual(got.Shards, p.Shards) || !reflect.DeepEqual(got.Jobs, p.Jobs) {
		t.Fatalf("loaded %+v, %v", got, err)
	}
	if id, err := ReadIdentity(path); id != p.Identity || err != nil {
		t.Errorf("identity %q, %v", id, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ data, want string }{
		"renamed": {strings.Replace(string(b), `"m/d"`, `"m/e"`, 1), "changed by hand"},
		"edited":  {strings.Replace(string(b), `"rows": 100`, `"rows": 101`, 1), "changed by hand"},
		"torn":    {string(b[:len(b)/2]), "unexpected end of JSON"},
		"version": {strings.Replace(string(b), `"version": 3`, `"version": 9`, 1), "version is 9, this program knows version 3: use the newer"},
		"old":     {strings.Replace(string(b), `"version": 3`, `"version": 2`, 1), "version is 2, this program knows version 3: run submit on the spec again"},
	} {
		if err := os.WriteFile(path, []byte(c.data), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	// A field that this program does not know, as a later version may write, is no reason to refuse; it counts in the digest.
	body, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	body = bytes.Replace(body, []byte(p.Digest), nil, 1)
	body = append(body[:len(body)-1], `,"colour":"blue"}`...)
	sum := sha256.Sum256(append(body, '\n'))
	body = bytes.Replace(body, []byte(`"digest":""`), fmt.Appendf(nil, `"digest":"%x"`, sum[:16]), 1)
	if err := os.WriteFile(path, body, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err != nil {
		t.Errorf("a plan with another field: %v", err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadIdentity(path); err == nil {
		t.Error("an identity was found in {}")
	}
}
