package calib

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"sextant/pkg/dataset"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

const pocketText = "../../examples/pocket/data/text/valid.txt"

func pocket(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load("../../examples/pocket/model")
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pocketLines(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile(pocketText)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func calibOf(path string) spec.Calib { return spec.Calib{File: spec.Files{Path: path}} }

// shuffled is the order of n rows, computed as the package comment says it, with its sample's generator left where the next draw is.
func shuffled(n int, g *rand.PCG) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for i := range order {
		j := i + drawn(g, n-i)
		order[i], order[j] = order[j], order[i]
	}
	return order
}

func drawn(g *rand.PCG, n int) int {
	hi, _ := bits.Mul64(g.Uint64(), uint64(n))
	return int(hi)
}

func generator(seed uint64) *rand.PCG { return rand.NewPCG(seed, 0x73657874616e7421) }

func equal(t *testing.T, got, want []int32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("the ids are\n%v\nwant\n%v", got, want)
	}
}

func TestDrawsAreFixed(t *testing.T) {
	d := newDraws(7)
	var got []int
	for range 8 {
		got = append(got, d.below(1000))
	}
	next := newDraws(7).order(5)
	for range 6 {
		got = append(got, next())
	}
	if want := []int{222, 507, 434, 566, 986, 893, 554, 196, 1, 3, 0, 4, 2, -1}; !slices.Equal(got, want) {
		t.Errorf("draws are %v, want %v: samples of older runs would be others", got, want)
	}
}

// TestBlocks makes AWQ's cut again in a plain way: shuffle, strip, encode, drop, concatenate, cut.
func TestBlocks(t *testing.T) {
	tok, rows := pocket(t), pocketLines(t)
	for _, seed := range []uint64{0, 1, 42} {
		c := calibOf(pocketText)
		c.Samples, c.SeqLen, c.Seed = 9, 96, seed
		got, err := Sample(c, tok)
		if err != nil {
			t.Fatal(err)
		}
		var all []int32
		dropped := 0
		for _, i := range shuffled(len(rows), generator(seed)) {
			ids := tok.EncodePrompt(strings.TrimSpace(rows[i]))
			if len(ids) > 96 {
				dropped++
				continue
			}
			all = append(all, ids...)
		}
		equal(t, got.IDs, all[:9*96])
		if bos, _ := tok.BOS(); got.IDs[0] != bos || dropped == 0 {
			t.Errorf("the first token is %d, want the BOS %d; %d documents were dropped", got.IDs[0], bos, dropped)
		}
		if got.Samples() != 9 || len(got.Sequence(8)) != 96 || got.Sequence(8)[95] != all[9*96-1] {
			t.Errorf("%d samples, the last of %d tokens", got.Samples(), len(got.Sequence(8)))
		}
	}
}

// TestWindows makes GPTQ's cut again: join, encode once, draw the starts.
func TestWindows(t *testing.T) {
	tok, rows := pocket(t), pocketLines(t)[:40]
	padded := write(t, "rows.txt", " "+strings.Join(rows, " \n ")+" \n")
	tests := []struct{ name, joined string }{
		{"", " " + strings.Join(rows, " \n\n ") + " "},
		{"ptb", strings.Join(rows, " ")},
		{"wikitext2", " " + strings.Join(rows, " \n\n\n ") + " \n"},
	}
	for _, tt := range tests {
		c := calibOf(padded)
		c.Name, c.Cut, c.Samples, c.SeqLen, c.Seed = tt.name, "windows", 5, 64, 3
		got, err := Sample(c, tok)
		if err != nil {
			t.Fatal(err)
		}
		ids, g := tok.EncodePrompt(tt.joined), generator(3)
		var want []int32
		for range 5 {
			i := drawn(g, len(ids)-64)
			want = append(want, ids[i:i+64]...)
		}
		equal(t, got.IDs, want)
	}
}

// TestWindowsOfALargeFile holds that so much of a text is joined as the bound says, from a row drawn first on and around its end.
func TestWindowsOfALargeFile(t *testing.T) {
	tok := pocket(t)
	const rows, size = 20, 1 << 20
	var b strings.Builder
	for i := range rows {
		fmt.Fprintln(&b, strings.Repeat(string(rune('a'+i%26)), size-1))
	}
	c := calibOf(write(t, "large.txt", b.String()))
	r, err := open(withDefaults(c))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	k := cutter{c: withDefaults(c), tok: tok, rows: r, draws: newDraws(5)}
	text, err := k.join()
	if err != nil {
		t.Fatal(err)
	}
	// A file just below the bound is joined whole, however much its separators add.
	small := slices.Repeat([]dataset.Document{{Text: strings.Repeat("a", 1<<14)}}, 1<<10)
	k.rows = &texts{all: small, size: 16 << 20}
	if whole, err := k.join(); err != nil || len(whole) != 16<<20+2*(1<<10-1) {
		t.Errorf("%d bytes of a small file, %v", len(whole), err)
	}
	parts := strings.Split(text, "\n\n")
	if first := drawn(generator(5), rows); len(parts) != 16 || parts[0][0] != byte('a'+first%26) || parts[15][0] != byte('a'+(first+15)%rows%26) {
		t.Errorf("%d rows from one of %q to one of %q", len(parts), parts[0][0], parts[len(parts)-1][0])
	}
}

