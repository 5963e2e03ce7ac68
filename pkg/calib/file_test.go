package calib

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func saved(t testing.TB) (*Tokens, []byte) {
	t.Helper()
	tokens, err := newTokens(3, []int32{1, 2, 3, 0, 1<<31 - 1, 7})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sample")
	if err := tokens.Save(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return tokens, data
}

func TestSaveLoad(t *testing.T) {
	want, data := saved(t)
	got, err := Load(write(t, "sample", string(data)))
	if err != nil {
		t.Fatal(err)
	}
	if got.SeqLen != 3 || !slices.Equal(got.IDs, want.IDs) || got.Digest != want.Digest {
		t.Errorf("loaded %+v, want %+v", got, want)
	}
	// The digest is of the text "calibration sample 3\n" and the ids, little-endian: computed with Python's hashlib.
	if want.Digest != "3c8920f1fe71014e5a109e3996ebe09898f4a1926b7c28558eb8c8bb2ce65e92" {
		t.Errorf("the digest is %s", want.Digest)
	}
	other, err := newTokens(2, want.IDs)
	if err != nil || other.Digest == want.Digest {
		t.Errorf("other sequences have the same digest, %v", err)
	}
}

func TestLoadErrors(t *testing.T) {
	_, good := saved(t)
	change := func(at int, to byte) string {
		b := bytes.Clone(good)
		b[at] = to
		return string(b)
	}
	header, _, _ := strings.Cut(string(good), "\n")
	for _, tt := range []struct{ name, data, want string }{
		{"empty", "", "does not begin"},
		{"another file", "{}\n", "does not begin"},
		{"header alone", header, "not whole"},
		{"cut short", string(good[:len(good)-4]), "not whole"},
		{"longer", string(good) + "abcd", "not whole"},
		{"a token changed", change(len(good)-4, 8), "its digest is not that of its tokens"},
		{"a negative token", change(len(good)-1, 0xff), "is no id"},
		{"sequences changed", strings.Replace(string(good), `"seq_len":3`, `"seq_len":2`, 1), "its digest is not"},
		{"sequences of nothing", strings.Replace(string(good), `"seq_len":3`, `"seq_len":0`, 1), "no sequences of 0"},
		{"sequences uneven", strings.Replace(string(good), `"seq_len":3`, `"seq_len":4`, 1), "no sequences of 4"},
	} {
		path := write(t, "sample", tt.data)
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v does not say %q", tt.name, err, tt.want)
		}
	}
	if _, err := Load("/nowhere"); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("error %v", err)
	}
}

// FuzzLoad holds for any bytes: an error, or a sample that is saved as it was loaded.
func FuzzLoad(f *testing.F) {
	_, good := saved(f)
	f.Add(good)
	f.Add(good[:len(good)-4])
	f.Add([]byte(`{"format":"sextant calibration sample 1","seq_len":9223372036854775807,"tokens":0}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parse(data)
		if err != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "again")
		if err := got.Save(path); err != nil {
			t.Fatal(err)
		}
		again, err := Load(path)
		if err != nil || again.Digest != got.Digest || again.SeqLen != got.SeqLen || !slices.Equal(again.IDs, got.IDs) {
			t.Fatalf("saved and loaded again: %+v, %v, want %+v", again, err, got)
		}
	})
}

// FuzzLines holds for any bytes: the rows of an index are those that a plain cut at newlines gives.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\n\n b \n\nc"), false)
	f.Add([]byte("\xef\xbb\xbf\n \n= x =\n"), true)
	f.Fuzz(func(t *testing.T, data []byte, keep bool) {
		c := withDefaults(calibOf(write(t, "a.txt", string(data))))
		if keep {
			c.File.Unit = "hf-line"
		}
		var want []string
		for line := range strings.Lines(strings.TrimPrefix(string(data), "\xef\xbb\xbf")) {
			blank := strings.TrimSpace(line) == ""
			text := strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
			switch {
			case blank && !keep:
				continue
			case blank:
				text = ""
			case keep:
				text += "\n"
			}
			want = append(want, text)
		}
		r, err := open(c)
		if err != nil {
			if len(want) > 0 {
				t.Fatal(err)
			}
			return
		}
		defer r.close()
		if r.len() != len(want) {
			t.Fatalf("%d rows, want %d", r.len(), len(want))
		}
		for i := range want {
			if got, err := r.text(i); err == nil && got != want[i] {
				t.Fatalf("row %d is %q, want %q", i, got, want[i])
			}
		}
	})
}
