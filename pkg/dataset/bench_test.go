package dataset

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"sextant/pkg/spec"
)

// BenchmarkOpenMillion opens a million rows and tells the memory that they hold.
func BenchmarkOpenMillion(b *testing.B) {
	const rows = 1_000_000
	path := filepath.Join(b.TempDir(), "big.jsonl")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	size := int64(0)
	for i := range rows {
		n, _ := fmt.Fprintf(w, "{\"id\":%d,\"question\":\"How many of the %d things on the long table are red?\",\"options\":[\"none\",\"some\",\"all\"],\"label\":%d}\n", i, i, i%3)
		size += int64(n)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	d := spec.Dataset{Abbr: "big", Mode: spec.PPL, Answer: "label", Test: spec.Files{Path: path},
		Prompt: spec.Prompt{Template: &spec.Template{Text: "{question} {choice}"}, Choices: "options"}}
	b.SetBytes(size)
	for b.Loop() {
		s, err := Open(d, 0)
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/float64(s.Len()), "heap-bytes/row")
		b.ReportMetric(float64(size)/rows, "file-bytes/row")
	}
}

// BenchmarkLoadWithCatalog is what the catalog costs every command: a spec of one dataset, and one of a family.
func BenchmarkLoadWithCatalog(b *testing.B) {
	c, err := NewCatalog()
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"siqa_ppl", "mmlu_ppl"} {
		path := write(b, "eval.toml", "datasets = [\""+name+"\"]\n[[models]]\npath = \"/m\"\n")
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := spec.Load(path, spec.Options{Catalog: c}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
