package result

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCheckVariant(t *testing.T) {
	files := map[string]string{"config.json": "{}", "model-1.safetensors": "weights", "model-2.safetensors": "more"}
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string // in the error; "": none
	}{
		"whole":               {func(string) error { return nil }, ""},
		"further files":       {func(dir string) error { return os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o666) }, ""},
		"no manifest":         {func(dir string) error { return os.Remove(ManifestFile(dir)) }, "manifest"},
		"a torn manifest":     {func(dir string) error { return os.Truncate(ManifestFile(dir), 20) }, "remove the directory"},
		"a changed file":      {func(dir string) error { return os.WriteFile(filepath.Join(dir, "config.json"), []byte("[]"), 0o666) }, "is not what it was"},
		"a file is gone":      {func(dir string) error { return os.Remove(filepath.Join(dir, "model-1.safetensors")) }, "removed: run submit again"},
		"a weight file ended": {func(dir string) error { return os.Truncate(filepath.Join(dir, "model-2.safetensors"), 1) }, "8 bytes, and had 11"},
		"another fingerprint": {func(dir string) error { return CommitJSON(ManifestFile(dir), Manifest{Fingerprint: "g"}) }, "another quantization"},
	} {
		dir := t.TempDir()
		m := Manifest{Fingerprint: "f", Bytes: 11, Files: map[string]string{}}
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte(text))
			m.Files[file] = hex.EncodeToString(sum[:])
		}
		if err := CommitJSON(ManifestFile(dir), m); err != nil {
			t.Fatal(err)
		}
		if err := c.change(dir); err != nil {
			t.Fatal(err)
		}
		got, err := CheckVariant(dir, "f")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if gone := errors.Is(err, fs.ErrNotExist); gone != (name == "no manifest" || name == "a file is gone") {
			t.Errorf("%s: is not there %v: %v", name, gone, err)
		}
		if err == nil && got.Bytes != 11 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	dir := Dir(t.TempDir())
	for _, said := range [][2]string{{"f", "packed i4"}, {"f", ""}, {"f", "dequantized to f32"}, {"f", "packed i4"}} {
		if err := dir.AddRuns("m-q", said[0], said[1]); err != nil {
			t.Fatal(err)
		}
	}
	if got, other := dir.ReadRuns("m-q", "f"), dir.ReadRuns("m-q", "g"); !slices.Equal(got, []string{"dequantized to f32", "packed i4"}) || other != nil {
		t.Errorf("it runs %q, another %q", got, other)
	}
	if err := dir.AddRuns("m-q", "g", "packed i8"); err != nil || len(dir.ReadRuns("m-q", "f")) > 0 {
		t.Errorf("what was said of an older one is still there: %v", err)
	}
	if m := (Manifest{Fingerprint: "f", Bits: 4}); CommitJSON(ManifestFile(dir.Variant("m-q")), m) != nil || dir.KeepManifest("m-q") != nil || os.RemoveAll(dir.Variant("m-q")) != nil {
		t.Fatal("cannot keep a manifest")
	}
	if m, ok := dir.Manifest("m-q", "f"); !ok || m.Bits != 4 {
		t.Errorf("the copy: %+v, %v", m, ok)
	}
	if _, ok := dir.Manifest("m-q", "g"); ok {
		t.Error("the copy of another is taken")
	}
	if got, want := Dir("run").Export("", "m-q", "awq"), "run/exports/m-q/awq"; got != want {
		t.Errorf("export at %q, want %q", got, want)
	}
	if got, want := Dir("run").Export("/out", "m-q", "awq"), "/out/m-q/awq"; got != want {
		t.Errorf("export at %q, want %q", got, want)
	}
}