// TestDocuments makes c4's cut again; the second has fewer long documents than samples.
func TestDocuments(t *testing.T) {
	tok, rows := pocket(t), pocketLines(t)[:100]
	path := write(t, "c4.jsonl", jsonl(t, rows, "text"))
	for _, seqLen := range []int{64, 120} {
		c := calibOf(path)
		c.Name, c.Samples, c.SeqLen, c.Seed = "c4", 30, seqLen, 11
		got, err := Sample(c, tok)
		if err != nil {
			t.Fatal(err)
		}
		// The draws of the order and of the windows take turns.
		g := generator(11)
		order := make([]int, len(rows))
		for i := range order {
			order[i] = i
		}
		var want []int32
		var long []int
		for i := 0; i < len(rows) && len(want) < 30*seqLen; i++ {
			j := i + drawn(g, len(rows)-i)
			order[i], order[j] = order[j], order[i]
			if ids := tok.EncodePrompt(rows[order[i]]); len(ids) > seqLen {
				long = append(long, order[i])
				at := drawn(g, len(ids)-seqLen)
				want = append(want, ids[at:at+seqLen]...)
			}
		}
		for n := len(long); len(want) < 30*seqLen; n++ {
			ids := tok.EncodePrompt(rows[long[n%len(long)]])
			at := drawn(g, len(ids)-seqLen)
			want = append(want, ids[at:at+seqLen]...)
		}
		equal(t, got.IDs, want)
		if again := len(long) < 30; again != (seqLen == 120) {
			t.Errorf("seq_len %d: %d long documents", seqLen, len(long))
		}
	}
}

func jsonl(t testing.TB, rows []string, column string) string {
	t.Helper()
	var b strings.Builder
	for i, row := range rows {
		line, err := json.Marshal(map[string]any{"id": i, column: row})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", line)
	}
	return b.String()
}

// TestFormatsAgree holds that the same rows give the same sample, however they are stored.
func TestFormatsAgree(t *testing.T) {
	tok, rows := pocket(t), pocketLines(t)[:120]
	sample := func(f spec.Files, column string) *Tokens {
		t.Helper()
		got, err := Sample(spec.Calib{File: f, Column: column, Samples: 4, SeqLen: 100, Seed: 9}, tok)
		if err != nil {
			t.Fatalf("%s: %v", filepath.Base(f.Path), err)
		}
		return got
	}
	plain := strings.Join(rows, "\n")
	want := sample(spec.Files{Path: write(t, "a.txt", plain)}, "")

	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(jsonl(t, rows, "text")))
	_ = w.Close()
	var table bytes.Buffer
	pq := parquet.NewGenericWriter[struct {
		Story string `parquet:"story"`
	}](&table)
	for _, row := range rows {
		if _, err := pq.Write([]struct {
			Story string `parquet:"story"`
		}{{row}}); err != nil {
			t.Fatal(err)
		}
	}
	_ = pq.Close()
	for _, tt := range []struct {
		name, text, column string
	}{
		{"b.txt", plain + "\n", ""},
		{"windows.txt", "\xef\xbb\xbf" + strings.ReplaceAll(plain, "\n", "\r\n\r\n"), ""},
		{"a.jsonl", jsonl(t, rows, "text"), ""},
		{"blank.jsonl", "\n\n" + strings.ReplaceAll(jsonl(t, rows, "story"), "\n", "\r\n \n"), "story"},
		{"a.jsonl.gz", zipped.String(), ""},
		{"a.parquet", table.String(), "story"},
		{"a.json", "[" + strings.ReplaceAll(strings.TrimSpace(jsonl(t, rows, "text")), "\n", ",") + "]", ""},
	} {
		got := sample(spec.Files{Path: write(t, tt.name, tt.text)}, tt.column)
		if got.Digest != want.Digest {
			t.Errorf("%s: another sample", tt.name)
		}
	}
	if other := sample(spec.Files{Path: write(t, "c.txt", plain+"\nOne more.")}, ""); other.Digest == want.Digest {
		t.Error("one row more gives the same sample")
	}
}

