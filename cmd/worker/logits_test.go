package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkLogits runs `logits` both ways and holds what it gives against golden number i, which has float64 [len(ids), 1024].
func checkLogits(t *testing.T, i int, ids []int32) {
	t.Helper()
	want := make([]float64, len(ids)*1024)
	readBinary(t, fmt.Sprintf("../../examples/pocket/golden/logits_%d.f64", i), want)
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
	raw := filepath.Join(t.TempDir(), "logits.f32")
	got := make([]float32, len(want))
	logitsOutput(t, "--ids", list, "--raw", raw)
	readBinary(t, raw, got)
	var rows [][]float32
	if err := json.Unmarshal(logitsOutput(t, "--ids", list), &rows); err != nil || len(rows) != len(ids) {
		t.Fatalf("%d rows of JSON (%v)", len(rows), err)
	}
	for k, w := range want {
		if math.Abs(float64(got[k])-w) > 1e-3 {
			t.Fatalf("golden %d, token %d, logit %d: %v, want %v", i, k/1024, k%1024, got[k], w)
		}
		if rows[k/1024][k%1024] != got[k] {
			t.Fatalf("golden %d: JSON says %v, raw %v", i, rows[k/1024][k%1024], got[k])
		}
	}
}

func readBinary(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil && len(data) != binary.Size(v) {
		err = fmt.Errorf("%s has %d bytes, want %d", path, len(data), binary.Size(v))
	}
	if err == nil {
		err = binary.Read(bytes.NewReader(data), binary.LittleEndian, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func logitsOutput(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	// The model comes first: flags after a positional argument count.
	args = append([]string{"worker", "logits", "../../examples/pocket/model"}, args...)
	if code := run(context.Background(), args, &out, &errs); code != 0 {
		t.Fatalf("%v: exit %d: %s", args, code, errs.String())
	}
	return out.Bytes()
}
