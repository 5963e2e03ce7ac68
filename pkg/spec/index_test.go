package spec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestIndexPositions(t *testing.T) {
	const doc = "\ufeff# comment [x]\r\n" +
		"a = 1\r\n" +
		"'q u' = \"\"\"[no]\n\\\"\"\"\"\"\" # two quotes before the end\n" +
		"\"ü\".\"b\\u0041\" . c = [ [1, 2], # ]\n  {x = 'y', \"z\".w = 1979-05-27 07:32:00}, ]\n" +
		"\n" +
		"\t[[m]]\n" +
		"  p = '''\n[[n]]'''\n" +
		"[m.sub]\n" +
		"k = \"é\" # \"\n" +
		"[[ m ]]\n" +
		"[m.sub.deep]\n" +
		"r = { s = { t = [] } }\n"
	for _, c := range []struct {
		at        string
		line, col int
	}{
		{"a", 2, 1}, {"q u", 3, 1}, {"ü", 5, 1}, {"ü/bA", 5, 5}, {"ü/bA/c", 5, 17}, {"ü/bA/c/0", 5, 23}, {"ü/bA/c/0/1", 5, 27},
		{"ü/bA/c/1", 6, 3}, {"ü/bA/c/1/x", 6, 4}, {"ü/bA/c/1/z", 6, 13}, {"ü/bA/c/1/z/w", 6, 17},
		{"m", 8, 2}, {"m/0", 8, 2}, {"m/0/p", 9, 3}, {"m/0/sub", 11, 4}, {"m/0/sub/k", 12, 1},
		{"m/1", 13, 1}, {"m/1/sub", 14, 4}, {"m/1/sub/deep", 14, 8}, {"m/1/sub/deep/r/s/t", 15, 13},
	} {
		p := &problems{}
		n := parse(&source{name: "x", text: doc}, p)
		if n == nil {
			t.Fatal(p.err())
		}
		for _, k := range strings.Split(c.at, "/") {
			if n.kind == list {
				var i int
				fmt.Sscan(k, &i)
				n = n.items[i]
			} else if n = n.get(k); n == nil {
				t.Fatalf("%s: no %s", c.at, k)
			}
		}
		if n.line != c.line || n.col != c.col {
			t.Errorf("%s: at %d:%d, want %d:%d", c.at, n.line, n.col, c.line, c.col)
		}
	}
}

func TestSyntaxErrorPosition(t *testing.T) {
	for _, c := range []struct{ doc, place, caret string }{
		{"a = 1\n\té = \"é\" x\n", "f:2:2: ", "\n    \té = \"é\" x\n    \t^"},
		{"a = \"é", "f:1:7: ", "\n    a = \"é\n          ^"},
		{"\x00a = 1", "f:1:1: ", "\n    ^"},
		{"a = 1\r\n\r\n b = 08\r\n", "f:3:6: ", "\n     b = 08\n         ^"},
		{"a = 1\na = 2", "f:2:6: ", "\n    a = 2\n         ^"},
	} {
		p := &problems{}
		parse(&source{name: "f", text: c.doc}, p)
		if err := p.err(); err == nil || !strings.HasPrefix(err.Error(), c.place) || !strings.HasSuffix(err.Error(), c.caret) {
			t.Errorf("%q: got %v, want %s...%s", c.doc, err, c.place, c.caret)
		}
	}
}

// FuzzIndex holds that the index finds every key and element that the TOML library finds, and no other, where its name stands.
func FuzzIndex(f *testing.F) {
	for _, doc := range []string{
		"a = 1\nb.c = [1, {d = 'x'}]\n[[e]]\nf = \"\"\"x\"\"\"\"\n[e.g]\n", "'' = '''''''\n\"\" = 1", "[a.'b.c'] # x\nd=1.0\r\n[[a.e]]\n[[a.e]]\n",
		"a = [[[], [{}]],\n# ]\n]\n", "a = { b = { c = 1, d.e = '}' }, }\n", "0.0=0\n0=0\n", "[ a . b ]\n \"\\\"\" = \"\\\\\"\n",
	} {
		f.Add(doc)
	}
	for _, bom := range []string{"\xfe\xff", "\xff\xfe", "\ufeff"} {
		f.Add(bom + "a = 1")
	}
	f.Fuzz(func(t *testing.T, doc string) {
		p := &problems{}
		src := &source{name: "f", text: doc}
		n := parse(src, p)
		if n == nil {
			if err := p.err(); err == nil || !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("no error, or one without the file: %v", err)
			}
			return
		}
		var m map[string]any
		if _, err := toml.Decode(src.text, &m); err != nil {
			t.Fatal(err)
		}
		n, _ = index(src) // as it is before the library's values are put in
		agree(t, strings.Split(src.text, "\n"), n, m, "")
	})
}

func agree(t *testing.T, lines []string, n *node, v any, key string) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if n.kind != table || len(n.keys) != len(v) {
			t.Fatalf("%q: the index has %v, the library %v", key, n.keys, v)
		}
		for k, child := range v {
			c := n.fields[k]
			if c == nil {
				t.Fatalf("%q: the index has no %q, only %q", key, k, n.keys)
			}
			at := string([]rune(lines[c.line-1])[c.col-1:])
			if !strings.HasPrefix(at, k) && !strings.ContainsAny(at[:1], `["'`) {
				t.Fatalf("%q: %q is not at %d:%d: %q", key, k, c.line, c.col, at)
			}
			agree(t, lines, c, child, key+"."+k)
		}
	case []any:
		if n.kind != list || len(n.items) != len(v) {
			t.Fatalf("%q: the index has %d elements, the library %d", key, len(n.items), len(v))
		}
		for i := range v {
			agree(t, lines, n.items[i], v[i], fmt.Sprint(key, i))
		}
	case []map[string]any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = v[i]
		}
		agree(t, lines, n, all, key)
	default:
		if n.kind != scalar {
			t.Fatalf("%q: the index has kind %d, the library %v", key, n.kind, v)
		}
	}
}
