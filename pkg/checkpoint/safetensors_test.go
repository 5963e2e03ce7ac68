package checkpoint

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
)

func TestReadHeader(t *testing.T) {
	file := safetensorsFile([]rawTensor{
		{name: "a", dtype: "F32", shape: []int{2, 3}}, {name: "empty", dtype: "F16", shape: []int{0, 4}},
		{name: "scalar", dtype: "I64", shape: []int{}}, {name: "b", dtype: "BF16", shape: []int{5}},
	})
	entries, base, err := readHeader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if got := int64(len(file)) - base; got != 24+8+10 {
		t.Errorf("data is %d bytes, want 42", got)
	}
	last := entries[len(entries)-1]
	if len(entries) != 4 || last.name != "b" || last.begin != 32 || last.end != 42 || last.shape[0] != 5 || last.dtype != "BF16" {
		t.Errorf("entries %+v", entries)
	}
	padded := withHeader(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}     `, []byte{7})
	if _, _, err := readHeader(bytes.NewReader(padded), int64(len(padded))); err != nil {
		t.Errorf("a header padded with spaces: %v", err)
	}
}

func TestReadHeaderErrors(t *testing.T) {
	one := func(body string) []byte { return withHeader(`{"a":`+body+`}`, make([]byte, 8)) }
	two := func(a, b string) []byte {
		e := func(off string) string { return `{"dtype":"U8","shape":[4],"data_offsets":` + off + `}` }
		return withHeader(`{"a":`+e(a)+`,"b":`+e(b)+`}`, make([]byte, 8))
	}
	good := safetensorsFile([]rawTensor{{name: "a", dtype: "F32", shape: []int{64}}})
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "0 bytes is too short"},
		{"length only in part", []byte{1, 2, 3}, "3 bytes is too short"},
		{"absurd header", binary.LittleEndian.AppendUint64(nil, math.MaxUint64), "expected at most 100000000"},
		{"header beyond the file", good[:20], "only 12 bytes follow"},
		{"data cut", good[:len(good)-5], `tensor "a" lies at bytes [0,256), but the file holds 251 bytes`},
		{"data too long", append(bytes.Clone(good), 1, 2), "tensors end at byte 256, but the file holds 258"},
		{"empty header", withHeader("", nil), "does not begin with '{'"},
		{"html", withHeader("<html>", nil), "does not begin with '{'"},
		{"cut JSON", withHeader(`{"a":{"dtype":"U8"`, nil), "ends too early"},
		{"bad JSON", withHeader(`{"a":{dtype}}`, nil), "invalid character"},
		{"two values", withHeader(`{}{}`, nil), "follows the closing"},
		{"entry no object", one(`[1]`), `tensor "a": want an object`},
		{"unknown key", one(`{"dtype":"U8","shape":[8],"data_offsets":[0,8],"x":1}`), `unknown key "x"`},
		{"key twice", one(`{"dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8]}`), `"dtype" appears twice`},
		{"no shape", one(`{"dtype":"U8","data_offsets":[0,8]}`), "needs dtype, shape"},
		{"three offsets", one(`{"dtype":"U8","shape":[8],"data_offsets":[0,8,9]}`), "two data_offsets"},
		{"unknown dtype", one(`{"dtype":"Q4","shape":[8],"data_offsets":[0,8]}`), `unknown dtype "Q4"`},
		{"negative size", one(`{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}`), `"-8" is not a size`},
		{"fractional size", one(`{"dtype":"U8","shape":[8.0],"data_offsets":[0,8]}`), `"8.0" is not a size`},
		{"overflowing size", one(`{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}`), "larger than any file"},
		{"zero hides overflow", one(`{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,8]}`), "larger than any file"},
		{"backward offsets", one(`{"dtype":"U8","shape":[8],"data_offsets":[8,0]}`), "not a range"},
		{"size and shape", one(`{"dtype":"F32","shape":[3],"data_offsets":[0,8]}`), "needs 12 bytes, but data_offsets [0 8] hold 8"},
		{"out of range", two("[0,4]", "[5,9]"), `"b" lies at bytes [5,9), but the file holds 8`},
		{"overlap", two("[0,4]", "[2,6]"), `tensor "b" at bytes [2,6) overlaps tensor "a", which ends at 4`},
		{"gap", withHeader(`{"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, make([]byte, 8)), "no gap"},
		{"metadata not strings", withHeader(`{"__metadata__":{"a":1}}`, nil), "__metadata__"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := readHeader(bytes.NewReader(c.file), int64(len(c.file)))
			wantError(t, err, c.want)
		})
	}
	same := `"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}`
	dup := withHeader("{"+same+","+strings.Replace(same, "[0,4]", "[4,8]", 1)+"}", make([]byte, 8))
	_, _, err := readHeader(bytes.NewReader(dup), int64(len(dup)))
	wantError(t, err, `"a" appears twice`)
}

func FuzzSafetensorsHeader(f *testing.F) {
	f.Add(safetensorsFile([]rawTensor{{name: "a", dtype: "F32", shape: []int{2, 3}}, {name: "b", dtype: "I64", shape: []int{}}}))
	f.Add(withHeader(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[4,8]}}`, make([]byte, 8)))
	f.Add(withHeader(`{"__metadata__":{"x":"y"}}  `, nil))
	f.Fuzz(func(t *testing.T, file []byte) {
		entries, base, err := readHeader(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		// What is accepted can be sliced, and tiles the data: no two tensors share a byte.
		data, at := file[base:], int64(0)
		names := map[string]bool{}
		for _, e := range entries {
			n := int64(dtypeSizes[e.dtype])
			for _, d := range e.shape {
				n *= int64(d)
			}
			if e.begin != at || int64(len(data[e.begin:e.end])) != n || names[e.name] {
				t.Fatalf("accepted %+v at %d", e, at)
			}
			at, names[e.name] = e.end, true
		}
		if at != int64(len(data)) {
			t.Fatalf("accepted a file whose tensors end at %d of %d", at, len(data))
		}
	})
}
