package result

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// manyShards makes a run of n shards of 20 rows with a result file each, and gives it with its rows.
func manyShards(t testing.TB, n int) (Dir, int) {
	t.Helper()
	const rows = 20
	root, err := os.MkdirTemp("/dev/shm", "store")
	if err != nil {
		root = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	dir := Dir(root)
	for i := range n {
		from := i * rows
		name := fmt.Sprintf("m--d--%d-%d", from, from+rows)
		h := header(from, from+rows)
		var b bytes.Buffer
		sum := sha256.New()
		if err := writeBody(io.MultiWriter(&b, sum), h, records(from, from+rows)); err != nil {
			t.Fatal(err)
		}
		body := b.Bytes()
		footer, err := encode(Footer{Count: rows, SHA256: hex.EncodeToString(sum.Sum(nil))})
		if err != nil {
			t.Fatal(err)
		}
		for path, data := range map[string][]byte{dir.Result(name): append(bytes.Clone(body), footer...), dir.Rows(name, 1): body} {
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir, n * rows
}

// BenchmarkStore collects every one of 10,000 shards with its result and checkpoint, as a submitter does that finds them done.
func BenchmarkStore(b *testing.B) {
	dir, rows := manyShards(b, 10000)
	for b.Loop() {
		begun := time.Now()
		s := NewStore(dir)
		if err := s.Refresh(); err != nil {
			b.Fatal(err)
		}
		refreshed := time.Now()
		for from := 0; from < rows; from += 20 {
			got, err := s.Collect(Query{Task: "m/d", Digest: header(0, 1).Digest, From: from, To: from + 20})
			if err != nil || !got.Complete() {
				b.Fatal(got, err)
			}
		}
		collected := time.Now()
		if err := s.Refresh(); err != nil {
			b.Fatal(err)
		}
		again := time.Now()
		b.ReportMetric(refreshed.Sub(begun).Seconds(), "s/refresh")
		b.ReportMetric(collected.Sub(refreshed).Seconds(), "s/collect")
		b.ReportMetric(again.Sub(collected).Seconds(), "s/refresh-again")
	}
}
