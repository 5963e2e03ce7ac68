//go:build conformance

package main

import (
	"encoding/json"
	"math"
	"path/filepath"
	"testing"

	"sextant/pkg/score"
)

// TestWikitext2 runs the whole wikitext-2 test split through the real binaries. The golden is transformers' (5.12, f32) on the same windows.
func TestWikitext2(t *testing.T) {
	s := newSession(t, "--max-num-workers", "2")
	s.args[0] = filepath.Join(pocket(), "..", "wikitext2.toml")
	var got score.Scores
	if err := json.Unmarshal(s.finish(), &got); err != nil {
		t.Fatal(err)
	}
	const want = 122.37290120209585
	if sc := find(t, got, "wikitext2_rolling"); math.Abs(*sc.Value-want) > want*1e-3 || sc.N != 1591 || sc.Missing != 0 {
		t.Errorf("perplexity %v over %d windows, %d missing; want %v over 1591", *sc.Value, sc.N, sc.Missing, want)
	}
}
