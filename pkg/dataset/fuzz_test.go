package dataset

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"sextant/pkg/spec"
)

// fuzzRead holds for any bytes: a reader gives rows that are JSON objects of valid UTF-8, or an error that names the file.
func fuzzRead(t *testing.T, f spec.Files, data []byte) {
	f.Path = filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(f.Path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := readTable(f, 0)
	if err != nil {
		if !strings.Contains(err.Error(), f.Path) {
			t.Fatalf("the error does not name the file: %v", err)
		}
		return
	}
	for i, raw := range table.rows {
		row, err := decode(raw)
		if err != nil || row == nil || !utf8.Valid(raw) {
			t.Fatalf("%s: %q, %v", table.at(i), raw, err)
		}
	}
}

func FuzzJSONL(f *testing.F) {
	f.Add([]byte("{\"a\":1}\r\n\n{\"b\":[\"x\",null]}"))
	f.Add([]byte("\xef\xbb\xbf{\"a\":\"\\u0000\\ud800\"}"))
	f.Add([]byte("{\"a\":1e999999999}"))
	f.Add([]byte("null\n[1]\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzRead(t, spec.Files{Format: "jsonl"}, data)
	})
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("a,b\n\"x\"\"\n\",2\n"), false)
	f.Add([]byte("a\tb\n\"x\t\"y\t2\n"), true)
	f.Fuzz(func(t *testing.T, data []byte, tsv bool) {
		if tsv {
			fuzzRead(t, spec.Files{Format: "tsv"}, data)
			return
		}
		fuzzRead(t, spec.Files{Format: "csv"}, data)
		fuzzRead(t, spec.Files{Format: "csv", Names: []string{"a", "b"}}, data)
	})
}

// FuzzJSONPath holds the streaming reader against encoding/json: where it gives rows, the whole document is valid and has them.
func FuzzJSONPath(f *testing.F) {
	f.Add([]byte(`{"x":{"rows":[1]},"a":{"rows":[{"q":1},{}]}}`), "a.rows")
	f.Add([]byte(`[{"q":1}]`), "")
	f.Add([]byte(`{"a":[{}]} {}`), "a")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		fuzzRead(t, spec.Files{Format: "json", JSONPath: path}, data)
		if _, err := rowsOf(spec.Files{Format: "json", JSONPath: path, Path: write(t, "a.json", string(data))}, 0); err == nil {
			if data = bytes.TrimPrefix(data, byteOrderMark); !json.Valid(data) {
				t.Fatalf("rows came out of %q, which is no JSON document", data)
			}
		}
	})
}

// FuzzTemplate holds for any template and any value: no panic, and the value stays as it is.
func FuzzTemplate(f *testing.F) {
	f.Add("{{a}} {a} {a.b} {a[0]}", "{a}")
	f.Add("}}{{{a}}}<ice>{", "<ice>")
	f.Fuzz(func(t *testing.T, text, value string) {
		b, err := scope{known: map[string]bool{"a": true}, ice: "<ice>"}.compile(text)
		if err != nil {
			return
		}
		marked, err := b.render(env{row: view{"a": "\x00"}}, "\x01")
		if err != nil {
			return
		}
		got, err := b.render(env{row: view{"a": value}}, "\x01")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "\x00") && got != strings.ReplaceAll(marked, "\x00", value) {
			t.Fatalf("%q with %q gives %q", text, value, got)
		}
	})
}

func FuzzXML(f *testing.F) {
	f.Add([]byte("<a><b c='1'>x</b><b><d/><d>y</d></b></a>"), "")
	f.Add([]byte("<a><b/><![CDATA[<b>]]></a>"), "b")
	f.Fuzz(func(t *testing.T, data []byte, element string) {
		fuzzRead(t, spec.Files{Format: "xml", JSONPath: element}, data)
	})
}

// FuzzParseList: a text is a list of texts or an error, and what JSON reads as a list of texts is that list.
func FuzzParseList(f *testing.F) {
	f.Add(`['a', "b", 'c\'d', 5]`)
	f.Add(`["\u00e9", ""]`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseList(text)
		var want []string
		if json.Unmarshal([]byte(text), &want) != nil || want == nil || strings.Contains(text, "null") {
			return
		}
		if err != nil || len(got) != len(want) {
			t.Fatalf("%q: %q, %v", text, got, err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%q: %q", text, got)
			}
		}
	})
}