// TestLongDocuments holds a row longer than the reader's buffer.
func TestLongDocuments(t *testing.T) {
	long := strings.Repeat("Lily had a cat. ", 200_000)
	path := write(t, "long.jsonl", jsonl(t, []string{"Max ran.", long, "Tom sat."}, "text"))
	r, err := open(withDefaults(calibOf(path)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for i, want := range []string{"Max ran.", long, "Tom sat."} {
		if got, err := r.text(i); err != nil || got != want {
			t.Errorf("row %d has %d bytes, want %d: %v", i, len(got), len(want), err)
		}
	}
}

func TestErrors(t *testing.T) {
	tok := pocket(t)
	tests := []struct {
		name, file, text string
		c                spec.Calib
		want             []string
	}{
		{"too few in blocks", "a.txt", "Lily ran.\nMax sat.\n" + strings.Repeat("Tom and Max ran. ", 40), spec.Calib{SeqLen: 16, Samples: 4},
			[]string{"a.txt: its 3 rows give ", " tokens in documents of at most 16, and 4 samples want 64", "1 documents were left out", `cut = "windows"`}},
		{"too few in windows", "a.txt", "Lily ran.", spec.Calib{Cut: "windows"}, []string{"the text has ", "tokens, and a sample is drawn from at least 513"}},
		{"no long document", "a.txt", "Lily ran.\n", spec.Calib{Name: "c4"}, []string{"the longest of its 1 documents has ", "at least 513", `cut = "blocks"`}},
		{"empty", "a.txt", "\n \n", spec.Calib{}, []string{"a.txt: the file holds no row"}},
		{"empty parquet", "a.parquet", "", spec.Calib{}, []string{"a.parquet"}},
		{"no column", "a.jsonl", `{"sentence":"x","id":1}`, spec.Calib{}, []string{`no column "text"; there is id, sentence`, "row 0 (from 0), byte 0"}},
		{"no text", "a.jsonl", "\n{\"text\":7}", spec.Calib{}, []string{`byte 1: column "text" holds no text`}},
		{"null", "a.jsonl", `{"text":null}`, spec.Calib{}, []string{`column "text" holds no text`}},
		{"no JSON", "a.jsonl", "{", spec.Calib{}, []string{"malformed row"}},
		{"no UTF-8", "a.txt", "a\xffb", spec.Calib{}, []string{"convert the file to UTF-8"}},
		{"binary", "a.txt", "a\x00b", spec.Calib{}, []string{"convert the file to UTF-8"}},
		{"packed", "val.jsonl.zst", "x", spec.Calib{}, []string{"unpack it with zstd -d"}},
		{"unknown format", "a.exe", "x", spec.Calib{}, []string{"names no format"}},
		{"cut", "a.txt", "x", spec.Calib{Cut: "slices"}, []string{`cut = "slices": there is "blocks" and "windows"`}},
		{"seq_len", "a.txt", "x", spec.Calib{SeqLen: 1}, []string{"seq_len = 1"}},
		{"negative", "a.txt", "x", spec.Calib{Samples: -1}, []string{"samples = -1"}},
		{"very many", "a.txt", "x", spec.Calib{Samples: 1e6, SeqLen: 1 << 24}, []string{"at most 268435456 tokens"}},
		{"no file", "", "", spec.Calib{Name: "pileval"}, []string{`no path is set for the text of "pileval"`}},
		{"missing", "", "", calibOf("/nowhere/a.txt"), []string{"opening the text", "/nowhere/a.txt"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.file != "" {
				tt.c.File.Path = write(t, tt.file, tt.text)
			}
			_, err := Sample(tt.c, tok)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(tt.want, "making a calibration sample: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// TestDefaults holds the documented defaults.
func TestDefaults(t *testing.T) {
	for name, want := range map[string]string{"": "blocks", "pileval": "blocks", "wikitext2": "windows", "c4": "windows", "ptb": "windows"} {
		c := withDefaults(spec.Calib{Name: name})
		if c.Cut != want || c.Samples != 128 || c.SeqLen != 512 || c.Column != "text" {
			t.Errorf("%q: %+v", name, c)
		}
	}
}

// TestSampleProperties holds for any sizes: a sample has the sizes asked for, is the same again, and is another for another seed.
func TestSampleProperties(t *testing.T) {
	tok := pocket(t)
	path := write(t, "a.txt", strings.Join(pocketLines(t)[:50], "\n"))
	rapid.Check(t, func(r *rapid.T) {
		c := calibOf(path)
		c.Cut = rapid.SampledFrom([]string{"blocks", "windows"}).Draw(r, "cut")
		c.Samples, c.SeqLen = rapid.IntRange(1, 8).Draw(r, "samples"), rapid.IntRange(130, 200).Draw(r, "seq_len")
		c.Seed = rapid.Uint64().Draw(r, "seed")
		a, err := Sample(c, tok)
		b, err2 := Sample(c, tok)
		c.Seed++
		other, err3 := Sample(c, tok)
		if err != nil || err2 != nil || err3 != nil {
			r.Fatal(err, err2, err3)
		}
		if len(a.IDs) != c.Samples*c.SeqLen || a.Samples() != c.Samples || a.Digest != b.Digest || !slices.Equal(a.IDs, b.IDs) || a.Digest == other.Digest {
			r.Fatalf("%d tokens of %d; digests %s, %s, other seed %s", len(a.IDs), c.Samples*c.SeqLen, a.Digest, b.Digest, other.Digest)
		}
	})
}
