package bench

import (
	"slices"
	"strings"
	"testing"
)

func TestRows(t *testing.T) {
	r := example()
	r.Machine.CPU = "A|B"
	got := r.Rows("worker bench --shape llama-160m")
	want := []string{
		"| llama-160m, bf16 | prefill | A\\|B, avx2 fma f16c, 2 threads | 1024 tokens/s | compute, 2000 GFLOP/s | 50 % | 2.0 of 2 | " +
			"2026-11-21, `worker bench --shape llama-160m` |",
		"| llama-160m, bf16 | startup | A\\|B, avx2 fma f16c, 2 threads | first token after 0.50 s |  |  |  | " +
			"2026-11-21, `worker bench --shape llama-160m` |",
		"| llama-160m, bf16 | memory | A\\|B, avx2 fma f16c, 2 threads | 900 MB at most, weights 325 MB |  |  |  | " +
			"2026-11-21, `worker bench --shape llama-160m` |",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	r.Model.Random, r.Model.Name = false, "/models/mine"
	r.Works[0].Bound, r.Works[0].GBs = "memory", 12.34
	if got := r.Rows("c")[0]; !strings.HasPrefix(got, "| mine, bf16 | prefill |") || !strings.Contains(got, "| memory, 12.3 GB/s |") {
		t.Error(got)
	}
	doc := "<!-- rows: bench, key: 3 -->\n| a | b | c | d | e | f | g | h |\n|---|---|---|---|---|---|---|---|\n<!-- end of rows -->\n"
	once, err := MergeRows(doc, "bench", r.Rows("c"))
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := MergeRows(once, "bench", r.Rows("c")); err != nil || twice != once || strings.Count(once, "mine") != 3 {
		t.Errorf("%v\n%s", err, twice)
	}
}

const document = `# Title

<!-- rows: other, key: 1 -->
| a | b |
|---|---|
| x | of the other |
<!-- end of rows -->

<!-- rows: mine, key: 2 -->
| a | b | c |
|---|---|---|
| x | y | old |
| x | z | kept |
<!-- end of rows -->
The end.
`

func TestMergeRows(t *testing.T) {
	got, err := MergeRows(document, "mine", []string{"|x|y|new|", `| x | p\|q | first |`, `| x | p\|q | second |`})
	want := strings.Replace(document, "| x | y | old |\n| x | z | kept |\n", "|x|y|new|\n| x | z | kept |\n| x | p\\|q | second |\n", 1)
	if err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	if got, err := MergeRows(document, "mine", nil); err != nil || got != document {
		t.Errorf("without rows: %v\n%s", err, got)
	}
}

func TestMergeRowsRefused(t *testing.T) {
	for _, c := range []struct{ doc, section, row, says string }{
		{document, "none", "| x |", "no line <!-- rows: none, key: N -->"},
		{document, "mine", "| x | y |", `the rows mine have 3 columns, and this has 2: "| x | y |"`},
		{document, "mine", "BenchmarkX 12 ns/op", "and this has 0"},
		{strings.ReplaceAll(document, "<!-- end of rows -->", ""), "mine", "| x |", "line 9: the rows mine have no <!-- end"},
		{"<!-- rows: r, key: 1 -->\n<!-- end of rows -->", "r", "| x |", "line 1: the rows r need a table's head"},
		{"<!-- rows: r, key: 2 -->\n| a |\n|---|\n<!-- end of rows -->", "r", "| x |", "with 2 columns at least"},
		{"<!-- rows: r, key: 0 -->\n| a |\n|---|\n<!-- end of rows -->", "r", "| x |", "need a table's head"},
		{"<!-- rows: r, key: 99999999999999999999 -->\n| a |\n|---|\n<!-- end of rows -->", "r", "| x |", "need a table's head"},
	} {
		if got, err := MergeRows(c.doc, c.section, []string{c.row}); err == nil || !strings.Contains(err.Error(), c.says) || got != "" {
			t.Errorf("%q in %s: %v, want %q", c.row, c.section, err, c.says)
		}
	}
}

// Whatever a document is: merging ends, and doing it twice changes nothing more.
func FuzzMergeRows(f *testing.F) {
	f.Add(document, "| x | y | new |")
	f.Add("<!-- rows: mine, key: 1 -->\n|a|\n|-|\n<!-- end of rows -->", "| x |")
	f.Fuzz(func(t *testing.T, doc, row string) {
		if strings.Contains(row, "\n") {
			return
		}
		once, err := MergeRows(doc, "mine", []string{row})
		if err != nil {
			return
		}
		if twice, err := MergeRows(once, "mine", []string{row}); err != nil || twice != once {
			t.Errorf("%v: %q, then %q", err, once, twice)
		}
	})
}
