package checkpoint

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
)

// residentFiles is the bytes of files that are in this process's memory.
func residentFiles(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// TestRelease holds that pages are given back, that they can be read again, and that other memory is left alone.
func TestRelease(t *testing.T) {
	const large = 16 << 20
	dir := t.TempDir()
	file := safetensorsFile([]rawTensor{{"a", "F32", []int{3}, 1}, {"b", "F32", []int{large / 4}, 2}, {"c", "F32", []int{5}, 3}})
	if err := os.WriteFile(dir+"/model.safetensors", file, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := mapLocal(os.DirFS(dir), "model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	c := &Checkpoint{files: []*mapping{m}}
	defer c.Close()
	begin := len(file) - large - 20
	b := m.data[begin : begin+large]
	want := bytes.Repeat([]byte{2}, large)
	c.Expect(b)
	for range 2 {
		if !bytes.Equal(b, want) {
			t.Fatal("the tensor has other bytes")
		}
		before := residentFiles(t)
		c.Release(b)
		if freed := before - residentFiles(t); freed < large*9/10 {
			t.Errorf("%d bytes were given back, of %d", freed, large)
		}
	}
	own := bytes.Repeat([]byte{7}, 1<<20) // memory that would be zero if it were given back
	for _, data := range [][]byte{own, nil, m.data[:0], m.data[len(m.data):], m.data} {
		c.Release(data)
		c.Expect(data)
	}
	if !bytes.Equal(own, bytes.Repeat([]byte{7}, 1<<20)) || !bytes.Equal(m.data, file) {
		t.Error("memory has changed")
	}
}
