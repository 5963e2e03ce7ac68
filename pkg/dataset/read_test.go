package dataset

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"sextant/pkg/spec"
)

func TestReadFormats(t *testing.T) {
	no, yes := false, true
	for _, c := range []struct {
		name, file, text string
		f                spec.Files
		want             []string
	}{
		{"jsonl", "a.jsonl", `{"q":"x","n":1.0}` + "\n\n" + `{"q":"ü","l":["a","b"]}`, spec.Files{},
			[]string{`{"n":1.0,"q":"x"}`, `{"l":["a","b"],"q":"ü"}`}},
		{"jsonl with byte order mark and CRLF", "a.jsonl", "\xef\xbb\xbf{\"q\":1}\r\n{\"q\":2}\r\n", spec.Files{}, []string{`{"q":1}`, `{"q":2}`}},
		{"jsonl keeps large numbers", "a.jsonl", `{"q":12345678901234567890}`, spec.Files{}, []string{`{"q":12345678901234567890}`}},
		{"json list", "a.json", "[{\"q\": 1},\n {\"q\": 2}]\n", spec.Files{}, []string{`{"q":1}`, `{"q":2}`}},
		{"json path", "a.json", `{"skip": {"rows": [3]}, "data": {"x": [1], "rows": [{"q": {"a": 1}}]}, "end": [{}]}`, spec.Files{JSONPath: "data.rows"},
			[]string{`{"q":{"a":1}}`}},
		{"csv", "a.csv", "q,a\n\"x, \"\"y\"\"\nz\",1\n", spec.Files{}, []string{`{"a":"1","q":"x, \"y\"\nz"}`}},
		{"csv without header", "a.csv", "\xef\xbb\xbfx,1\r\ny,2\r\n", spec.Files{Names: []string{"q", "a"}}, []string{`{"a":"1","q":"x"}`, `{"a":"2","q":"y"}`}},
		{"csv without header, said", "a.csv", "x,1\n", spec.Files{Names: []string{"q", "a"}, Header: &no}, []string{`{"a":"1","q":"x"}`}},
		{"csv with renamed header", "a.csv", "old,older\nx,1\n", spec.Files{Names: []string{"q", "a"}, Header: &yes}, []string{`{"a":"1","q":"x"}`}},
		{"tsv", "a.tsv", "q\ta\nsay \"hi\"\t[\"x\", \"y\"]\n", spec.Files{}, []string{`{"a":"[\"x\", \"y\"]","q":"say \"hi\""}`}},
		{"text lines", "a.txt", "one\r\n \n\ntwo \n", spec.Files{}, []string{`{"text":"one"}`, `{"text":"two "}`}},
		{"text hf lines", "a.txt", " \n = T = \n\nlast", spec.Files{Unit: "hf-line"},
			[]string{`{"text":""}`, `{"text":" = T = \n"}`, `{"text":""}`, `{"text":"last"}`}},
		{"text paragraphs", "a.txt", "\none\nmore\n\n\ntwo\n", spec.Files{Unit: "paragraph"}, []string{`{"text":"one\nmore"}`, `{"text":"two"}`}},
		{"text file", "a.txt", "one\n\ntwo\n", spec.Files{Unit: "file"}, []string{`{"text":"one\n\ntwo\n"}`}},
		{"xml", "a.xml", "\xef\xbb\xbf<?xml version='1.0' encoding='UTF-8'?>\r\n<!DOCTYPE c SYSTEM 'c.dtd'>\n<c v='1'>\n<!-- no --><item id='1' asks-for='cause'>\n" +
			"<p> One &amp; two. </p><a>x</a><a>y</a></item><item>plain</item></c>\n", spec.Files{},
			[]string{`{"a":["x","y"],"asks-for":"cause","id":"1","p":"One & two."}`, `{"text":"plain"}`}},
		{"xml by name", "a.xml", "<a><s><q n='1'>x</q></s><s><q n='2'><r>y</r></q></s></a>", spec.Files{JSONPath: "q"},
			[]string{`{"n":"1","text":"x"}`, `{"n":"2","r":"y"}`}},
		{"skip and take", "a.jsonl", "{\"q\":1}\n{\"q\":2}\n{\"q\":3}\n{\"q\":4}\n", spec.Files{Skip: 1, Take: 2}, []string{`{"q":2}`, `{"q":3}`}},
		{"format by name", "a.dat", `{"q":1}`, spec.Files{Format: "jsonl"}, []string{`{"q":1}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, gz := range []bool{false, true} {
				c.f.Path = write(t, c.file, c.text)
				if gz {
					c.f.Path = write(t, c.file+".gz", gzipped(t, c.text))
				}
				got, err := rowsOf(c.f, 0)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("gz %v: got %q\nwant %q", gz, got, c.want)
				}
				if got, err := rowsOf(c.f, 1); err != nil || !slices.Equal(got, c.want[:1]) {
					t.Errorf("gz %v, limit 1: got %q, %v", gz, got, err)
				}
			}
		})
	}
}

func gzipped(t *testing.T, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReadErrors(t *testing.T) {
	good := strings.Repeat("{\"q\":1}\n", 16)
	for _, c := range []struct {
		name, file, text string
		f                spec.Files
		want             []string
	}{
		{"malformed row 17", "a.jsonl", good + "{\"q\":1,}\n", spec.Files{}, []string{"a.jsonl: line 17 (row 16): malformed row", "one whole JSON object"}},
		{"cut off", "a.jsonl", good + "{\"q\":\"x", spec.Files{}, []string{"line 17", "unexpected end"}},
		{"not an object", "a.jsonl", "[1]\n", spec.Files{}, []string{"line 1", "a JSON list where an object"}},
		{"json in jsonl", "a.jsonl", "{\n\"q\": 1\n}\n", spec.Files{}, []string{"line 1", `set format = "json"`}},
		{"empty", "a.jsonl", "\n \n", spec.Files{}, []string{"a.jsonl", "the dataset is empty"}},
		{"empty json", "a.json", "[]", spec.Files{}, []string{"a.json", "the dataset is empty"}},
		{"empty csv", "a.csv", "q,a\n", spec.Files{}, []string{"a.csv", "the dataset is empty"}},
		{"no csv at all", "a.csv", "", spec.Files{}, []string{"a.csv", "the dataset is empty"}},
		{"empty text", "a.txt", "\n", spec.Files{}, []string{"the dataset is empty"}},
		{"nul", "a.jsonl", good + "{\"q\":\"\x00\"}", spec.Files{}, []string{"line 17", "NUL byte at column 7"}},
		{"utf-16", "a.txt", "a\x00b\x00", spec.Files{}, []string{"line 1", "UTF-16", "UTF-8"}},
		{"invalid utf-8", "a.jsonl", good + "{\"q\":\"\xff\"}", spec.Files{}, []string{"line 17", "invalid UTF-8 at column 7"}},
		{"invalid utf-8 in csv", "a.csv", "q,a\nx,\xff\n", spec.Files{}, []string{"line 2", `column "a"`, "UTF-8"}},
		{"nul in csv", "a.csv", "q,a\nx,\x00\n", spec.Files{}, []string{"line 2", `column "a"`, "NUL"}},
		{"invalid utf-8 in json", "a.json", "[{\"q\":\"\xff\"}]", spec.Files{}, []string{"row 0", "UTF-8"}},
		{"ragged csv", "a.csv", "q,a\nx,1\ny,2,3\n", spec.Files{}, []string{"a.csv: line 3 (row 1): malformed row", "3 fields where 2 are wanted (q, a)"}},
		{"bare quote", "a.csv", "q,a\nx\"y,2\n", spec.Files{}, []string{"a.csv: line 2", "quote"}},
		{"open quote", "a.csv", "q,a\n\"x,2\n", spec.Files{}, []string{"a.csv: line 2", "quote"}},
		{"column twice", "a.csv", "q,q\nx,1\n", spec.Files{}, []string{"a.csv: column 2", `"q"`}},
		{"names too few", "a.csv", "q,a\nx,1\n", spec.Files{Names: []string{"q"}}, []string{"line 1", "2 fields where 1"}},
		{"json path missing", "a.json", `{"examples":[{}]}`, spec.Files{JSONPath: "example"}, []string{`no key "example"`, "did you mean examples?"}},
		{"json path to nothing", "a.json", `{"a":3}`, spec.Files{JSONPath: "a"}, []string{`"a" is 3, not a list`}},
		{"json path through a list", "a.json", `{"a":[3]}`, spec.Files{JSONPath: "a.b"}, []string{`"a" is no object`}},
		{"json object at top", "a.json", `{"rows":[{}], "meta": 1}`, spec.Files{}, []string{"set json_path", "rows, meta"}},
		{"json row no object", "a.json", `[{"q":1}, 3]`, spec.Files{}, []string{"row 1", "JSON number"}},
		{"json malformed", "a.json", `[{"q":1}, {"q":}]`, spec.Files{}, []string{"row 1 (from 0): malformed row: line 1 (byte"}},
		{"json cut off in the list", "a.json", `[{"q":1}`, spec.Files{}, []string{"a.json: line 1 (byte 8)", "unexpected EOF"}},
		{"json cut off behind", "a.json", `{"a":[{"q":1}]`, spec.Files{JSONPath: "a"}, []string{"unexpected EOF"}},
		{"json row in line 4", "a.json", "[{\"q\":1},\n\n {\"q\":2},\n {\"q\":\"\xff\"}]", spec.Files{}, []string{"a.json: line 4 (row 2)", "UTF-8"}},
		{"json in utf-16", "a.json", "\xff\xfe[\x00{\x00", spec.Files{}, []string{"a.json: ", "UTF-16", "UTF-8"}},
		{"jsonl in utf-16", "a.jsonl", "\xfe\xff\x00{\x00}", spec.Files{}, []string{"a.jsonl: ", "UTF-16", "UTF-8"}},
		{"csv in utf-16", "a.csv", "\xff\xfeq\x00,\x00", spec.Files{}, []string{"a.csv: ", "UTF-16", "UTF-8"}},
		{"xml in utf-16", "a.xml", "\xff\xfe<\x00", spec.Files{}, []string{"a.xml: ", "UTF-16", "UTF-8"}},
		{"xml in another encoding", "a.xml", "<?xml version='1.0' encoding='ISO-8859-1'?><a><b/></a>", spec.Files{}, []string{"a.xml: line 1", "ISO-8859-1", "UTF-8"}},
		{"xml cut off", "a.xml", "<a>\n<b>x</b>\n<b>y", spec.Files{}, []string{"a.xml: line 3", "malformed XML", "cut short"}},
		{"xml badly closed", "a.xml", "<a>\n<b>x</c></a>", spec.Files{}, []string{"a.xml: line 2", "<b> closed by </c>"}},
		{"xml without rows", "a.xml", "<a><b>x</b></a>", spec.Files{JSONPath: "item"}, []string{"a.xml", "the dataset is empty"}},
		{"skip leaves nothing", "a.jsonl", good, spec.Files{Skip: 16}, []string{"a.jsonl: skip leaves no row", "16"}},
		{"json and more", "a.json", "[{\"q\":1}]\n[]", spec.Files{}, []string{"after the end", "jsonl"}},
		{"unknown extension", "a.dat", "x", spec.Files{}, []string{`".dat"`, "set format to one of", "parquet"}},
		{"unknown format", "a.jsonl", "x", spec.Files{Format: "jsnl"}, []string{`unknown format "jsnl"; did you mean jsonl?`}},
		{"unknown unit", "a.txt", "x", spec.Files{Unit: "lines"}, []string{`unknown unit "lines"; did you mean line?`}},
		{"gzip by another name", "a.jsonl", "\x1f\x8b\x08\x00", spec.Files{}, []string{"a.jsonl: line 1", "must end in .gz"}},
		{"zip", "a.csv", "PK\x03\x04data", spec.Files{}, []string{"a.csv: line 1", "unpack"}},
		{"parquet by another name", "a.jsonl", "PAR1data", spec.Files{}, []string{"a.jsonl: line 1", `format = "parquet"`}},
		{"not gzip", "a.jsonl.gz", "{}", spec.Files{}, []string{"a.jsonl.gz: not a gzip file"}},
		{"not parquet", "a.parquet", "PAR1 no", spec.Files{}, []string{"a.parquet: not a parquet file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.f.Path = write(t, c.file, c.text)
			_, err := rowsOf(c.f, 0)
			wantError(t, err, c.want...)
		})
	}
	_, err := rowsOf(spec.Files{Path: t.TempDir()}, 0)
	wantError(t, err, "a directory")
	cut := gzipped(t, good)
	_, err = rowsOf(spec.Files{Path: write(t, "a.jsonl.gz", cut[:len(cut)-9])}, 0)
	wantError(t, err, "a.jsonl.gz: line ", "unexpected EOF")
	_, err = rowsOf(spec.Files{Path: "nowhere.jsonl"}, 0)
	wantError(t, err, "nowhere.jsonl", "no such file")
}

// endless gives the head, and then more bytes than a row may have; used counts those taken.
type endless struct {
	head string
	used int64
}

func (e *endless) Read(p []byte) (int, error) {
	if e.used > 1<<30 {
		return 0, io.EOF
	}
	n := copy(p, e.head)
	e.head = e.head[n:]
	for i := n; i < len(p); i++ {
		p[i] = 'x'
	}
	e.used += int64(len(p))
	return len(p), nil
}

// TestOverLongRow: a row of a gigabyte is refused early, whatever the format, with the line where it begins.
func TestOverLongRow(t *testing.T) {
	defer func(was int64) { maxRow = was }(maxRow)
	maxRow = 4 << 20 // decoders look at every byte several times; TestMeter has the real bound
	for name, head := range map[string]string{
		"a.json": "[{\"q\":1},\n{\"q\":\"", "a.csv": "q\n\"", "a.tsv": "q\n\"", "a.xml": "<a>\n<b>", "a.jsonl": "{}\n\"", "a.txt": "x\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString(head); err != nil {
				t.Fatal(err)
			}
			// The rest is a hole of NUL bytes: no disk is used. A reader that holds a row must stop before it has seen them all.
			if err := f.Truncate(1 << 30); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = rowsOf(spec.Files{Path: path}, 0)
			runtime.ReadMemStats(&after)
			wantError(t, err, name+": ", "line 2")
			if name == "a.jsonl" || name == "a.txt" {
				wantError(t, err, "longer than 64 MiB", "text file of the format named")
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 8*maxLine {
				t.Errorf("%d MiB were allocated", used>>20)
			}
		})
	}
}

// TestMeter: what a row holds is bounded, and the lines of offsets are known.
func TestMeter(t *testing.T) {
	src := &endless{head: "one\ntwo\n"}
	m := &meter{r: src, format: "csv"}
	buf := make([]byte, 64<<10)
	for range 3 {
		if _, err := m.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		offset int64
		line   int
	}{{0, 1}, {3, 1}, {4, 2}, {7, 2}, {8, 3}, {2, 3}, {1 << 40, 3}} {
		if got := m.line(c.offset); got != c.line {
			t.Errorf("line of byte %d is %d, want %d", c.offset, got, c.line)
		}
	}
	_, err := io.Copy(io.Discard, m)
	wantError(t, err, "line 3", "longer than 64 MiB", "no csv of rows")
	if src.used > maxLine+4<<20 {
		t.Errorf("%d bytes were read", src.used)
	}
}

func TestLabels(t *testing.T) {
	rows := "{\"q\":\"x\"}\n{\"q\":\"y\"}\n"
	read := func(labels, name string, limit int) ([]string, error) {
		return rowsOf(spec.Files{Path: write(t, "a.jsonl", rows), Labels: write(t, "a.lst", labels), LabelName: name}, limit)
	}
	got, err := read("1\r\n 2 \n\n", "", 0)
	if want := []string{`{"label":"1","q":"x"}`, `{"label":"2","q":"y"}`}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := read("1\n2\n", "gold", 1); err != nil || !slices.Equal(got, []string{`{"gold":"1","q":"x"}`}) {
		t.Errorf("limit 1: got %q, %v", got, err)
	}
	_, err = read("1\n", "", 0)
	wantError(t, err, "a.lst: 1 labels for the 2 rows of", "a.jsonl")
	_, err = read("1\n2\n3\n", "", 0)
	wantError(t, err, "3 labels for the 2 rows")
	_, err = read("1\n\n3\n", "", 0)
	wantError(t, err, "a.lst: line 2: no label")
	_, err = read("1\n2\n", "q", 0)
	wantError(t, err, "line 1 (row 0)", `a column "q" already`, "label_name")
}

func TestReadParquet(t *testing.T) {
	type choices struct {
		Text  []string `parquet:"text,list"`
		Label []string `parquet:"label,list"`
	}
	type row struct {
		Text    string   `parquet:"text"`
		N       int64    `parquet:"n"`
		F       float64  `parquet:"f"`
		OK      bool     `parquet:"ok"`
		Maybe   *string  `parquet:"maybe,optional"`
		Raw     []byte   `parquet:"raw"`
		Old     []int32  `parquet:"old"` // a repeated column, as before there were lists
		Choices choices  `parquet:"choices"`
		Golds   []string `parquet:"golds,list"`
	}
	x := "x"
	var rows []row
	for i := range 100 {
		r := row{Text: fmt.Sprint("row ", i), N: int64(i), F: 1.5, OK: i%2 == 0, Raw: []byte("b"), Old: []int32{1, 2},
			Choices: choices{Text: []string{"p", "q"}, Label: []string{"A", "B"}}}
		if i == 99 {
			r.Maybe, r.Golds = &x, []string{"g"}
		}
		rows = append(rows, r)
	}
	path := write(t, "a.parquet", "")
	if err := parquet.WriteFile(path, rows); err != nil {
		t.Fatal(err)
	}
	got, err := rowsOf(spec.Files{Path: path}, 0)
	if err != nil || len(got) != 100 {
		t.Fatalf("%d rows, %v", len(got), err)
	}
	want := `{"choices":{"label":["A","B"],"text":["p","q"]},"f":1.5,"golds":["g"],"maybe":"x","n":99,"ok":false,"old":[1,2],"raw":"b","text":"row 99"}`
	if got[99] != want {
		t.Errorf("got %s\nwant %s", got[99], want)
	}
	if !strings.Contains(got[0], `"golds":[]`) || !strings.Contains(got[0], `"maybe":null`) {
		t.Errorf("row 0 is %s", got[0])
	}
	if got, err := rowsOf(spec.Files{Path: path}, 70); err != nil || len(got) != 70 {
		t.Errorf("limit 70: %d rows, %v", len(got), err)
	}

	rows[7].Raw = []byte("\xff")
	if err := parquet.WriteFile(path, rows); err != nil {
		t.Fatal(err)
	}
	_, err = rowsOf(spec.Files{Path: path}, 0)
	wantError(t, err, "a.parquet: row 7", `column "raw"`, "UTF-8")

	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 4; at < len(whole); at += len(whole)/97 + 1 {
		broken := bytes.Clone(whole)
		broken[at] ^= 0x55
		// What can be read is, what cannot is an error; neither is a panic.
		_, _ = rowsOf(spec.Files{Path: write(t, "b.parquet", string(broken))}, 0)
	}
}

// Files of the two writers that most parquet in the field comes from (testdata/parquet/make).
func TestReadParquetOfOthers(t *testing.T) {
	want := []string{
		`{"answer":"A","choices":["an apple","the sky"],"flag":true,"id":1,"meta":{"n":3,"source":"own"},"question":"Which is red?","weight":0.5}`,
		`{"answer":"A","choices":["am Rhein","an der Elbe","am Main"],"flag":false,"id":2,"meta":{"n":null,"source":"eigen"},"question":"Wo ist Köln? 你好","weight":1.25}`,
		`{"answer":"B","choices":[],"flag":null,"id":3,"meta":{"n":0,"source":null},"question":"Empty list?","weight":-2}`,
	}
	files, err := filepath.Glob("testdata/parquet/*.parquet")
	if err != nil || len(files) < 7 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, path := range files {
		if got, err := rowsOf(spec.Files{Path: path}, 0); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v\n got %s\nwant %s", path, err, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
}
