// Package goldens reads what tests compare with.
package goldens

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// ReadJSON reads a JSON file into v.
func ReadJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Near says whether a is within relative tolerance of b.
func Near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance*math.Abs(b) }
